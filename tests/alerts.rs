//! A real Prometheus with the shipped rules, and one fault after the other: each raises its own alert within its time and no
//! other, each alert ends with its fault, and what is measured of lag is the truth all the while.
//!
//! The rules are those that are shipped; only their windows and waits are shorter, all by the same factor.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bus::Chaos;
use event_store::proto::GetSnapshotRequest;
use futures::StreamExt;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;
use uuid::Uuid;

use crate::generations::ask_to_rebuild;
use crate::harness::client::{append, connect, event, signed_up};
use crate::harness::process::Process;
use crate::harness::terraform::root;
use crate::harness::{Admin, Broker, Database, Fleet, Store, eventually};

/// By which windows and waits are shorter than in production.
const FACTOR: u32 = 10;

/// What an alert may take beyond its windows and waits: scrapes and evaluations, on a busy machine.
const SLACK: Duration = Duration::from_secs(25);

/// Connections of the event store for whoever reads, and for relays.
const SERVING: u32 = 20;

/// How far a measurement of lag may be from the truth.
const TOLERANCE: f64 = 1.0;

/// A time that an alert has in production, as it is here.
fn shortened(time: Duration) -> Duration {
    time / FACTOR
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// `5m` as what it is here.
fn shortened_text(text: &str) -> String {
    let (number, unit) = text.split_at(text.len() - 1);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        other => panic!("{text}: {other} is no unit"),
    };
    let milliseconds = number.parse::<u64>().unwrap() * seconds * 1000 / u64::from(FACTOR);
    format!("{}ms", milliseconds.max(1000))
}

/// The shipped rules, with their windows and waits shortened.
fn rules() -> Value {
    let text = std::fs::read_to_string(root().join("deploy/prometheus/alerts.yaml")).unwrap();
    let mut rules: Value =
        serde_json::to_value(serde_yaml_ng::from_str::<serde_yaml_ng::Value>(&text).unwrap()).unwrap();
    for group in rules["groups"].as_array_mut().unwrap() {
        for rule in group["rules"].as_array_mut().unwrap() {
            if let Some(wait) = rule["for"].as_str() {
                rule["for"] = shortened_text(wait).into();
            }
            let parts: Vec<String> = rule["expr"].as_str().unwrap().split('[').map(str::to_owned).collect();
            let windows = parts[1..].iter().map(|part| {
                let (window, rest) = part.split_once(']').unwrap();
                let times: Vec<_> = window.split(':').map(shortened_text).collect();
                format!("[{}]{rest}", times.join(":"))
            });
            rule["expr"] = (parts[0].clone() + &windows.collect::<String>()).into();
        }
    }
    rules
}

/// Killed when dropped.
struct Prometheus {
    child: Child,
    address: String,
    folder: TempDir,
    targets: Mutex<BTreeMap<&'static str, String>>,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An alert that is firing: its name and its labels, without those of the scrape.
type Alert = (String, BTreeMap<String, String>);

impl Prometheus {
    /// `None` where there is none, loudly, and an error there in CI.
    async fn start() -> Option<Self> {
        if Command::new("prometheus").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "prometheus must be installed in CI");
            println!("prometheus is not installed: that each fault raises its own alert was NOT tested");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let write =
            |name: &str, content: &Value| std::fs::write(folder.path().join(name), content.to_string()).unwrap();
        write("rules.yaml", &rules());
        write("targets.json", &json!([]));
        write(
            "prometheus.yaml",
            &json!({
                "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
                "rule_files": ["rules.yaml"],
                "scrape_configs": [{
                    "job_name": "fleet",
                    "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "1s"}],
                }],
            }),
        );
        // Prometheus does not say which port it was given.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.path().join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let prometheus = Self { child, address, folder, targets: Mutex::default() };
        eventually("Prometheus is ready", Duration::from_secs(60), async || {
            let answer = reqwest::get(format!("http://{}/-/ready", prometheus.address)).await;
            let ready = answer.is_ok_and(|answer| answer.status().is_success());
            if ready { Ok(()) } else { Err(prometheus.log()) }
        })
        .await;
        Some(prometheus)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Scrapes a role at another address from now on, or not at all.
    fn scrapes(&self, role: &'static str, process: Option<&Process>) {
        let mut targets = self.targets.lock().unwrap();
        match process {
            Some(process) => targets.insert(role, process.http()),
            None => targets.remove(role),
        };
        let groups: Vec<_> =
            targets.iter().map(|(role, address)| json!({"targets": [address], "labels": {"role": role}})).collect();
        // Not half of it at a time.
        let (new, old) = (self.folder.path().join("new"), self.folder.path().join("targets.json"));
        std::fs::write(&new, Value::from(groups).to_string()).unwrap();
        std::fs::rename(&new, &old).unwrap();
    }

    async fn ask(&self, path: &str, query: &[(&str, String)]) -> Value {
        let url = reqwest::Url::parse_with_params(&format!("http://{}/api/v1/{path}", self.address), query).unwrap();
        let answer: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{path} {query:?}: {answer}");
        answer["data"].clone()
    }

    async fn firing(&self) -> BTreeSet<Alert> {
        let alerts = self.ask("alerts", &[]).await;
        let firing = alerts["alerts"].as_array().unwrap().iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| named(&alert["labels"])).collect()
    }

    /// Waits until exactly these fire, within the time of the slowest of them.
    async fn fires(&self, what: &str, expected: &[Alert], within: Duration) {
        let expected: BTreeSet<_> = expected.iter().cloned().collect();
        let began = SystemTime::now();
        eventually(what, within + SLACK, async || {
            let firing = self.firing().await;
            if firing == expected { Ok(()) } else { Err(format!("{firing:?}")) }
        })
        .await;
        println!("{what}: within {:.0} s, of {:.0} s", began.elapsed().unwrap().as_secs_f64(), within.as_secs_f64());
    }

    /// All samples of a query since a time.
    async fn range(&self, query: &str, since: f64, step: &str) -> Vec<(Value, Vec<(f64, f64)>)> {
        let query = [
            ("query", query.to_owned()),
            ("start", since.to_string()),
            ("end", now().to_string()),
            ("step", step.to_owned()),
        ];
        let data = self.ask("query_range", &query).await;
        let samples = |series: &Value| {
            let values = series["values"].as_array().unwrap().iter();
            values.map(|pair| (pair[0].as_f64().unwrap(), pair[1].as_str().unwrap().parse().unwrap())).collect()
        };
        data["result"].as_array().unwrap().iter().map(|series| (series["metric"].clone(), samples(series))).collect()
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn named(labels: &Value) -> Alert {
    let own = ["topic", "projection", "pool", "kind", "reason"];
    let labels_of = labels.as_object().unwrap().iter().filter(|(name, _)| own.contains(&name.as_str()));
    let labels_of = labels_of.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
    (labels["alertname"].as_str().unwrap().to_owned(), labels_of.collect())
}

fn alert(name: &str, labels: &[(&str, &str)]) -> Alert {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    (name.to_owned(), labels.collect())
}

/// Users sign up, ten a second, for as long as it is there and wanted.
struct Load {
    wanted: Arc<Mutex<bool>>,
    _appending: AbortOnDropHandle<()>,
}

impl Load {
    fn begin(mut store: Store) -> Self {
        let wanted = Arc::new(Mutex::new(true));
        let goes_on = wanted.clone();
        let appending = tokio::spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_millis(100));
            loop {
                beat.tick().await;
                if *goes_on.lock().unwrap() {
                    let user = Uuid::now_v7();
                    let _ = store.append_events(append("User", user, vec![signed_up(user)])).await;
                }
            }
        });
        Self { wanted, _appending: AbortOnDropHandle::new(appending) }
    }

    fn wants(&self, wanted: bool) {
        *self.wanted.lock().unwrap() = wanted;
    }
}

/// Those who ask the event store for snapshots, each again and again.
struct Readers {
    _asking: Vec<AbortOnDropHandle<()>>,
}

impl Readers {
    async fn begin(store: &Process, count: u32) -> Self {
        let mut asking = Vec::new();
        for _ in 0..count {
            let mut store = connect(store).await;
            asking.push(AbortOnDropHandle::new(tokio::spawn(async move {
                loop {
                    let wanted = GetSnapshotRequest { aggregate_id: Uuid::now_v7().to_string() };
                    let _ = store.get_snapshot(wanted).await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })));
        }
        Self { _asking: asking }
    }
}

/// How old the oldest user is whom the read model lacks, by the events and the rows themselves: when it was looked, and the age.
type Truth = Arc<Mutex<Vec<(f64, f64)>>>;

fn watch(database: &Database, stop: CancellationToken) -> (Truth, AbortOnDropHandle<()>) {
    let truth = Truth::default();
    let (seen, pool) = (truth.clone(), database.pool.clone());
    let watching = tokio::spawn(async move {
        while !stop.is_cancelled() {
            let sql = "select extract(epoch from clock_timestamp())::float8,
                              coalesce(extract(epoch from clock_timestamp() - min(event.created_at)), 0)::float8
                       from events as event
                       where event.aggregate_type = 'User'
                       and not exists (select from user_directory.users as own where own.user_id = event.aggregate_id)";
            let sample: (f64, f64) = sqlx::query_as(sql).fetch_one(&pool).await.unwrap();
            seen.lock().unwrap().push(sample);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    (truth, AbortOnDropHandle::new(watching))
}

const USERS: (&str, &str) = ("projection", "user_directory");
const INTEGRATION: (&str, &str) = ("topic", "integration-events");
const VOCABULARY: (&str, &str) = ("topic", "vocabulary-events");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_raises_its_own_alert_and_no_other_and_lag_is_the_truth_throughout() {
    let Some(prometheus) = Prometheus::start().await else { return };
    let broker = Broker::start(Chaos::new(1)).await;
    let fleet = Fleet::on(&broker).await;
    // One is the listener's.
    let connections = (SERVING + 1).to_string();
    let store = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = store.env("FLEET_MAX_CONNECTIONS", &connections).start().await;
    let mut admin = fleet.process("admin").await.start().await;
    let mut integration = fleet.worker("integration-events", &store).await;
    let vocabulary = fleet.worker("vocabulary-events", &store).await;
    let progress = fleet.worker("progress-events", &store).await;
    let processes = [
        ("event-store", &store),
        ("admin", &admin),
        ("integration", &integration),
        ("vocabulary", &vocabulary),
        ("progress", &progress),
    ];
    for (role, process) in processes {
        prometheus.scrapes(role, Some(process));
    }
    let since = now();
    let stop = CancellationToken::new();
    let (truth, _watching) = watch(&fleet.database, stop.clone());
    let load = Load::begin(connect(&store).await);
    eventually("all are scraped", Duration::from_secs(60), async || {
        let up = prometheus.ask("query", &[("query", "sum(up)".to_owned())]).await;
        let up = up["result"][0]["value"][1].as_str().unwrap_or_default().to_owned();
        if up == "5" { Ok(()) } else { Err(up) }
    })
    .await;
    prometheus.fires("a fleet that has just begun", &[], shortened(minutes(5))).await;

    // A worker is dead, one aggregate of another read model has an event that cannot be applied, and a rebuild of that read model may
    // go through two events a second, where ten are appended.
    burst(&store, 3000).await;
    let slow = slow_rebuild(&admin).await;
    integration.kill();
    let entry = Uuid::now_v7();
    let strange = event("EntryCreated", json!({"entry_id": entry, "spelling": 7}));
    connect(&store).await.append_events(append("VocabularyEntry", entry, vec![strange])).await.unwrap();
    let stalled = [USERS, ("projection", "learning_time")].map(|of| alert("ProjectionStalled", &[INTEGRATION, of]));
    let parked = alert("ParkedEvents", &[VOCABULARY, ("projection", "vocabulary")]);
    prometheus.fires("a dead worker", &stalled, shortened(minutes(5) + minutes(5))).await;
    let diverges = alert("RebuildDoesNotConverge", &[("projection", "vocabulary")]);
    let all = [&stalled[..], &[parked.clone(), diverges.clone()]].concat();
    prometheus.fires("and a parked event, and a rebuild that would never end", &all, shortened(minutes(15))).await;
    integration = fleet.worker("integration-events", &store).await;
    prometheus.scrapes("integration", Some(&integration));
    prometheus.fires("the worker lives again", &[parked, diverges.clone()], shortened(minutes(5))).await;
    discard(&admin, "vocabulary").await;
    prometheus.fires("the event is discarded", &[diverges], shortened(minutes(1))).await;
    let cancel = json!({"actor": "ada", "reason": "a test"});
    let (status, cancelled) = Admin::of(&admin).post(&format!("/operations/{slow}/cancel"), &cancel).await;
    assert!(status.is_success(), "{cancelled}");
    prometheus.fires("the rebuild is cancelled", &[], shortened(minutes(1))).await;

    // The bus takes nothing, and says so. Only the topic on which something is published knows.
    *broker.away.lock().unwrap() = Some(Code::NotFound);
    let failing = alert("RelayFailing", &[INTEGRATION]);
    prometheus.fires("a bus that is away", &[failing], shortened(minutes(5) + minutes(5))).await;
    *broker.away.lock().unwrap() = None;
    prometheus.fires("the bus is there again", &[], shortened(minutes(5))).await;

    // The bus takes its time, and more is there than it takes; and a read model is rebuilt in as many parts as may be. The users'
    // topic is quiet meanwhile, because its relay would go through the burst as well.
    load.wants(false);
    *broker.pause.lock().unwrap() = Duration::from_secs(10);
    burst(&store, 10_000).await;
    let rebuild = ask_to_rebuild(&fleet.database.pool, "user_directory", 16).await.unwrap();
    // Its threshold is a minute, which is not shorter here.
    let behind = alert("RelayStalled", &[VOCABULARY]);
    prometheus.fires("a relay that does not keep up", &[behind], minutes(1) + shortened(minutes(2))).await;
    *broker.pause.lock().unwrap() = Duration::ZERO;
    prometheus.fires("it has caught up", &[], Duration::from_secs(30)).await;
    load.wants(true);
    let rebuilt = eventually("the rebuild is ready", Duration::from_secs(60), async || {
        let operation = Admin::of(&admin).get(&format!("/operations/{rebuild}")).await;
        if operation["state"] == "waiting" { Ok(operation) } else { Err(operation.to_string()) }
    });
    rebuilt.await;

    // Nobody appends: an idle store is no fault.
    load.wants(false);
    let head = fleet.database.head().await;
    fleet.settled("integration-events", head.0).await;
    let idle_since = now();

    // Somebody holds a lock that the event store's readers wait for, and they take nearly all connections that there are for them.
    // Without the limits of the fleet's own sessions, which end whoever does nothing in a transaction.
    let options = database::options(&fleet.database.url).unwrap();
    let mut held = PgConnection::connect_with(&options).await.unwrap();
    let mut held = held.begin().await.unwrap();
    sqlx::raw_sql("lock table snapshots in access exclusive mode").execute(&mut *held).await.unwrap();
    let readers = Readers::begin(&store, SERVING - 2).await;

    // Whoever measures is dead.
    admin.kill();
    prometheus.fires("a dead admin", &[alert("LagMetricAbsent", &[])], shortened(minutes(2))).await;
    admin = fleet.process("admin").await.start().await;
    prometheus.scrapes("admin", Some(&admin));
    prometheus.fires("it measures again", &[], shortened(minutes(2))).await;
    let exhausted = alert("PoolExhausted", &[("pool", "serving")]);
    prometheus.fires("an exhausted pool", &[exhausted], shortened(minutes(10) + minutes(5))).await;
    held.rollback().await.unwrap();
    drop(readers);
    prometheus.fires("its connections are free again", &[], shortened(minutes(10))).await;
    let idle = Duration::try_from_secs_f64(now() - idle_since).unwrap();
    let whole = shortened(minutes(10));
    if idle < whole {
        tokio::time::sleep(whole - idle).await;
    }
    prometheus.fires("an idle store", &[], Duration::ZERO).await;

    stop.cancel();
    let fired = prometheus.range(r#"ALERTS{alertstate="firing"}"#, since, "1").await;
    let fired: BTreeSet<_> = fired.iter().map(|(labels, _)| named(labels).0).collect();
    let expected = [
        "LagMetricAbsent",
        "ParkedEvents",
        "PoolExhausted",
        "ProjectionStalled",
        "RebuildDoesNotConverge",
        "RelayFailing",
        "RelayStalled",
    ];
    assert_eq!(fired, expected.map(str::to_owned).into(), "at no time did another fire");
    let measured = prometheus.range(r#"projection_lag_seconds{projection="user_directory"}"#, since, "1").await;
    let observed = prometheus.range("projection_lag_observed_timestamp_seconds", since, "1").await;
    compare(&measured, &observed, &truth.lock().unwrap());
}

/// Each measurement with what was true at its time.
fn compare(measured: &[(Value, Vec<(f64, f64)>)], observed: &[(Value, Vec<(f64, f64)>)], truth: &[(f64, f64)]) {
    // An instance that was killed has a series of its own.
    let at: BTreeMap<u64, f64> =
        observed.iter().flat_map(|(_, samples)| samples).map(|&(sampled, at)| (sampled.to_bits(), at)).collect();
    let (mut compared, mut worst, mut largest) = (0, 0.0_f64, 0.0_f64);
    for &(sampled, lag) in measured.iter().flat_map(|(_, samples)| samples) {
        let Some(at) = at.get(&sampled.to_bits()) else { continue };
        let around: Vec<f64> =
            truth.iter().filter(|(looked, _)| (looked - at).abs() < 1.0).map(|&(_, seconds)| seconds).collect();
        // At the very beginning and the very end nobody looked.
        if around.len() < 3 {
            continue;
        }
        let (least, most) = around.iter().fold((f64::MAX, 0.0_f64), |(least, most), &it| (least.min(it), most.max(it)));
        let off = (least - lag).max(lag - most).max(0.0);
        assert!(off <= TOLERANCE, "measured {lag} at {at}, and it was between {least} and {most}");
        (compared, worst, largest) = (compared + 1, worst.max(off), largest.max(lag));
    }
    println!("lag: {compared} measurements, at most {worst:.2} s off; the longest {largest:.0} s");
    assert!(compared > 40 && largest > 20.0, "{compared} measurements up to {largest} s prove nothing");
}

async fn discard(admin: &Process, projection: &str) {
    let admin = Admin::of(admin);
    let letters = admin.get(&format!("/dead-letters?projection={projection}")).await;
    let letter = &letters["dead_letters"][0];
    let id = letter["id"].as_str().unwrap_or_else(|| panic!("{letters}"));
    let body = json!({
        "event_id": letter["event_id"], "error": letter["error"], "actor": "ada", "reason": "a test",
    });
    let (status, answer) = admin.post(&format!("/dead-letters/{id}/discard"), &body).await;
    assert!(status.is_success(), "{status}: {answer}");
}

/// A rebuild of the vocabulary, of two events a second.
async fn slow_rebuild(admin: &Process) -> String {
    let (admin, path) = (Admin::of(admin), "/projections/vocabulary/generations");
    let (_, plan) = admin.post(path, &json!({"dry_run": true, "rate": 2.0})).await;
    let slow = json!({"plan_token": plan["plan_token"], "rate": 2.0, "actor": "ada", "reason": "a test"});
    let (status, operation) = admin.post(path, &slow).await;
    assert!(status.is_success(), "{operation}");
    operation["id"].as_str().unwrap().to_owned()
}

/// So many entries at once.
pub async fn burst(store: &Process, count: usize) {
    let store = connect(store).await;
    let appending = futures::stream::iter(0..count).for_each_concurrent(64, |_| {
        let mut store = store.clone();
        async move {
            let entry = Uuid::now_v7();
            let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "serendipity"}));
            store.append_events(append("VocabularyEntry", entry, vec![created])).await.unwrap();
        }
    });
    appending.await;
}

#[test]
fn windows_and_waits_are_shorter_by_one_factor_and_nothing_else_is_changed() {
    assert_eq!(
        (shortened_text("5m"), shortened_text("1h"), shortened_text("30s")),
        ("30000ms".into(), "360000ms".into(), "3000ms".into())
    );
    let rules = rules();
    let of = |name: &str| {
        let groups = rules["groups"].as_array().unwrap().iter();
        let mut all = groups.flat_map(|group| group["rules"].as_array().unwrap());
        all.find(|rule| rule["alert"] == name).unwrap()
    };
    assert_eq!(of("LagTelemetryStale")["expr"], "time() - max(projection_lag_observed_timestamp_seconds) > 60");
    assert_eq!(of("LagTelemetryStale")["for"], "6000ms");
    assert!(of("RelayFailing")["expr"].as_str().unwrap().ends_with("[30000ms])) > 0"));
}
