//! Events whose numbers become far more when they are printed, by each way into the store.

use bus::Publisher;
use event_store::proto::NewEvent;
use projections::topics::INTEGRATION;
use sqlx::PgPool;
use tonic::Code;
use uuid::Uuid;

use crate::harness::client::{append, connect, signed_up};
use crate::harness::planted::{self, plant};
use crate::harness::{Broker, Process};
use crate::oracle::Held;

#[derive(Default)]
pub struct Bombs {
    /// Messages of somebody else's. The bus may have lost them.
    pub foreign: u32,
    /// Users whose second event is in the store and cannot be read.
    pub planted: Vec<Uuid>,
}

impl Bombs {
    /// How many events each planted user has.
    pub const PLANTED: i64 = 3;

    /// Numbers of 8 bytes, which print as 16 kB each.
    fn numbers() -> String {
        vec!["1e-16383"; 2000].join(",")
    }

    /// It must be refused.
    pub async fn append(&self, store: &Process) {
        let user = Uuid::now_v7();
        let bomb = NewEvent { event_data: format!(r#"{{"n":[{}]}}"#, Self::numbers()), ..signed_up(user) };
        let refused = connect(store).await.append_events(append("User", user, vec![bomb])).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }

    pub async fn publish(&mut self, broker: &Broker) {
        let (event, user) = (Uuid::now_v7(), Uuid::now_v7());
        let data = format!(
            r#"{{"event_id":"{event}","aggregate_id":"{user}","aggregate_type":"User","event_type":"UserSignedUp",
            "event_version":1,"event_data":{{"user_id":"{user}","email":"{}@example.org","first_name":"A",
            "last_name":"B","more":[{}]}},"metadata":{{"schema_version":2}},"occurred_at":"2026-03-01T08:00:00Z"}}"#,
            user.simple(),
            Self::numbers()
        );
        let message = bus::Message { data: data.into(), attributes: Default::default() };
        broker.bus.publisher(INTEGRATION.name).publish(vec![message]).await.unwrap();
        self.foreign += 1;
    }

    /// One event that can be read, one that cannot, and one that waits behind it.
    pub async fn plant(&mut self, pool: &PgPool) {
        let user = Uuid::now_v7();
        plant(pool, user, 1, "UserSignedUp", &planted::ordinary(user)).await;
        // Just more than is ever read, so that the oracle can still read it.
        plant(pool, user, 2, "UserEmailUpdated", &planted::numbers(user, 70_000, "1e307")).await;
        plant(pool, user, 3, "UserEmailUpdated", &planted::ordinary(user)).await;
        self.planted.push(user);
    }

    /// In the read model of users nothing is applied of the planted ones after their first event.
    pub fn hold(&self, held: &mut Held) {
        for user in &self.planted {
            held.after("user_directory", user, 1);
        }
    }
}
