//! What the event store answers to what it cannot take: the right code, the field's name, and nothing written.

use std::time::Duration;

use event_store::proto::{AppendEventsRequest, NewEvent, append_event_stream_response::Outcome};
use futures::stream;
use prost_types::Timestamp;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::harness::client::{append, connect, email_updated, signed_up};
use crate::harness::{Fleet, Store, eventually};

async fn refused(client: &mut Store, request: AppendEventsRequest) -> Status {
    client.append_events(request).await.expect_err("it must be refused")
}

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_details_bad_request().expect("field violations");
    details.field_violations.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn what_is_invalid_is_named_by_its_field_and_nothing_is_written() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let user = Uuid::now_v7();
    let with = |change: fn(&mut NewEvent)| {
        let mut event = signed_up(user);
        change(&mut event);
        append("User", user, vec![event])
    };
    let same_id = {
        let event = NewEvent { event_id: Some(Uuid::now_v7().to_string()), ..signed_up(user) };
        append("User", user, vec![event.clone(), event])
    };
    let cases = [
        (same_id, "events[1].event_id"),
        (append("User", user, Vec::new()), "events"),
        (AppendEventsRequest { aggregate_id: "x".into(), ..with(|_| {}) }, "aggregate_id"),
        (with(|event| event.event_id = Some("not-a-uuid".into())), "events[0].event_id"),
        (with(|event| event.event_type = "t".repeat(101)), "events[0].event_type"),
        (with(|event| event.event_type.clear()), "events[0].event_type"),
        (with(|event| event.event_data = "[1]".into()), "events[0].event_data"),
        (with(|event| event.event_data = "{".into()), "events[0].event_data"),
        (with(|event| event.event_data = r#"{"a":"\u0000"}"#.into()), "events[0].event_data"),
        (with(|event| event.event_data = r#"{"a":"\ud800"}"#.into()), "events[0].event_data"),
        (with(|event| event.event_data = format!(r#"{{"a":"{}"}}"#, "x".repeat(9_000_001))), "events[0].event_data"),
        (
            with(|event| event.event_data = format!("{}1{}", r#"{"a":"#.repeat(129), "}".repeat(129))),
            "events[0].event_data",
        ),
        (with(|event| event.metadata = "3".into()), "events[0].metadata"),
        (
            with(|event| event.occurred_at = Some(Timestamp { seconds: 1_767_594_872_379, nanos: 0 })),
            "events[0].occurred_at",
        ),
        (
            with(|event| event.occurred_at = Some(Timestamp { seconds: -9_999_999_999, nanos: 0 })),
            "events[0].occurred_at",
        ),
        (AppendEventsRequest { aggregate_type: String::new(), ..with(|_| {}) }, "aggregate_type"),
        (AppendEventsRequest { expected_version: Some(-1), ..with(|_| {}) }, "expected_version"),
        (AppendEventsRequest { idempotency_key: "k".repeat(201), ..with(|_| {}) }, "idempotency_key"),
    ];
    for (request, field) in cases {
        let status = refused(&mut client, request).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status}");
        assert_eq!(fields(&status), [field], "{status}");
    }
    assert_eq!(fleet.database.head().await.0, 0, "nothing is written");
}

#[tokio::test]
async fn an_event_as_large_as_can_be_is_stored_and_applied_and_a_larger_one_is_refused_by_its_field() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let user = Uuid::now_v7();
    let padded = |padding: &str| {
        let mut event = signed_up(user);
        event.event_data = event.event_data.replacen('{', &format!(r#"{{"padding":{padding},"#), 1);
        event
    };
    // Within the limit as sent; Postgres prints a space after each comma.
    let digits = padded(&format!("[{}]", vec!["1"; 4_400_000].join(",")));
    let refused = refused(&mut client, append("User", user, vec![digits])).await;
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("events[0].event_data: has 13"), "{}", refused.message());

    let text = padded(&format!(r#""{}""#, "x".repeat(8_999_000)));
    client.append_events(append("User", user, vec![text])).await.unwrap();
    let _worker = fleet.worker("integration-events", &store).await;
    eventually("it is applied", Duration::from_secs(120), async || {
        let users = fleet.database.count("select count(*) from user_directory.users").await;
        if users == 1 { Ok(()) } else { Err("no row".to_owned()) }
    })
    .await;
}

#[tokio::test]
async fn a_wrong_expected_version_is_aborted_with_the_current_one() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let user = Uuid::now_v7();
    client.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();

    for (expected, current) in [(0, 1), (2, 1)] {
        let wrong =
            AppendEventsRequest { expected_version: Some(expected), ..append("User", user, vec![signed_up(user)]) };
        let status = refused(&mut client, wrong).await;
        assert_eq!(status.code(), Code::Aborted);
        let details = status.get_details_error_info().unwrap();
        assert_eq!(details.reason, "VERSION_CONFLICT");
        assert_eq!(details.metadata["current_version"], current.to_string());
        assert_eq!(details.metadata["expected_version"], expected.to_string());
    }
    assert_eq!(fleet.database.head().await.0, 1);
}

#[tokio::test]
async fn an_aggregate_gets_no_event_of_another_type() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let user = Uuid::now_v7();
    client.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();

    // As this store remembers it, and as another reads it.
    let other = fleet.event_store().await;
    for store in [&store, &other] {
        let mut client = connect(store).await;
        let status = refused(&mut client, append("Usr", user, vec![email_updated(user, "a@example.org")])).await;
        assert_eq!(status.code(), Code::InvalidArgument);
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "aggregate_type");
        assert!(violations[0].description.contains("\"User\", not \"Usr\""), "{}", violations[0].description);
    }
    assert_eq!(fleet.database.head().await.0, 1);
    let mut client = connect(&other).await;
    client.append_events(append("User", user, vec![email_updated(user, "a@example.org")])).await.unwrap();
}

#[tokio::test]
async fn an_idempotency_key_has_one_result() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let user = Uuid::now_v7();
    let request = AppendEventsRequest {
        idempotency_key: "sign-up-1".into(),
        expected_version: Some(0),
        ..append("User", user, vec![signed_up(user), email_updated(user, "a@example.org")])
    };
    let first = client.append_events(request.clone()).await.unwrap().into_inner();
    client.append_events(append("User", user, vec![email_updated(user, "b@example.org")])).await.unwrap();

    let again = client.append_events(request.clone()).await.unwrap().into_inner();
    assert_eq!(again.events, first.events, "the first answer, although the aggregate has moved on");
    assert!(again.known && !first.known, "which says whether it was new");

    let other = AppendEventsRequest { events: vec![signed_up(user)], ..request };
    let status = refused(&mut client, other).await;
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(status.get_details_error_info().unwrap().metadata["idempotency_key"], "sign-up-1");
    assert_eq!(fleet.database.head().await.0, 3);
}

#[tokio::test]
async fn an_event_id_that_is_in_the_store_is_refused_by_name() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let user = Uuid::now_v7();
    let id = Uuid::now_v7().to_string();
    let event = NewEvent { event_id: Some(id.clone()), ..signed_up(user) };
    client.append_events(append("User", user, vec![event.clone()])).await.unwrap();

    let status = refused(&mut client, append("User", Uuid::now_v7(), vec![event])).await;
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(status.get_details_error_info().unwrap().metadata["event_id"], id);
    assert_eq!(fleet.database.head().await.0, 1);
}

#[tokio::test]
async fn refusals_within_a_batch_leave_their_neighbours_alone() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let taken = NewEvent { event_id: Some(Uuid::now_v7().to_string()), ..signed_up(Uuid::now_v7()) };
    client.append_events(append("User", Uuid::now_v7(), vec![taken.clone()])).await.unwrap();

    // A stream is queued as fast as it can be read, so that many of these share a commit.
    let mut requests = Vec::new();
    for _ in 0..50 {
        let user = Uuid::now_v7();
        requests.push(AppendEventsRequest { expected_version: Some(0), ..append("User", user, vec![signed_up(user)]) });
        requests.push(AppendEventsRequest { expected_version: Some(7), ..append("User", user, vec![signed_up(user)]) });
        requests.push(append("User", user, vec![taken.clone()]));
        requests.push(append("User", user, Vec::new()));
        requests.push(AppendEventsRequest { expected_version: Some(1), ..append("User", user, vec![signed_up(user)]) });
    }
    let mut answers = client.append_event_stream(stream::iter(requests)).await.unwrap().into_inner();
    let mut codes = Vec::new();
    let mut last = 1;
    while let Some(answer) = answers.message().await.unwrap() {
        match answer.outcome.unwrap() {
            Outcome::Appended(appended) => {
                codes.push(Code::Ok);
                assert!(appended.events[0].position > last, "positions rise in the order of the requests");
                last = appended.events[0].position;
            }
            Outcome::Refused(refusal) => codes.push(Code::from_i32(refusal.code)),
        }
    }
    let expected = [Code::Ok, Code::Aborted, Code::AlreadyExists, Code::InvalidArgument, Code::Ok].repeat(50);
    assert_eq!(codes, expected);
    assert_eq!(fleet.database.head().await.0, 101);
}

#[tokio::test]
async fn without_its_database_the_store_is_unavailable_and_says_so() {
    let fleet = Fleet::new().await;
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("DATABASE_URL", "postgres://fleet@127.0.0.1:1/nowhere").start().await;
    let mut client = connect(&store).await;
    let user = Uuid::now_v7();
    let status = refused(&mut client, append("User", user, vec![signed_up(user)])).await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let ready = reqwest::get(format!("http://{}/readyz", store.http())).await.unwrap();
    assert_eq!(ready.status(), 503);
    let alive = reqwest::get(format!("http://{}/healthz", store.http())).await.unwrap();
    assert_eq!(alive.status(), 200);
}
