//! SIGTERM: finish or roll back what is in hand, give the rest back, be gone within 8 s.

use std::time::{Duration, Instant};

use crate::harness::client::{SAMPLE_EVENTS, load_sample};
use crate::harness::{Fleet, expected};

#[tokio::test]
async fn every_role_ends_within_eight_seconds_of_sigterm_also_under_load() {
    let fleet = Fleet::apart().await;
    let mut store = fleet.event_store().await;
    load_sample(&store).await;
    let mut workers = fleet.workers(&store).await;
    let mut admin = fleet.process("admin").await.start().await;

    // Under load: most of the sample is still to be applied.
    for process in workers.iter_mut().chain([&mut store, &mut admin]) {
        process.terminate();
        let asked = Instant::now();
        let status = process.ended(Duration::from_secs(12)).await;
        assert!(status.success(), "{status}: {:?}", process.logged());
        assert!(asked.elapsed() < Duration::from_secs(8), "it took {:?}", asked.elapsed());
    }
    let applied = fleet.database.count("select count(*) from projected_aggregates").await;
    println!("{applied} aggregates were begun before the end");

    let store = fleet.event_store().await;
    let _workers = fleet.workers(&store).await;
    fleet.database.settled(SAMPLE_EVENTS, Duration::from_secs(240)).await;
    expected::assert_sample(&fleet.database.pool).await;
}
