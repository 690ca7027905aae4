//! Which migrations a database has, in a schema of our own, and bringing it up to date.
//!
//! `_sqlx_migrations`, where older versions kept it, may belong to another application of the same database, and is found by
//! `search_path`, which may change. What it says of our migrations is taken over once. See docs/adr/0016.

use std::collections::BTreeMap;

use sqlx::migrate::Migration;
use sqlx::{Connection, Executor, PgConnection, PgPool};

use crate::describe;

/// Of the advisory lock: one migration at a time.
const LOCK: i64 = 0x666c_6565_7400_0001;

const BOOKKEEPING: &str = "
    create schema if not exists fleet_bookkeeping;
    create table if not exists fleet_bookkeeping.migrations (
        version bigint primary key,
        description text not null,
        checksum bytea not null,
        applied_at timestamptz not null default clock_timestamp()
    )";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", describe(.0))]
    Database(sqlx::Error),
    #[error("migration {version} ({description}): {}", describe(cause))]
    Migration { version: i64, description: String, cause: sqlx::Error },
    #[error(
        "this database has migration {version} ({description}), which this fleet does not know, and lacks some that it \
         does know: it was migrated by a newer fleet. Use that one"
    )]
    Newer { version: i64, description: String },
    #[error(
        "migration {version} ({description}) is not the one that was applied to this database: use a released fleet"
    )]
    Changed { version: i64, description: String },
    #[error(
        "the store's tables are in schema {schema}, and the fleet looks for them in public, whatever the search_path: \
         move them (alter table {schema}.… set schema public), or use another database"
    )]
    Elsewhere { schema: String },
    #[error(
        "the store's tables are there, but neither fleet_bookkeeping.migrations nor _sqlx_migrations says which migrations \
         made them: restore one of the two with them, or use another database"
    )]
    Unrecorded,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// The migrations of all crates, in their order, and a table by which an installation is known.
pub struct Migrations {
    wanted: Vec<Migration>,
    landmark: &'static str,
}

impl Migrations {
    pub fn new(wanted: impl IntoIterator<Item = Migration>, landmark: &'static str) -> Self {
        let mut wanted: Vec<_> = wanted.into_iter().collect();
        wanted.sort_by_key(|migration| migration.version);
        Self { wanted, landmark }
    }

    /// Whether the database has all of them. It may have more: then a newer fleet is on its way.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn complete(&self, pool: &PgPool) -> sqlx::Result<bool> {
        let there = "select to_regclass('fleet_bookkeeping.migrations') is not null";
        if !sqlx::query_scalar(there).fetch_one(pool).await? {
            return Ok(false);
        }
        let versions: Vec<i64> = self.wanted.iter().map(|migration| migration.version).collect();
        let applied: i64 =
            sqlx::query_scalar("select count(*) from fleet_bookkeeping.migrations where version = any($1)")
                .bind(&versions)
                .fetch_one(pool)
                .await?;
        Ok(applied == versions.len() as i64)
    }

    /// Applies what is missing, then does what comes after it, and says what was done, one line each. All of it is one
    /// transaction, but for migrations that cannot be in one: those are applied, and noted, by themselves.
    ///
    /// Where a newer fleet has migrated, and all that this one needs is there, there is nothing to do: a rollback to this
    /// one must not fail on it.
    ///
    /// # Errors
    /// Nothing was done, or all before a migration that cannot be in a transaction.
    pub async fn run<E: From<Error>>(
        &self,
        connection: &mut PgConnection,
        then: impl AsyncFnOnce(&mut PgConnection) -> Result<Vec<String>, E>,
    ) -> Result<Vec<String>, E> {
        lock(connection).await.map_err(Error::from)?;
        let mut done = Vec::new();
        let mut tx = connection.begin().await.map_err(Error::from)?;
        let applied = self.applied(&mut tx).await?;
        let pending = self.pending(&applied)?;
        if applied.keys().any(|version| !self.knows(*version)) {
            tracing::info!("a newer fleet has migrated this database, and all that this one needs is there");
            return Ok(done);
        }
        for migration in pending {
            let named = |cause| Error::Migration {
                version: migration.version,
                description: migration.description.to_string(),
                cause,
            };
            if migration.no_tx {
                tx.commit().await.map_err(Error::from)?;
                connection.execute(migration.sql.clone()).await.map_err(named)?;
                tx = connection.begin().await.map_err(Error::from)?;
            } else {
                tx.execute(migration.sql.clone()).await.map_err(named)?;
            }
            note(&mut tx, migration).await.map_err(Error::from)?;
            done.push(format!("migration {} ({})", migration.version, migration.description));
        }
        done.extend(then(&mut tx).await?);
        tx.commit().await.map_err(Error::from)?;
        Ok(done)
    }

    /// The checksums of what has been applied, by version; of an older installation too.
    async fn applied(&self, db: &mut PgConnection) -> Result<BTreeMap<i64, (String, Vec<u8>)>, Error> {
        let known: bool = sqlx::query_scalar("select to_regclass('fleet_bookkeeping.migrations') is not null")
            .fetch_one(&mut *db)
            .await?;
        if !known {
            db.execute(BOOKKEEPING).await?;
            self.take_over(db).await?;
        }
        let rows: Vec<(i64, String, Vec<u8>)> =
            sqlx::query_as("select version, description, checksum from fleet_bookkeeping.migrations")
                .fetch_all(&mut *db)
                .await?;
        Ok(rows.into_iter().map(|(version, description, checksum)| (version, (description, checksum))).collect())
    }

    /// What is ours in an older installation's bookkeeping: the version and the checksum must be, because another
    /// application counts from 1, too.
    async fn take_over(&self, db: &mut PgConnection) -> Result<(), Error> {
        let homes: Vec<String> = sqlx::query_scalar(
            "select namespace.nspname::text
             from pg_class as class join pg_namespace as namespace on namespace.oid = class.relnamespace
             where class.relname = $1 and class.relkind = 'r'",
        )
        .bind(self.landmark)
        .fetch_all(&mut *db)
        .await?;
        if let Some(elsewhere) = homes.iter().find(|schema| *schema != "public") {
            return Err(Error::Elsewhere { schema: elsewhere.clone() });
        }
        let sqlx_kept_it: bool = sqlx::query_scalar(
            "select count(*) = 3 from pg_attribute
             where attrelid = to_regclass('public._sqlx_migrations') and attname in ('version', 'checksum', 'success')",
        )
        .fetch_one(&mut *db)
        .await?;
        let mut ours = 0;
        if sqlx_kept_it {
            let rows: Vec<(i64, Vec<u8>)> =
                sqlx::query_as("select version, checksum from public._sqlx_migrations where success")
                    .fetch_all(&mut *db)
                    .await?;
            for migration in &self.wanted {
                let was =
                    rows.iter().any(|(version, sum)| *version == migration.version && sum[..] == *migration.checksum);
                if was {
                    note(db, migration).await?;
                    ours += 1;
                }
            }
        }
        if ours == 0 && !homes.is_empty() { Err(Error::Unrecorded) } else { Ok(()) }
    }

    fn knows(&self, version: i64) -> bool {
        self.wanted.iter().any(|migration| migration.version == version)
    }

    fn pending(&self, applied: &BTreeMap<i64, (String, Vec<u8>)>) -> Result<Vec<&Migration>, Error> {
        let missing = |migration: &&Migration| !applied.contains_key(&migration.version);
        let pending: Vec<_> = self.wanted.iter().filter(missing).collect();
        for (version, (description, checksum)) in applied {
            match self.wanted.iter().find(|migration| migration.version == *version) {
                None if !pending.is_empty() => {
                    return Err(Error::Newer { version: *version, description: description.clone() });
                }
                Some(migration) if *migration.checksum != checksum[..] => {
                    return Err(Error::Changed { version: *version, description: description.clone() });
                }
                None | Some(_) => {}
            }
        }
        Ok(pending)
    }
}

/// Until the connection ends.
async fn lock(connection: &mut PgConnection) -> sqlx::Result<()> {
    // Building an index takes as long as it takes, and so does waiting for somebody else who does.
    connection.execute("set statement_timeout = 0; set idle_in_transaction_session_timeout = 0").await?;
    let locked: bool =
        sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut *connection).await?;
    if !locked {
        tracing::info!("another `fleet migrate` is at work: waiting for it");
        connection.execute("set lock_timeout = 0").await?;
        sqlx::query("select pg_advisory_lock($1)").bind(LOCK).execute(&mut *connection).await?;
        connection.execute("set lock_timeout = '30s'").await?;
    }
    Ok(())
}

async fn note(db: &mut PgConnection, migration: &Migration) -> sqlx::Result<()> {
    sqlx::query("insert into fleet_bookkeeping.migrations (version, description, checksum) values ($1, $2, $3)")
        .bind(migration.version)
        .bind(&*migration.description)
        .bind(&*migration.checksum)
        .execute(db)
        .await
        .map(drop)
}
