//! A pooler between us and Postgres, such as PgBouncer: what must hold of it.
//!
//! A session of ours has settings, prepared statements, locks and a channel that it listens on, so the pooler must keep it on
//! one connection: its session mode. And it must give this process as many connections as it opens, or the last part to
//! ask waits for ever.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection, Row};
use tokio::time::timeout;

use crate::pool::Endpoint;

/// How long the pooler may take for a connection, or an answer.
const LIMIT: Duration = Duration::from_secs(5);

/// How long it may take to find that there is none.
const GLANCE: Duration = Duration::from_secs(2);

/// Transactions beside which a session must keep its connection. One is enough unless others are at work meanwhile.
const RIVALS: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the pooler in front of Postgres gives each transaction another connection: it must be in session mode \
         (pool_mode = session), or DATABASE_URL must name Postgres itself"
    )]
    Mode,
    #[error(
        "the pooler in front of Postgres gives this process {given} connections, and it needs {needed}: raise the pooler's \
         pool size (default_pool_size), or lower FLEET_MAX_CONNECTIONS"
    )]
    Size { given: usize, needed: usize },
}

impl Endpoint {
    /// Refuses a pooler with which this process, which opens so many connections at once, could not work. It should have
    /// opened none yet.
    ///
    /// # Errors
    /// The database is away; within: there is a pooler, and what is wrong with it.
    pub async fn refuse_pooler(&self, needed: usize) -> sqlx::Result<Result<(), Refusal>> {
        let options = &self.options;
        if !is_there(options).await? {
            return Ok(Ok(()));
        }
        if !keeps_sessions(options).await? {
            return Ok(Err(Refusal::Mode));
        }
        let mut held = Vec::new();
        while held.len() < needed {
            match limited(LIMIT, transaction(options)).await {
                Ok(connection) => held.push(connection),
                Err(error) if is_timeout(&error) => return Ok(Err(Refusal::Size { given: held.len(), needed })),
                Err(error) => return Err(error),
            }
        }
        Ok(Ok(()))
    }
}

/// Postgres takes any setting with a dot that comes with a connection. A pooler refuses it, or drops it.
async fn is_there(options: &PgConnectOptions) -> sqlx::Result<bool> {
    let marked = options.clone().options([("fleet.direct", "yes")]);
    let asking = async {
        let mut connection = PgConnection::connect_with(&marked).await?;
        let marked: Option<String> = ask(&mut connection, "select current_setting('fleet.direct', true)").await?;
        let _ = connection.close().await;
        Ok(marked)
    };
    match limited(GLANCE, asking).await {
        Ok(mark) => Ok(mark.as_deref() != Some("yes")),
        Err(sqlx::Error::Database(error)) if error.message().contains("startup parameter") => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether a session keeps its connection while others are in transactions. Who takes it in turns gives the first of them
/// the connection that was used last.
async fn keeps_sessions(options: &PgConnectOptions) -> sqlx::Result<bool> {
    const BACKEND: &str = "select pg_backend_pid()";
    let asking = async {
        let mut session = PgConnection::connect_with(options).await?;
        let ours: i32 = ask(&mut session, BACKEND).await?;
        let mut rivals = Vec::new();
        for _ in 0..RIVALS {
            let mut rival = PgConnection::connect_with(options).await?;
            // Statement mode refuses it.
            if rival.execute("begin").await.is_err() {
                return Ok(false);
            }
            let theirs: i32 = ask(&mut rival, BACKEND).await?;
            if theirs == ours || ask::<i32>(&mut session, BACKEND).await? != ours {
                return Ok(false);
            }
            rivals.push(rival);
        }
        Ok(true)
    };
    match limited(LIMIT, asking).await {
        // It gives no more connections: that is said next.
        Err(error) if is_timeout(&error) => Ok(true),
        kept => kept,
    }
}

/// A connection that a pooler of any mode can give to nobody else.
async fn transaction(options: &PgConnectOptions) -> sqlx::Result<PgConnection> {
    let mut connection = PgConnection::connect_with(options).await?;
    connection.execute("begin").await?;
    Ok(connection)
}

/// By the simple protocol, which a pooler of any mode understands.
async fn ask<T>(connection: &mut PgConnection, sql: &'static str) -> sqlx::Result<T>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    sqlx::raw_sql(sql).fetch_one(connection).await?.try_get(0)
}

fn is_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut)
}

async fn limited<T>(limit: Duration, asking: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    timeout(limit, asking).await.unwrap_or_else(|_| Err(crate::timed_out("the pooler")))
}
