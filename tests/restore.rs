//! The store goes back in time, and what it lost comes back from the bus: docs/deploy.md.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Cursor};
use std::time::Duration;

use flate2::read::GzDecoder;
use fleet::commands::import::import;
use indicatif::ProgressBar;
use serde_json::Value;
use sqlx::Row;
use uuid::Uuid;

use crate::harness::client::{self, SAMPLE, SAMPLE_EVENTS, connect, load_sample, signed_up};
use crate::harness::{Database, Fleet, Process, catalogue, eventually, expected};

/// Everything is slow when all cores are busy with other tests.
const LIMIT: Duration = Duration::from_secs(240);

/// Requests at the end of the sample that the restored store does not have.
const LOST: usize = 8000;

const LOST_EVENTS: &str = include_str!("../deploy/lost-events.sql");
const AHEAD: &str = include_str!("../deploy/read-models-ahead.sql");

#[tokio::test]
async fn what_a_restored_store_lost_is_parked_from_the_bus_and_can_be_appended_again() {
    // A store that relays all of it, and that nobody will see again.
    let before = Fleet::apart().await;
    let store = before.event_store().await;
    load_sample(&store).await;
    eventually("everything is relayed", LIMIT, async || {
        let behind =
            "select count(*) from relay_cursors, event_store_head as head where relay_cursors.position < head.position";
        match before.database.count(behind).await {
            0 => Ok(()),
            behind => Err(format!("{behind} topics are not")),
        }
    })
    .await;
    drop(store);

    // The same store, some time ago, on the same topics.
    let Fleet { project, .. } = before;
    let after = Fleet { database: Database::new().await, project };
    let store = after.event_store().await;
    let lines: Vec<String> = BufReader::new(GzDecoder::new(SAMPLE)).lines().map(Result::unwrap).collect();
    let kept = lines[..lines.len() - LOST].join("\n");
    append(&store, kept).await;
    let _workers = after.workers(&store).await;

    // Everything else of the lost events was adopted.
    let lost = lost(&lines[lines.len() - LOST..]);
    eventually("what the store does not know is parked", LIMIT, async || {
        let parked = "select count(distinct event_id) from parked_events where reason = 'unknown_event'";
        let parked = after.database.count(parked).await;
        if parked == lost { Ok(()) } else { Err(format!("{parked} of {lost}")) }
    })
    .await;
    let requests: Vec<Value> = sqlx::query_scalar(LOST_EVENTS).fetch_all(&after.database.pool).await.unwrap();
    assert_eq!(requests.len() as i64, lost);
    let requests: Vec<String> = requests.iter().map(Value::to_string).collect();
    append(&store, requests.join("\n")).await;

    after.database.settled(SAMPLE_EVENTS, LIMIT).await;
    expected::assert_sample(&after.database.pool).await;
}

async fn append(store: &Process, lines: String) {
    let at = fleet::client::EventStore::at(&store.grpc());
    let summary = import(&at, Cursor::new(lines), &ProgressBar::hidden()).await.unwrap();
    assert_eq!(summary.refused, 0, "{summary:?}");
}

#[tokio::test]
async fn a_read_model_that_is_ahead_of_the_store_is_found() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let _worker = fleet.worker("integration-events", &store).await;
    let user = Uuid::now_v7();
    let mut client = connect(&store).await;
    client.append_events(client::append("User", user, vec![signed_up(user)])).await.unwrap();
    let ahead = async || -> Vec<(String, i64)> {
        let rows = sqlx::query(AHEAD).fetch_all(&fleet.database.pool).await.unwrap();
        rows.iter().map(|row| (row.get("projection"), row.get("aggregates_ahead"))).collect()
    };
    let applied = "select count(*) from projected_aggregates where projection = 'user_directory'";
    eventually("it is applied", LIMIT, async || match fleet.database.count(applied).await {
        1 => Ok(()),
        other => Err(format!("{other} aggregates")),
    })
    .await;
    assert_eq!(ahead().await, []);

    for (tampered, found) in [
        ("update projected_aggregates set version = version + 1", 1),
        ("update projected_aggregates set version = version - 1", 0),
    ] {
        sqlx::query(tampered).execute(&fleet.database.pool).await.unwrap();
        let rows = ahead().await;
        assert_eq!(rows.first().map_or(0, |row| row.1), found, "{rows:?}");
    }
    sqlx::query("update projection_progress set settled_position = 1000 where projection = 'vocabulary'")
        .execute(&fleet.database.pool)
        .await
        .unwrap();
    assert_eq!(ahead().await, [("vocabulary".to_owned(), 0)]);
}

/// How many events of these requests are of topics that do not adopt.
fn lost(lines: &[String]) -> i64 {
    let mut events: BTreeMap<bool, usize> = BTreeMap::new();
    for line in lines {
        let request: events::AppendLine = serde_json::from_str(line).unwrap();
        let topic = catalogue().topic_of(&request.aggregate_type).unwrap();
        *events.entry(topic.adopts_foreign_events).or_default() += request.events.len();
    }
    assert!(events[&true] > 0, "some of them are adopted");
    events[&false] as i64
}
