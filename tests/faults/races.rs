//! Two at once: one waits at a step while the other does just what must not be done meanwhile.

use std::collections::HashSet;
use std::time::Duration;

use event_store::tail::Head;
use events::{AppendLine, Position};
use kill_points::hold_at;
use rand::Rng;
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::apply::{Applier, Mode};
use workers::audit::Attribution;
use workers::dead_letters::{self, Filter, MAX_PLANNED, Retry};
use workers::redrive::Redrive;
use workers::sweep::Sweep;

use super::points;
use crate::harness::eventually;
use crate::harness::parts::{LIMIT, Parts, apply, consistent, line};
use crate::histories::History;
use crate::oracle::Held;
use crate::sample::seeded;

/// How many wait for a lock that somebody has.
const WAITING: &str = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";

fn sweep(applier: &Applier) -> Sweep {
    Sweep { applier: applier.clone(), head: Head::default(), grace: Duration::ZERO }
}

/// The ids of events stand in the way of a second effect only until the sweep forgets them. What stands in its way then is
/// that nobody can apply, and so nobody can forget, what another has begun with.
#[tokio::test]
async fn what_another_applies_and_forgets_while_an_apply_stands_still_has_one_effect() {
    let mut rng = seeded();
    let parts = Parts::new().await;
    let points = points::all().into_iter().filter(|point| point.starts_with("apply."));
    let points: Vec<&'static str> = points.map(|point| &*point.leak()).collect();
    let history = History::of(rng.random(), 400 * (points.len() + 1));
    let mut parts_of = history.lines.chunks(history.lines.len().div_ceil(points.len() + 1));
    // Most aggregates have a row, which is what can be locked.
    parts.load(parts_of.next().unwrap()).await;
    parts.sweep().await;
    for (point, lines) in points.into_iter().zip(parts_of) {
        let before = parts.database.head().await;
        let known: HashSet<_> = parts.events(Position::START).await.iter().map(|event| event.aggregate_id).collect();
        parts.load(lines).await;
        // An aggregate that is new to both would be noticed by its row, which only one can insert.
        let all = parts.events(before).await;
        let mut events = all.clone();
        events.retain(|event| known.contains(&event.aggregate_id));
        assert!(events.len() > 10, "{point}: {}", events.len());
        for applier in &parts.appliers {
            let types = applier.topic.aggregate_types;
            // Whoever passes over all of them writes no row.
            let writes = events.iter().any(|event| {
                types.contains(&event.data.aggregate_type.as_str()) && applier.projection.decodes(&event.data).unwrap()
            });
            if !writes {
                continue;
            }
            let (flying, deliveries) = (applier.clone(), events.clone());
            let flying = hold_at(point, async move { apply(&flying, &deliveries, Mode::Live).await.unwrap() }).await;
            // All of it, so that all of it is settled, and no id is left.
            let (other, deliveries) = (applier.clone(), all.clone());
            let other = tokio::spawn(async move {
                apply(&other, &deliveries, Mode::Live).await.unwrap();
                // It settles what is applied, and forgets its ids; then it waits for more.
                let swept =
                    tokio::time::timeout(LIMIT, hold_at("sweep.settled", sweep(&other).run(Default::default())));
                drop(swept.await.unwrap());
            });
            eventually("the other is done, or waits", LIMIT, async || {
                let waiting = parts.database.count(WAITING).await;
                if other.is_finished() || waiting > 0 { Ok(()) } else { Err(format!("{point}: {waiting} wait")) }
            })
            .await;
            flying.go().await;
            other.await.unwrap();
        }
        consistent(&parts.database.pool).await;
        parts.sweep().await;
    }
    parts.converge(&Held::default()).await;
}

fn user(user: Uuid, email: &str) -> AppendLine {
    let data = json!({"user_id": user, "email": email, "first_name": "M", "last_name": "L"});
    line("User", user, 0, "UserSignedUp", &data)
}

fn email(user: Uuid, version: i32, email: &str) -> AppendLine {
    line("User", user, version - 1, "UserEmailUpdated", &json!({"user_id": user, "email": email}))
}

/// What the projection cannot write, until it is allowed.
async fn refuse(parts: &Parts, refuse: bool) {
    let change = if refuse {
        "add constraint no_mallory check (email not like 'mallory%')"
    } else {
        "drop constraint no_mallory"
    };
    parts.database.pool.execute(AssertSqlSafe(format!("alter table user_directory.users {change}"))).await.unwrap();
}

/// Postgres has refused an event, and by the time it is parked another worker has applied it.
#[tokio::test]
async fn an_event_that_another_has_applied_meanwhile_is_not_parked() {
    let parts = Parts::new().await;
    let mallory = Uuid::now_v7();
    parts.load(&[user(mallory, "mallory@example.org"), email(mallory, 2, "mallory@new.org")]).await;
    refuse(&parts, true).await;
    let events = parts.events(Default::default()).await;
    let applier = parts.applier("user_directory").clone();
    let (late, deliveries) = (applier.clone(), events[..1].to_vec());
    let late = hold_at("park.refused", async move { apply(&late, &deliveries, Mode::Live).await.unwrap() }).await;
    refuse(&parts, false).await;
    assert_eq!(apply(&applier, &events, Mode::Live).await.unwrap().applied, 2);
    let tally = late.go().await;
    assert_eq!((tally.parked, tally.duplicate), (0, 1), "{tally:?}");
    assert_eq!(parts.database.count("select count(*) from parked_events").await, 0);
    assert_eq!(parts.database.count("select count(*) from projected_aggregates where held").await, 0);
    parts.converge(&Held::default()).await;
}

/// Whatever a redrive has read of an aggregate, what is appended afterwards is the sweep's.
#[tokio::test]
async fn what_is_appended_while_a_redrive_is_under_way_is_not_settled_over() {
    let parts = Parts::new().await;
    let pool = &parts.database.pool;
    let applier = parts.applier("user_directory");
    let points = points::all().into_iter().filter(|it| it.starts_with("redrive.") && !it.contains("message"));
    for point in points {
        let point: &'static str = point.leak();
        let mallory = Uuid::now_v7();
        parts
            .load(&[user(mallory, &format!("mallory-{mallory}@example.org")), email(mallory, 2, "mallory@new.org")])
            .await;
        refuse(&parts, true).await;
        parts.sweep().await;
        assert_eq!(parts.database.count("select count(*) from parked_events").await, 1, "{point}");
        refuse(&parts, false).await;
        let plan = dead_letters::plan(pool, &Filter::default(), MAX_PLANNED).await.unwrap();
        let retry = Retry {
            filter: Filter::default(),
            plan_token: plan.plan_token.unwrap(),
            rate: 1e5,
            by: Attribution::default(),
            idempotency_key: None,
        };
        dead_letters::retry(pool, &retry).await.unwrap();

        let stop = CancellationToken::new();
        let redriving = hold_at(point, Redrive { applier: applier.clone() }.run(stop.clone())).await;
        // The aggregate is still held for everybody else, so that this counts as settled for whoever looks now.
        parts.load(&[email(mallory, 3, "third@example.org")]).await;
        let sweeping = tokio::spawn(hold_at("sweep.settled", sweep(applier).run(CancellationToken::new())));
        eventually("a sweep has settled what it saw, or waits", LIMIT, async || {
            let waiting = parts.database.count(WAITING).await;
            if sweeping.is_finished() || waiting > 0 { Ok(()) } else { Err(format!("{point}: {waiting} wait")) }
        })
        .await;
        let redriving = tokio::spawn(redriving.go());
        eventually("the redrive is over", LIMIT, async || {
            let left = parts.database.count("select count(*) from parked_events").await;
            if left == 0 { Ok(()) } else { Err(format!("{point}: {left} are parked")) }
        })
        .await;
        stop.cancel();
        redriving.await.unwrap();
        drop(sweeping.await.unwrap());
        parts.sweep().await;
        let third = "select count(*) from user_directory.users where email = 'third@example.org'";
        assert_eq!(parts.database.count(third).await, 1, "{point}: it was settled over");
        parts.load(&[email(mallory, 4, &format!("{mallory}@example.org"))]).await;
        parts.sweep().await;
    }
    parts.converge(&Held::default()).await;
}
