//! A project of somebody else, in `tests/outside/`, which knows of the fleet one line in its Cargo.toml. It is copied out of the
//! workspace, built there, and has to work.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use event_store::proto::NewEvent;
use event_store::proto::event_store_client::EventStoreClient;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::Row;
use uuid::Uuid;

use crate::harness::client::{append, event};
use crate::harness::process::signal;
use crate::harness::{Database, emulator, eventually, terraform};

/// A debug build starts slowly where all cores are busy.
const LIMIT: Duration = Duration::from_secs(120);

/// The most lines that a program may need around its topics and read models.
const MAIN: usize = 25;

/// What is copied, and where to. The copy stays, so that the next run builds only what has changed.
struct Project {
    files: Vec<(PathBuf, String)>,
    folder: PathBuf,
    target: PathBuf,
}

impl Project {
    fn copied() -> Self {
        let root = terraform::root();
        let mut files = Vec::new();
        collect(&root.join("tests/outside"), &mut files);
        // One for each working copy: the name of a folder is part of what cargo tells builds apart by.
        let digest = Sha256::digest(root.to_string_lossy().as_bytes());
        let ours: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = std::env::temp_dir().join(format!("fleet-outside-{ours}"));
        let executable = std::env::current_exe().unwrap();
        let target = executable.ancestors().nth(3).expect("target/debug/deps").join("outside");
        let project = Self { files, folder, target };
        project.write(&root);
        project
    }

    fn write(&self, root: &Path) {
        let fleet = format!("{:?}", root.join("fleet"));
        for (name, text) in &self.files {
            let text = if name == "Cargo.toml" { text.replace("\"../../fleet\"", &fleet) } else { text.clone() };
            put(&self.folder.join(name), &text);
        }
        // The versions of the workspace, which are there already. Cargo leaves out what is not needed.
        if !self.folder.join("Cargo.lock").exists() {
            put(&self.folder.join("Cargo.lock"), &fs::read_to_string(root.join("Cargo.lock")).unwrap());
        }
    }

    fn lines(&self) -> Vec<(String, usize)> {
        self.files.iter().map(|(name, text)| (name.display().to_string(), text.lines().count())).collect()
    }

    /// Cargo as somebody types it there, without anything that this shell has set.
    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in std::env::vars() {
            let ours = name.starts_with("FLEET_") || name.starts_with("GOOGLE_") || name.starts_with("CARGO_PKG_");
            if ours || ["DATABASE_URL", "PUBSUB_EMULATOR_HOST", "SQLX_OFFLINE", "PORT"].contains(&&*name) {
                command.env_remove(name);
            }
        }
        command.args(arguments).current_dir(&self.folder);
        command.env("CARGO_TARGET_DIR", &self.target).env("CARGO_NET_OFFLINE", "true");
        // Smaller and sooner.
        command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "0");
        command
    }
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
    let root = terraform::root().join("tests/outside");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(&root).unwrap().to_owned();
        if path.is_dir() && name != Path::new("target") {
            collect(&path, files);
        } else if path.is_file() && name != Path::new("Cargo.lock") {
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    files.sort();
}

/// What is the same already is not touched, or cargo would build it again.
fn put(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return;
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

async fn output(mut command: Command) -> Output {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
    output
}

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
    let project = Project::copied();
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
    command.env("PUBSUB_EMULATOR_HOST", emulator().await);
    command.env("GOOGLE_CLOUD_PROJECT", format!("test-{}", Uuid::now_v7().simple()));
    let running = Running::start(command, data.path()).await;
    appended_and_applied(&running).await;
    running.interrupt().await;
    println!("built, tested and served in {:.0} s", started.elapsed().as_secs_f64());
}
