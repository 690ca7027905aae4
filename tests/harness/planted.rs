//! Events that were appended past the store's checks, as a fleet before them did, or somebody with psql.

use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

/// Appends an event of a user. The data is an SQL expression.
pub async fn plant(pool: &PgPool, user: Uuid, version: i32, event_type: &str, data: &str) {
    let sql = format!(
        "with head as (update event_store_head set position = position + 1 returning position)
         insert into events (position, event_id, aggregate_id, aggregate_type, event_type, event_version, event_data,
             metadata, occurred_at)
         select position, gen_random_uuid(), $1, 'User', $2, $3, {data},
             jsonb_build_object('schema_version', case $2 when 'UserSignedUp' then 2 else 1 end), now() from head"
    );
    let insert = sqlx::query(AssertSqlSafe(sql)).bind(user).bind(event_type).bind(version);
    insert.execute(pool).await.unwrap();
}

/// Data with so many of one number, which print as more than they were written as.
pub fn numbers(user: Uuid, count: usize, number: &str) -> String {
    format!(
        "jsonb_build_object('user_id', '{user}', 'email', 'x@example.org',
             'n', (select jsonb_agg('{number}'::numeric) from generate_series(1, {count})))"
    )
}

/// Data with nothing wrong in it.
pub fn ordinary(user: Uuid) -> String {
    format!(
        "'{{\"user_id\": \"{user}\", \"email\": \"{}@example.org\", \"first_name\": \"A\", \"last_name\": \"B\"}}'",
        user.simple()
    )
}
