//! What others have made on a generation's tables. Postgres knows tables by number, not by name: when another generation takes its
//! place, a view of somebody else's goes on reading the old one, and when that is dropped, it goes with it.

use sqlx::PgConnection;

/// Views, tables with foreign keys and tables that inherit, outside of `schema`, which rest on its tables: the first 20.
///
/// # Errors
/// The database's.
pub async fn of(db: &mut PgConnection, schema: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_file_scalar!("src/generations/dependents.sql", schema, None::<&str>).fetch_all(db).await
}

/// Which of these schemas tables of `schema` rest on.
///
/// # Errors
/// The database's.
pub async fn rests_on(db: &mut PgConnection, schema: &str, others: &[String]) -> sqlx::Result<Vec<String>> {
    let mut found = Vec::new();
    for other in others {
        let ours = sqlx::query_file_scalar!("src/generations/dependents.sql", other, Some(schema));
        if !ours.fetch_all(&mut *db).await?.is_empty() {
            found.push(other.clone());
        }
    }
    Ok(found)
}
