//! What others have made on a generation's tables. Postgres knows tables by number, not by name: when another generation takes its
//! place, a view of somebody else's goes on reading the old one, and when that is dropped, it goes with it.

use sqlx::PgConnection;

/// Views, tables with foreign keys and tables that inherit, outside of `schema`, which rest on its tables.
///
/// # Errors
/// The database's.
pub async fn of(db: &mut PgConnection, schema: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_file_scalar!("src/generations/dependents.sql", schema).fetch_all(db).await
}

/// Tables and the like of other generations that this transaction has looked at so far, whatever for.
///
/// # Errors
/// The database's.
pub async fn touched(db: &mut PgConnection, schema: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_file_scalar!("src/generations/touched.sql", schema).fetch_all(db).await
}
