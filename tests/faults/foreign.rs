//! Foreign events that come before their predecessors: given back, never acknowledged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bus::{Chaos, Delivery, Message, Receipt, Settle};
use chrono::Utc;
use projections::topics::INTEGRATION;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::resolve::Resolver;
use workers::worker::Worker;

use super::answers;
use crate::harness::client::connect;
use crate::harness::parts::{LIMIT, Parts};
use crate::harness::{Broker, Database, Fleet, eventually};
use crate::oracle::Held;
use crate::plans::{Pool, assert_explained_as};

/// What became of each delivery, by its place in the batch: acknowledged or not.
type Answers = Arc<Mutex<BTreeMap<usize, bool>>>;

struct Answer(usize, Answers);

impl Settle for Answer {
    fn ack(self: Box<Self>) {
        self.1.lock().unwrap().insert(self.0, true);
    }

    fn nack(self: Box<Self>) {
        self.1.lock().unwrap().insert(self.0, false);
    }
}

fn foreign(user: Uuid, version: i32) -> Message {
    let (kind, data) = if version == 1 {
        let name = json!({"user_id": user, "email": "0@example.org", "first_name": "E", "last_name": "Elsewhere"});
        ("UserSignedUp", name)
    } else {
        ("UserEmailUpdated", json!({"user_id": user, "email": format!("{version}@example.org")}))
    };
    let event = json!({
        "event_id": Uuid::from_u128(user.as_u128() + version as u128), "event_type": kind, "aggregate_id": user,
        "aggregate_type": "User", "event_version": version, "occurred_at": "2026-03-01T08:00:00Z",
        "metadata": {"schema_version": if version == 1 { 2 } else { 1 }}, "event_data": data,
    });
    Message { data: event.to_string().into(), ..Message::default() }
}

/// Brings one batch to a worker; which of it was acknowledged, in its order.
async fn answered(worker: Worker, batch: Vec<Message>) -> Vec<bool> {
    let answers = Answers::default();
    let count = batch.len();
    let (sender, deliveries) = mpsc::channel(count);
    for (place, message) in batch.into_iter().enumerate() {
        let receipt = Receipt::new(Answer(place, answers.clone()));
        let delivery =
            Delivery { message, message_id: place.to_string(), published_at: Some(Utc::now()), attempt: None, receipt };
        sender.send(delivery).await.unwrap();
    }
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run(Vec::new(), deliveries, sender, stop.clone()));
    eventually("each has its answer", LIMIT, async || {
        let answered = answers.lock().unwrap().len();
        if answered == count { Ok(()) } else { Err(format!("{answered} of {count}")) }
    })
    .await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let answers = answers.lock().unwrap();
    answers.values().copied().collect()
}

#[tokio::test]
async fn early_foreign_events_are_given_back_in_whatever_order_they_stand_in_their_batch() {
    let fleet = Fleet::on(&Broker::start(Chaos::new(1)).await).await;
    let store = fleet.event_store().await;
    let client = connect(&store).await;
    let parts = Parts::reaching(Database::existing(&fleet.database.url), &fleet.database.url);
    let worker = || {
        let worker = answers::worker(&parts, &INTEGRATION);
        Worker { resolver: Resolver { store: client.clone(), ..worker.resolver }, ..worker }
    };
    // In the order of their ids the second comes first, so that neither place nor order of aggregates is that of the batch.
    let [ada, ben] = [Uuid::from_u128(2 << 64), Uuid::from_u128(1 << 64)];
    let early = vec![foreign(ada, 4), foreign(ben, 1), foreign(ada, 3), foreign(ben, 3), foreign(ada, 2)];
    assert_eq!(answered(worker(), early).await, [false, true, false, false, false]);
    assert_eq!(fleet.database.count("select count(*) from events").await, 1);
    assert_eq!(fleet.database.count("select count(*) from parked_events").await, 0);

    let again =
        vec![foreign(ada, 4), foreign(ada, 3), foreign(ben, 3), foreign(ben, 2), foreign(ada, 2), foreign(ada, 1)];
    assert_eq!(answered(worker(), again).await, [true; 6]);
    assert_eq!(fleet.database.count("select count(*) from user_directory.users where version in (3, 4)").await, 2);
    parts.converge(&Held::default()).await;
    assert_explained_as(Pool::Applying, &parts.appliers[0].pool).await;
}
