//! A project of somebody else, in `tests/outside/`, which knows of the fleet one line in its Cargo.toml. It is copied out of the
//! workspace, built there, and has to work.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use event_store::proto::NewEvent;
use event_store::proto::event_store_client::EventStoreClient;
use serde_json::{Value, json};
use sqlx::Row;
use uuid::Uuid;

use crate::harness::client::{append, event};
use crate::harness::outside::{Source, output};
use crate::harness::process::signal;
use crate::harness::{Database, emulator, eventually};

/// A debug build starts slowly where all cores are busy.
const LIMIT: Duration = Duration::from_secs(120);

/// The most lines that a program may need around its topics and read models.
const MAIN: usize = 25;

/// A running program; killed when dropped.
struct Running {
    child: Option<Child>,
    file: Value,
}

impl Running {
    async fn start(mut command: Command, data_dir: &Path) -> Self {
        command.args(["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data-dir"]).arg(data_dir);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let file = eventually("dev.json", LIMIT, async || {
            let text = fs::read(data_dir.join("dev.json")).map_err(|error| error.to_string())?;
            serde_json::from_slice::<Value>(&text).map_err(|error| error.to_string())
        })
        .await;
        Self { child: Some(child), file }
    }

    fn says(&self, name: &str) -> &str {
        self.file[name].as_str().unwrap()
    }

    async fn interrupt(mut self) {
        let child = self.child.take().unwrap();
        signal(&child, "INT");
        let ended = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
        assert!(ended.status.success(), "{}", ended.status);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn of_schema(version: u32, event: NewEvent) -> NewEvent {
    NewEvent { metadata: json!({"schema_version": version}).to_string(), ..event }
}

/// Two orders of a customer, one of them from long ago and shipped, and what is paid for them.
async fn appended_and_applied(running: &Running) {
    let mut store = EventStoreClient::connect(format!("http://{}", running.says("grpc"))).await.unwrap();
    let [customer, open, shipped, payment] = [(); 4].map(|()| Uuid::now_v7());
    let mut say = async |kind: &str, aggregate: Uuid, events: Vec<NewEvent>| {
        store.append_events(append(kind, aggregate, events)).await.unwrap();
    };
    let placed = json!({"order_id": open, "customer_id": customer, "total_cents": 1250, "currency": "CHF"});
    say("Order", open, vec![of_schema(2, event("OrderPlaced", placed))]).await;
    let placed = json!({"order_id": shipped, "customer_id": customer, "total": 800});
    let shipping = event("OrderShipped", json!({"order_id": shipped}));
    say("Order", shipped, vec![event("OrderPlaced", placed), shipping]).await;
    let paid = |cents| json!({"customer_id": customer, "cents": cents});
    let failed = event("PaymentFailed", json!({"customer_id": customer}));
    let received = event("PaymentReceived", paid(2000));
    say("Payment", payment, vec![failed, received, event("PaymentRefunded", paid(50))]).await;

    let database = Database::existing(running.says("database_url"));
    eventually("what was said is in both read models", LIMIT, async || {
        let rows = sqlx::query(
            "select order_id, balances.customer_id, total_cents, currency, ordered_cents, paid_cents, failed_payments
             from open_orders.open_orders
             join balances.balances using (customer_id)",
        );
        let rows = rows.fetch_all(&database.pool).await.map_err(|error| error.to_string())?;
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                let ids: [Uuid; 2] = [row.get("order_id"), row.get("customer_id")];
                let cents: [i64; 3] = [row.get("total_cents"), row.get("ordered_cents"), row.get("paid_cents")];
                (ids, row.get::<String, _>("currency"), cents, row.get::<i64, _>("failed_payments"))
            })
            .collect();
        let wanted = ([open, customer], "CHF".to_owned(), [1250, 2050, 1950], 1);
        if rows == [wanted] { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;
    database.pool.close().await;
}

#[tokio::test]
async fn a_project_of_another_domain_is_built_tested_and_served_outside_of_the_workspace() {
    let project = Source::copied();
    let lines = project.lines();
    for (name, count) in &lines {
        println!("{count:>5}  {name}");
        assert!(name != "src/main.rs" || *count <= MAIN, "{name} has {count} lines");
    }
    println!("{:>5}  lines written by hand", lines.iter().map(|(_, count)| count).sum::<usize>());

    let started = Instant::now();
    output(project.cargo(&["build", "--quiet"])).await;
    println!("built in {:.0} s", started.elapsed().as_secs_f64());
    let tested = output(project.cargo(&["test", "--quiet"])).await;
    assert!(String::from_utf8_lossy(&tested.stdout).contains("4 passed"), "{tested:?}");
    println!("built and tested in {:.0} s", started.elapsed().as_secs_f64());

    let topics = output(project.cargo(&["run", "--quiet", "--", "topics", "--json"])).await;
    let topics: Value = serde_json::from_slice(&topics.stdout).unwrap();
    let names: Vec<_> = topics.as_array().unwrap().iter().map(|topic| topic["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["order-events", "payment-events"]);

    // As it is after a clone: a Postgres and a bus of its own.
    let data = tempfile::tempdir().unwrap();
    let serve = ["run", "--quiet", "--", "--no-sample"];
    let mut command = project.cargo(&serve);
    command.args(["--bus", "embedded"]);
    let running = Running::start(command, data.path()).await;
    appended_and_applied(&running).await;
    running.interrupt().await;

    // On a database and a bus that are there.
    let (data, database) = (tempfile::tempdir().unwrap(), Database::empty().await);
    let mut command = project.cargo(&serve);
    command.args(["--bus", "emulator"]).env("DATABASE_URL", &database.url);
    let emulator = emulator().await;
    command.env("PUBSUB_EMULATOR_HOST", emulator.host());
    command.env("GOOGLE_CLOUD_PROJECT", format!("test-{}", Uuid::now_v7().simple()));
    let running = Running::start(command, data.path()).await;
    appended_and_applied(&running).await;
    running.interrupt().await;
    println!("built, tested and served in {:.0} s", started.elapsed().as_secs_f64());
}
