//! Many writers at once: one order without gaps, whatever happens to them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use event_store::proto::{AppendEventsRequest, ReadAllRequest, read_all_request};
use event_store::read::Filter;
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::harness::client::{append, connect, email_updated};
use crate::harness::{Fleet, Process, Store, eventually};
use crate::sample::{all, seeded};

const WRITERS: usize = 64;
const APPENDS: usize = 60;

#[tokio::test]
async fn positions_and_versions_are_gapless_through_conflicts_rollbacks_and_a_kill() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    storm(&fleet, vec![Mutex::new(store)], true).await;
}

#[tokio::test]
async fn two_event_stores_on_one_database_keep_one_order() {
    let fleet = Fleet::new().await;
    let (one, other) = (fleet.event_store().await, fleet.event_store().await);
    storm(&fleet, vec![Mutex::new(one), Mutex::new(other)], false).await;
}

/// What the writers were told.
#[derive(Default)]
struct Told {
    /// Event id to aggregate, version, position.
    appended: HashMap<String, (String, i32, i64)>,
    conflicts: usize,
    refused: usize,
}

async fn storm(fleet: &Fleet, stores: Vec<Mutex<Process>>, kill: bool) {
    let mut rng = seeded();
    let hot: Vec<Uuid> = (0..16).map(|_| Uuid::now_v7()).collect();
    let stores = Arc::new(stores);
    let done = Arc::new(AtomicUsize::new(0));
    let tailing = tokio::spawn(tail(stores.clone(), WRITERS * APPENDS));

    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let rng = StdRng::seed_from_u64(rng.random());
        writers.spawn(write(stores.clone(), hot.clone(), rng, done.clone()));
    }
    if kill {
        let all = WRITERS * APPENDS;
        for part in [0.25, 0.5, 0.75] {
            eventually("the writers are under way", Duration::from_secs(120), async || {
                let done = done.load(Ordering::Relaxed);
                if done as f64 >= part * all as f64 { Ok(()) } else { Err(format!("{done} of {all}")) }
            })
            .await;
            if part == 0.5 {
                // Its address stays, so that the writers find it again.
                let mut store = stores[0].lock().await;
                let grpc = store.grpc();
                store.kill();
                *store = fleet.event_store_at(&grpc).await;
            } else {
                // The writer's connection breaks in the middle of whatever it does.
                fleet
                    .database
                    .count(
                        "select count(pg_terminate_backend(pid)) from pg_stat_activity
                         where datname = current_database() and pid <> pg_backend_pid()",
                    )
                    .await;
            }
        }
    }
    let mut told = Told::default();
    while let Some(writer) = writers.join_next().await {
        let one = writer.unwrap();
        told.appended.extend(one.appended);
        told.conflicts += one.conflicts;
        told.refused += one.refused;
    }
    println!("{} events appended, {} conflicts, {} refused", told.appended.len(), told.conflicts, told.refused);
    assert!(told.conflicts > 50, "there must have been conflicts");
    assert!(told.refused > 50, "there must have been refusals");

    let events = all(fleet, &Filter::default()).await;
    let positions: Vec<i64> = events.iter().map(|event| event.position.0).collect();
    assert_eq!(positions, (1..=events.len() as i64).collect::<Vec<_>>(), "positions are gapless");
    let mut versions: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for event in &events {
        versions.entry(event.aggregate_id.0).or_default().push(event.version.0);
    }
    for (aggregate, versions) in versions {
        assert_eq!(versions, (1..=versions.len() as i32).collect::<Vec<_>>(), "versions of {aggregate}");
    }
    assert_eq!(events.len(), told.appended.len(), "what was appended was answered, and the other way round");
    for event in &events {
        let told = &told.appended[&event.event_id.to_string()];
        assert_eq!(*told, (event.aggregate_id.to_string(), event.version.0, event.position.0));
    }
    let seen = tailing.await.unwrap();
    assert_eq!(seen, positions, "a follower saw every event once, in order");
}

/// Appends, again and again until it has an answer; an idempotency key makes that safe.
async fn write(stores: Arc<Vec<Mutex<Process>>>, hot: Vec<Uuid>, mut rng: StdRng, done: Arc<AtomicUsize>) -> Told {
    let mut told = Told::default();
    let mut clients = Vec::new();
    for store in stores.iter() {
        clients.push(connect(&*store.lock().await).await);
    }
    let mut versions: HashMap<Uuid, i32> = HashMap::new();
    while told.appended.len() < APPENDS {
        let aggregate = if rng.random_bool(0.5) { hot[rng.random_range(0..hot.len())] } else { Uuid::now_v7() };
        let which = rng.random_range(0..clients.len());
        if rng.random_bool(0.05) {
            // Refused together with whatever batch it is in; its neighbours must not notice.
            let mut wrong = append("User", aggregate, vec![email_updated(aggregate, "a@example.org")]);
            let known = told.appended.keys().next().cloned();
            wrong.events[0].event_id = Some(known.unwrap_or_else(|| "x".to_owned()));
            let status = answered(&mut clients[which], &wrong).await.unwrap_err();
            assert!(matches!(status.code(), Code::AlreadyExists | Code::InvalidArgument), "{status}");
            told.refused += 1;
        }
        let expected = versions.get(&aggregate).copied().unwrap_or(0);
        let request = AppendEventsRequest {
            expected_version: rng.random_bool(0.7).then_some(expected),
            idempotency_key: Uuid::now_v7().to_string(),
            ..append("User", aggregate, vec![email_updated(aggregate, "b@example.org")])
        };
        match answered(&mut clients[which], &request).await {
            Ok(appended) => {
                for (id, version, position) in appended {
                    versions.insert(aggregate, version);
                    told.appended.insert(id, (aggregate.to_string(), version, position));
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(status) if status.code() == Code::Aborted => {
                let details = status.get_details_error_info().unwrap();
                let current: i32 = details.metadata["current_version"].parse().unwrap();
                assert_ne!(current, expected, "a conflict names a version that differs");
                versions.insert(aggregate, current);
                told.conflicts += 1;
            }
            Err(status) => panic!("{status}"),
        }
    }
    told
}

async fn answered(client: &mut Store, request: &AppendEventsRequest) -> Result<Vec<(String, i32, i64)>, tonic::Status> {
    let client = Mutex::new(client);
    eventually("an answer", Duration::from_secs(60), async || {
        match client.lock().await.append_events(request.clone()).await {
            Ok(response) => {
                let events = response.into_inner().events.into_iter();
                Ok(Ok(events.map(|event| (event.event_id, event.event_version, event.position)).collect()))
            }
            Err(status) if fleet::client::unavailable(&status) => Err(status.to_string()),
            Err(status) => Ok(Err(status)),
        }
    })
    .await
}

/// Follows the store from its beginning, over every restart, until it has seen `count` events.
async fn tail(stores: Arc<Vec<Mutex<Process>>>, count: usize) -> Vec<i64> {
    let mut seen: Vec<i64> = Vec::new();
    while seen.len() < count {
        let mut client = connect(&*stores[0].lock().await).await;
        let from = seen.last().copied().unwrap_or(0) + 1;
        let request = ReadAllRequest {
            from: Some(read_all_request::From::FromPosition(from)),
            follow: true,
            ..ReadAllRequest::default()
        };
        let Ok(response) = client.read_all(request).await else { continue };
        let mut events = response.into_inner();
        while seen.len() < count
            && let Ok(Some(event)) = events.message().await
        {
            seen.push(event.position);
        }
    }
    seen
}
