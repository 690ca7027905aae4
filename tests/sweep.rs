//! What the bus loses, the sweep finds.

use std::time::Duration;

use crate::harness::client::{SAMPLE_EVENTS, load_sample};
use crate::harness::{Fleet, expected};

#[tokio::test]
async fn a_bus_that_delivers_nothing_at_all_loses_nothing() {
    let fleet = Fleet::apart().await;
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("FLEET_NO_RELAY", "true").start().await;
    load_sample(&store).await;
    let _workers = fleet.workers(&store).await;
    fleet.database.settled(SAMPLE_EVENTS, Duration::from_secs(240)).await;
    expected::assert_sample(&fleet.database.pool).await;
}

#[tokio::test]
async fn a_subscription_that_does_not_exist_is_reported_and_the_sweep_goes_on() {
    let fleet = Fleet::new().await;
    fleet.project.google.delete_subscription("integration-projection").await.unwrap();
    let store = fleet.event_store().await;
    load_sample(&store).await;
    let worker = fleet.worker("integration-events", &store).await;
    crate::harness::eventually("the users are there", Duration::from_secs(120), async || {
        let users = fleet.database.count("select count(*) from user_directory.users").await;
        if users == 200 { Ok(()) } else { Err(format!("{users}")) }
    })
    .await;
    // The sweep need not wait for the bus to say so.
    crate::harness::eventually("it is reported", Duration::from_secs(120), async || {
        let said = worker.logged();
        if said.iter().any(|line| line.contains("integration-projection")) { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;
}
