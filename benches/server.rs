//! A Postgres as in production: it waits for the disk. Every measurement gets a database of its own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use event_store::append::{self, Append, Appender};
use event_store::tail::Head;
use fleet::roles;
use local_servers::{DataDir, Place, Postgres};
use prometheus::Registry;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::cpu;

/// Migrated, without events.
const EMPTY: &str = "bench_empty";

pub struct Server {
    postgres: Postgres,
    data_dir: DataDir,
    pub cpu: cpu::Meter,
    // The last to be dropped: the server's files are in it.
    folder: TempDir,
}

pub struct Database {
    name: String,
    pub url: String,
}

impl Server {
    pub async fn start() -> Result<Self> {
        // `TMPDIR` chooses the disk. As root, the server runs as somebody else, who must get in.
        let folder = tempfile::Builder::new()
            .prefix("fleet-bench-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .context("making a folder for Postgres")?;
        let data_dir = DataDir::lock(folder.path())?;
        let postgres = Postgres::resolve(None, Place::DataDir(&data_dir)).await?;
        let url = postgres.create_database(EMPTY, None).await?;
        let pool = roles::pool(&url, 2)?;
        roles::migrate::migrate(crate::catalogue(), &pool).await?;
        let backend: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&pool).await?;
        // A template is copied only while nobody is connected to it.
        pool.close().await;
        let cpu = cpu::Meter::of_server_with(backend);
        Ok(Self { postgres, data_dir, cpu, folder })
    }

    /// A migrated database without events.
    pub async fn empty(&self) -> Result<Database> {
        self.copy(EMPTY).await
    }

    /// A copy of `database`, to which nobody may be connected.
    pub async fn copy_of(&self, database: &Database) -> Result<Database> {
        self.copy(&database.name).await
    }

    async fn copy(&self, template: &str) -> Result<Database> {
        let name = format!("bench_{}", Uuid::now_v7().simple());
        let url = self.postgres.create_database(&name, Some(template)).await?;
        Ok(Database { name, url })
    }

    /// Drops a database; Postgres makes a checkpoint of it, so that what comes next starts with a clean log.
    pub async fn drop(&self, database: Database) -> Result<()> {
        let mut db = self.connect().await?;
        sqlx::raw_sql(AssertSqlSafe(format!("drop database {} with (force)", database.name))).execute(&mut db).await?;
        Ok(db.close().await?)
    }

    pub async fn connect(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(self.postgres.url()).await?)
    }

    /// A folder on the server's disk.
    pub fn folder(&self) -> &Path {
        self.data_dir.path()
    }

    pub async fn stop(self) -> Result<()> {
        self.postgres.stop().await?;
        drop(self.data_dir);
        self.folder.close().context("removing the folder of Postgres")
    }
}

impl Database {
    /// For the plain designs, with the time limits that the fleet's own sessions have: they cost each statement a timer.
    pub fn options(&self) -> Result<PgConnectOptions> {
        Ok(database::options(&self.url)?.options([
            ("statement_timeout", "60s"),
            ("lock_timeout", "30s"),
            ("idle_in_transaction_session_timeout", "60s"),
            ("client_connection_check_interval", "2s"),
        ]))
    }

    /// The product's own way to append, and its task.
    pub fn appender(&self, configure: impl FnOnce(&mut append::Config)) -> Result<(Appender, JoinHandle<()>)> {
        let mut config = append::Config::new(database::options(&self.url)?);
        configure(&mut config);
        let metrics = event_store::Metrics::register(&Registry::new())?;
        Ok(Appender::start(config, Head::default(), metrics))
    }

    /// Appends all of them, in order, as fast as it goes.
    pub async fn load(&self, appender: &Appender, appends: impl Iterator<Item = Append>) -> Result<()> {
        let mut appends = appends.peekable();
        while appends.peek().is_some() {
            let mut answers = Vec::new();
            for append in appends.by_ref().take(2000) {
                answers.push(appender.enqueue(append).await?);
            }
            for answer in answers {
                answer.await??;
            }
        }
        Ok(())
    }

    pub fn pool(&self) -> Result<PgPool> {
        roles::pool(&self.url, 2)
    }
}
