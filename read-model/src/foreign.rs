//! What a projection's tables must not be: anywhere but in the schema of their generation.

use std::fmt;

use sqlx::PgConnection;

/// Tables, views and the like outside of `schema` that this transaction has made or changed so far.
///
/// # Errors
/// The database is away.
pub async fn foreign(db: &mut PgConnection, schema: &str) -> sqlx::Result<Vec<String>> {
    // Whoever makes one or changes one holds it, until the transaction ends.
    let held = "select distinct format('%I.%I', nspname, relname)
         from pg_locks
         join pg_class on pg_class.oid = relation
         join pg_namespace on pg_namespace.oid = relnamespace
         where locktype = 'relation' and pid = pg_backend_pid() and mode = 'AccessExclusiveLock'
         and relkind in ('r', 'p', 'v', 'm', 'S', 'f') and nspname not in ($1, 'pg_catalog', 'pg_toast')
         order by 1";
    sqlx::query_scalar(held).bind(schema).fetch_all(db).await
}

/// The statements of a projection that make its tables touch others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The projection.
    pub projection: String,
    /// The others, with their schemas.
    pub tables: Vec<String>,
}

impl fmt::Display for Foreign {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { projection, tables } = self;
        write!(
            out,
            "the tables of {projection} are to be made without naming a schema: each generation has its own, and {} would \
             belong to them all",
            tables.join(", ")
        )
    }
}

impl std::error::Error for Foreign {}
