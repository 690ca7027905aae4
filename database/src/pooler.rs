//! A pooler between us and Postgres, such as PgBouncer: what must hold of it.
//!
//! A session of ours has settings, prepared statements, locks and a channel that it listens on, so the pooler must keep it on
//! one connection: its session mode. And it must give this process as many connections as it opens, or the last part to
//! ask waits for ever.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection, Row};
use tokio::time::timeout;

use crate::describe;
use crate::pool::Endpoint;

/// How long the pooler may take for a connection, or an answer.
const LIMIT: Duration = Duration::from_secs(5);

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
    /// Refuses a pooler with which this process, which opens so many connections at once, could not work. Waits for a
    /// database that is away.
    ///
    /// # Errors
    /// There is one, and what is wrong with it.
    pub async fn refuse_pooler(&self, needed: usize) -> Result<(), Refusal> {
        loop {
            match check(&self.options, needed).await {
                Ok(result) => return result,
                Err(error) => tracing::debug!(error = describe(&error), "looking for a pooler"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn check(options: &PgConnectOptions, needed: usize) -> sqlx::Result<Result<(), Refusal>> {
    if !is_there(options).await? {
        return Ok(Ok(()));
    }
    if !keeps_sessions(options).await? {
        return Ok(Err(Refusal::Mode));
    }
    let mut held = Vec::new();
    while held.len() < needed {
        match limited(open(options)).await {
            Ok(connection) => held.push(connection),
            Err(sqlx::Error::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
                return Ok(Err(Refusal::Size { given: held.len(), needed }));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(()))
}

/// Postgres takes any setting with a dot that comes with a connection. A pooler refuses it, or drops it.
async fn is_there(options: &PgConnectOptions) -> sqlx::Result<bool> {
    let marked = options.clone().options([("fleet.direct", "yes")]);
    let asking = async {
        let mut connection = PgConnection::connect_with(&marked).await?;
        setting(&mut connection, "select current_setting('fleet.direct', true)").await
    };
    match limited(asking).await {
        Ok(setting) => Ok(setting.as_deref() != Some("yes")),
        Err(sqlx::Error::Database(error)) if error.message().contains("startup parameter") => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether a session keeps its connection while another one is in a transaction on the one that was used last.
async fn keeps_sessions(options: &PgConnectOptions) -> sqlx::Result<bool> {
    let asking = async {
        let mut one = PgConnection::connect_with(options).await?;
        setting(&mut one, "select set_config('fleet.session', 'kept', false)").await?;
        let mut other = PgConnection::connect_with(options).await?;
        // Statement mode refuses it.
        if other.execute("begin").await.is_err() {
            return Ok(None);
        }
        setting(&mut one, "select current_setting('fleet.session', true)").await
    };
    match limited(asking).await {
        Ok(setting) => Ok(setting.as_deref() == Some("kept")),
        // With one connection for both, only a session that was left has to wait for the transaction's end.
        Err(sqlx::Error::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut => Ok(true),
        Err(error) => Err(error),
    }
}

async fn open(options: &PgConnectOptions) -> sqlx::Result<PgConnection> {
    let mut connection = PgConnection::connect_with(options).await?;
    connection.execute("select 1").await?;
    Ok(connection)
}

/// By the simple protocol, which a pooler of any mode understands.
async fn setting(connection: &mut PgConnection, sql: &'static str) -> sqlx::Result<Option<String>> {
    sqlx::raw_sql(sql).fetch_one(connection).await?.try_get(0)
}

async fn limited<T>(asking: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    timeout(LIMIT, asking).await.unwrap_or_else(|_| Err(crate::timed_out("the pooler")))
}
