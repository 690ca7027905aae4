//! Killed between any two steps: nothing is lost, nothing is doubled.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use bus::{Chaos, Message, Publisher};
use event_store::proto::AppendEventsRequest;
use events::{Position, wire};
use rand::Rng;
use serde_json::json;
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::apply::Mode;

use super::points;
use crate::harness::client::{append, connect, email_updated, event, signed_up};
use crate::harness::parts::{LIMIT, Parts, consistent, disorder};
use crate::harness::{Broker, Fleet, Process, eventually};
use crate::histories::History;
use crate::oracle::{self, Held};
use crate::sample::{message, seeded};

/// Points in whose process the event store dies.
const STORE: [&str; 11] = [
    "append.gathered",
    "append.epoch_taken",
    "append.written",
    "append.committed",
    "append.committed_at_once",
    "append.answered",
    "relay.leased",
    "relay.read",
    "relay.published",
    "relay.refused",
    "relay.advanced",
];

/// Points in whose process a worker dies.
const WORKER: [&str; 33] = [
    "worker.received",
    "worker.resolved",
    "worker.applied",
    "worker.acked",
    "resolve.parked",
    "resolve.adopted",
    "apply.fenced",
    "apply.locked",
    "apply.healed",
    "apply.written",
    "apply.recorded",
    "apply.committed",
    "park.refused",
    "park.inserted",
    "sweep.looked",
    "sweep.settled",
    "sweep.applied",
    "replay.claimed",
    "replay.applied",
    "replay.noted",
    "replay.succeeded",
    "redrive.outdated",
    "redrive.read",
    "redrive.settled",
    "redrive.recorded",
    "redrive.committed",
    "redrive.message_resolved",
    "redrive.message_settled",
    "pause.recorded",
    "pause.committed",
    "stop.recorded",
    "stop.committed",
    "nothing",
];

#[test]
fn there_is_a_test_that_kills_at_every_point_there_is() {
    let here = STORE.into_iter().chain(WORKER[..WORKER.len() - 1].iter().copied());
    let killed: BTreeSet<String> = here.chain(crate::generations::points()).map(str::to_owned).collect();
    assert_eq!(killed, points::all());
}

/// Waits for a process to die where it shall.
async fn died(process: &mut Process, point: &str) {
    let status = process.ended(LIMIT).await;
    assert_eq!(status.signal(), Some(9), "{point}: {status}, {:?}", process.logged());
    let said = process.logged();
    assert!(said.iter().any(|line| line.contains("killed_at") && line.contains(point)), "{point}: {said:?}");
}

/// In process: dropped at every pass of every point of the apply, where a kill would end it.
#[tokio::test]
async fn an_apply_that_ends_at_any_step_leaves_rows_versions_and_ids_in_step() {
    let mut rng = seeded();
    let parts = Parts::new().await;
    let history = History::of(rng.random(), 900).poison(rng.random(), 0.05);
    let points: Vec<_> =
        WORKER.into_iter().filter(|point| point.starts_with("apply.") || *point == "park.inserted").collect();
    let mut kills = 0;
    for (lines, point) in history.lines.chunks(history.lines.len().div_ceil(points.len())).zip(&points) {
        let before = parts.database.head().await;
        parts.load(lines).await;
        let events = parts.events(before).await;
        for pass in 1.. {
            let deliveries = disorder(&events, 3, 0.3, &mut rng);
            let applied = kill_points::kill_at(point, pass, parts.apply(&deliveries, Mode::Live)).await;
            consistent(&parts.database.pool).await;
            match applied {
                Some(done) => {
                    done.unwrap();
                    break;
                }
                None => kills += 1,
            }
        }
    }
    println!("{kills} kills");
    assert!(kills >= points.len(), "every point was passed");
    parts.converge(&history.held()).await;
}

#[tokio::test]
async fn a_sweep_that_ends_at_any_step_goes_on_where_it_was() {
    let mut rng = seeded();
    let (parts, history) = Parts::with_history(rng.random(), 1500).await;
    let points: Vec<_> =
        WORKER.into_iter().filter(|point| point.starts_with("sweep.") || point.starts_with("apply.")).collect();
    let mut kills = 0;
    for applier in &parts.appliers {
        for point in &points {
            let sweep = workers::sweep::Sweep {
                applier: applier.clone(),
                head: event_store::tail::Head::default(),
                grace: Duration::ZERO,
            };
            let sweeping = sweep.run(CancellationToken::new());
            let killed = kill_points::kill_at(point, 1, tokio::time::timeout(Duration::from_secs(1), sweeping)).await;
            kills += usize::from(killed.is_none());
            consistent(&parts.database.pool).await;
        }
    }
    assert!(kills > 20, "{kills}");
    parts.converge(&history.held()).await;
}

/// A worker's life after life, each ended at another point, with everything at hand that it can meet.
#[tokio::test]
async fn a_worker_killed_at_any_point_loses_and_doubles_nothing() {
    let broker = Broker::start(Chaos { duplicate: 1, shuffle: 20, ..Chaos::new(1) }).await;
    let fleet = Fleet::on(&broker).await;
    let pool = &fleet.database.pool;
    // The test is the relay, so that it can forget an event.
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("FLEET_NO_RELAY", "true").start().await;
    let mut client = connect(&store).await;
    sqlx::query("alter table user_directory.users add constraint no_mallory check (email not like 'mallory%')")
        .execute(pool)
        .await
        .unwrap();
    let publisher = broker.bus.publisher("integration-events");
    let mut held = Held::default();
    let mut relayed = Position::START;

    for point in WORKER {
        let builder = fleet.worker_builder("integration-events", &store).await.env("FLEET_SWEEP_GRACE", "0.3");
        // What people ask of an admin is asked of the worker here, so that it dies of it: as a user who may do that, too.
        let builder = builder.env("DATABASE_URL", &fleet.database.url);
        let mut worker = builder.env("FLEET_KILL_AT", point).start().await;

        let [ada, ben, eve, mallory, foreign, lost] = [(); 6].map(|()| Uuid::now_v7());
        let mut append = async |user, events| client.append_events(append("User", user, events)).await.unwrap();
        append(ada, vec![signed_up(ada), email_updated(ada, "ada@new.org")]).await;
        append(ben, vec![signed_up(ben), event("UserTeleported", json!({"to": "Mars"}))]).await;
        let goal = event("LearningGoalSet", json!({"user_id": eve, "daily_goal": "thirty"}));
        append(eve, vec![signed_up(eve), goal, email_updated(eve, "eve@new.org")]).await;
        held.after("user_directory", eve, 1);
        append(mallory, vec![signed_up(mallory), email_updated(mallory, "mallory@example.org")]).await;
        held.after("user_directory", mallory, 1);
        append(lost, vec![signed_up(lost)]).await;

        let head = fleet.database.head().await;
        let page = event_store::read::page(pool, relayed, head, 1000, &Default::default()).await.unwrap();
        relayed = page.upto;
        let mut messages: Vec<Message> =
            page.events.iter().filter(|event| event.aggregate_id.0 != lost).map(message).collect();
        messages.push(Message { data: "no event".into(), ..Message::default() });
        messages.push(signed_up_elsewhere(foreign));
        publisher.publish(messages).await.unwrap();
        if point.starts_with("replay.") {
            let body = json!({"projection": "user_directory", "reason": point});
            let url = format!("http://{}/admin/v1/replays", worker.http());
            // It may die before it has answered.
            let _ = reqwest::Client::new().post(url).json(&body).send().await;
        }
        if point.starts_with("pause.") {
            let body = json!({"seconds": 1, "replace": true, "actor": "a test", "reason": point});
            let url = format!("http://{}/admin/v1/projections/user_directory/pause", worker.http());
            let _ = reqwest::Client::new().post(url).json(&body).send().await;
        }
        if point.starts_with("stop.") {
            let body = json!({"seconds": 1, "replace": true, "actor": "a test", "reason": point});
            let url = format!("http://{}/admin/v1/operations/stop", worker.http());
            let _ = reqwest::Client::new().post(url).json(&body).send().await;
        }
        if point.starts_with("redrive.") {
            // Nothing is fixed: whatever is tried again is parked again.
            let message = point.contains("message");
            let letters = if message { "projection is null" } else { "projection is not null" };
            let letters = eventually("there is something to retry", LIMIT, async || {
                let id = format!("select id from parked_events where {letters} order by id limit 1");
                let id: Option<Uuid> = sqlx::query_scalar(AssertSqlSafe(id)).fetch_optional(pool).await.unwrap();
                id.ok_or_else(|| "nothing is parked".to_owned())
            });
            let url = format!("http://{}/admin/v1/dead-letters/{}/retry", worker.http(), letters.await);
            let _ = reqwest::Client::new().post(url).send().await;
        }
        if point == "nothing" {
            settled(&fleet, "user_directory").await;
        } else {
            died(&mut worker, point).await;
            consistent(pool).await;
        }
    }

    oracle::assert_equal_but(pool, &held).await;
    consistent(pool).await;
    let rounds = WORKER.len() as i64;
    let adopted =
        fleet.database.count("select count(*) from events where event_data ->> 'last_name' = 'Elsewhere'").await;
    assert_eq!(adopted, rounds, "each foreign event is adopted once");
    let parked = "select count(distinct (coalesce(projection, ''), event_id, message_id)) from parked_events";
    assert_eq!(fleet.database.count(parked).await, fleet.database.count("select count(*) from parked_events").await);
    assert_eq!(
        fleet.database.count("select count(*) from parked_events where projection is not null").await,
        2 * rounds
    );
    let undone = "select count(*) from operations
                  where state <> case when kind = 'retry' and parked > 0 then 'failed' else 'succeeded' end";
    assert_eq!(fleet.database.count(undone).await, 0);
    assert_eq!(broker.dead_letters().await, 0);
}

fn signed_up_elsewhere(user: Uuid) -> Message {
    let data = json!({
        "event_id": Uuid::now_v7(), "event_type": "UserSignedUp", "aggregate_id": user, "aggregate_type": "User",
        "event_version": 1, "occurred_at": chrono::Utc::now(), "metadata": {"schema_version": 2},
        "event_data": {"user_id": user, "email": format!("{user}@example.org"), "first_name": "E", "last_name": "Elsewhere"},
    });
    wire::identify(data.to_string().as_bytes()).unwrap();
    Message { data: data.to_string().into(), ..Message::default() }
}

async fn settled(fleet: &Fleet, projection: &str) {
    eventually("everything is settled", LIMIT, async || {
        let report = fleet.database.lag().await;
        let status = report.projections.iter().find(|status| status.name == projection).unwrap();
        let open = fleet.database.count("select count(*) from operations where state in ('pending', 'running')").await;
        let settled = status.lag_events == 0 && status.settled_position == report.store.head_position && open == 0;
        if settled { Ok(()) } else { Err(format!("{status:?}, {open} operations")) }
    })
    .await;
}

/// The events of which it is recorded that the bus does not take them.
async fn refused(pool: &sqlx::PgPool) -> Vec<String> {
    let refused = "select event_id::text from events join refused_messages using (position)";
    sqlx::query_scalar(refused).fetch_all(pool).await.unwrap()
}

/// An event store's life after life, each ended at another point, while a writer insists on its answers.
#[tokio::test]
async fn an_event_store_killed_at_any_point_answers_truly_and_relays_everything() {
    let broker = Broker::start(Chaos::new(1)).await;
    *broker.refused.lock().unwrap() = Some("never-take-this");
    let fleet = Fleet::on(&broker).await;
    let (seen, mut collected) = (broker.bus.subscription("integration-projection"), BTreeSet::new());
    let (sender, mut deliveries) = mpsc::channel(1000);
    tokio::spawn(async move { bus::Subscription::receive(&seen, sender, CancellationToken::new()).await });

    let mut store = fleet.event_store().await;
    let address = store.grpc();
    let mut client = connect(&store).await;
    let mut told = Vec::new();
    for point in STORE {
        store.kill();
        let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", &address);
        store = builder.env("FLEET_KILL_AT", point).start().await;
        // Three appends: the first goes the careful way, the others the fast one.
        let user = Uuid::now_v7();
        let mut dead = false;
        let last = if point == "relay.refused" { "never-take-this@new.org" } else { "b@new.org" };
        for request in [signed_up(user), email_updated(user, "a@new.org"), email_updated(user, last)] {
            let key = Uuid::now_v7().to_string();
            let request = AppendEventsRequest { idempotency_key: key, ..append("User", user, vec![request]) };
            let answer = loop {
                match tokio::time::timeout(Duration::from_secs(5), client.append_events(request.clone())).await {
                    Ok(Ok(answer)) => break answer.into_inner(),
                    Ok(Err(status)) if fleet::client::unavailable(&status) => {}
                    Ok(Err(status)) => panic!("{point}: {status}"),
                    Err(_) => {}
                }
                if !dead {
                    died(&mut store, point).await;
                    dead = true;
                    store = fleet.event_store_at(&address).await;
                }
                client = connect(&store).await;
            };
            told.extend(answer.events.into_iter().map(|event| (event.position, event.event_version, event.event_id)));
        }
        if !dead {
            // The relay dies some time after the answers.
            died(&mut store, point).await;
            store = fleet.event_store_at(&address).await;
            client = connect(&store).await;
        }
        let cursor = "select coalesce(max(position), 0) from relay_cursors where topic = 'integration-events'";
        let cursor = fleet.database.count(cursor).await;
        while let Ok(delivery) = deliveries.try_recv() {
            collected.insert(wire::identify(&delivery.message.data).unwrap().event_id.to_string());
            delivery.receipt.ack();
        }
        collected.extend(refused(&fleet.database.pool).await);
        for (position, _, id) in &told {
            assert!(*position > cursor || collected.contains(id), "{point}: the cursor passed {position}, unpublished");
        }
    }

    let stored = sqlx::query("select position, event_version, event_id from events order by position")
        .fetch_all(&fleet.database.pool)
        .await
        .unwrap();
    let stored: Vec<(i64, i32, String)> =
        stored.iter().map(|row| (row.get(0), row.get(1), row.get::<Uuid, _>(2).to_string())).collect();
    told.sort_unstable();
    assert_eq!(stored, told, "what was answered is in the store, once, and nothing else is");
    assert_eq!(
        stored.iter().map(|event| event.0).collect::<Vec<_>>(),
        (1..=3 * STORE.len() as i64).collect::<Vec<_>>()
    );
    let all: BTreeSet<String> = stored.into_iter().map(|event| event.2).collect();
    assert_eq!(refused(&fleet.database.pool).await.len(), 1);
    while collected != all {
        let delivery = tokio::time::timeout(LIMIT, deliveries.recv()).await;
        let delivery = delivery.unwrap_or_else(|_| panic!("{} of {} published", collected.len(), all.len())).unwrap();
        collected.insert(wire::identify(&delivery.message.data).unwrap().event_id.to_string());
        delivery.receipt.ack();
    }
}
