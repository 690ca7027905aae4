//! Knowing at once that there is something new to read.
//!
//! Everything here is a hint: a notification may be lost or late, so whoever waits also looks at the store every
//! second. Postgres serialises the commits of transactions that notify, so the notification is a statement of its own,
//! after the commit, and one for many appends.

use std::time::Duration;

use events::Position;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const CHANNEL: &str = "fleet_appended";

/// At most one notification in this time.
const COALESCE: Duration = Duration::from_millis(5);

/// The net under the notifications.
pub const POLL: Duration = Duration::from_secs(1);

/// How far the store is known to go. Cheap to clone.
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
        raise(&self.own, position);
        raise(&self.known, position);
    }

    /// Waits until the store is known to go past `position`, or until it is time to look.
    pub async fn past(&self, position: Position) {
        let mut known = self.known.subscribe();
        let _ = tokio::time::timeout(POLL, known.wait_for(|known| *known > position)).await;
    }

    /// Tells other processes of what is appended here, until stopped.
    pub async fn announce(self, pool: PgPool, stop: CancellationToken) {
        let mut own = self.own.subscribe();
        while let Some(Ok(())) = stop.run_until_cancelled(own.changed()).await {
            let position = own.borrow_and_update().to_string();
            if let Err(error) = sqlx::query!("select pg_notify($1, $2)", CHANNEL, position).execute(&pool).await {
                tracing::debug!(error = %crate::database::describe(&error), "notification lost; readers will poll");
            }
            stop.run_until_cancelled(tokio::time::sleep(COALESCE)).await;
        }
    }

    /// Hears of what other processes append, until stopped.
    pub async fn listen(self, pool: PgPool, stop: CancellationToken) {
        let listening = async {
            loop {
                if let Err(error) = database::primary::unless_changed(self.hear(&pool)).await {
                    tracing::debug!(error = %crate::database::describe(&error), "not listening; readers will poll");
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
        loop {
            let notification = listener.recv().await?;
            if let Ok(position) = notification.payload().parse() {
                raise(&self.known, Position(position));
            }
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
