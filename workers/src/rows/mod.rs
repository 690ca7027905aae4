//! Rows of a read model, looked at by a person: the tables that there are, and a page of one of them.
//!
//! A page has a bound in rows, in bytes and in time, whatever is asked for; and nobody is kept waiting by it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};
use utoipa::ToSchema;

use crate::tables::{self, Table, quoted};

/// Bytes of a page, as JSON.
const PAGE: i64 = 4 << 20;

/// Bytes of a row, as JSON, above which it is not given.
const LARGEST: i64 = 1 << 20;

/// How long a page may take.
const SECONDS: u32 = 5;

/// How often a generation may be promoted or taken back while somebody looks at what is read.
const TRIES: usize = 3;

/// Where a generation has its tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub generation: i32,
    /// Of the code that has built it.
    pub version: i32,
    schema: String,
}

/// What of a table is looked at. Names of columns are those of the table.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Those whose column has this value, as Postgres writes it; `None`: has none.
    pub filter: BTreeMap<String, Option<String>>,
    /// All, if it is empty.
    pub columns: Vec<String>,
    /// Those behind this key.
    pub after: Option<BTreeMap<String, String>>,
    pub limit: i64,
}

/// Rows by their key; or as they come, where a table has none.
#[derive(Debug)]
pub struct Page {
    /// In the order in which they are shown.
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
    pub more: bool,
    /// The key of the last, if there are more and they can be told apart.
    pub next: Option<BTreeMap<String, String>>,
}

/// A row of a read model.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ReadModelRow)]
pub struct Row {
    /// The columns of its primary key, as Postgres writes them.
    pub key: BTreeMap<String, String>,
    /// As JSON.
    pub bytes: i64,
    /// Its columns; `null`: it has more than 1 MiB. Ask for some of its columns.
    #[schema(value_type = Option<Object>)]
    pub row: Option<Box<RawValue>>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A value is not one of its column's type.
    #[error("{0}")]
    Value(String),
    #[error(
        "it took more than {SECONDS} s. Ask by the primary key or by an index; `fleet locks` says whether somebody holds the table"
    )]
    TooLong,
    #[error("this role may not read the tables: run `fleet migrate --grant` again, with its user ({0})")]
    Forbidden(String),
    #[error("a row is larger than Postgres can print ({0}): ask for some of its columns")]
    TooLarge(String),
    #[error("the generation changed again and again while it was looked at")]
    Unsteady,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Where the tables are; `None`: there is no such generation, or not any more.
pub async fn place(db: &mut PgConnection, projection: &str, generation: Option<i32>) -> sqlx::Result<Option<Place>> {
    let row = sqlx::query_file!("src/rows/schema.sql", projection, generation).fetch_optional(db).await?;
    Ok(row.map(|row| Place { generation: row.generation, version: row.version, schema: row.schema_name }))
}

/// The tables that are there.
pub async fn tables(db: &mut PgConnection, place: &Place) -> sqlx::Result<Vec<Table>> {
    tables::list(db, &place.schema).await
}

/// A page of a table, and the generation of which it is.
///
/// # Errors
/// A value cannot be one, it takes too long, or the database's.
pub async fn page(
    db: &mut PgConnection,
    projection: &str,
    generation: Option<i32>,
    table: &str,
    wanted: &Wanted,
) -> Result<(i32, Page), Refused> {
    for _ in 0..TRIES {
        let before = place(&mut *db, projection, generation).await?.ok_or(Refused::Unsteady)?;
        let tables = tables(&mut *db, &before).await?;
        let Some(table) = tables.iter().find(|it| it.name == table) else { continue };
        let read = read(&mut *db, &before.schema, table, wanted).await;
        // What is read by its name may have become another generation's.
        if place(&mut *db, projection, generation).await?.as_ref() == Some(&before) {
            return Ok((before.generation, read?));
        }
    }
    Err(Refused::Unsteady)
}

async fn read(db: &mut PgConnection, schema: &str, table: &Table, wanted: &Wanted) -> Result<Page, Refused> {
    // What is set in it, and what fails in it, ends with it.
    let mut reading = db.begin().await?;
    let seconds = format!("set local statement_timeout = '{SECONDS}s'; set local lock_timeout = 0");
    sqlx::raw_sql(AssertSqlSafe(seconds)).execute(&mut *reading).await?;
    let (sql, values) = statement(schema, table, wanted);
    let query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
    let query = values.into_iter().fold(query, |query, value| query.bind(value));
    let rows = query.bind(wanted.limit + 1).bind(LARGEST).bind(PAGE).bind(wanted.limit).fetch_all(&mut *reading).await;
    reading.rollback().await?;
    let rows = rows.map_err(|error| match error.as_database_error().and_then(|error| error.code()).as_deref() {
        // Of the class of data exceptions, or there is no equality of such values.
        Some(code) if code.starts_with("22") || code == "42883" => Refused::Value(database::describe(&error)),
        Some("57014") => Refused::TooLong,
        Some(_) if database::is_forbidden(&error) => Refused::Forbidden(database::describe(&error)),
        _ if database::is_unreadable(&error) => Refused::TooLarge(database::describe(&error)),
        _ => Refused::Database(error),
    })?;
    let found = rows.first().map_or(0, |row| row.get::<i64, _>("found"));
    let rows = rows.iter().map(|row| self::row(table, row)).collect::<sqlx::Result<Vec<_>>>()?;
    let more = found > rows.len() as i64;
    let next = rows.last().filter(|row| more && !row.key.is_empty()).map(|row| row.key.clone());
    Ok(Page { columns: shown(table, wanted), rows, more, next })
}

fn row(table: &Table, row: &PgRow) -> sqlx::Result<Row> {
    let key = row.try_get::<Vec<String>, _>("key")?;
    let text = row.try_get::<Option<String>, _>("row")?;
    let read = text.map(RawValue::from_string).transpose();
    Ok(Row {
        key: table.key.iter().cloned().zip(key).collect(),
        bytes: row.try_get("bytes")?,
        row: read.map_err(|error| sqlx::Error::Decode(error.into()))?,
    })
}

/// The columns that are shown, in this order.
fn shown(table: &Table, wanted: &Wanted) -> Vec<String> {
    let all = table.columns.iter().map(|column| column.name.clone());
    if wanted.columns.is_empty() { all.collect() } else { wanted.columns.clone() }
}

/// The statement, and the texts that it binds before its four bounds: rows that are looked at, bytes of a row and of all, rows that
/// are given.
fn statement(schema: &str, table: &Table, wanted: &Wanted) -> (String, Vec<String>) {
    let mut values = Vec::new();
    let mut bound = |value: &str, column: &str| {
        values.push(value.to_owned());
        let cast = table.column(column).map_or("text", |column| &column.cast);
        format!("${}::text::{cast}", values.len())
    };
    let mut conditions: Vec<_> = wanted
        .filter
        .iter()
        .map(|(column, value)| match value {
            Some(value) => format!("it.{} = {}", quoted(column), bound(value, column)),
            None => format!("it.{} is null", quoted(column)),
        })
        .collect();
    let key: Vec<_> = table.key.iter().map(|column| format!("it.{}", quoted(column))).collect();
    if let Some(after) = wanted.after.as_ref().filter(|_| !key.is_empty()) {
        let behind: Vec<_> =
            table.key.iter().map(|column| bound(after.get(column).map_or("", |it| it), column)).collect();
        conditions.push(format!("({}) > ({})", key.join(", "), behind.join(", ")));
    }
    let conditions = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" and ") };
    let order = if key.is_empty() { String::new() } else { format!("order by {}", key.join(", ")) };
    let texts: Vec<_> = key.iter().map(|column| format!("{column}::text")).collect();
    let columns: Vec<_> = shown(table, wanted).iter().map(|column| format!("it.{}", quoted(column))).collect();
    let (columns, texts, bounds) = (columns.join(", "), texts.join(", "), values.len());
    let (looked_at, largest, most, given) = (bounds + 1, bounds + 2, bounds + 3, bounds + 4);
    let sql = format!(
        "with page as (
             select row_number() over ({order}) as number, array[{texts}]::text[] as key, to_json(\"one row\")::text as row
             from {schema}.{table} as it
             cross join lateral (select {columns}) as \"one row\"
             where {conditions}
             {order}
             limit ${looked_at}
         ),
         measured as (
             select number, key, row, octet_length(row)::bigint as bytes, count(*) over () as found,
                 sum(least(octet_length(row), ${largest})) over (order by number) as so_far
             from page
         )
         select key, bytes, found, case when bytes <= ${largest} then row end as row
         from measured
         where number <= ${given} and (so_far <= ${most} or number = 1)
         order by number",
        schema = quoted(schema),
        table = quoted(&table.name),
    );
    (sql, values)
}
