//! Reading through gRPC: aggregates, everything, filters, times, snapshots.

use event_store::proto::{
    GetHeadRequest, GetSnapshotRequest, ReadAggregateRequest, ReadAllRequest, RecordedEvent, SaveSnapshotRequest,
    read_all_request,
};
use prost_types::Timestamp;
use serde_json::json;
use tonic::{Code, Streaming};
use uuid::Uuid;

use crate::harness::Fleet;
use crate::harness::client::{append, connect, email_updated, event, signed_up};

async fn collected(mut events: Streaming<RecordedEvent>) -> Vec<RecordedEvent> {
    let mut all = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        all.push(event);
    }
    all
}

#[tokio::test]
async fn what_was_appended_is_read_by_aggregate_by_position_by_time_and_by_type() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let (user, entry) = (Uuid::now_v7(), Uuid::now_v7());
    let emails = (0..2500).map(|n| email_updated(user, &format!("{n}@example.org"))).collect::<Vec<_>>();
    client.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "x"}));
    client.append_events(append("VocabularyEntry", entry, vec![created])).await.unwrap();
    for page in emails.chunks(500) {
        client.append_events(append("User", user, page.to_vec())).await.unwrap();
    }
    let head = client.get_head(GetHeadRequest {}).await.unwrap().into_inner().position;
    assert_eq!(head, 2502);

    let aggregate =
        |from_version, to_version| ReadAggregateRequest { aggregate_id: user.to_string(), from_version, to_version };
    for (from, to, expected) in
        [(0, None, 1..=2501), (1000, None, 1000..=2501), (3, Some(5), 3..=5), (2501, Some(9000), 2501..=2501)]
    {
        let read = collected(client.read_aggregate(aggregate(from, to)).await.unwrap().into_inner()).await;
        let versions: Vec<i32> = read.iter().map(|event| event.event_version).collect();
        assert_eq!(versions, expected.collect::<Vec<_>>());
    }
    assert_eq!(client.read_aggregate(aggregate(5, Some(3))).await.unwrap_err().code(), Code::InvalidArgument);
    assert!(collected(client.read_aggregate(aggregate(9000, None)).await.unwrap().into_inner()).await.is_empty());

    let all = |from, types: &[&str], events: &[&str]| ReadAllRequest {
        from,
        aggregate_types: types.iter().map(|&name| name.into()).collect(),
        event_types: events.iter().map(|&name| name.into()).collect(),
        follow: false,
    };
    let read = collected(client.read_all(all(None, &[], &[])).await.unwrap().into_inner()).await;
    assert_eq!(read.iter().map(|event| event.position).collect::<Vec<_>>(), (1..=2502).collect::<Vec<_>>());
    let from = Some(read_all_request::From::FromPosition(2000));
    assert_eq!(collected(client.read_all(all(from, &[], &[])).await.unwrap().into_inner()).await.len(), 503);
    let read_types = collected(client.read_all(all(None, &["VocabularyEntry"], &[])).await.unwrap().into_inner()).await;
    assert_eq!(read_types.iter().map(|event| event.position).collect::<Vec<_>>(), [2]);
    let signed = collected(client.read_all(all(None, &["User"], &["UserSignedUp"])).await.unwrap().into_inner()).await;
    assert_eq!(signed.len(), 1);
    let recorded_at = read[2].recorded_at;
    let from_time = recorded_at.map(read_all_request::From::FromTime);
    let later = collected(client.read_all(all(from_time, &[], &[])).await.unwrap().into_inner()).await;
    assert_eq!(later.first().unwrap().position, 3);
    let future = Some(read_all_request::From::FromTime(Timestamp { seconds: 7_000_000_000, nanos: 0 }));
    assert!(collected(client.read_all(all(future, &[], &[])).await.unwrap().into_inner()).await.is_empty());
    let negative = Some(read_all_request::From::FromPosition(-1));
    assert_eq!(client.read_all(all(negative, &[], &[])).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn an_older_snapshot_never_replaces_a_newer_one() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let user = Uuid::now_v7();
    client
        .append_events(append("User", user, vec![signed_up(user), email_updated(user, "a"), email_updated(user, "b")]))
        .await
        .unwrap();
    let snapshot = |event_version| SaveSnapshotRequest {
        aggregate_id: user.to_string(),
        aggregate_type: "User".into(),
        event_version,
        snapshot_data: json!({ "version": event_version }).to_string(),
    };
    let wanted = GetSnapshotRequest { aggregate_id: user.to_string() };
    assert_eq!(client.get_snapshot(wanted.clone()).await.unwrap_err().code(), Code::NotFound);
    for version in [2, 3, 1] {
        client.save_snapshot(snapshot(version)).await.unwrap();
    }
    let kept = client.get_snapshot(wanted).await.unwrap().into_inner();
    assert_eq!((kept.event_version, kept.snapshot_data.as_str()), (3, r#"{"version": 3}"#));
    assert_eq!(client.save_snapshot(snapshot(4)).await.unwrap_err().code(), Code::FailedPrecondition);
    let nothing = SaveSnapshotRequest { snapshot_data: "[]".into(), ..snapshot(3) };
    assert_eq!(client.save_snapshot(nothing).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn health_and_reflection_are_served() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let channel = fleet::client::endpoint(&store.grpc()).unwrap().connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let request = tonic_health::pb::HealthCheckRequest { service: "fleet.eventstore.v1.EventStore".into() };
    let status = health.check(request).await.unwrap().into_inner().status;
    assert_eq!(status, tonic_health::pb::health_check_response::ServingStatus::Serving as i32);

    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol("fleet.eventstore.v1.EventStore".into())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let answers = reflection.server_reflection_info(futures::stream::iter([request])).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    assert!(matches!(answer.message_response, Some(MessageResponse::FileDescriptorResponse(_))), "{answer:?}");
}

#[tokio::test]
async fn events_cannot_be_changed_even_by_their_owner() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let user = Uuid::now_v7();
    connect(&store).await.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    for sql in ["update events set position = 7", "delete from events", "truncate events"] {
        let error = sqlx::query(sql).execute(&fleet.database.pool).await.unwrap_err();
        assert!(error.to_string().contains("events are never changed"), "{error}");
    }
}
