//! Pools: one for reading and administering, one for applying.

use std::time::Duration;

use log::LevelFilter;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

use crate::primary::Primary;
use crate::session::Session;

/// The way to the database, and what is known of who answers there. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub options: PgConnectOptions,
    pub primary: Primary,
}

impl Endpoint {
    /// Whoever answers is believed if it can be written when the connection is opened. For commands, which end soon.
    ///
    /// # Errors
    /// The URL is not one of Postgres.
    pub fn new(url: &str) -> sqlx::Result<Self> {
        Ok(Self { options: crate::options(url)?, primary: Primary::default() })
    }

    /// A pool for reading and administering. It does not connect before it is used.
    pub fn reading(&self, connections: u32) -> PgPool {
        self.pool(connections, Session::Any).connect_lazy_with(self.options.clone())
    }

    /// A pool for applying. A connection is not tried out before its use; a broken one fails the transaction, which is
    /// tried again.
    ///
    /// Plans are made once for each connection and kept, because planning would cost a small batch more than all else.
    /// What is kept must be right for every batch and for tables of any size, also when it was made while they were
    /// empty: so only plans that go from the rows in hand to the tables by index. See docs/adr/0012.
    pub fn applying(&self, connections: u32) -> PgPool {
        let pool = self.pool(connections, Session::Applying);
        pool.test_before_acquire(false).connect_lazy_with(self.options.clone())
    }

    /// What was connected before the primary changed is closed instead of used: found by its age, without asking.
    fn pool(&self, connections: u32, session: Session) -> PgPoolOptions {
        let (opened, used, back) = (self.primary.clone(), self.primary.clone(), self.primary.clone());
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(10))
            .acquire_slow_level(LevelFilter::Debug)
            .after_connect(move |connection, _| {
                let primary = opened.clone();
                Box::pin(async move { primary.admit(&session.begin(connection).await?).await })
            })
            .before_acquire(move |_, connection| {
                let valid = !used.voids(connection.age);
                Box::pin(async move { Ok(valid) })
            })
            .after_release(move |connection, its| {
                let (primary, valid) = (back.clone(), !back.voids(its.age));
                Box::pin(async move { Ok(valid && (answers(connection).await || primary.look_again())) })
            })
    }
}

/// Whether a connection that comes back to its pool still answers. The pool itself would wait for ever for that, and
/// would warn of each connection that does not.
async fn answers(connection: &mut PgConnection) -> bool {
    const LIMIT: Duration = Duration::from_secs(10);
    matches!(tokio::time::timeout(LIMIT, connection.ping()).await, Ok(Ok(())))
}
