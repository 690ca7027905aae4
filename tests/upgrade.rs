//! An upgrade that raises the `VERSION` of one read model, with the programs of both releases side by side, while appends and
//! reads go on: rolled out, built anew, promoted, taken back, and promoted for good. docs/deploy.md, "Upgrade", is this.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use event_store::proto::event_store_client::EventStoreClient;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::client::{append, event};
use crate::harness::outside::{Change, Outside, Program, Running};
use crate::harness::{Process, eventually};

/// Two releases of everything on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// The next release says of an open order on which day it was placed.
const RAISED: [Change; 6] = [
    ("src/open_orders/mod.rs", "const VERSION: u32 = 1;", "const VERSION: u32 = 2;"),
    (
        "src/open_orders/mod.rs",
        "    placed_at: DateTime<Utc>,\n",
        "    placed_at: DateTime<Utc>,\n    placed_on: fleet::chrono::NaiveDate,\n",
    ),
    (
        "src/open_orders/mod.rs",
        "placed_at: event.occurred_at,",
        "placed_at: event.occurred_at,\n                    placed_on: event.occurred_at.date_naive(),",
    ),
    ("src/open_orders/mod.rs", "$5::timestamptz[])", "$5::timestamptz[], $6::date[])"),
    (
        "src/open_orders/mod.rs",
        ".bind(column(&open, |(_, open)| open.placed_at))",
        ".bind(column(&open, |(_, open)| open.placed_at))\n        .bind(column(&open, |(_, open)| open.placed_on))",
    ),
    (
        "src/open_orders/schema.sql",
        "placed_at timestamptz not null",
        "placed_at timestamptz not null,\n    placed_on date not null",
    ),
];

/// What was appended, and so what has to be read in the end.
#[derive(Debug, Default)]
struct Appended {
    /// Customer and cents of each open order.
    open: BTreeMap<Uuid, (Uuid, i64)>,
    /// Ordered and paid cents of each customer.
    balances: BTreeMap<Uuid, (i64, i64)>,
}

/// Appends without a pause, at whichever event store there is.
struct Appending {
    stop: CancellationToken,
    orders: Arc<AtomicUsize>,
    running: JoinHandle<Appended>,
}

impl Appending {
    fn begin(address: watch::Receiver<String>) -> Self {
        let (stop, orders) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (stop.clone(), orders.clone());
        let running = tokio::spawn(async move {
            let mut appended = Appended::default();
            while !stopped.is_cancelled() {
                orders_and_payment(&address, &mut appended).await;
                counted.store(appended.open.len(), Ordering::SeqCst);
            }
            appended
        });
        Self { stop, orders, running }
    }

    /// Open orders that are appended by now.
    fn open(&self) -> i64 {
        self.orders.load(Ordering::SeqCst) as i64
    }

    async fn end(self) -> Appended {
        self.stop.cancel();
        self.running.await.unwrap()
    }
}

/// The currency of orders that stay open.
const STAYS: &str = "CHF";

/// A customer with an order that stays open, one that is shipped at once, and one that is cancelled; and what he pays.
async fn orders_and_payment(address: &watch::Receiver<String>, appended: &mut Appended) {
    let customer = Uuid::now_v7();
    let [open, shipped, cancelled] = [(); 3].map(|()| Uuid::now_v7());
    let cents = 100 + (appended.open.len() as i64 % 97);
    // What goes again may be seen for a moment, and has a currency of its own, so that readers can leave it out.
    let placed = |order: Uuid| {
        let currency = if order == open { STAYS } else { "EUR" };
        let data = json!({"order_id": order, "customer_id": customer, "total_cents": cents, "currency": currency});
        let mut placed = event("OrderPlaced", data);
        placed.metadata = json!({"schema_version": 2}).to_string();
        placed
    };
    let cancelling = json!({"order_id": cancelled, "customer_id": customer, "total_cents": cents});
    for (kind, aggregate, events) in [
        ("Order", open, vec![placed(open)]),
        ("Order", shipped, vec![placed(shipped), event("OrderShipped", json!({"order_id": shipped}))]),
        ("Order", cancelled, vec![placed(cancelled), event("OrderCancelled", cancelling)]),
        ("Payment", Uuid::now_v7(), vec![event("PaymentReceived", json!({"customer_id": customer, "cents": 7}))]),
    ] {
        let mut request = append(kind, aggregate, events);
        // However often it is sent while the event store is replaced, it is one append.
        request.idempotency_key = aggregate.to_string();
        eventually("it is appended", LIMIT, async || {
            let url = format!("http://{}", *address.borrow());
            let mut store = EventStoreClient::connect(url).await.map_err(|error| error.to_string())?;
            store.append_events(request.clone()).await.map_err(|status| status.to_string())
        })
        .await;
    }
    appended.open.insert(open, (customer, cents));
    appended.balances.insert(customer, (2 * cents, 7));
}

/// Readers with one connection and one prepared statement, which never fail and never see fewer orders than before.
struct Reading {
    stop: CancellationToken,
    seen: Arc<AtomicI64>,
    running: JoinHandle<()>,
}

impl Reading {
    async fn begin(url: &str) -> Self {
        let mut db = PgConnection::connect(url).await.unwrap();
        let (stop, seen) = (CancellationToken::new(), Arc::new(AtomicI64::new(0)));
        let (stopped, most) = (stop.clone(), seen.clone());
        let running = tokio::spawn(async move {
            while !stopped.is_cancelled() {
                let read = sqlx::query_scalar("select count(*) from open_orders.open_orders where currency = $1");
                let now: i64 = read.bind(STAYS).fetch_one(&mut db).await.unwrap();
                let before = most.fetch_max(now, Ordering::SeqCst);
                assert!(now >= before, "{now} orders after {before}");
                tokio::task::yield_now().await;
            }
        });
        Self { stop, seen, running }
    }

    /// Whoever reads sees as many, or more.
    async fn reaches(&self, orders: i64) {
        eventually("readers see what was appended", LIMIT, async || {
            assert!(!self.running.is_finished(), "the reader has failed");
            match self.seen.load(Ordering::SeqCst) {
                seen if seen >= orders => Ok(()),
                seen => Err(format!("{seen} of {orders}")),
            }
        })
        .await;
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

/// What a command says as JSON, if it ends as it should.
async fn said(running: &Running, program: &Program, words: &[&str], code: i32) -> Result<Value, String> {
    let words = [words, &["--json"]].concat();
    let (status, out, error) = running.command(program, &words).await;
    let value = serde_json::from_str(&out).map_err(|_| format!("{words:?}: {status}: {out}{error}"))?;
    if status.code() == Some(code) { Ok(value) } else { Err(format!("{words:?}: {status}: {value}{error}")) }
}

async fn does(running: &Running, program: &Program, words: &[&str]) -> Value {
    let words = [words, &["--reason", "an upgrade"]].concat();
    eventually("it is done", LIMIT, async || said(running, program, &words, 0).await).await
}

/// Waits until the newest generations stand so: generation, version, standing.
async fn stand(running: &Running, program: &Program, wanted: &[(i64, i64, &str)]) -> Value {
    eventually("the generations stand", LIMIT, async || {
        let all = said(running, program, &["generations", "open_orders"], 0).await?;
        let stands = |it: &Value| {
            (it["generation"].as_i64(), it["version"].as_i64(), it["standing"].as_str().map(str::to_owned))
        };
        let now: Vec<_> = all.as_array().unwrap().iter().map(stands).collect();
        let wanted = wanted
            .iter()
            .map(|(generation, version, standing)| (Some(*generation), Some(*version), Some((*standing).to_owned())));
        if now == wanted.collect::<Vec<_>>() { Ok(all) } else { Err(all.to_string()) }
    })
    .await
}

/// Waits until a process says that its code is newer than what is read, or is not.
async fn outdated(process: &Process, is: i64) {
    let name = r#"projection_outdated{projection="open_orders",topic="order-events"}"#;
    eventually("it says so in its metric", LIMIT, async || match process.counter(name).await {
        now if now == is => Ok(()),
        now => Err(now.to_string()),
    })
    .await;
    assert_eq!(process.counter(r#"projection_outdated{projection="balances""#).await, 0);
}

async fn logs(process: &Process, what: &str) {
    eventually(what, LIMIT, async || {
        let log = process.logged();
        if log.iter().any(|line| line.contains(what)) { Ok(()) } else { Err(format!("{log:?}")) }
    })
    .await;
}

/// Rows of a schema: order, customer, cents.
async fn open(outside: &Outside, schema: &str) -> BTreeMap<Uuid, (Uuid, i64)> {
    let rows = format!("select order_id, customer_id, total_cents from {schema}.open_orders");
    let rows = sqlx::query(sqlx::AssertSqlSafe(rows)).fetch_all(&outside.database.pool).await.unwrap();
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
}

async fn balances(outside: &Outside) -> BTreeMap<Uuid, (i64, i64)> {
    let rows = sqlx::query("select customer_id, ordered_cents, paid_cents from balances.balances");
    let rows = rows.fetch_all(&outside.database.pool).await.unwrap();
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
}

async fn settled(outside: &Outside, projection: &str) {
    eventually("it has settled the store", LIMIT, async || {
        let head = outside.database.head().await.0;
        let settled = sqlx::query_scalar(
            "select min(settled_position) from projections join projection_progress using (generation)
             where name = $1 and projection = name",
        );
        let settled: i64 = settled.bind(projection).fetch_one(&outside.database.pool).await.unwrap();
        if settled >= head { Ok(()) } else { Err(format!("{settled} of {head}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raised_version_is_rolled_out_promoted_and_taken_back_with_both_releases_at_work() {
    let one = Program::built("orders-one", &[]).await;
    let two = Program::built("orders-two", &RAISED).await;
    let outside = Outside::of(&one).await;
    let old = outside.start(&one).await;
    let (address, changing) = watch::channel(old.store.grpc());
    let appending = Appending::begin(changing);
    let reading = Reading::begin(&outside.database.url).await;
    reading.reaches(20).await;

    // The new release beside the old one: the database first, then everything else.
    outside.migrate(&two).await;
    let new = outside.start(&two).await;
    address.send(new.store.grpc()).unwrap();
    let refuses = "built by version 1 of its code, this is version 2";
    logs(&new.workers[0], refuses).await;
    eventually("one of its workers says that it builds", LIMIT, async || {
        let says = |worker: &Process| worker.logged().iter().any(|line| line.contains("its version was raised"));
        if new.workers.iter().any(says) { Ok(()) } else { Err(format!("{:?}", new.workers[0].logged())) }
    })
    .await;
    for (process, is) in [(&new.workers[0], 1), (&new.admin, 1), (&old.workers[0], 0), (&old.admin, 0)] {
        outdated(process, is).await;
    }
    let status = said(&new, &two, &["status"], 0).await.unwrap();
    for projection in status["projections"].as_array().unwrap() {
        let (state, versions) = (&projection["state"], (&projection["version"], &projection["code_version"]));
        match projection["name"].as_str().unwrap() {
            "open_orders" => assert_eq!((state, versions), (&json!("outdated"), (&json!(1), &json!(2)))),
            _ => assert_eq!((state, versions), (&json!("running"), (&json!(1), &json!(1)))),
        }
    }
    let doctor = said(&new, &two, &["doctor", "--count-for", "1"], 3).await.unwrap();
    assert_eq!(doctor["runbook"], "ProjectionOutdated", "{doctor}");

    // It was not asked for, and waits for a person. Meanwhile readers have what the old release writes, and the others go on.
    stand(&new, &two, &[(2, 2, "ready"), (1, 1, "live")]).await;
    let rebuild = said(&new, &two, &["operations", "list"], 0).await.unwrap();
    let shown = ["kind", "state", "actor"].map(|name| rebuild[name].as_str().unwrap());
    assert_eq!(shown, ["rebuild", "waiting", "fleet"], "{rebuild}");
    reading.reaches(appending.open()).await;
    let customers = appending.open();
    eventually("the sibling goes on", LIMIT, async || match balances(&outside).await.len() as i64 {
        now if now >= customers => Ok(()),
        now => Err(format!("{now} of {customers}")),
    })
    .await;

    // The new release writes what is read, and the old one keeps the way back.
    does(&new, &two, &["promote", "open_orders"]).await;
    stand(&new, &two, &[(2, 2, "live"), (1, 1, "previous")]).await;
    reading.reaches(appending.open()).await;
    let days = sqlx::query_scalar("select count(placed_on) from open_orders.open_orders");
    let days: i64 = days.fetch_one(&outside.database.pool).await.unwrap();
    assert!(days >= customers, "{days} of {customers}");
    outdated(&new.workers[0], 0).await;
    outdated(&new.admin, 0).await;
    follows(&new, &two, 1).await;

    // Back: the old release writes, and what came meanwhile is there.
    let before = appending.open();
    does(&new, &two, &["rollback", "open_orders"]).await;
    stand(&new, &two, &[(2, 2, "previous"), (1, 1, "live")]).await;
    reading.reaches(before.max(appending.open())).await;
    follows(&new, &two, 2).await;
    outdated(&new.workers[0], 1).await;

    // And forward for good.
    does(&new, &two, &["rollback", "open_orders", "--generation", "2"]).await;
    stand(&new, &two, &[(2, 2, "live"), (1, 1, "previous")]).await;
    reading.reaches(appending.open()).await;
    let appended = appending.end().await;
    settled(&outside, "open_orders").await;
    settled(&outside, "balances").await;
    follows(&new, &two, 1).await;
    reading.reaches(appended.open.len() as i64).await;
    reading.end().await;
    println!("{} orders were open in the end", appended.open.len());
    assert_eq!(open(&outside, "open_orders").await, appended.open, "what is read");
    assert_eq!(open(&outside, "open_orders__g1").await, appended.open, "what is kept for the way back");
    assert_eq!(balances(&outside).await, appended.balances, "what was not touched");
    does(&new, &two, &["verify", "open_orders"]).await;
    let asked = "select count(*) from operations where kind = 'rebuild'";
    assert_eq!(outside.database.count(asked).await, 1, "what was taken back is not built again");

    // The way back is given up.
    old.stop().await;
    does(&new, &two, &["retire", "open_orders", "--generation", "1"]).await;
    let doctor = said(&new, &two, &["doctor", "--whole"], 0).await;
    assert!(doctor.is_ok(), "{doctor:?}");
    new.stop().await;
}

/// A generation that is not read has what is in the store now.
async fn follows(running: &Running, program: &Program, generation: i64) {
    let of = async || {
        let all = said(running, program, &["generations", "open_orders"], 0).await.unwrap();
        let it = all.as_array().unwrap().iter().find(|it| it["generation"] == generation).unwrap();
        [&it["head"], &it["position"]].map(|it| it.as_i64().unwrap())
    };
    let [head, _] = of().await;
    eventually("it follows the store", LIMIT, async || match of().await {
        [_, position] if position >= head => Ok(()),
        [_, position] => Err(format!("{position} of {head}")),
    })
    .await;
}
