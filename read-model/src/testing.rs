//! For authors of projections: say what happened, see what becomes of it.
//!
//! [`history`] and [`folded`] test the fold, without a database; [`Generation`] tests fold and write together, on a
//! database that the test brings; [`any_cut`] and [`any_order`] are the laws that each projection keeps. There is an
//! example at the top of the [crate].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter::repeat_n;
use std::marker::PhantomData;

use chrono::{DateTime, Utc};
use events::{AggregateId, EventId, Position, Recorded, Version};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use crate::{Error, Foreign, Projection, Unfit, foreign, unfit};

/// An event as the store would have recorded it, at `occurred_at` (RFC 3339).
///
/// # Panics
/// If `occurred_at` is not a time.
pub fn recorded<E>(aggregate_id: Uuid, version: i32, occurred_at: &str, data: E) -> Recorded<E> {
    let occurred_at: DateTime<Utc> = occurred_at.parse().expect("occurred_at is RFC 3339");
    Recorded {
        event_id: EventId::generate(),
        aggregate_id: AggregateId(aggregate_id),
        version: Version(version),
        position: Position::START,
        occurred_at,
        recorded_at: occurred_at,
        data,
    }
}

/// The first events of an aggregate, with versions 1, 2, 3 …
///
/// # Panics
/// If a time is not RFC 3339.
pub fn history<E>(aggregate_id: Uuid, events: impl IntoIterator<Item = (&'static str, E)>) -> Vec<Recorded<E>> {
    let numbered = (1..).zip(events);
    numbered.map(|(version, (occurred_at, data))| recorded(aggregate_id, version, occurred_at, data)).collect()
}

/// What `P` makes of these events, as one batch.
pub fn folded<'a, P: Projection>(events: impl IntoIterator<Item = &'a Recorded<P::Event>>) -> P::Changes
where
    P::Event: 'a,
{
    let mut changes = P::Changes::default();
    for event in events {
        P::fold(&mut changes, event);
    }
    changes
}

/// The tables of `P` in a schema of their own, empty at first. Several connections may apply to it at once.
#[derive(Debug)]
pub struct Generation<P> {
    schema: String,
    projection: PhantomData<fn() -> P>,
}

impl<P: Projection> Generation<P> {
    /// Makes the schema and the tables.
    ///
    /// # Errors
    /// `P::TABLES` is not SQL or names a schema, or the connection may not create schemas.
    pub async fn create(db: &mut PgConnection) -> Result<Self, Error> {
        let schema = format!("{}_{}", P::NAME, Uuid::now_v7().simple());
        let generation = Self { schema, projection: PhantomData };
        let mut db = db.begin().await?;
        sqlx::raw_sql(AssertSqlSafe(format!("create schema {}", generation.schema))).execute(&mut *db).await?;
        generation.enter(&mut db).await?;
        let before = foreign(&mut db, &generation.schema).await?;
        sqlx::raw_sql(P::TABLES).execute(&mut *db).await?;
        let mut tables = foreign(&mut db, &generation.schema).await?;
        tables.retain(|table| !before.contains(table));
        if !tables.is_empty() {
            let foreign = Foreign { projection: P::NAME.to_owned(), tables };
            return Err(sqlx::Error::Configuration(foreign.into()).into());
        }
        let what = unfit(&mut db, &generation.schema).await?;
        if !what.is_empty() {
            let unfit = Unfit { projection: P::NAME.to_owned(), what };
            return Err(sqlx::Error::Configuration(unfit.into()).into());
        }
        db.commit().await?;
        Ok(generation)
    }

    /// Folds and writes `events`, at most `batch` (and at least one) at a time, each batch in a transaction.
    ///
    /// # Errors
    /// A write failed; the batches before it stay.
    pub async fn apply(&self, db: &mut PgConnection, events: &[Recorded<P::Event>], batch: usize) -> Result<(), Error> {
        for events in events.chunks(batch.max(1)) {
            let mut db = db.begin().await?;
            self.enter(&mut db).await?;
            P::write(folded::<P>(events), &mut db).await?;
            db.commit().await?;
        }
        Ok(())
    }

    /// As a worker does: batches of these sizes (and again from the first), each halved when Postgres refuses its data, until
    /// the event that it refuses is alone and parked. Later events of its aggregate are held. Returns what was parked.
    ///
    /// # Errors
    /// Something else than an event is to blame, such as a statement that does not fit the tables, one that sets something for
    /// the whole session, or one that ends the transaction.
    pub async fn settle<'a>(
        &self,
        db: &mut PgConnection,
        events: impl IntoIterator<Item = &'a Recorded<P::Event>>,
        sizes: &[usize],
    ) -> Result<BTreeSet<EventId>, Error>
    where
        P::Event: 'a,
    {
        Ok(self.settle_and_say(db, events, sizes).await?.into_keys().collect())
    }

    /// With what Postgres, or the code, says of each that is parked.
    async fn settle_and_say<'a>(
        &self,
        db: &mut PgConnection,
        events: impl IntoIterator<Item = &'a Recorded<P::Event>>,
        sizes: &[usize],
    ) -> Result<BTreeMap<EventId, Refusal>, Error>
    where
        P::Event: 'a,
    {
        let before = set(db).await?;
        let (mut parked, mut held) = (BTreeMap::new(), BTreeSet::new());
        let mut sizes = sizes.iter().copied().cycle();
        let mut rest: Vec<_> = events.into_iter().collect();
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(1).clamp(1, rest.len());
            let mut batches = vec![rest.drain(..size).collect::<Vec<_>>()];
            while let Some(mut batch) = batches.pop() {
                batch.retain(|event| !held.contains(&event.aggregate_id));
                let Some(first) = batch.first() else { continue };
                let (event_id, aggregate_id) = (first.event_id, first.aggregate_id);
                match self.write(db, &batch).await {
                    Ok(()) => {}
                    Err(error) if !blames_data(&error) => return Err(error),
                    Err(_) if batch.len() > 1 => {
                        let second = batch.split_off(batch.len() / 2);
                        batches.extend([second, batch]);
                    }
                    Err(error) => {
                        parked.insert(
                            event_id,
                            Refusal { is_there_already: is_there_already(&error), said: error.to_string() },
                        );
                        held.insert(aggregate_id);
                    }
                }
            }
        }
        let after = set(db).await?;
        let left: BTreeSet<_> = after.symmetric_difference(&before).map(|(name, _)| name.as_str()).collect();
        if !left.is_empty() {
            let said = format!(
                "{}: a write has set {} for the whole session, which other read models use after it: say `set local`",
                P::NAME,
                left.into_iter().collect::<Vec<_>>().join(", ")
            );
            return Err(sqlx::Error::Configuration(said.into()).into());
        }
        Ok(parked)
    }

    async fn write(&self, db: &mut PgConnection, batch: &[&Recorded<P::Event>]) -> Result<(), Error> {
        let mut db = db.begin().await?;
        self.enter(&mut db).await?;
        P::write(folded::<P>(batch.iter().copied()), &mut db).await?;
        // What holds for the transaction only is gone with it.
        let path = sqlx::query_scalar::<_, String>("select current_setting('search_path')").fetch_one(&mut *db).await?;
        if !path.starts_with(&self.schema) {
            let said = format!(
                "{}: a write has ended its transaction, or has set search_path: it may commit, roll back and set that nowhere, \
                 because what was applied is recorded in the same transaction",
                P::NAME
            );
            return Err(sqlx::Error::Configuration(said.into()).into());
        }
        Ok(db.commit().await?)
    }

    /// The rows of all tables and views, by their names.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn all_rows(&self, db: &mut PgConnection) -> Result<BTreeMap<String, Vec<Value>>, Error> {
        let tables = "select table_name::text from information_schema.tables where table_schema = $1";
        let tables: Vec<String> = sqlx::query_scalar(tables).bind(&self.schema).fetch_all(&mut *db).await?;
        let mut rows = BTreeMap::new();
        for table in tables {
            let of_table = self.rows(db, &table).await?;
            rows.insert(table, of_table);
        }
        Ok(rows)
    }

    /// The rows of a table (or view) as `to_jsonb` prints them under UTC, in the order of their columns.
    ///
    /// # Errors
    /// There is no such table.
    pub async fn rows(&self, db: &mut PgConnection, table: &str) -> Result<Vec<Value>, Error> {
        let mut db = db.begin().await?;
        self.enter(&mut db).await?;
        sqlx::query("select set_config('timezone', 'UTC', true)").execute(&mut *db).await?;
        // A name of a row that no column has: a column goes before a row of its name.
        let rows = AssertSqlSafe(format!(r#"select to_jsonb("one row") from {table} as "one row" order by "one row""#));
        Ok(sqlx::query_scalar(rows).fetch_all(&mut *db).await?)
    }

    /// Removes the schema and all in it.
    ///
    /// # Errors
    /// Somebody else is still in it.
    pub async fn drop(self, db: &mut PgConnection) -> Result<(), Error> {
        sqlx::raw_sql(AssertSqlSafe(format!("drop schema {} cascade", self.schema))).execute(db).await?;
        Ok(())
    }

    /// Unqualified names mean this generation's tables, and times are in UTC, until the transaction ends: as in the worker.
    async fn enter(&self, db: &mut PgConnection) -> Result<(), Error> {
        let enter = "select set_config('search_path', $1 || ', public', true), set_config('TimeZone', 'UTC', true),
                            set_config('DateStyle', 'ISO, MDY', true), set_config('IntervalStyle', 'postgres', true)";
        sqlx::query(enter).bind(&self.schema).execute(db).await?;
        Ok(())
    }
}

/// What somebody has set for this session.
async fn set(db: &mut PgConnection) -> Result<BTreeSet<(String, String)>, Error> {
    let set = "select name, setting from pg_settings where source = 'session'";
    Ok(sqlx::query_as(set).fetch_all(db).await?.into_iter().collect())
}

/// Whether Postgres refuses what was to be written, by the classes of its SQLSTATE, as a worker has it: of any other error a
/// worker tries again, because no event is to blame.
fn blames_data(error: &Error) -> bool {
    let Error::Database(error) = error else { return true };
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| matches!(code.get(..2), Some("21" | "22" | "23" | "44" | "54" | "P0")))
}

/// Why an event is parked.
#[derive(Debug, Clone)]
struct Refusal {
    said: String,
    /// A row of its key is.
    is_there_already: bool,
}

fn is_there_already(error: &Error) -> bool {
    let Error::Database(error) = error else { return false };
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

/// The law of the batch: however a history is cut into batches, the rows are the same, and so is what is parked. One event
/// at a time is compared with everything at once and with `cuts` random ways between the two.
///
/// A fold breaks it that lets a later event hide an earlier one, and a sum that overflows in some batches only.
///
/// # Errors
/// Those of the connection, and of a statement that does not fit the tables.
///
/// # Panics
/// If `P` breaks the law; the sizes of the batches that show it are in the message. Or if there are no events, or nothing
/// got through, because that shows nothing.
pub async fn any_cut<P: Projection>(
    db: &mut PgConnection,
    events: &[Recorded<P::Event>],
    cuts: usize,
    seed: u64,
) -> Result<(), Error> {
    assert!(!events.is_empty(), "{}: a history without events shows nothing", P::NAME);
    let mut random = seed;
    let mut ways = vec![vec![1], vec![events.len().max(1)]];
    for _ in 0..cuts {
        let most = 1 + next(&mut random) % events.len().clamp(1, 100) as u64;
        ways.push((0..50).map(|_| 1 + (next(&mut random) % most) as usize).collect());
    }
    let mut first = None;
    for sizes in ways {
        let outcome = Outcome::of::<P>(db, events, &sizes).await?;
        if let Some(refusal) = outcome.parked.values().next().filter(|_| outcome.rows.values().all(Vec::is_empty)) {
            let (parked, said) = (outcome.parked.len(), &refusal.said);
            panic!("{}: {parked} events were parked, and nothing was written: {said}", P::NAME);
        }
        let one_by_one = first.get_or_insert_with(|| outcome.clone());
        if let Some(difference) = outcome.difference(one_by_one, "one by one") {
            let hint = match outcome.parked_otherwise(one_by_one) {
                None => "",
                Some((_, Refusal { is_there_already: true, .. })) => {
                    ". The row of its key is there from an earlier batch: an insert wants `on conflict … do update`"
                }
                Some(_) => {
                    ". A write that refuses what is folded together does not see single events: have the fold keep what is to \
                     be refused"
                }
            };
            panic!("{}: in batches of {sizes:?} {difference}{hint}", P::NAME);
        }
    }
    Ok(())
}

/// The law of the order: the events of each aggregate come in theirs, and across aggregates they come in any. The history
/// as it is is compared with `orders` others, one event at a time: one aggregate after the other, first of all that which
/// was last, and then in turn all mixed and one after the other, at random.
///
/// A read model breaks it in which the last event of whichever aggregate wins, or which says what came first.
///
/// # Errors
/// Those of the connection, and of a statement that does not fit the tables.
///
/// # Panics
/// If `P` breaks the law; or if there are no events of two aggregates, because that shows nothing.
pub async fn any_order<P: Projection>(
    db: &mut PgConnection,
    events: &[Recorded<P::Event>],
    orders: usize,
    seed: u64,
) -> Result<(), Error> {
    let aggregates: BTreeSet<_> = events.iter().map(|event| event.aggregate_id).collect();
    assert!(aggregates.len() > 1, "{}: a history of one aggregate has one order, and shows nothing", P::NAME);
    let mut random = seed;
    let mut first = None;
    for order in 0..=orders {
        let ordered: Vec<_> = match order {
            0 => events.iter().collect(),
            1 => of_each(events).into_iter().flatten().collect(),
            _ if order % 2 == 0 => interleaved(of_each(events), &mut random),
            _ => {
                let mut aggregates = of_each(events);
                shuffle(&mut aggregates, &mut random);
                aggregates.into_iter().flatten().collect()
            }
        };
        let outcome = Outcome::of::<P>(db, ordered, &[1]).await?;
        let as_it_was = first.get_or_insert_with(|| outcome.clone());
        if let Some(difference) = outcome.difference(as_it_was, "in the order of the history") {
            panic!("{}: in another order across aggregates (seed {seed}) {difference}", P::NAME);
        }
    }
    Ok(())
}

/// The events of each aggregate, in their order; of the aggregates, that whose last event came last is the first.
fn of_each<E>(events: &[Recorded<E>]) -> Vec<VecDeque<&Recorded<E>>> {
    let mut places = BTreeMap::new();
    let mut of_each: Vec<VecDeque<_>> = Vec::new();
    for event in events.iter().rev() {
        let place = *places.entry(event.aggregate_id).or_insert(of_each.len());
        if place == of_each.len() {
            of_each.push(VecDeque::new());
        }
        of_each[place].push_front(event);
    }
    of_each
}

/// Of all the orders in which each aggregate's events are in theirs, one, and each as likely as the others.
fn interleaved<'a, E>(mut of_each: Vec<VecDeque<&'a Recorded<E>>>, random: &mut u64) -> Vec<&'a Recorded<E>> {
    let turns = of_each.iter().enumerate().flat_map(|(aggregate, events)| repeat_n(aggregate, events.len()));
    let mut turns: Vec<_> = turns.collect();
    shuffle(&mut turns, random);
    turns.into_iter().filter_map(|aggregate| of_each[aggregate].pop_front()).collect()
}

fn shuffle<T>(items: &mut [T], random: &mut u64) {
    for last in (1..items.len()).rev() {
        items.swap(last, (next(random) % (last as u64 + 1)) as usize);
    }
}

/// What a projection made of a history.
#[derive(Debug, Clone)]
struct Outcome {
    rows: BTreeMap<String, Vec<Value>>,
    parked: BTreeMap<EventId, Refusal>,
}

impl Outcome {
    async fn of<'a, P: Projection>(
        db: &mut PgConnection,
        events: impl IntoIterator<Item = &'a Recorded<P::Event>>,
        sizes: &[usize],
    ) -> Result<Self, Error>
    where
        P::Event: 'a,
    {
        let generation = Generation::<P>::create(db).await?;
        let parked = generation.settle_and_say(db, events, sizes).await?;
        let rows = generation.all_rows(db).await?;
        generation.drop(db).await?;
        Ok(Self { rows, parked })
    }

    /// An event that is parked in one of the two only.
    fn parked_otherwise<'a>(&'a self, other: &'a Self) -> Option<(&'a EventId, &'a Refusal)> {
        let only =
            |one: &'a Self, other: &'a Self| one.parked.iter().find(|(event, _)| !other.parked.contains_key(*event));
        only(self, other).or_else(|| only(other, self))
    }

    /// In which it differs from the first, if in anything. `way`: how the first came to be.
    fn difference(&self, first: &Self, way: &str) -> Option<String> {
        if let Some((event, Refusal { said, .. })) = self.parked_otherwise(first) {
            let (now, then) = (self.parked.len(), first.parked.len());
            return Some(format!("{now} events are parked, and {way} {then}; it differs of event {event}: {said}"));
        }
        self.rows.iter().find_map(|(table, rows)| {
            let of_first = &first.rows[table];
            if let Some((row, first)) = rows.iter().zip(of_first).find(|(row, first)| row != first) {
                return Some(format!("a row of {table} differs from that {way}: {}", difference(row, first)));
            }
            let (now, then) = (rows.len(), of_first.len());
            (now != then).then(|| format!("{table} has {now} rows, and {way} {then}"))
        })
    }
}

/// The columns in which two rows differ, and all of the second, by which it can be found.
fn difference(row: &Value, first: &Value) -> String {
    let names = first.as_object().into_iter().flat_map(|columns| columns.keys());
    let differing = names.filter(|name| row[*name] != first[*name]);
    let said = differing.map(|name| format!("{name} is {}, and was {}", row[name], first[name])).collect::<Vec<_>>();
    format!("{} (of {first})", said.join("; "))
}

/// `SplitMix64`.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
