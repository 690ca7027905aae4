//! Which server may be believed.

use sqlx::PgConnection;

/// Refuses a standby: what it shows may be old, and who decides on what is old decides wrongly.
///
/// # Errors
/// It is one, or it does not answer.
pub async fn refuse_standby(connection: &mut PgConnection) -> sqlx::Result<()> {
    let standby: bool = sqlx::query_scalar("select pg_is_in_recovery()").fetch_one(connection).await?;
    if standby { Err(sqlx::Error::Configuration("this Postgres is a standby: use the primary".into())) } else { Ok(()) }
}
