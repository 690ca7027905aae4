//! `fleet dev`: up by itself, loaded once, down cleanly, up again.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::client::SAMPLE_EVENTS;
use crate::harness::process::signal;
use crate::harness::{Database, Process, eventually};

struct Dev {
    process: std::process::Child,
    started: Instant,
}

impl Dev {
    fn start(data_dir: &Path, bus: &str) -> Self {
        let process = std::process::Command::new(env!("CARGO_BIN_EXE_fleet"))
            .args(["dev", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--bus", bus, "--data-dir"])
            .arg(data_dir)
            .env_remove("DATABASE_URL")
            .env_remove("PUBSUB_EMULATOR_HOST")
            .stdout(std::fs::File::create(data_dir.join("out")).unwrap())
            .stderr(std::fs::File::create(data_dir.join("err")).unwrap())
            .spawn()
            .unwrap();
        Self { process, started: Instant::now() }
    }

    /// Waits until `fleet status` sees everything settled.
    async fn settled(&self, data_dir: &Path) -> Value {
        let file = eventually("dev.json", Duration::from_secs(120), async || {
            let text = std::fs::read(data_dir.join("dev.json")).map_err(|error| error.to_string())?;
            serde_json::from_slice::<Value>(&text).map_err(|error| error.to_string())
        })
        .await;
        for field in ["database_url", "grpc", "http", "pid"] {
            assert!(!file[field].is_null(), "{file}");
        }
        assert_eq!(file["pid"], self.process.id());
        let http = file["http"].as_str().unwrap().to_owned();
        eventually("lag 0", Duration::from_secs(240), async || {
            let (_, out, error) = Process::builder("status").arg("--json").env("FLEET_HTTP", &http).output().await;
            let status: Value = serde_json::from_str(&out).map_err(|_| error)?;
            let settled = status["store"]["head_position"] == SAMPLE_EVENTS
                && status["projections"].as_array().unwrap().iter().all(|projection| {
                    projection["settled_position"] == SAMPLE_EVENTS
                        && projection["lag_events"] == 0
                        && projection["lag_seconds"] == 0.0
                        && projection["state"] == "running"
                        && projection["parked"] == 0
                        && projection["name"].is_string()
                        && projection["topic"].is_string()
                });
            if settled { Ok(file.clone()) } else { Err(out) }
        })
        .await
    }

    async fn ended(&mut self) -> std::process::ExitStatus {
        let child = std::sync::Mutex::new(&mut self.process);
        eventually("it ends", Duration::from_secs(60), async || {
            child.lock().unwrap().try_wait().unwrap().ok_or_else(|| "still running".to_owned())
        })
        .await
    }

    async fn interrupt(mut self, data_dir: &Path) {
        signal(&self.process, "INT");
        let status = self.ended().await;
        assert!(status.success(), "{status}");
        assert!(!data_dir.join("dev.json").exists(), "a fleet that has ended is nowhere");
    }
}

async fn up_down_up(bus: &str) {
    let dir = tempfile::tempdir().unwrap();
    let first = Dev::start(dir.path(), bus);
    let file = first.settled(dir.path()).await;
    assert_eq!(file["pubsub"]["kind"], bus);
    assert_eq!(file["pubsub"]["host"].is_string(), bus == "emulator");

    let second_here = Process::builder("dev").arg("--data-dir").arg(dir.path().to_str().unwrap());
    let (status, _, error) = second_here.output().await;
    assert!(!status.success());
    assert!(error.contains(&first.process.id().to_string()), "a second fleet on the folder names the first: {error}");
    first.interrupt(dir.path()).await;

    let again = Dev::start(dir.path(), bus);
    again.settled(dir.path()).await;
    println!("the second start was settled after {:?}", again.started.elapsed());
    again.interrupt(dir.path()).await;
    let out = std::fs::read_to_string(dir.path().join("out")).unwrap();
    assert!(!out.contains("loading the sample"), "{out}");
    assert!(out.contains("database  Postgres") && out.contains("bus ") && out.ends_with("stopped\n"), "{out}");
}

#[tokio::test]
async fn fleet_dev_loads_the_sample_once_and_continues_after_ctrl_c() {
    up_down_up("emulator").await;
}

#[tokio::test]
async fn fleet_dev_does_the_same_on_the_embedded_bus() {
    up_down_up("embedded").await;
}

#[tokio::test]
async fn fleet_dev_whose_postgres_or_emulator_died_ends_and_says_so() {
    for (server, said) in [("postgres", "postgres has ended"), ("pubsub", "the Pub/Sub emulator has ended")] {
        let dir = tempfile::tempdir().unwrap();
        let mut dev = Dev::start(dir.path(), "emulator");
        dev.settled(dir.path()).await;
        // Whatever has the server's port or folder in its arguments, which are of this test alone.
        let port = std::fs::read_to_string(dir.path().join("pubsub.port")).unwrap();
        let mark = match server {
            "postgres" => dir.path().join("postgres").to_str().unwrap().to_owned(),
            _ => format!("--port={}", port.trim()),
        };
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).into_owned();
            if arguments.contains(&mark) && !arguments.contains("watchdog") {
                let kill = format!("kill -KILL {}", process.file_name().to_str().unwrap());
                let _ = std::process::Command::new("sh").args(["-c", &kill]).status();
            }
        }
        let status = dev.ended().await;
        let error = std::fs::read_to_string(dir.path().join("err")).unwrap();
        assert_eq!(status.code(), Some(1), "{error}");
        assert!(error.contains(said), "{error}");
        assert!(!dir.path().join("dev.json").exists(), "a fleet that has ended is nowhere");
    }
}

/// Everything that a person at a terminal of 80 columns is told: what was found, what the words mean, and every line of the log.
#[tokio::test]
async fn on_a_terminal_the_live_lines_and_the_log_leave_each_other_alone() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Process::builder("dev").env("FLEET_LOG_FORMAT", "text").env("TERM", "xterm").arg("--no-sample");
    let builder =
        builder.arg("--http").arg("127.0.0.1:0").arg("--grpc").arg("127.0.0.1:0").arg("--bus").arg("embedded");
    let dev = builder.arg("--data-dir").arg(dir.path().to_str().unwrap()).watch(80);
    let shown = dev.frame("the live lines", |shown| shown.contains("settled 0 of 0, up to date")).await;
    assert!(shown.contains("bus       within this process (as --bus embedded says)"), "{shown}");
    assert!(shown.contains("settled: every event up to there is"), "{shown}");
    let file = std::fs::read(dir.path().join("dev.json")).unwrap();
    let file: Value = serde_json::from_slice(&file).unwrap();
    let (http, grpc) = (file["http"].as_str().unwrap(), file["grpc"].as_str().unwrap());
    assert!(shown.contains(&format!("export FLEET_HTTP={http} FLEET_GRPC={grpc}")), "{shown}");

    // Each is parked by the two read models that listen to it, which is a line of the log each time.
    let poison = |number: u32| {
        json!({"aggregate_id": uuid::Uuid::from_u128(number.into()), "aggregate_type": "User",
            "idempotency_key": format!("poison-{number}"), "events": [{"event_type": "UserSignedUp",
            "event_data": {"user_id": number}, "metadata": {}, "occurred_at": "2026-03-01T08:00:00Z"}]})
        .to_string()
    };
    let lines = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&lines, (1..=5).map(|number| poison(number) + "\n").collect::<String>()).unwrap();
    let import = Process::builder("import").env("FLEET_GRPC", grpc).arg(lines.path().to_str().unwrap());
    let (status, _, error) = import.output().await;
    assert!(status.success(), "{error}");
    let parked = |shown: &str| shown.lines().filter(|line| line.contains("ERROR") && line.contains("parked")).count();
    let shown = dev.frame("what is parked", |shown| shown.contains("5 PARKED") && parked(shown) >= 10).await;
    // A terminal takes what follows a carriage return, or a movement of the cursor, as written over what is there.
    let wide = shown.split(['\n', '\r', '\x1b']).filter(|part| part.contains("settled ") && part.contains(" of "));
    for part in wide {
        // Lines that fill the terminal follow each other without more.
        let letters: Vec<char> =
            part.trim_start_matches(['[', '1', '2', '3', '4', '5', '6', 'A', 'K']).chars().collect();
        for line in letters.chunks(80).map(String::from_iter) {
            assert!(line.matches("settled ").count() == 1 && !line.starts_with(' '), "{part:?} wraps");
        }
    }
    dev.interrupt();
    let (code, said) = dev.ended().await;
    assert!(code == Some(0) && said.contains("stopped"), "{said}");

    let fresh = |http: &str| {
        let builder = Process::builder("dev").arg("--fresh").arg("--http").arg(http).arg("--grpc").arg("127.0.0.1:0");
        builder.arg("--bus").arg("embedded").arg("--no-sample").arg("--data-dir").arg(dir.path().to_str().unwrap())
    };
    let (status, _, error) = fresh("127.0.0.1:0").env("DATABASE_URL", "postgres://elsewhere/fleet").output().await;
    assert!(!status.success() && error.contains("DATABASE_URL names another one"), "{error}");
    let dev = fresh("127.0.0.1:0").watch(80);
    let shown = dev.frame("it begins anew", |shown| shown.contains("settled 0 of 0, up to date")).await;
    assert!(shown.contains("fresh     dropped the old Postgres in "), "{shown}");
    dev.interrupt();
    dev.ended().await;
}

#[tokio::test]
async fn wrong_configuration_ends_with_one_clear_line() {
    let database = Database::empty().await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let admin = || Process::builder("admin").env("FLEET_HTTP_LISTEN", "127.0.0.1:0");
    let worker = |topic| {
        let builder = Process::builder("worker").env("FLEET_TOPIC", topic).env("FLEET_HTTP_LISTEN", "127.0.0.1:0");
        builder.env("DATABASE_URL", &database.url)
    };
    for (builder, said) in [
        (admin().env("DATABASE_URL", "mysql://x"), "DATABASE_URL"),
        (admin().env("DATABASE_URL", &database.url).env("FLEET_LOG", "a=b=c"), "FLEET_LOG"),
        (admin().env("DATABASE_URL", &database.url).env("FLEET_HTTP_LISTEN", &taken), "--http"),
        (worker("integration-events").env("FLEET_DELIVERY", "push"), "FLEET_PUSH_AUDIENCE"),
    ] {
        let (status, _, error) = builder.output().await;
        assert_eq!(status.code(), Some(1), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.starts_with("fleet: ") && error.contains(said), "{error}");
    }
    let (status, _, error) = worker("nothing-events").output().await;
    assert_eq!(status.code(), Some(2));
    assert!(error.contains("vocabulary-events, progress-events, integration-events"), "{error}");
}
