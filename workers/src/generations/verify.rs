//! Verifying: the live rows against a fold of the store, exactly, while both go on.
//!
//! A generation of its own is folded up to where the live one is settled. Then, in one snapshot: the live ledger says which
//! events are in the live rows, the few that the fold lacks are applied to it, and the tables are compared row by row.
//! Nobody is stopped, nothing that readers see is written, and what was compared is thrown away.

use std::collections::{BTreeMap, BTreeSet};

use database::Lent;
use event_store::read::{self, Range};
use events::{AggregateId, Version};
use kill_points::kill_point;
use read_model::AnyProjection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgExecutor, PgPool, Row};
use utoipa::ToSchema;
use uuid::Uuid;

use super::rebuild::{self, Refused};
use crate::apply::{self, Applier, Chunk, Condemned};
use crate::audit::{self, Attribution};
use crate::fence::Fence;
use crate::operations::stalled::COMPARING;
use crate::operations::{self, New};
use crate::tables::{self, quoted};
use crate::verdict::Event;

/// Differences that are kept of a table; all of them are counted.
const KEPT: i64 = 100;

/// Positions that the live generation may be ahead of the fold when they are compared. If it is more, the fold goes on first.
const CLOSE: i64 = 5000;

/// Verifications of a projection that are looked at for what they have found.
const LATELY: i64 = 100;

/// Missing events that are applied to the fold in one step.
const STEP: i32 = 1000;

/// What a verification has found: the `result` of its operation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Findings {
    /// That was live, and was compared.
    #[serde(default)]
    pub generation: i32,
    /// No row differs, no version differs, and there was something to compare.
    pub equal: bool,
    pub aggregates: i64,
    /// Events that are in the rows.
    pub events: i64,
    pub tables: Vec<Compared>,
    /// Aggregates of which the fold has another version than the live generation: their ledger is wrong, or an event cannot be
    /// folded that was.
    pub ledger_differences: i64,
    /// Events that are in the rows, and that this code does not take; 10,000: or more.
    #[serde(default)]
    pub refused: i64,
    /// What it says of one of them.
    #[serde(default)]
    pub refused_for: Option<String>,
}

/// A table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Compared {
    pub name: String,
    pub rows: i64,
    pub differences: i64,
}

/// One row that differs, by its key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    pub table_name: String,
    #[schema(value_type = Object)]
    pub key: Value,
    /// missing: the fold has it and readers do not see it; extra: the reverse; changed.
    pub kind: String,
    /// Those that differ, of a row that is there on both sides.
    pub columns: Vec<String>,
}

/// Writes down that it is wanted. A worker of the live version does it.
///
/// # Errors
/// The live generation is of another version, one is under way, or the key was used for something else.
pub async fn ask(
    pool: &PgPool,
    projection: &dyn AnyProjection,
    by: &Attribution,
    idempotency_key: Option<&str>,
) -> Result<Uuid, Refused> {
    let mut db = Lent::by(pool).await?;
    let asked = ask_on(&mut db, projection, by, idempotency_key).await;
    db.give_back();
    asked
}

async fn ask_on(
    db: &mut PgConnection,
    projection: &dyn AnyProjection,
    by: &Attribution,
    idempotency_key: Option<&str>,
) -> Result<Uuid, Refused> {
    let name = projection.name();
    let selection = json!({"parts": 1, "version": projection.version()});
    let mut tx = db.begin().await?;
    let live = sqlx::query_scalar!("select version from projections where name = $1 for no key update", name);
    let live = live.fetch_optional(&mut *tx).await?.ok_or_else(|| Refused::Missing(name.to_owned()))?;
    let asked = New {
        kind: "verify",
        projection: Some(name),
        selection: &selection,
        by,
        idempotency_key,
        positions: None,
        selected: 0,
        rate: None,
    };
    if let Some(before) = operations::before(&mut tx, &asked).await? {
        return Ok(before);
    }
    rebuild::free(&mut tx, "verify", name).await?;
    if live != projection.version() as i32 {
        let ours = projection.version();
        return Err(Refused::Impossible(format!(
            "it was built by version {live} of its code, and this is version {ours}"
        )));
    }
    let id = operations::insert(&mut tx, &asked).await?;
    audit::record(&mut tx, by, "verify.start", id, &json!({"projection": name})).await?;
    tx.commit().await?;
    Ok(id)
}

/// What a verification found; the first of each table.
///
/// # Errors
/// The database's.
pub async fn differences(pool: &PgPool, operation: Uuid) -> sqlx::Result<Vec<Difference>> {
    sqlx::query_as!(
        Difference,
        r#"select table_name, key, kind, columns from differences where operation_id = $1 order by number"#,
        operation
    )
    .fetch_all(pool)
    .await
}

/// How much the last verification of each generation has found to differ, of those that were compared lately.
///
/// # Errors
/// The database's.
pub(super) async fn found(db: impl PgExecutor<'_>, projection: &str) -> sqlx::Result<BTreeMap<i32, i64>> {
    let last = sqlx::query_file!("src/generations/found.sql", projection, LATELY).fetch_all(db).await?;
    // The newest is the last, and stays.
    Ok(last.into_iter().rev().map(|row| (row.generation, row.differences)).collect())
}

/// Without what waits in the live generation behind a parked event: the fold goes no further than that.
pub(super) async fn as_far_as_live(applier: &Applier, mut chunk: Chunk) -> sqlx::Result<Chunk> {
    let ids: BTreeSet<_> = chunk.events.iter().map(|event| event.aggregate_id.0).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let held = sqlx::query!(
        "select known.aggregate_id, known.version
         from projections as live
         cross join unnest($2::uuid[]) as wanted (aggregate_id)
         cross join lateral (
             select aggregate_id, version, held
             from projected_aggregates
             where projection = live.name and generation = live.generation and aggregate_id = wanted.aggregate_id
             limit 1
         ) as known
         where live.name = $1 and known.held",
        applier.projection.name(),
        &ids
    );
    let held = held.fetch_all(&applier.pool).await?;
    let held: BTreeMap<_, _> = held.into_iter().map(|row| (row.aggregate_id, row.version)).collect();
    chunk.events.retain(|event| held.get(&event.aggregate_id.0).is_none_or(|version| event.version.0 <= *version));
    Ok(chunk)
}

/// Compares, if the fold is as far as it was to go; or has it go on, if the live generation is far ahead by now.
pub(super) async fn finish(applier: &Applier, reading: &PgPool, generation: i32) -> Result<(), apply::Error> {
    let name = applier.projection.name();
    if let Some(operation) = extend(&applier.pool, name, generation).await? {
        super::busy(reading, name, generation, COMPARING).await?;
        let mut db = Lent::by(reading).await?;
        let mut compared = compare(&mut db, applier, generation, operation).await;
        if let Err(apply::Error::Database(error)) = &compared
            && incomparable(error)
        {
            let why = format!("what is read and the fold cannot be compared: {}", database::describe(error));
            compared = fail(&mut db, name, generation, operation, &why).await.map_err(apply::Error::Database);
        }
        db.give_back();
        compared?;
        kill_point!("verify.committed");
    }
    Ok(())
}

/// It would be the same the next time: there is no operator for two types, as of types that a generation has for itself.
fn incomparable(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("42804" | "42883"))
}

/// The operation, if the fold is close enough to what is settled; else it is told to go on.
async fn extend(pool: &PgPool, name: &str, generation: i32) -> sqlx::Result<Option<Uuid>> {
    let row = sqlx::query_file!("src/generations/extend.sql", name, generation, CLOSE).fetch_optional(pool).await?;
    Ok(row.filter(|row| row.close).map(|row| row.operation_id))
}

async fn compare(
    db: &mut PgConnection,
    applier: &Applier,
    generation: i32,
    operation: Uuid,
) -> Result<(), apply::Error> {
    let name = applier.projection.name();
    let mut tx = db.begin().await?;
    // One snapshot of both, and as long as it takes.
    sqlx::raw_sql("set transaction isolation level repeatable read; set local statement_timeout = '1h'")
        .execute(&mut *tx)
        .await?;
    let Some(fold) = held(&mut tx, name, generation).await? else { return Ok(()) };
    let live = sqlx::query!("select generation, version, schema_name from projections where name = $1", name);
    let live = live.fetch_one(&mut *tx).await?;
    if live.version != applier.projection.version() as i32 {
        end(&mut tx, name, generation, operation, Err("a generation of another version is live by now")).await?;
        return Ok(tx.commit().await?);
    }
    catch_up(&mut tx, applier, generation, live.generation).await?;
    kill_point!("verify.caught_up");

    let counted = sqlx::query_file!("src/generations/ledgers.sql", name, live.generation, generation);
    let counted = counted.fetch_one(&mut *tx).await?;
    let refused = sqlx::query_file!("src/generations/refused.sql", name, live.generation, generation);
    let refused = refused.fetch_one(&mut *tx).await?;
    let mut result = Findings {
        generation: live.generation,
        equal: false,
        aggregates: counted.aggregates,
        events: counted.events,
        tables: Vec::new(),
        ledger_differences: counted.different,
        refused: refused.events,
        refused_for: refused.error,
    };
    let mut found = Vec::new();
    for table in tables(&mut tx, &live.schema_name).await? {
        let (compared, differences) = table.compare(&mut tx, &live.schema_name, &fold).await?;
        result.tables.push(compared);
        found.extend(differences);
    }
    let differ = result.ledger_differences > 0 || result.tables.iter().any(|table| table.differences > 0);
    let nothing = result.events == 0;
    result.equal = !differ && !nothing;
    write(&mut tx, operation, &found).await?;
    let outcome = if nothing { Err("there was nothing to compare") } else { Ok(&result) };
    end(&mut tx, name, generation, operation, outcome).await?;
    kill_point!("verify.compared");
    tx.commit().await?;
    if differ {
        tracing::error!(%operation, projection = name, "verify: the live rows are not what the store folds to");
    } else {
        tracing::info!(%operation, projection = name, events = result.events, "verify: equal");
    }
    Ok(())
}

/// The schema of the fold, which nobody else ends until the transaction does; none if somebody has, or is about to.
async fn held(db: &mut PgConnection, name: &str, generation: i32) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "select schema_name from generations
         where projection = $1 and generation = $2 and built_at is null and retired_at is null
         for update skip locked",
        name,
        generation
    )
    .fetch_optional(db)
    .await
}

async fn fail(db: &mut PgConnection, name: &str, generation: i32, operation: Uuid, why: &str) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    if held(&mut tx, name, generation).await?.is_some() {
        end(&mut tx, name, generation, operation, Err(why)).await?;
    }
    tx.commit().await
}

/// Applies to the fold what is in the live rows and not yet in it.
async fn catch_up(db: &mut PgConnection, applier: &Applier, generation: i32, live: i32) -> Result<(), apply::Error> {
    let name = applier.projection.name();
    let missing = sqlx::query_file!("src/generations/missing.sql", name, live, generation).fetch_all(&mut *db).await?;
    let range = |id, from, to| (AggregateId(id), Version(from), Version(to));
    let mut wanted: Vec<Range> = missing.into_iter().map(|row| range(row.aggregate_id, row.first, row.last)).collect();
    let fence = Fence::alone(&mut *db, name, generation).await?;
    while !wanted.is_empty() {
        let part = read::careful::ranges(&mut *db, &wanted, STEP).await?;
        let nothing = part.events.is_empty() && part.unreadable.is_empty();
        let events: Vec<_> = Event::all(part.events, part.unreadable).collect();
        applier.build_on(&mut *db, fence, &events, &Condemned::new()).await?;
        // What the store lacks cannot be had, and the ledgers will differ.
        if nothing && part.rest.len() >= wanted.len() {
            break;
        }
        wanted = part.rest;
    }
    sqlx::raw_sql("set local search_path = public").execute(db).await?;
    Ok(())
}

/// A table of the read model, and how its rows are told apart.
struct Table {
    name: String,
    /// It has columns whose types are its generation's, so that Postgres does not compare them with another's.
    own_types: bool,
    /// Of its primary key, as they stand in a statement.
    key: Vec<String>,
}

/// Those that have rows of their own.
async fn tables(db: &mut PgConnection, schema: &str) -> sqlx::Result<Vec<Table>> {
    let tables = tables::list(&mut *db, schema).await?.into_iter().filter(|table| !table.view);
    let own = sqlx::query_scalar!(
        r#"select distinct class.relname::text as "name!"
           from pg_class as class
           join pg_attribute as attribute on attribute.attrelid = class.oid and attribute.attnum > 0
           join pg_type as type on type.oid = attribute.atttypid and type.typnamespace = class.relnamespace
           where class.relnamespace = to_regnamespace(quote_ident($1))"#,
        schema
    );
    let own = own.fetch_all(db).await?;
    let key = |key: Vec<String>| key.iter().map(|column| quoted(column)).collect();
    let table =
        |table: tables::Table| Table { own_types: own.contains(&table.name), name: table.name, key: key(table.key) };
    Ok(tables.map(table).collect())
}

impl Table {
    /// The names come from the catalogue of Postgres, which has them from this program.
    async fn compare(self, db: &mut PgConnection, live: &str, fold: &str) -> sqlx::Result<(Compared, Vec<Difference>)> {
        let name = &self.name;
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(format!(r#"select count(*) from {live}."{name}""#)))
            .persistent(false)
            .fetch_one(&mut *db)
            .await?;
        let sql = self.sql(live, fold);
        let found = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(KEPT).fetch_all(db).await?;
        let differences = found.first().map_or(0, |row| row.get::<i64, _>("differences"));
        let kept = found.iter().map(|row| Difference {
            table_name: self.name.clone(),
            key: row.get("key"),
            kind: row.get("kind"),
            columns: row.get("columns"),
        });
        Ok((Compared { name: self.name.clone(), rows, differences }, kept.collect()))
    }

    fn sql(&self, live: &str, fold: &str) -> String {
        let name = &self.name;
        let Some(first) = self.key.first() else {
            // Rows without a key are told apart by what they are.
            let counted = |schema: &str| {
                format!(
                    r#"(select to_jsonb("one row") as row, count(*) from {schema}."{name}" as "one row" group by 1)"#
                )
            };
            return format!(
                "select
                     jsonb_build_object('md5', md5(coalesce(live.row, fold.row)::text)) as key,
                     case when coalesce(live.count, 0) < coalesce(fold.count, 0) then 'missing' else 'extra' end as kind,
                     array[]::text[] as columns,
                     count(*) over () as differences
                 from {} as live full join {} as fold on fold.row = live.row
                 where live.count is distinct from fold.count
                 limit $1",
                counted(live),
                counted(fold)
            );
        };
        // Names of rows that no column has: a column goes before a row of its name.
        let (as_text, differ) = match self.own_types {
            true => ("::text", r#"to_jsonb("live row") is distinct from to_jsonb("fold row")"#),
            false => ("", r#""live row" *<> "fold row""#),
        };
        let on: Vec<_> =
            self.key.iter().map(|key| format!(r#""live row".{key}{as_text} = "fold row".{key}{as_text}"#)).collect();
        let key: Vec<_> = self
            .key
            .iter()
            .map(|key| {
                format!(
                    r#"'{}', coalesce(to_jsonb("live row".{key}), to_jsonb("fold row".{key}))"#,
                    key.replace('"', "")
                )
            })
            .collect();
        format!(
            r#"select
                   jsonb_build_object({}) as key,
                   case when "live row".{first} is null then 'missing' when "fold row".{first} is null then 'extra' else 'changed' end as kind,
                   array(
                       select name
                       from jsonb_each(to_jsonb("live row")) as it (name, value)
                       where "live row".{first} is not null and "fold row".{first} is not null
                       and value is distinct from to_jsonb("fold row") -> name
                       order by name
                   ) as columns,
                   count(*) over () as differences
               from {live}."{name}" as "live row" full join {fold}."{name}" as "fold row" on {}
               where "live row".{first} is null or "fold row".{first} is null or {differ}
               limit $1"#,
            key.join(", "),
            on.join(" and ")
        )
    }
}

async fn write(db: &mut PgConnection, operation: Uuid, found: &[Difference]) -> sqlx::Result<()> {
    let names: Vec<_> = found.iter().map(|it| it.table_name.clone()).collect();
    let keys: Vec<_> = found.iter().map(|it| it.key.clone()).collect();
    let kinds: Vec<_> = found.iter().map(|it| it.kind.clone()).collect();
    let columns: Vec<_> = found.iter().map(|it| json!(it.columns)).collect();
    sqlx::query!(
        "insert into differences (operation_id, number, table_name, key, kind, columns)
         select $1, found.number, found.table_name, found.key, found.kind,
             array(select jsonb_array_elements_text(found.columns))
         from unnest($2::text[], $3::jsonb[], $4::text[], $5::jsonb[])
             with ordinality as found (table_name, key, kind, columns, number)",
        operation,
        &names,
        &keys,
        &kinds,
        &columns
    )
    .execute(db)
    .await
    .map(drop)
}

/// The fold is of no use any more, and is dropped by whoever looks next. An operation that somebody has cancelled stays that.
async fn end(
    db: &mut PgConnection,
    name: &str,
    generation: i32,
    operation: Uuid,
    outcome: Result<&Findings, &str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update generations set built_at = clock_timestamp() where projection = $1 and generation = $2",
        name,
        generation
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "update operations
         set state = case when $3::text is null then 'succeeded' else 'failed' end, result = $2, error = $3,
             finished_at = clock_timestamp()
         where id = $1 and finished_at is null",
        operation,
        outcome.ok().map(Json) as _,
        outcome.err()
    )
    .execute(db)
    .await
    .map(drop)
}
