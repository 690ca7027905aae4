//! Pools: for reading and administering, for the event store, for applying.

use std::time::Duration;

use log::LevelFilter;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

use crate::primary::Primary;
use crate::session::Session;

/// What was in use within this time is not asked again before its next use: a relay would do little else. If its server
/// has fallen silent since, what is sent to it fails by a deadline of its own.
const FRESH: Duration = Duration::from_secs(1);

/// How long a connection may take to say that it is there.
const GLANCE: Duration = Duration::from_secs(2);

/// The same for one that comes back, perhaps with something unfinished.
const GOODBYE: Duration = Duration::from_secs(10);

/// The same where it is read only: nothing is lost with it, and whoever reads next needs its place. What it waits for may be
/// why its reader has given up.
const READ: Duration = Duration::from_millis(300);

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
        Ok(Self::of(crate::options(url)?))
    }

    /// As [`new`](Self::new), with options that somebody has made.
    pub fn of(options: PgConnectOptions) -> Self {
        Self { options, primary: Primary::default() }
    }

    /// A pool for reading and administering. It does not connect before it is used.
    pub fn reading(&self, connections: u32) -> PgPool {
        self.pool(connections, Session::Any, true, READ).connect_lazy_with(self.options.clone())
    }

    /// A pool for the event store, which sends the same few statements for ever: their plans are made once for each connection
    /// and kept, as for [applying](Self::applying). Planning a page anew would take the relay longer than reading it.
    pub fn serving(&self, connections: u32) -> PgPool {
        self.pool(connections, Session::ByKey, true, GOODBYE).connect_lazy_with(self.options.clone())
    }

    /// A pool for applying. A connection is not tried out before its use; a broken one fails the transaction, which is
    /// tried again.
    ///
    /// Plans are made once for each connection and kept, because planning would cost a small batch more than all else.
    /// What is kept must be right for every batch and for tables of any size, also when it was made while they were
    /// empty: so only plans that go from the rows in hand to the tables by index. See docs/adr/0012.
    pub fn applying(&self, connections: u32) -> PgPool {
        self.pool(connections, Session::ByKey, false, GOODBYE).connect_lazy_with(self.options.clone())
    }

    /// What was connected before the primary changed is closed instead of used: found by its age, without asking. What is
    /// `tried` before its use is asked after that, and for a moment only, for the pool itself would wait for an answer.
    fn pool(&self, connections: u32, session: Session, tried: bool, goodbye: Duration) -> PgPoolOptions {
        let (opened, used, back) = (self.primary.clone(), self.primary.clone(), self.primary.clone());
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(10))
            .acquire_slow_level(LevelFilter::Debug)
            .after_connect(move |connection, _| {
                let primary = opened.clone();
                Box::pin(async move { primary.admit(&session.begin(connection).await?).await })
            })
            .test_before_acquire(false)
            .before_acquire(move |connection, its| {
                let (primary, valid) = (used.clone(), !used.voids(its.age));
                let known = !tried || its.idle_for < FRESH;
                Box::pin(
                    async move { Ok(valid && (known || responds(connection, GLANCE).await || primary.look_again())) },
                )
            })
            .after_release(move |connection, its| {
                let (primary, valid) = (back.clone(), !back.voids(its.age));
                Box::pin(async move { Ok(valid && (responds(connection, goodbye).await || primary.look_again())) })
            })
    }
}

/// Whether a connection still answers. The pool itself would wait for ever, and warn of each that does not.
async fn responds(connection: &mut PgConnection, limit: Duration) -> bool {
    matches!(tokio::time::timeout(limit, connection.ping()).await, Ok(Ok(())))
}
