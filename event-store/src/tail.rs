//! Knowing at once that there is something new to read.
//!
//! Everything here is a hint: a notification may be lost or late, so whoever waits also looks at the store every
//! second. Postgres serialises the commits of transactions that notify, so the notification is a statement of its own,
//! after the commit, and one for many appends.

use std::time::{Duration, Instant};

use events::Position;
use sqlx::postgres::PgListener;
use sqlx::{PgExecutor, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::read;

const CHANNEL: &str = "fleet_appended";

/// At most one notification in this time.
const COALESCE: Duration = Duration::from_millis(5);

/// The net under the notifications.
pub const POLL: Duration = Duration::from_secs(1);

/// After a notification that was not true, others are not believed for so long; readers look every second anyway.
const DOUBT: Duration = POLL;

/// How far the store is known to go. Cheap to clone.
///
/// Only a hint, and hints can be wrong: anybody may notify, and a failover that loses the tail takes the head back. Whoever
/// looks because of a hint says what it found ([`Head::look`]), so that a wrong one costs one look and not one after the other.
#[derive(Debug, Clone)]
pub struct Head {
    known: watch::Sender<Position>,
    /// What this process appended itself, for others to hear.
    own: watch::Sender<Position>,
}

impl Default for Head {
    fn default() -> Self {
        Self { known: watch::Sender::new(Position::START), own: watch::Sender::new(Position::START) }
    }
}

impl Head {
    /// This process appended up to `position`.
    pub(crate) fn appended(&self, position: Position) {
        // Also if it is below what was appended before: then the store has lost its end, and goes on from there.
        self.own.send_replace(position);
        raise(&self.known, position);
    }

    /// Waits until the store is known to go past `position`, or until it is time to look.
    pub async fn past(&self, position: Position) {
        let mut known = self.known.subscribe();
        let _ = tokio::time::timeout(POLL, known.wait_for(|known| *known > position)).await;
    }

    /// The head as the store has it.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn look(&self, db: impl PgExecutor<'_>) -> sqlx::Result<Position> {
        let said = self.said();
        let head = read::head(db).await?;
        self.found(said, head);
        Ok(head)
    }

    /// What is said of the head: to be asked before one looks.
    pub(crate) fn said(&self) -> Position {
        *self.known.borrow()
    }

    /// Somebody looked because of what was said, and found the head at `head`. A true hint is never above what is found
    /// after it; one that came in since is left alone.
    pub(crate) fn found(&self, said: Position, head: Position) {
        raise(&self.known, head);
        self.known.send_if_modified(|known| {
            let wrong = *known == said && said > head;
            if wrong {
                *known = head;
            }
            wrong
        });
    }

    /// Tells other processes of what is appended here, until stopped.
    pub async fn announce(self, pool: PgPool, stop: CancellationToken) {
        let mut own = self.own.subscribe();
        while let Some(Ok(())) = stop.run_until_cancelled(own.changed()).await {
            let position = own.borrow_and_update().to_string();
            let notify = sqlx::query!("select pg_notify($1, $2)", CHANNEL, position).execute(&pool);
            if let Err(error) = database::with_deadline("notifying", notify).await {
                tracing::debug!(error = %database::describe(&error), "notification lost; readers will poll");
            }
            stop.run_until_cancelled(tokio::time::sleep(COALESCE)).await;
        }
    }

    /// Hears of what other processes append, until stopped.
    pub async fn listen(self, pool: PgPool, stop: CancellationToken) {
        let listening = async {
            loop {
                if let Err(error) = database::primary::unless_changed(self.hear(&pool)).await {
                    tracing::debug!(error = %database::describe(&error), "not listening; readers will poll");
                }
                tokio::time::sleep(POLL).await;
            }
        };
        stop.run_until_cancelled(listening).await;
    }

    async fn hear(&self, pool: &PgPool) -> sqlx::Result<()> {
        // In a pool of its own: one that is given up keeps its place until the server that it was with has answered.
        let own = pool.options().clone().max_connections(1).connect_lazy_with((*pool.connect_options()).clone());
        let mut listener = PgListener::connect_with(&own).await?;
        listener.listen(CHANNEL).await?;
        let mut doubt: Option<Instant> = None;
        loop {
            let notification = listener.recv().await?;
            let said = self.said();
            let news = notification.payload().parse().is_ok_and(|position| Position(position) > said);
            if !news || doubt.is_some_and(|since| since.elapsed() < DOUBT) {
                continue;
            }
            // Anybody may notify: the number only says that it is time to look.
            let head = self.look(pool).await?;
            doubt = (head <= said).then(Instant::now);
        }
    }
}

fn raise(sender: &watch::Sender<Position>, position: Position) {
    sender.send_if_modified(|known| {
        let higher = position > *known;
        *known = position.max(*known);
        higher
    });
}
