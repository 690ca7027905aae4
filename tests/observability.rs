//! Metrics that promtool accepts, and lag that is right when the worker is dead.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use uuid::Uuid;

use crate::harness::client::{append, connect, signed_up};
use crate::harness::{Fleet, eventually};

#[tokio::test]
async fn promtool_accepts_the_metrics_of_every_role() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let worker = fleet.worker("integration-events", &store).await;
    let admin = fleet.process("admin").await.start().await;
    let user = Uuid::now_v7();
    connect(&store).await.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    eventually("it is applied", Duration::from_secs(60), async || {
        let users = fleet.database.count("select count(*) from user_directory.users").await;
        if users == 1 { Ok(()) } else { Err("no row".to_owned()) }
    })
    .await;
    for process in [&store, &worker, &admin] {
        let metrics = reqwest::get(format!("http://{}/metrics", process.http())).await.unwrap().text().await.unwrap();
        assert!(metrics.contains("fleet_build_info"));
        check(&metrics);
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
