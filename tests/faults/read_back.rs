//! What the store cannot give back: refused before it is appended, and passed by every reader where it is there already.

use std::sync::Arc;

use event_store::proto::{
    GetSnapshotRequest, ReadAggregateRequest, ReadAllRequest, RecordedEvent, SaveSnapshotRequest,
};
use event_store::validate::printed;
use fleet::client;
use fleet::commands::export::{self, Summary};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::Rng;
use serde_json::json;
use sqlx::AssertSqlSafe;
use tonic::{Code, Streaming};
use uuid::Uuid;

use super::broken::lose_stored_bytes;
use crate::harness::client::{append, connect, email_updated, event, signed_up};
use crate::harness::parts::LIMIT;
use crate::harness::planted::{self, plant};
use crate::harness::{Admin, Database, Fleet, eventually, full_size};
use crate::sample::{publish, seeded};

async fn collected(mut events: Streaming<RecordedEvent>) -> Vec<RecordedEvent> {
    let mut all = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        all.push(event);
    }
    all
}

/// `{"n": [number, number, …]}`
fn numbers(count: usize, number: &str) -> String {
    format!(r#"{{"n":[{}]}}"#, vec![number; count].join(","))
}

#[tokio::test]
async fn what_would_print_too_much_is_refused_by_its_field() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let user = Uuid::now_v7();
    client.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();

    for (count, number) in [
        (66_000, "1e-16383"),
        (10_000, "1e-16383"),
        (1_480_000, "1e307"),
        (1_280_000, "5e-324"),
        (1, "1e-16383"),
        (1, "0e-16383"),
        (1, "1e-16384"),
        (1, "1e400"),
    ] {
        let data = numbers(count, number);
        let wrong = event_store::proto::NewEvent { event_data: data.clone(), ..email_updated(user, "a@example.org") };
        let refused = client.append_events(append("User", user, vec![signed_up(user), wrong])).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{count} x {number}: {}", refused.message());
        assert!(refused.message().starts_with("events[1].event_data: "), "{}", refused.message());

        let snapshot = SaveSnapshotRequest {
            aggregate_id: user.to_string(),
            aggregate_type: "User".to_owned(),
            event_version: 1,
            snapshot_data: data.clone(),
        };
        let refused = client.save_snapshot(snapshot).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with("snapshot_data: "), "{}", refused.message());
    }
    let wrong = event_store::proto::NewEvent { metadata: numbers(1, "1e-5000"), ..signed_up(user) };
    let refused = client.append_events(append("User", user, vec![wrong])).await.unwrap_err();
    assert!(refused.message().starts_with("events[0].metadata: the number at n[0] has 5002"), "{}", refused.message());

    // Any double, however it is written, comes back as it was sent.
    let doubles = event("Measured", json!({"n": 1}));
    let doubles = event_store::proto::NewEvent {
        event_data: r#"{"n":[5e-324,1.7976931348623157e308,6.02214076e23,-2.5E-3]}"#.to_owned(),
        ..doubles
    };
    client.append_events(append("Measurement", Uuid::now_v7(), vec![doubles])).await.unwrap();
    let read = collected(client.read_all(ReadAllRequest::default()).await.unwrap().into_inner()).await;
    assert_eq!(read.len(), 2);
    let sizes = "select count(*) from events
                 where octet_length(event_data::text) + octet_length(metadata::text) not between data_bytes - 100 and data_bytes";
    assert_eq!(fleet.database.count(sizes).await, 0, "the known sizes are those that are printed");
}

#[tokio::test]
async fn an_event_that_cannot_be_read_stops_nobody_else() {
    let (deep, wide) = if full_size() { (66_000, 1_480_000) } else { (1_300, 70_000) };
    let fleet = Fleet::new().await;
    let [ada, ben, eve] = [(); 3].map(|()| Uuid::now_v7());
    plant(&fleet.database.pool, ada, 1, "UserSignedUp", &planted::ordinary(ada)).await;
    plant(&fleet.database.pool, ada, 2, "UserEmailUpdated", &planted::numbers(ada, deep, "1e-16383")).await;
    plant(&fleet.database.pool, ben, 1, "UserSignedUp", &planted::ordinary(ben)).await;
    plant(&fleet.database.pool, eve, 1, "UserSignedUp", &planted::numbers(eve, wide, "1e307")).await;
    plant(&fleet.database.pool, ada, 3, "UserEmailUpdated", &planted::ordinary(ada)).await;
    plant(&fleet.database.pool, ben, 2, "UserEmailUpdated", &planted::ordinary(ben)).await;

    let store = fleet.event_store().await;
    let _worker = fleet.worker("integration-events", &store).await;
    let mut client = connect(&store).await;
    client.append_events(append("User", ben, vec![email_updated(ben, "ben@new.org")])).await.unwrap();

    let all = collected(client.read_all(ReadAllRequest::default()).await.unwrap().into_inner()).await;
    let said: Vec<_> = all.iter().map(|event| (event.position, event.unreadable.is_some())).collect();
    assert_eq!(said, [(1, false), (2, true), (3, false), (4, true), (5, false), (6, false), (7, false)]);
    assert!(all[1].event_data.is_empty() && all[1].metadata.is_empty());
    let wanted = ReadAggregateRequest { aggregate_id: ada.to_string(), ..ReadAggregateRequest::default() };
    let of_ada = collected(client.read_aggregate(wanted).await.unwrap().into_inner()).await;
    let said: Vec<_> = of_ada.iter().map(|event| (event.event_version, event.unreadable.is_some())).collect();
    assert_eq!(said, [(1, false), (2, true), (3, false)]);

    let mut file = Vec::new();
    let summary = export::export(&client::EventStore::at(&store.grpc()), &mut file).await.unwrap();
    assert_eq!(summary, Summary { events: 5, unreadable: 2 });
    assert_eq!(file.iter().filter(|byte| **byte == b'\n').count(), 5);

    // The relay and the sweep go on: what can be applied is, and what cannot holds its aggregate only.
    for passed in [
        "select count(*) from projection_progress where projection = 'user_directory' and settled_position = 7",
        "select count(*) from relay_cursors where topic = 'integration-events' and position = 7",
    ] {
        eventually(passed, LIMIT, async || {
            if fleet.database.count(passed).await == 1 { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
    }
    let parked = "select count(*) from parked_events
                  where projection = 'user_directory' and reason = 'unreadable' and position in (2, 4)";
    assert_eq!(fleet.database.count(parked).await, 2);
    let other = "select count(*) from parked_events where reason <> 'unreadable' or position not in (2, 4)";
    assert_eq!(fleet.database.count(other).await, 0, "and nothing else");
    let email: String = sqlx::query_scalar("select email from user_directory.users where user_id = $1")
        .bind(ben)
        .fetch_one(&fleet.database.pool)
        .await
        .unwrap();
    assert_eq!(email, "ben@new.org");
    assert_eq!(fleet.database.count("select count(*) from unreadable_events where bytes > 20000000").await, 2);
    assert_eq!(store.counter("eventstore_unreadable_events_total").await, 2);
}

/// A message brings them in a member that no projection knows.
#[tokio::test]
async fn a_foreign_event_that_would_print_too_much_is_parked_and_the_others_flow() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let _worker = fleet.worker("integration-events", &store).await;
    let [ada, ben] = [(); 2].map(|()| Uuid::now_v7());
    let foreign = |user: Uuid, more: &str| {
        format!(
            r#"{{"event_id":"{}","aggregate_id":"{user}","aggregate_type":"User","event_type":"UserSignedUp",
            "event_version":1,"event_data":{{"user_id":"{user}","email":"{}@example.org","first_name":"A",
            "last_name":"B","more":[{more}]}},"metadata":{{"schema_version":2}},"occurred_at":"2026-03-01T08:00:00Z"}}"#,
            Uuid::now_v7(),
            user.simple()
        )
    };
    let publisher = || Arc::new(fleet.project.google.publisher("integration-events"));
    publish(publisher(), foreign(ada, &vec!["1e-16383"; 66_000].join(",")).as_bytes(), &[]).await;
    publish(publisher(), foreign(ben, "1e-300").as_bytes(), &[]).await;
    for wanted in [
        "select count(*) from parked_events where error like '%event_data: the number at more[0] has 16385 characters%'",
        "select count(*) from user_directory.users",
    ] {
        eventually(wanted, LIMIT, async || {
            if fleet.database.count(wanted).await == 1 { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
    }
    assert_eq!(fleet.database.head().await.0, 1, "only the other one was adopted");
}

/// What is stored of an event is broken: its size is known and harmless, and yet Postgres cannot give it.
#[tokio::test]
async fn an_event_whose_stored_bytes_are_lost_is_named_and_passed() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let [ada, ben] = [(); 2].map(|()| Uuid::now_v7());
    let random: String = (0..400).map(|_| Uuid::new_v4().to_string()).collect();
    let large = event("UserEmailUpdated", json!({"user_id": ada, "email": random}));
    client.append_events(append("User", ada, vec![signed_up(ada), large])).await.unwrap();
    client.append_events(append("User", ben, vec![signed_up(ben)])).await.unwrap();
    lose_stored_bytes(&fleet.database.pool).await;

    let all = collected(client.read_all(ReadAllRequest::default()).await.unwrap().into_inner()).await;
    let said: Vec<_> = all.iter().map(|event| (event.position, event.unreadable.is_some())).collect();
    assert_eq!(said, [(1, false), (2, true), (3, false)]);
    let wanted = ReadAggregateRequest { aggregate_id: ada.to_string(), ..ReadAggregateRequest::default() };
    let of_ada = collected(client.read_aggregate(wanted).await.unwrap().into_inner()).await;
    assert!(of_ada[1].unreadable.as_ref().is_some_and(|reason| reason.contains("XX001")), "{of_ada:?}");
    assert_eq!(fleet.database.count("select count(*) from unreadable_events where position = 2").await, 1);
    let admin = fleet.process("admin").await.start().await;
    let shown = Admin::of(&admin).get("/unreadable/2").await;
    assert!(shown["contents"].is_null() && shown["problem"].as_str().unwrap().contains("XX001"), "{shown}");
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_counts_as_none() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let user = Uuid::now_v7();
    client.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    let plant = format!("insert into snapshots values ($1, 'User', {}, 1)", planted::numbers(user, 1300, "1e-16383"));
    sqlx::query(AssertSqlSafe(plant)).bind(user).execute(&fleet.database.pool).await.unwrap();
    let wanted = || GetSnapshotRequest { aggregate_id: user.to_string() };
    assert_eq!(client.get_snapshot(wanted()).await.unwrap_err().code(), Code::NotFound);
    let snapshot = SaveSnapshotRequest {
        aggregate_id: user.to_string(),
        aggregate_type: "User".to_owned(),
        event_version: 1,
        snapshot_data: r#"{"state": 1}"#.to_owned(),
    };
    client.save_snapshot(snapshot).await.unwrap();
    assert_eq!(client.get_snapshot(wanted()).await.unwrap().into_inner().snapshot_data, r#"{"state": 1}"#);
}

#[tokio::test]
async fn an_answer_has_no_more_bytes_than_its_budget() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let (user, count) = (Uuid::now_v7(), if full_size() { 100 } else { 12 });
    for _ in 0..count {
        let event = event("Measured", json!({"text": "x".repeat(4_000_000)}));
        client.append_events(append("Measurement", user, vec![event])).await.unwrap();
    }
    let pool = &fleet.database.pool;
    for known in [true, false] {
        if !known {
            let forget = "alter table events disable trigger all; update events set data_bytes = null;
                          alter table events enable trigger all";
            sqlx::raw_sql(forget).execute(pool).await.unwrap();
        }
        let head = fleet.database.head().await;
        let (mut after, mut pages) = (Default::default(), 0);
        while after < head {
            let page = event_store::read::page(pool, after, head, 1000, &Default::default()).await.unwrap();
            assert_eq!(page.events.len(), 4, "16 MiB hold four of them");
            assert_eq!(page.upto.0, after.0 + 4);
            (after, pages) = (page.upto, pages + 1);
        }
        assert_eq!(pages, count / 4);

        let mut wanted: Vec<events::EventId> = sqlx::query_scalar::<_, Uuid>("select event_id from events")
            .fetch_all(pool)
            .await
            .unwrap()
            .into_iter()
            .map(Into::into)
            .collect();
        let mut found = 0;
        while !wanted.is_empty() {
            let part = event_store::read::by_id(pool, &wanted).await.unwrap();
            assert!((1..=4).contains(&part.events.len()));
            found += part.events.len();
            wanted = part.rest;
        }
        assert_eq!(found, count);
        let range = vec![(user.into(), 1.into(), 1000.into())];
        let part = event_store::read::ranges(pool, &range, 10).await.unwrap();
        assert_eq!(
            (part.events.len(), part.rest),
            (4, vec![(user.into(), 5.into(), 10.into()), (user.into(), 11.into(), 1000.into())])
        );
    }
}

fn number() -> impl Strategy<Value = String> {
    let digits = proptest::string::string_regex("(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?").unwrap();
    let exponent = prop_oneof![Just(None), (-600i32..600).prop_map(Some)];
    (any::<bool>(), digits, exponent, any::<bool>()).prop_map(|(minus, digits, exponent, capital)| {
        let sign = if minus { "-" } else { "" };
        let e = if capital { "E" } else { "e" };
        exponent.map_or(format!("{sign}{digits}"), |exponent| format!("{sign}{digits}{e}{exponent}"))
    })
}

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zé€😀 /]{0,8}",
        Just("\\n".to_owned()),
        Just("\\u0001".to_owned()),
        Just("\\u00e9".to_owned()),
        Just("\\ud83d\\ude00".to_owned()),
        Just("\\/".to_owned()),
        Just("\\\\\\\"".to_owned()),
        Just("\\u007f".to_owned()),
    ];
    proptest::collection::vec(piece, 0..5).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![number(), text(), Just("true".to_owned()), Just("null".to_owned())];
    leaf.prop_recursive(4, 60, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[ {}]", items.join(" ,\n"))),
            proptest::collection::vec((text(), inner), 0..6).prop_map(|entries| {
                let entries = entries.into_iter().enumerate();
                // Numbered, so that no key is there twice.
                let entries: Vec<_> = entries.map(|(n, (key, value))| format!("\"{n}{}: {value}", &key[1..])).collect();
                format!("{{{}}}", entries.join(","))
            }),
        ]
    })
}

#[tokio::test]
async fn what_is_printed_is_what_was_reckoned() {
    let database = Database::new().await;
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &seeded().random::<[u8; 32]>()),
    );
    let mut texts = Vec::new();
    for _ in 0..if full_size() { 20_000 } else { 2_000 } {
        texts.push(json().new_tree(&mut runner).unwrap().current());
    }
    let sizes: Vec<i32> = sqlx::query_scalar(
        "select octet_length(json::jsonb::text) from unnest($1::text[]) with ordinality as t (json, n) order by n",
    )
    .bind(&texts)
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let in_sql: Vec<i32> = sqlx::query_scalar(
        "select bytes_when_printed(json::jsonb) from unnest($1::text[]) with ordinality as t (json, n) order by n",
    )
    .bind(&texts)
    .fetch_all(&database.pool)
    .await
    .unwrap();
    for ((json, size), in_sql) in texts.iter().zip(sizes).zip(in_sql) {
        // The one difference that is no duplicate: U+007F and the like are as they are in both.
        assert_eq!(printed::bytes(json), Ok(size as usize), "{json}");
        assert_eq!(in_sql, size, "{json}");
    }
}
