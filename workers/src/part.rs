//! A part of a process: work that goes on until it is asked to stop. If it ends before, or panics, that is an error which
//! names it, so that no part of a process dies unseen.

use std::any::Any;
use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location};

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How a part ended that should not have.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("{part} ended although nobody had asked it to")]
    Early { part: String },
    #[error("{part}: {reason}")]
    Failed { part: String, reason: String },
    #[error("{part} panicked: {message}")]
    Panicked { part: String, message: String },
}

/// Runs `work` to its end, which must not come before `stop`.
///
/// # Errors
/// It failed, panicked, or ended early.
pub async fn part<E: Display>(
    name: impl Into<String>,
    stop: CancellationToken,
    work: impl Future<Output = Result<(), E>>,
) -> Result<(), Ended> {
    let part = name.into();
    match AssertUnwindSafe(work).catch_unwind().await {
        Err(panic) => Err(Ended::Panicked { part, message: said(&*panic) }),
        Ok(Err(error)) => Err(Ended::Failed { part, reason: format!("{error:#}") }),
        Ok(Ok(())) if !stop.is_cancelled() => Err(Ended::Early { part }),
        Ok(Ok(())) => Ok(()),
    }
}

/// As [`part`], of work that cannot fail.
///
/// # Errors
/// It panicked, or ended early.
pub async fn endless(
    name: impl Into<String>,
    stop: CancellationToken,
    work: impl Future<Output = ()>,
) -> Result<(), Ended> {
    part(name, stop, work.map(Ok::<(), Infallible>)).await
}

/// The first part that ended and should not have. Parts that ended as they should are passed over; waits for ever when
/// there is no other.
pub async fn first(parts: &mut JoinSet<Result<(), Ended>>) -> Ended {
    loop {
        match parts.join_next().await {
            Some(Ok(Err(ended))) => return ended,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// Waits until every part has ended.
pub async fn all(parts: &mut JoinSet<Result<(), Ended>>) {
    while parts.join_next().await.is_some() {}
}

thread_local! {
    /// Where code of this thread has panicked last.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Code of this thread panics, here. It is for whoever has the hook of the process to say so.
pub fn panics(place: Option<&Location<'_>>) {
    PLACE.set(place.map(ToString::to_string));
}

/// What a panic said that this thread has just caught, and where it was, if that was said.
pub fn panicked(panic: &(dyn Any + Send)) -> String {
    match PLACE.take() {
        Some(place) => format!("{} ({place})", said(panic)),
        None => said(panic),
    }
}

/// What a panic said.
pub fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it said nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_says_where_it_was_as_far_as_that_was_noted_and_once() {
        let caught = std::panic::catch_unwind(|| panic!("out of paint")).expect_err("it panics");
        panics(Some(Location::caller()));
        let here = panicked(&*caught);
        assert!(here.starts_with("out of paint (") && here.contains("part.rs:"), "{here}");
        assert_eq!(panicked(&*caught), "out of paint");
    }

    #[tokio::test]
    async fn a_part_that_ends_before_it_is_asked_to_is_an_error_that_names_it() {
        let stop = CancellationToken::new();
        let error = endless("the sweep", stop.clone(), async {}).await.expect_err("too early");
        assert_eq!(error.to_string(), "the sweep ended although nobody had asked it to");
        let error = endless("the sweep", stop.clone(), async { panic!("out of {}", "paint") }).await;
        assert_eq!(error.expect_err("a panic").to_string(), "the sweep panicked: out of paint");
        stop.cancel();
        assert!(endless("the sweep", stop, async {}).await.is_ok());
    }
}
