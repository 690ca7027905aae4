//! What a projection's tables must not be: anywhere but in the schema of their generation, or of a kind that loses rows.

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

/// What is in `schema` and cannot be a read model's, each with what to do instead.
///
/// # Errors
/// The database is away.
pub async fn unfit(db: &mut PgConnection, schema: &str) -> sqlx::Result<Vec<String>> {
    let unfit = "select case relkind
             when 'm' then format('the materialized view %I, which nobody refreshes: make it a view, or a table that is written', relname)
             else format('the unlogged table %I, which Postgres empties after a crash: make it without `unlogged`', relname)
         end
         from pg_class
         where relnamespace = to_regnamespace(quote_ident($1)) and (relkind = 'm' or relkind in ('r', 'p') and relpersistence = 'u')
         union all
         select format('the extension %I, which no other generation would have: have it created in public, once for the database', extname)
         from pg_extension
         where extnamespace = to_regnamespace(quote_ident($1))
         order by 1";
    sqlx::query_scalar(unfit).bind(schema).fetch_all(db).await
}

/// Tables of a projection that would lose rows, or have others than the store's events give them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// The projection.
    pub projection: String,
    /// Each with what to do instead.
    pub what: Vec<String>,
}

impl fmt::Display for Unfit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "among the tables of {} is {}", self.projection, self.what.join("; and "))
    }
}

impl std::error::Error for Unfit {}

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
