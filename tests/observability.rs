//! Metrics that promtool accepts, and lag that is right when the worker is dead.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use uuid::Uuid;

use crate::harness::client::{append, connect, signed_up};
use crate::harness::process::Process;
use crate::harness::terraform::root;
use crate::harness::{Fleet, eventually};

#[tokio::test]
async fn promtool_accepts_the_metrics_of_every_role() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let worker = fleet.worker("integration-events", &store).await;
    let admin = fleet.process("admin").await.start().await;
    let pushed = fleet.process("worker").await.arg("--topic").arg("vocabulary-events").arg("--delivery").arg("push");
    let pushed = pushed.arg("--push-unauthenticated").start().await;
    let user = Uuid::now_v7();
    connect(&store).await.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    eventually("it is applied", Duration::from_secs(60), async || {
        let users = fleet.database.count("select count(*) from user_directory.users").await;
        if users == 1 { Ok(()) } else { Err("no row".to_owned()) }
    })
    .await;
    let mut served = BTreeSet::new();
    let described = read("docs/telemetry.md");
    for process in [&store, &worker, &admin, &pushed] {
        let metrics = scrape(process).await;
        assert!(metrics.contains("fleet_build_info"));
        check(&metrics);
        for family in metrics.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
            let name = family.split(' ').next().unwrap();
            assert!(described.contains(&format!("`{name}`")), "docs/telemetry.md does not say what {name} is");
        }
        served.extend(names(&metrics));
    }
    for (file, named) in asked_for() {
        assert!(named.is_subset(&served), "{file}: {:?}", named.difference(&served).collect::<Vec<_>>());
    }
}

async fn scrape(process: &Process) -> String {
    reqwest::get(format!("http://{}/metrics", process.http())).await.unwrap().text().await.unwrap()
}

/// The names of the series that are there.
fn names(metrics: &str) -> BTreeSet<String> {
    let series = metrics.lines().filter(|line| !line.starts_with('#'));
    series.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

/// The metrics that alerts and dashboards ask for, by file.
fn asked_for() -> Vec<(String, BTreeSet<String>)> {
    let own = [
        "bus_",
        "database_",
        "db_",
        "eventstore_",
        "fleet_",
        "log_",
        "operation_",
        "projection_",
        "push_",
        "relay_",
        "worker_",
    ];
    let metrics = |queries: &str| -> BTreeSet<String> {
        let words = queries.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| own.iter().any(|prefix| word.starts_with(prefix))).map(str::to_owned).collect()
    };
    let rules: serde_yaml_ng::Value = serde_yaml_ng::from_str(&read("deploy/prometheus/alerts.yaml")).unwrap();
    let groups = rules["groups"].as_sequence().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_sequence().unwrap());
    let queries: Vec<_> = rules.map(|rule| rule["expr"].as_str().unwrap()).collect();
    let mut asked = vec![("alerts.yaml".to_owned(), metrics(&queries.join("\n")))];
    for board in ["fleet", "projection"] {
        let board: serde_json::Value =
            serde_json::from_str(&read(&format!("deploy/grafana/dashboards/{board}.json"))).unwrap();
        let panels = board["panels"].as_array().unwrap().iter();
        let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
        let variables = board["templating"]["list"].as_array().unwrap().iter();
        let mut queries: Vec<_> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
        assert!(queries.len() > 20, "{}", board["title"]);
        queries.extend(variables.map(|variable| variable["query"]["query"].as_str().unwrap()));
        asked.push((board["title"].to_string(), metrics(&queries.join("\n"))));
    }
    asked
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A rate is taken of what was there before: every series begins at zero, with the process, and none with its first event.
#[tokio::test]
async fn every_series_is_there_before_the_first_event() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let worker = fleet.worker("integration-events", &store).await;
    let admin = fleet.process("admin").await.start().await;
    let series = |metrics: &str| -> BTreeSet<String> {
        let lines = metrics.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    let mut before = Vec::new();
    for process in [&store, &worker, &admin] {
        // Its relays, its workers and its first measurement have begun.
        let seen = eventually("everything has begun", Duration::from_secs(30), async || {
            let now = series(&scrape(process).await);
            let begun = ["relay_rewinds_total", "worker_redeliveries_total", "relay_lag_seconds"];
            let begun = now.iter().any(|it| begun.iter().any(|name| it.starts_with(name)));
            if begun { Ok(now) } else { Err(format!("{} series", now.len())) }
        });
        before.push(seen.await);
    }
    let user = Uuid::now_v7();
    connect(&store).await.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    eventually("it is applied", Duration::from_secs(60), async || {
        let users = fleet.database.count("select count(*) from user_directory.users").await;
        if users == 1 { Ok(()) } else { Err("no row".to_owned()) }
    })
    .await;
    for (process, before) in [&store, &worker, &admin].into_iter().zip(before) {
        let new: Vec<_> = series(&scrape(process).await).difference(&before).cloned().collect();
        assert!(new.is_empty(), "{new:#?}");
    }
}

/// `promtool check metrics`; loud where promtool is missing, and an error there in CI.
fn check(metrics: &str) {
    let started =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut promtool) = started else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "promtool must be installed in CI");
        println!("promtool is not installed: the metrics were NOT checked by it");
        return;
    };
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{metrics}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn lag_is_honest_when_the_worker_is_dead() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let admin = fleet.process("admin").await.start().await;
    let mut client = connect(&store).await;
    for _ in 0..7 {
        let user = Uuid::now_v7();
        client.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    }
    let metrics = reqwest::get(format!("http://{}/metrics", admin.http())).await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains(r#"projection_lag_events{projection="user_directory",topic="integration-events"} 7"#),
        "{metrics}"
    );
    assert!(metrics.contains(r#"projection_lag_events{projection="vocabulary",topic="vocabulary-events"} 0"#));
    assert!(metrics.contains("eventstore_head_position 7"));
    let report = fleet.database.lag().await;
    let status = report.projections.iter().find(|status| status.name == "user_directory").unwrap();
    assert!(status.lag_seconds > 0.0);
    assert_eq!(status.state, workers::lag::State::Stopped);
}
