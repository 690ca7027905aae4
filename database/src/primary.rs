//! Which server is the primary, as one watch for each process sees it.
//!
//! A session that was writable when it was opened says nothing about now: behind a proxy it may be with a server that has
//! been replaced, and would answer from the past. Asking that server does not help, for it may not know. So the
//! [watch](crate::watch) asks whoever answers new connections; when that is another server, or none that can be written,
//! everything that was connected before is void. See docs/adr/0016.

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::session::{Answer, Server};
use crate::sqlstate::FULL;

/// What the watch saw last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nobody has looked yet, or nobody will: this process does not watch.
    Nothing,
    Primary(Server),
    /// It answers, and what it shows may be old.
    Refused(&'static str),
    /// It does not answer; why.
    Away(String),
}

/// What is known of the primary, and since when.
#[derive(Debug, Clone)]
pub struct State {
    pub seen: Seen,
    /// When that was.
    pub at: Instant,
    /// The last server that was the primary.
    server: Option<Server>,
    /// How often what was connected before became void.
    changes: u64,
    /// Connections opened up to this moment are void.
    void: Option<Instant>,
}

impl State {
    fn new() -> Self {
        Self { seen: Seen::Nothing, at: Instant::now(), server: None, changes: 0, void: None }
    }

    /// The state after a look.
    pub(crate) fn after(&self, seen: Seen, at: Instant) -> Self {
        let changed = match &seen {
            Seen::Primary(server) => self.server.as_ref() != Some(server),
            Seen::Refused(_) => self.server.is_some(),
            // Who does not answer new connections may still answer old ones, and may still be the primary.
            Seen::Away(_) | Seen::Nothing => false,
        };
        let server = match &seen {
            Seen::Primary(server) => Some(server.clone()),
            Seen::Refused(_) => None,
            Seen::Away(_) | Seen::Nothing => self.server.clone(),
        };
        let first = matches!(self.seen, Seen::Nothing);
        Self {
            seen,
            at,
            server,
            changes: self.changes + u64::from(changed && !first),
            void: if changed { Some(at) } else { self.void },
        }
    }

    /// Counts the changes of the primary: what was connected at another count is void.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    fn voids(&self, opened: Instant) -> bool {
        self.void.is_some_and(|void| opened <= void)
    }
}

/// What this process knows of the primary. Cheap to clone. Without a watch, whoever answers is believed.
#[derive(Debug, Clone)]
pub struct Primary {
    state: watch::Sender<State>,
    look: Arc<Notify>,
}

impl Default for Primary {
    fn default() -> Self {
        Self { state: watch::Sender::new(State::new()), look: Arc::default() }
    }
}

static OF_THIS_PROCESS: RwLock<Option<Primary>> = RwLock::new(None);

impl Primary {
    /// The one that all parts of a role go by: a process works on one database.
    pub fn of_this_process() -> Option<Self> {
        OF_THIS_PROCESS.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes it the one of this process; the first stays as long as it is watched.
    pub(crate) fn publish(&self) {
        OF_THIS_PROCESS.write().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| self.clone());
    }

    /// It is not watched any more, and nobody should go by it.
    pub(crate) fn withdraw(&self) {
        let mut published = OF_THIS_PROCESS.write().unwrap_or_else(PoisonError::into_inner);
        published.take_if(|primary| primary.state.same_channel(&self.state));
    }

    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// The first observation, if there is one within `limit`.
    pub async fn first(&self, limit: Duration) -> State {
        let mut state = self.state.subscribe();
        let seen = tokio::time::timeout(limit, state.wait_for(|state| state.seen != Seen::Nothing)).await;
        seen.ok().and_then(Result::ok).map_or_else(|| self.state(), |state| state.clone())
    }

    pub(crate) fn observe(&self, seen: Seen) {
        self.state.send_modify(|state| *state = state.after(seen, Instant::now()));
    }

    /// Why the database cannot be worked with just now, in one line.
    pub fn refusal(&self) -> Option<String> {
        match &self.state.borrow().seen {
            Seen::Nothing | Seen::Primary(_) => None,
            Seen::Refused(reason) => Some((*reason).to_owned()),
            Seen::Away(reason) if reason.contains(FULL) => {
                Some(format!("the database takes no new connections, and what is connected goes on: {reason}"))
            }
            Seen::Away(reason) => Some(format!("the database does not answer: {reason}")),
        }
    }

    /// Whether a connection of that age was opened before the primary changed.
    pub fn voids(&self, age: Duration) -> bool {
        let now = Instant::now();
        self.state.borrow().voids(now.checked_sub(age).unwrap_or(now))
    }

    /// Refuses a server that must not be believed, or that is not the one that the watch sees: then one of the two is late,
    /// and another try will tell.
    ///
    /// # Errors
    /// A transient one that says why.
    pub async fn admit(&self, answer: &Answer) -> sqlx::Result<()> {
        if let Some(reason) = answer.refusal {
            self.look_again();
            return Err(refused(reason));
        }
        let state = self.state.borrow().clone();
        match state.seen {
            Seen::Primary(server) if server != answer.server => {
                self.look_again();
                Err(refused("another server answered than the primary: it has just changed"))
            }
            _ => Ok(()),
        }
    }

    /// Something is wrong: have the watch look now. `false`, so that it can stand for the failure.
    pub fn look_again(&self) -> bool {
        self.look.notify_one();
        false
    }

    pub(crate) async fn asked_to_look(&self) {
        self.look.notified().await;
    }

    /// [`State::changes`] of now.
    pub fn changes(&self) -> u64 {
        self.state.borrow().changes
    }

    /// Does the work unless the primary changes meanwhile: then what the work waits for is void.
    ///
    /// # Errors
    /// Those of `work`, and a transient one after a change.
    pub async fn unless_changed<T, E: From<sqlx::Error>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut state = self.state.subscribe();
        let before = state.borrow_and_update().changes;
        tokio::select! {
            biased;
            done = work => done,
            Ok(_) = state.wait_for(|state| state.changes != before) => {
                Err(refused("the primary has changed: what was asked of the one before is void").into())
            }
        }
    }
}

/// Whether the watch of this process finds, looking once more, that the database cannot be worked with. Then it has said so,
/// and nobody else need.
pub async fn is_found_away() -> bool {
    const LIMIT: Duration = Duration::from_secs(5);
    let Some(primary) = Primary::of_this_process() else { return false };
    let mut state = primary.state.subscribe();
    if primary.refusal().is_none() {
        state.borrow_and_update();
        primary.look_again();
        let _ = tokio::time::timeout(LIMIT, state.changed()).await;
    }
    primary.refusal().is_some()
}

/// [`Primary::unless_changed`] by what this process knows, if it watches.
///
/// # Errors
/// Those of `work`, and a transient one after a change.
pub async fn unless_changed<T, E: From<sqlx::Error>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    match Primary::of_this_process() {
        Some(primary) => primary.unless_changed(work).await,
        None => work.await,
    }
}

fn refused(reason: &'static str) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::other(reason))
}

#[cfg(test)]
mod tests {
    use sqlx::types::chrono::DateTime;

    use super::*;

    fn server(second: i64) -> Seen {
        Seen::Primary(Server::of_test(DateTime::from_timestamp(second, 0).expect("a time")))
    }

    /// The number of changes after seeing these in turn.
    fn changes(seen: impl IntoIterator<Item = Seen>) -> u64 {
        seen.into_iter().fold(State::new(), |state, seen| state.after(seen, Instant::now())).changes
    }

    #[test]
    fn what_was_connected_before_another_server_or_none_is_void_and_an_outage_voids_nothing() {
        let away = || Seen::Away("connection refused".to_owned());
        let standby = || Seen::Refused("a standby");
        assert_eq!(changes([server(1), server(1)]), 0);
        assert_eq!(changes([away(), server(1), away(), server(1)]), 1, "the first server is new to who saw none");
        assert_eq!(changes([server(1), away(), server(1), away()]), 0);
        assert_eq!(changes([server(1), server(2)]), 1);
        assert_eq!(changes([server(1), away(), server(2)]), 1);
        assert_eq!(changes([server(1), standby(), standby()]), 1);
        assert_eq!(
            changes([server(1), standby(), server(1)]),
            2,
            "the sessions of its time as a standby are void, too"
        );
    }

    #[test]
    fn a_connection_is_void_if_it_was_open_when_the_change_was_seen() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let state = State::new().after(server(1), later(1)).after(server(2), later(10));
        assert!(state.voids(later(9)) && state.voids(later(10)) && !state.voids(later(11)));
        assert!(!state.after(Seen::Away(String::new()), later(20)).voids(later(11)));
    }
}
