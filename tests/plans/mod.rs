//! What is read: while applying, and by every statement there is.

mod explained;
mod statements;

use std::collections::BTreeSet;
use std::path::Path;

use database::Session;
use event_store::append::Config;
use fleet::roles;
use rand::Rng;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Row};
use workers::apply::Mode;

use crate::harness::parts::{LIMIT, Parts};
use crate::harness::{Database, eventually, full_size};
use crate::histories::History;
use crate::sample::seeded;
use explained::Explained;
pub use statements::Pool;
use statements::{Reads, STATEMENTS, Statement};

/// A statement as it is in `.sqlx/`.
struct Described {
    query: String,
    types: Vec<String>,
    table: &'static Statement,
}

/// All of the event store and of the workers; each is in the table, and everything in the table is one of them.
fn described() -> Vec<Described> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut projections = BTreeSet::new();
    for folder in std::fs::read_dir(root.join("projections/src")).unwrap() {
        let Ok(files) = std::fs::read_dir(folder.unwrap().path()) else { continue };
        let sql = files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|it| it == "sql"));
        projections.extend(sql.map(|path| std::fs::read_to_string(path).unwrap()));
    }
    let mut all = Vec::new();
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in std::fs::read_dir(root.join(".sqlx")).unwrap() {
        let json: Value = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        let query = json["query"].as_str().unwrap().to_owned();
        if projections.contains(&query) {
            continue;
        }
        let words = query.split_whitespace().collect::<Vec<_>>().join(" ");
        let found: Vec<_> =
            STATEMENTS.iter().enumerate().filter(|(_, statement)| words.contains(statement.is)).collect();
        // The text of one may be the beginning of another's.
        let Some((number, table)) = found.into_iter().max_by_key(|(_, statement)| statement.is.len()) else {
            wrong.push(format!("no plan is checked of: {words}"));
            continue;
        };
        if !used.insert(number) {
            wrong.push(format!("two statements have {:?} in them; one is: {words}", table.is));
        }
        let types = json["describe"]["parameters"]["Left"].as_array().unwrap();
        all.push(Described { query, types: types.iter().map(sql_type).collect(), table });
    }
    let gone = STATEMENTS.iter().enumerate().filter(|(number, _)| !used.contains(number));
    wrong.extend(gone.map(|(_, statement)| format!("there is no statement with {:?} in it", statement.is)));
    let nobodys = STATEMENTS.iter().filter(|statement| statement.pools.is_empty());
    wrong.extend(nobodys.map(|statement| format!("no connection sends {:?}", statement.is)));
    assert!(wrong.is_empty(), "tests/plans/statements.rs:\n{}", wrong.join("\n"));
    all
}

fn sql_type(name: &Value) -> String {
    let name = name.as_str().unwrap();
    name.strip_suffix("Array").map_or_else(|| name.to_lowercase(), |element| format!("{}[]", element.to_lowercase()))
}

/// What the words in braces stand for, with so many elements.
struct Binds {
    count: usize,
    words: Vec<(&'static str, String)>,
}

impl Binds {
    async fn of(pool: &PgPool, count: usize) -> Self {
        let column = async |sql: &'static str| -> Vec<String> {
            sqlx::query_scalar(sql).bind(count as i64).fetch_all(pool).await.unwrap()
        };
        let array = |elements: Vec<String>, kind: &str| format!("array[{}]::{kind}[]", elements.join(", "));
        let quoted = |elements: Vec<String>| elements.into_iter().map(|it| format!("'{it}'")).collect::<Vec<_>>();
        let many = |element: &str, kind: &str| array(vec![element.to_owned(); count], kind);
        let numbers = (0..count as i64).map(|number| (1_000_000_000 + number).to_string()).collect();
        let settled = "select settled_position from projection_progress where projection = 'vocabulary'";
        let settled: i64 = sqlx::query_scalar(settled).fetch_one(pool).await.unwrap();
        let words = vec![
            // Spread over the whole store.
            ("{aggregates}", array(quoted(column("select md5(number::text) from generate_series(1, 9000, 9000 / $1) as number limit $1").await), "uuid")),
            ("{events}", array(quoted(column("select '01900000-0000-7000-8000-' || lpad(to_hex(number), 12, '0') from generate_series(1, 29000, 29000 / $1) as number limit $1").await), "uuid")),
            ("{letters}", array(quoted(column("select '01900000-0000-7000-8000-' || lpad(to_hex(number * 10), 12, '0') from generate_series(1, 2900, 2900 / $1) as number limit $1").await), "uuid")),
            ("{keys}", array(quoted(column("select 'key-' || number from generate_series(1, 9000, 9000 / $1) as number limit $1").await), "text")),
            ("{new_ids}", array(quoted(column("select gen_random_uuid()::text from generate_series(1, $1)").await), "uuid")),
            ("{texts}", array(quoted(column("select 'new-' || number from generate_series(1, $1) as number").await), "text")),
            ("{ones}", many("1", "integer")),
            ("{projections}", many("'vocabulary'", "text")),
            ("{no_topics}", many("null", "text")),
            ("{bigs}", array(numbers, "bigint")),
            ("{bools}", many("false", "boolean")),
            ("{objects}", many("'{}'", "text")),
            ("{times}", many("now()", "timestamptz")),
            ("{bytes}", many("'x'", "bytea")),
            ("{settled}", settled.to_string()),
        ];
        Self { count, words }
    }

    fn fill(&self, binds: &str) -> String {
        self.words.iter().fold(binds.to_owned(), |text, (word, value)| text.replace(word, value))
    }
}

/// Explains a statement with the plan that its connection would use for it, and leaves nothing behind.
async fn explain(db: &mut PgConnection, statement: &Described, binds: &Binds, analyze: bool) -> Explained {
    let mut tx = db.begin().await.unwrap();
    let types = if statement.types.is_empty() { String::new() } else { format!("({})", statement.types.join(", ")) };
    let prepare = format!("prepare explained {types} as {}", statement.query);
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *tx).await.unwrap_or_else(|error| {
        panic!("{error}: {}", statement.query);
    });
    let binds = binds.fill(statement.table.binds);
    let execute =
        if binds.is_empty() { "execute explained".to_owned() } else { format!("execute explained ({binds})") };
    let explain = format!("explain (format json, analyze {analyze}, timing off) {execute}");
    let row = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_one(&mut *tx).await.unwrap_or_else(|error| {
        panic!("{error}: {}", statement.table.is);
    });
    let explained = Explained::new(row.get(0));
    tx.rollback().await.unwrap();
    sqlx::raw_sql("deallocate explained").execute(db).await.unwrap();
    explained
}

/// The connections whose statements they are.
struct Connections {
    writer: PgConnection,
    applying: PgPool,
    plain: PgPool,
}

impl Connections {
    async fn to(url: &str) -> Self {
        let options = database::options(url).unwrap();
        let session: Session = Config::new(options.clone()).session();
        Self {
            writer: session.connect(&options).await.unwrap().0,
            applying: roles::applying_pool(url, 1).unwrap(),
            plain: roles::pool(url, 1).unwrap(),
        }
    }

    async fn explain(&mut self, pool: Pool, statement: &Described, binds: &Binds, analyze: bool) -> Explained {
        match pool {
            Pool::Writer => explain(&mut self.writer, statement, binds, analyze).await,
            Pool::Applying => explain(&mut self.applying.acquire().await.unwrap(), statement, binds, analyze).await,
            Pool::Plain => explain(&mut self.plain.acquire().await.unwrap(), statement, binds, analyze).await,
        }
    }
}

pub async fn fill(database: &Database, events: u64) {
    let sql = include_str!("fill.sql").replace(":events", &events.to_string());
    let mut db = database.pool.acquire().await.unwrap();
    sqlx::raw_sql("set statement_timeout = 0").execute(&mut *db).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *db).await.unwrap();
    db.close().await.unwrap();
}

/// Each statement, for each of the connections that send it.
fn sent(all: &[Described]) -> impl Iterator<Item = (&Described, Pool)> {
    all.iter().flat_map(|statement| statement.table.pools.iter().map(move |pool| (statement, *pool)))
}

/// What the idle connections of a pool have sent is explained with their settings: who sends what is seen here, and not
/// only written down in the table.
pub async fn assert_explained_as(kind: Pool, pool: &PgPool) {
    let all = described();
    let mut connections = Vec::new();
    let mut seen = 0;
    // Each that was looked at is kept, or it would come again.
    while let Some(mut connection) = pool.try_acquire() {
        let prepared = sqlx::raw_sql("select statement from pg_prepared_statements");
        for row in prepared.fetch_all(&mut *connection).await.unwrap() {
            let query: String = row.get(0);
            let Some(statement) = all.iter().find(|statement| statement.query == query) else { continue };
            let (is, pools) = (statement.table.is, statement.table.pools);
            assert!(pools.contains(&kind), "{kind:?} sends {is:?}, whose plan is checked for {pools:?} only");
            seen += 1;
        }
        connections.push(connection);
    }
    assert!(seen > 0, "nothing was sent, so nothing was checked");
}

/// Also a plan that was made while a table was empty, if it is kept; and no statement without an entry in the table.
#[tokio::test]
async fn no_statement_goes_through_a_table_that_grows() {
    let all = described();
    let database = Database::new().await;
    let mut connections = Connections::to(&database.url).await;
    let mut wrong = Vec::new();
    let small = Binds::of(&database.pool, 2).await;
    for (statement, pool) in sent(&all).filter(|(_, pool)| *pool != Pool::Plain) {
        let plan = connections.explain(pool, statement, &small, false).await;
        if !plan.whole().is_empty() && !matches!(statement.table.reads, Reads::Whole(_)) {
            wrong.push(format!("on empty tables, {:?} goes through {:?}: {plan}", statement.table.is, plan.whole()));
        }
        if !plan.comparing().is_empty() && matches!(statement.table.reads, Reads::Few) {
            let (is, tables) = (statement.table.is, plan.comparing());
            wrong.push(format!("on empty tables, {is:?} compares each row of {tables:?} with a list of ids: {plan}"));
        }
    }
    fill(&database, if full_size() { 3_000_000 } else { 30_000 }).await;
    let binds = [Binds::of(&database.pool, 2).await, Binds::of(&database.pool, 1000).await];
    for ((statement, pool), binds) in sent(&all).flat_map(|sent| binds.iter().map(move |binds| (sent, binds))) {
        let plan = connections.explain(pool, statement, binds, true).await;
        let (is, count) = (statement.table.is, binds.count);
        let window = match statement.table.reads {
            Reads::Few => 0,
            Reads::Window(most, _) => most,
            Reads::Whole(_) => continue,
        };
        // What is planned each time may go through a table that is no larger than what it may read.
        if !plan.whole().is_empty() && pool != Pool::Plain {
            wrong.push(format!("with {count} binds, {is:?} goes through {:?}: {plan}", plan.whole()));
        }
        let bound = if statement.table.binds.contains('{') { count as u64 } else { 1 };
        let most = 6 * (plan.returned() + bound + 4) + window;
        if plan.read() > most {
            let (read, returned) = (plan.read(), plan.returned());
            wrong.push(format!("with {count} binds, {is:?} reads {read} rows for {returned}, not {most}: {plan}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{} of them", wrong.join("\n\n"), wrong.len());
}

/// Its aggregate and its rows, in as many projections as listen; a plan that goes through an index reads many times as much.
const BY_KEY_FOR_EACH_EVENT: i64 = 3;

/// Plans are made on empty tables and kept: one that went through whole tables would do so for ever.
#[tokio::test]
async fn what_applying_reads_it_reaches_by_key() {
    let mut rng = seeded();
    let parts = Parts::new().await;
    let history = History::of(rng.random(), 4000);
    parts.load(&history.lines).await;
    let events = parts.events(events::Position::START).await;
    for batch in events.chunks(100) {
        parts.apply(batch, Mode::Live).await.unwrap();
    }
    // Its connections tell the statistics what they did when they end.
    parts.appliers[0].pool.close().await;
    let applied =
        "select coalesce(sum(n_tup_ins), 0)::bigint from pg_stat_user_tables where relname = 'projected_aggregates'";
    eventually("the statistics have come", LIMIT, async || {
        let applied = parts.database.count(applied).await;
        if applied > 100 { Ok(()) } else { Err(format!("{applied}")) }
    })
    .await;
    let read = async |column: &str| {
        let sql = format!(
            "select coalesce(sum({column}), 0)::bigint from pg_stat_user_tables
             where schemaname in (select schema_name from projections)
             or relname in ('projected_aggregates', 'processed_event_ids')"
        );
        sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).fetch_one(&parts.database.pool).await.unwrap()
    };
    assert_eq!(read("seq_tup_read").await, 0, "rows read by going through whole tables");
    let by_key = read("idx_tup_fetch").await;
    let most = BY_KEY_FOR_EACH_EVENT * events.len() as i64;
    assert!(by_key <= most, "{by_key} rows read by key for {} events", events.len());
}
