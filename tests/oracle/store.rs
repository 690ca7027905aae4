//! The read models of a database against its own events.

use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::canonical::canonical;
use super::event::Object;
use super::table::{TABLES, Table};
use super::{Difference, Event, Held, Oracle, Tables, first_difference};

/// Events read at once.
const PAGE: i64 = 5000;

/// Fails unless the nine tables hold what the events of the store fold to; names the first difference.
pub async fn assert_equal(pool: &PgPool) {
    assert_equal_but(pool, &Held::default()).await;
}

/// As [`assert_equal`], while some aggregates are held.
pub async fn assert_equal_but(pool: &PgPool, held: &Held) {
    if let Err(difference) = holds(pool, held).await {
        panic!("{difference}");
    }
}

/// Compares the tables with the fold of all events, both as of one moment.
pub async fn holds(pool: &PgPool, held: &Held) -> Result<(), Difference> {
    let mut db = pool.begin().await.unwrap();
    // The first word of the transaction, so that it is about everything in it.
    sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *db).await.unwrap();
    sqlx::query("set local time zone 'UTC'").execute(&mut *db).await.unwrap();
    let expected = fold(&mut db, held, i64::MAX).await;
    let found = tables(&mut db, |_| true, str::to_owned).await;
    first_difference(&expected, &found).map_or(Ok(()), Err)
}

/// Fails unless the tables of one read model, as they are in another schema, hold what the events up to a position fold to.
pub async fn assert_equal_as_of(pool: &PgPool, read_model: &str, schema: &str, upto: i64) {
    let mut db = pool.acquire().await.unwrap();
    sqlx::query("set time zone 'UTC'").execute(&mut *db).await.unwrap();
    let mut expected = fold(&mut db, &Held::default(), upto).await;
    expected.0.retain(|name, _| TABLES.iter().any(|table| table.name == *name && table.schema == read_model));
    let found = tables(&mut db, |it| it == read_model, |_| schema.to_owned()).await;
    assert!(found.0.values().any(|rows| !rows.is_empty()), "there is something to compare");
    if let Some(difference) = first_difference(&expected, &found) {
        panic!("{difference}");
    }
}

/// The rows that the events of the store up to a position fold to.
///
/// # Panics
/// A position is missing.
async fn fold(db: &mut PgConnection, held: &Held, upto: i64) -> Tables {
    let mut oracle = Oracle::holding(held.clone());
    let mut position = 0;
    loop {
        let page: Vec<(i64, String)> = sqlx::query_as(
            "select position, to_jsonb(event)::text from events as event
             where position > $1 and position <= $3 order by position limit $2",
        )
        .bind(position)
        .bind(PAGE)
        .bind(upto)
        .fetch_all(&mut *db)
        .await
        .unwrap();
        if page.is_empty() {
            return oracle.tables();
        }
        for (next, event) in page {
            assert_eq!(next, position + 1, "positions have no gaps");
            position = next;
            oracle.apply(Event::parse(&event));
        }
    }
}

async fn tables(db: &mut PgConnection, wanted: impl Fn(&str) -> bool, lies_in: impl Fn(&str) -> String) -> Tables {
    let mut tables = Tables::default();
    for Table { schema, name, .. } in TABLES.iter().filter(|table| wanted(table.schema)) {
        let schema = lies_in(schema);
        let sql = format!("select to_jsonb(t)::text from {schema}.{name} as t");
        let mut rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch(&mut *db);
        while let Some(row) = rows.try_next().await.unwrap() {
            tables.insert_json(name, &row);
        }
    }
    tables
}

impl Tables {
    /// A row as a JSON object, which may have columns that are nobody's business.
    pub fn insert_json(&mut self, table: &str, row: &str) {
        let table = Table::named(table);
        let row: Object = serde_json::from_str(row).unwrap();
        let column = |name: &&'static str| row.get(*name).map(|value| (*name, canonical(value.get())));
        self.insert_row(table, table.columns.iter().filter_map(column).collect());
    }
}
