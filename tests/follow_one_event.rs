//! The README's story: one event, nine stops.

use std::time::Duration;

use event_store::proto::ReadAggregateRequest;
use events::{EventId, wire};
use projections::topics::VOCABULARY;
use serde_json::json;
use tonic::Request;
use uuid::Uuid;

use crate::harness::client::{append, connect, event};
use crate::harness::{Fleet, eventually, expected};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn one_event_passes_its_nine_stops() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let pool = &fleet.database.pool;
    let entry = Uuid::now_v7();

    // 1. append: the command's event, with the trace of its call.
    let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "serendipity"}));
    let mut request = Request::new(append("VocabularyEntry", entry, vec![created]));
    request.metadata_mut().insert("traceparent", TRACEPARENT.parse().unwrap());
    let mut client = connect(&store).await;
    let appended = client.append_events(request).await.unwrap().into_inner().events.remove(0);
    assert_eq!((appended.event_version, appended.position), (1, 1));

    // 2. read: what was answered can be read, and carries the trace.
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

    // 5. receive, 6. resolve, 7. judge, 8. fold and write: a worker of the topic makes a row of it.
    let _worker = fleet.worker(VOCABULARY.name, &store).await;
    eventually("the row is there", limit, async || {
        let rows = expected::rows(pool, "vocabulary", "vocabulary_entries").await;
        match rows.first() {
            Some(row) if row["spelling"] == "serendipity" => Ok(()),
            row => Err(format!("{row:?}")),
        }
    })
    .await;

    // 9. settle: its place is settled, and its id need not be remembered any more.
    eventually("it is settled", limit, async || {
        let report = fleet.database.lag().await;
        let vocabulary = report.projections.iter().find(|status| status.name == "vocabulary").unwrap();
        let settled = vocabulary.settled_position == 1 && vocabulary.processed_event_ids == 0;
        if settled { Ok(()) } else { Err(format!("{vocabulary:?}")) }
    })
    .await;
}
