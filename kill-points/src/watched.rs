//! Points within a test: the end of a process without the process.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

tokio::task_local! {
    static WATCH: Arc<Watch>;
}

#[derive(Default)]
struct Watch {
    /// `None`: it only listens.
    point: Option<&'static str>,
    /// Passes that are not held.
    left: AtomicU32,
    reached: Notify,
    go: Notify,
    passed: Mutex<Vec<&'static str>>,
}

impl Watch {
    fn at(point: &'static str, pass: u32) -> Arc<Self> {
        let left = AtomicU32::new(pass.checked_sub(1).expect("passes count from 1"));
        Arc::new(Self { point: Some(point), left, ..Self::default() })
    }
}

pub(crate) async fn pass(point: &'static str) {
    let Ok(watch) = WATCH.try_with(Arc::clone) else { return };
    watch.passed.lock().expect("nothing panics while it holds this lock").push(point);
    if watch.point != Some(point) {
        return;
    }
    // Below zero it wraps: only one pass is the one.
    if watch.left.fetch_sub(1, Ordering::Relaxed) == 0 {
        watch.reached.notify_one();
        watch.go.notified().await;
    }
}

/// Runs `work` and drops it when it passes `point` for the `pass`th time, counted from 1; `None` if it was dropped. Work
/// that it spawns is watched if it is [`carried`].
pub async fn kill_at<F: Future>(point: &'static str, pass: u32, work: F) -> Option<F::Output> {
    let watch = Watch::at(point, pass);
    tokio::select! {
        biased;
        () = watch.reached.notified() => None,
        done = WATCH.scope(watch.clone(), work) => Some(done),
    }
}

/// Work that is about to be spawned, watched as whoever spawns it.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let watch = WATCH.try_with(Arc::clone).unwrap_or_default();
    WATCH.scope(watch, work)
}

/// All points that `work` passes, in order.
pub async fn passed<F: Future>(work: F) -> (F::Output, Vec<&'static str>) {
    let watch = Arc::<Watch>::default();
    let done = WATCH.scope(watch.clone(), work).await;
    let passed = std::mem::take(&mut *watch.passed.lock().expect("nothing panics while it holds this lock"));
    (done, passed)
}

/// Work that waits at a point. Dropping it ends the work there.
pub struct Held<T> {
    watch: Arc<Watch>,
    work: JoinHandle<T>,
}

/// Starts `work` and returns when it waits at `point`.
///
/// # Panics
/// If it ends without passing the point.
pub async fn hold_at<F>(point: &'static str, work: F) -> Held<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let watch = Watch::at(point, 1);
    let mut work = tokio::spawn(WATCH.scope(watch.clone(), work));
    tokio::select! {
        biased;
        () = watch.reached.notified() => {}
        _ = &mut work => panic!("it ended without passing {point}"),
    }
    Held { watch, work }
}

impl<T> Held<T> {
    /// Lets it go on, to its end.
    pub async fn go(mut self) -> T {
        self.watch.go.notify_one();
        (&mut self.work).await.expect("the work does not panic")
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        self.work.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn steps(steps: u32) -> u32 {
        for _ in 0..steps {
            kill_point!("test.step");
        }
        kill_point!("test.end");
        steps
    }

    #[tokio::test]
    async fn work_is_dropped_at_the_pass_it_shall_be_dropped_at_and_nowhere_else() {
        assert_eq!(kill_at("test.step", 3, steps(3)).await, None);
        assert_eq!(kill_at("test.step", 4, steps(3)).await, Some(3));
        let (_, passed) = passed(steps(2)).await;
        assert_eq!(passed, ["test.step", "test.step", "test.end"]);
    }

    #[tokio::test]
    async fn work_that_is_held_goes_on_when_it_is_let() {
        let held = hold_at("test.end", steps(2)).await;
        assert_eq!(held.go().await, 2);
    }
}
