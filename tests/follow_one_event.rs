//! The README's story: one event, ten stops. Beside what each stop leaves behind, the processes say which kill points they
//! passed, so that the order of the stops is asserted as well, and what happens within the transaction.

use std::time::Duration;

use event_store::proto::ReadAggregateRequest;
use events::{EventId, wire};
use projections::topics::VOCABULARY;
use serde_json::json;
use tonic::Request;
use uuid::Uuid;

use crate::harness::client::{append, connect, event};
use crate::harness::{Fleet, Process, eventually, expected};

/// Makes a process say which kill points it passes. They are in debug builds only.
const SAY: &str = "FLEET_SAY_KILL_POINTS";

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn one_event_passes_its_ten_stops() {
    let fleet = Fleet::new().await;
    let store = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0").env(SAY, "1").start().await;
    let pool = &fleet.database.pool;
    let entry = Uuid::now_v7();

    // 1. append: the command's event, with the trace of its call.
    let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "serendipity"}));
    let mut request = Request::new(append("VocabularyEntry", entry, vec![created]));
    request.metadata_mut().insert("traceparent", TRACEPARENT.parse().unwrap());
    let mut client = connect(&store).await;
    let appended = client.append_events(request).await.unwrap().into_inner().events.remove(0);
    assert_eq!((appended.event_version, appended.position), (1, 1));

    // 2. read: the acknowledged append is readable, and carries the trace.
    let wanted = ReadAggregateRequest { aggregate_id: entry.to_string(), from_version: 1, to_version: None };
    let recorded = client.read_aggregate(wanted).await.unwrap().into_inner().message().await.unwrap().unwrap();
    assert_eq!(recorded.event_id, appended.event_id);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&recorded.metadata).unwrap()["traceparent"], TRACEPARENT);

    // 3. relay: the topic's cursor passes it once the bus has it.
    let limit = Duration::from_secs(60);
    eventually("the relay passes it", limit, async || {
        let cursor: Option<i64> =
            sqlx::query_scalar("select position from relay_cursors where topic = 'vocabulary-events'")
                .fetch_optional(pool)
                .await
                .unwrap();
        if cursor == Some(1) { Ok(()) } else { Err(format!("{cursor:?}")) }
    })
    .await;

    // 4. wire: the message is the event, and its attributes carry the trace on.
    let ids = [EventId(appended.event_id.parse().unwrap())];
    let stored = event_store::read::by_id(pool, &ids).await.unwrap().events.remove(0);
    let (data, attributes) = wire::encode(&stored);
    assert_eq!(wire::identify(&data).unwrap().event_id, ids[0]);
    assert!(attributes.contains(&(wire::TRACEPARENT, TRACEPARENT.to_owned())));

    // 5. receive, 6. resolve, 7. apply, 8. judge, 9. fold and write: a worker of the topic makes a row of it.
    let worker = fleet.worker_builder(VOCABULARY.name, &store).await.env(SAY, "1").start().await;
    eventually("the row is there", limit, async || {
        let rows = expected::rows(pool, "vocabulary", "vocabulary_entries").await;
        match rows.first() {
            Some(row) if row["spelling"] == "serendipity" => Ok(()),
            row => Err(format!("{row:?}")),
        }
    })
    .await;

    // 10. settle: its place is settled, and its id need not be remembered any more.
    eventually("it is settled", limit, async || {
        let report = fleet.database.lag().await;
        let vocabulary = report.projections.iter().find(|status| status.name == "vocabulary").unwrap();
        let settled = vocabulary.settled_position == 1 && vocabulary.processed_event_ids == 0;
        if settled { Ok(()) } else { Err(format!("{vocabulary:?}")) }
    })
    .await;

    if cfg!(debug_assertions) {
        passed(
            &store,
            &[
                // 1. append: the first one takes the epoch.
                "append.gathered",
                "append.epoch_taken",
                "append.written",
                "append.committed",
                // 3. relay, 4. encode.
                "relay.read",
                "relay.published",
                "relay.advanced",
            ],
        )
        .await;
        passed(
            &worker,
            &[
                // 5. receive, 6. resolve.
                "worker.received",
                "worker.resolved",
                // 7. apply, all of it in one transaction: 8. judge, which needs the versions under their lock; 9. fold and
                // write; then what was applied is recorded.
                "apply.fenced",
                "apply.locked",
                "apply.healed",
                "apply.written",
                "apply.recorded",
                "apply.committed",
                // Only what is committed is acknowledged.
                "worker.applied",
                "worker.acked",
            ],
        )
        .await;
        // 10. settle.
        passed(&worker, &["apply.committed", "sweep.looked", "sweep.settled"]).await;
    }
}

/// The process passes these points one after the other, each for the first time after the one before it.
async fn passed(process: &Process, points: &[&str]) {
    // What can be seen of a step is there a moment before the process says that it is done.
    eventually("the points are passed in their order", Duration::from_secs(10), async || {
        let said: Vec<_> = process.logged().into_iter().filter(|line| line.contains("\"passed\"")).collect();
        let mut later = said.iter();
        match points.iter().find(|point| !later.any(|line| line.contains(&format!("\"{point}\"")))) {
            Some(point) => Err(format!("{point} is not in its place: {said:#?}")),
            None => Ok(()),
        }
    })
    .await;
}
