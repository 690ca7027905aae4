//! Lag that must stay honest: in a large store, when one projection cannot be measured, and when the clock jumps.

use std::cell::Cell;
use std::time::Duration;

use event_store::tail::Head;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::lag::{Measurer, State};
use workers::sweep::Sweep;

use super::growth::{number, user};
use crate::harness::parts::{LIMIT, Parts};
use crate::harness::{Database, catalogue, eventually, full_size};
use crate::plans::fill;

/// Nearly nothing of the store is its topic's, and all of it lies above its settled position.
#[tokio::test]
async fn the_lag_of_a_rare_topic_is_never_less_than_the_truth_and_comes_to_it() {
    let database = Database::new().await;
    fill(&database, if full_size() { 3_000_000 } else { 150_000 }).await;
    sqlx::raw_sql("update projection_progress set settled_position = 0").execute(&database.pool).await.unwrap();
    let truth = number(
        &database.pool,
        "select count(*) from events as event left join projected_aggregates as known
             on known.aggregate_id = event.aggregate_id and known.projection = 'user_directory'
         where event.aggregate_type = 'User' and event.event_version > coalesce(known.version, 0)
         and not coalesce(known.held, false)",
    )
    .await;
    assert!(truth > 0);
    // With no time at all, so that it has to remember.
    let measurer = Measurer::new(database.pool.clone(), catalogue().projections().to_vec()).patience(Duration::ZERO);
    let lag = async || {
        let report = measurer.report().await.unwrap();
        report.projections.into_iter().find(|status| status.name == "user_directory").unwrap()
    };
    let measurements = Cell::new(0);
    let seconds = eventually("all of it has been looked at", LIMIT, async || {
        let status = lag().await;
        measurements.set(measurements.get() + 1);
        assert!(status.lag_events >= truth, "{status:?}, and not {truth}");
        if status.lag_at_most { Err(format!("{status:?}")) } else { Ok((status.lag_events, status.lag_seconds)) }
    })
    .await;
    println!("after {} measurements the lag is exact", measurements.get());
    assert!(measurements.get() > 3, "it was not known at once: {}", measurements.get());
    assert_eq!(seconds.0, truth);
    // An event that is settled meanwhile is seen to be, and one that is appended, too.
    sqlx::query("update projected_aggregates set version = 3 where projection = 'user_directory'")
        .execute(&database.pool)
        .await
        .unwrap();
    let url = database.url.clone();
    let parts = Parts::reaching(database, &url);
    parts.append(&user(Uuid::now_v7(), 0)).await.unwrap();
    eventually("one is left", LIMIT, async || {
        let status = lag().await;
        let one = (status.lag_events, status.lag_at_most) == (1, false) && status.lag_seconds < 60.0;
        if one { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_projection_that_cannot_be_measured_takes_no_other_with_it() {
    let database = Database::new().await;
    // Reading its row fails, and reading no other's does.
    let break_one =
        "insert into parked_events (id, topic, projection, generation, reason, error, event_id, payload, attempts)
                     values (gen_random_uuid(), 'integration-events', 'user_directory', 1, 'wrong_data', 'no',
                         gen_random_uuid(), 'x', 1);
                     alter table parked_events rename to parked_events_of_all;
                     create view parked_events as select * from parked_events_of_all
                     where case projection when 'user_directory' then 1 / (attempts - 1) = 1 else true end;";
    sqlx::raw_sql(break_one).execute(&database.pool).await.unwrap();
    let report = database.lag().await;
    let of = |topic: &Option<String>| topic.clone().unwrap_or_default();
    let unmeasured: Vec<_> = report.unmeasured.iter().map(|failed| (&*failed.name, of(&failed.topic))).collect();
    assert_eq!(unmeasured, [("user_directory", "integration-events".to_owned())], "{:?}", report.unmeasured);
    let all: usize = catalogue().projections().iter().map(|projection| projection.topics().len()).sum();
    assert_eq!(report.projections.len(), all - 1);

    let registry = Registry::new();
    let metrics = workers::Metrics::register(&registry).unwrap();
    metrics.register_lag(&registry).unwrap();
    metrics.observe_lag(Some(&report));
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    assert!(text.contains(r#"projection_lag_events{projection="vocabulary""#), "{text}");
    assert!(!text.contains(r#"projection_lag_events{projection="user_directory""#), "{text}");
    assert!(text.contains("projection_lag_observed_timestamp_seconds 0"), "what was not measured was not observed");
}

#[tokio::test]
async fn a_sweep_of_the_future_is_none_and_a_worker_that_lives_soon_writes_another() {
    let parts = Parts::new().await;
    let future = "update projection_progress set swept_at = now() + interval '1 hour'";
    sqlx::query(future).execute(&parts.database.pool).await.unwrap();
    let running = async || {
        let report = parts.database.lag().await;
        report.projections.iter().filter(|status| status.state == State::Running).count()
    };
    assert_eq!(running().await, 0, "nobody sweeps");
    let stop = CancellationToken::new();
    let applier = parts.applier("user_directory").clone();
    let sweep = Sweep { applier, head: Head::default(), grace: Duration::ZERO };
    let sweeping = tokio::spawn(sweep.run(stop.clone()));
    eventually("one sweeps", LIMIT, async || match running().await {
        1 => Ok(()),
        running => Err(running.to_string()),
    })
    .await;
    stop.cancel();
    sweeping.await.unwrap();
}

/// They were recorded before the clock of the database went back.
#[tokio::test]
async fn an_event_of_the_future_grows_old_and_nothing_is_younger_than_now() {
    let parts = Parts::new().await;
    parts.append(&user(Uuid::now_v7(), 0)).await.unwrap();
    let future = "begin;
        set local session_replication_role = replica;
        update events set created_at = now() + interval '1 hour';
        commit;
        insert into parked_events (id, topic, reason, error, message_id, payload, first_parked_at)
        values (gen_random_uuid(), 'integration-events', 'undecodable', 'no', '1', 'x', now() + interval '1 hour')";
    sqlx::raw_sql(future).execute(&parts.database.pool).await.unwrap();
    let measurer = Measurer::new(parts.database.pool.clone(), catalogue().projections().to_vec());
    eventually("its age grows", LIMIT, async || {
        let report = measurer.report().await.unwrap();
        let status = report.projections.into_iter().find(|status| status.name == "user_directory").unwrap();
        assert_eq!((status.lag_events, status.parked, status.parked_oldest_seconds), (1, 1, 0.0));
        assert!((0.0..600.0).contains(&status.lag_seconds), "{status:?}");
        if status.lag_seconds > 1.0 { Ok(()) } else { Err(format!("{}", status.lag_seconds)) }
    })
    .await;
}
