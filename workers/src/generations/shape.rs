//! Whether a read model's tables are those that its code would make now. An author who changes them has to raise `VERSION`, and forgets
//! it.

use read_model::AnyProjection;
use sqlx::{Connection, PgPool};

use super::create;

/// The columns, constraints and views in which the tables of the live generation differ from those that this code makes; empty: in none,
/// or the code is of another version, which is built anew anyway. It makes them, and takes that back.
///
/// # Errors
/// The database's; or that the tables cannot be made.
pub async fn differs(pool: &PgPool, projection: &dyn AnyProjection) -> sqlx::Result<String> {
    let name = projection.name();
    let mut db = pool.acquire().await?;
    let live = sqlx::query_scalar!(r#"select version as "version!" from projections where name = $1"#, name);
    let Some(version) = live.fetch_optional(&mut *db).await? else { return Ok(String::new()) };
    if version != projection.version() as i32 {
        return Ok(String::new());
    }
    let mut tx = db.begin().await?;
    let made = format!("{name}__shape");
    create(&mut tx, name, &made, projection.tables()).await?;
    let names = sqlx::query_file_scalar!("src/generations/shape.sql", name, made).fetch_one(&mut *tx).await?;
    tx.rollback().await?;
    Ok(names)
}
