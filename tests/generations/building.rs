//! Building a read model anew, beside whatever happens to it meanwhile.

use std::time::Duration;

use rand::Rng;
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::generations::gate::{self, Way};
use workers::generations::rebuild::{self, NewRebuild};
use workers::generations::{Generations, Refused, Standing};
use workers::operations::{self, State};

use crate::harness::parts::{LIMIT, Parts};
use crate::harness::proxy::{Proxy, Weather};
use crate::harness::{catalogue, eventually};
use crate::histories::History;
#[cfg(debug_assertions)]
use crate::oracle::Held;
use crate::sample::seeded;

#[cfg(debug_assertions)]
use super::dies;
use super::{Keeping, PROGRESS, all, ask, by, exchanged, is, keeper, start};

/// Both generations have parked it, and both go on behind it when the cause is gone: what was decided about the one that is read
/// holds for the one that is built.
#[cfg(debug_assertions)]
#[tokio::test]
async fn a_rebuild_whose_projection_is_redriven_meanwhile_is_equal_and_can_be_promoted() {
    const USERS: &str = "user_directory";
    let (parts, _) = Parts::with_history(seeded().random(), 2000).await;
    let pool = &parts.database.pool;
    let execute = async |sql: String| {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(pool).await.unwrap();
    };
    let poison = "add constraint poison check (md5(user_id::text) > '4')";
    execute(format!("alter table user_directory.users {poison}")).await;
    parts.sweep().await;
    let rebuild = start(&parts, USERS, 2).await;
    dies(&parts, "rebuild.begun").await;
    execute(format!("alter table user_directory__g2.users {poison}")).await;
    let keeping = Keeping::of(&parts);
    is(&parts, rebuild, State::Waiting).await;
    let parked = async |generation: i32| {
        let of = format!(
            "select count(*) from parked_events where projection = 'user_directory' and generation = {generation}"
        );
        let letters: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(of)).fetch_one(pool).await.unwrap();
        letters
    };
    let before = parked(1).await;
    assert!(before > 0 && parked(2).await == before, "{before}");
    let younger = "select count(*)
                   from parked_events as first
                   join parked_events as second using (projection, event_id)
                   where first.generation = 1 and second.generation = 2 and second.first_parked_at <> first.first_parked_at";
    assert_eq!(parts.database.count(younger).await, 0, "a letter waits since the first that the event had");
    let second = "select id, event_id, error from parked_events where generation = 2 limit 1";
    let (id, event_id, error): (Uuid, Uuid, String) = sqlx::query_as(second).fetch_one(pool).await.unwrap();
    let discard = workers::dead_letters::Discard {
        id,
        event_id: Some(event_id),
        error,
        seen: None,
        by: by(),
        idempotency_key: None,
    };
    let refused = workers::dead_letters::discard_one(pool, &discard).await.unwrap_err().to_string();
    assert!(refused.starts_with("it is of generation 2, which is not read: in generation 1, which is, "), "{refused}");

    for schema in ["user_directory", "user_directory__g2"] {
        execute(format!("alter table {schema}.users drop constraint poison")).await;
    }
    let stop = CancellationToken::new();
    let applier = parts.applier(USERS).clone();
    let redriving = tokio::spawn(workers::redrive::Redrive { applier }.run(stop.clone()));
    let of = |generation| workers::dead_letters::Filter {
        projection: Some(USERS.to_owned()),
        generation: Some(generation),
        ..Default::default()
    };
    // One by its id, of the live generation, and the rest of it as a batch: nobody speaks of the one that is built.
    let letters = workers::dead_letters::list(pool, &of(1), None, 100).await.unwrap();
    let id = letters[0].id;
    assert_eq!(letters[0].generation, Some(1));
    let operation = workers::dead_letters::retry_one(pool, id, 1000.0, None, &by(), None).await.unwrap();
    is(&parts, operation, State::Succeeded).await;
    assert_eq!((parked(1).await, parked(2).await), (before - 1, before - 1));
    let retry = async |filter: workers::dead_letters::Filter| {
        let plan = workers::dead_letters::plan(pool, &filter, 1000).await.unwrap();
        let plan_token = plan.plan_token.unwrap();
        let retry = workers::dead_letters::Retry { filter, plan_token, rate: 1000.0, by: by(), idempotency_key: None };
        workers::dead_letters::retry(pool, &retry).await.unwrap()
    };
    let operation = retry(of(1)).await;
    is(&parts, operation, State::Succeeded).await;
    assert_eq!((parked(1).await, parked(2).await), (0, 0));

    // And one that only the generation that is built has parked, by its name.
    let head = parts.database.head().await;
    let late = "alter table user_directory__g2.users add constraint late check (md5(user_id::text) > '4') not valid";
    execute(late.to_owned()).await;
    parts.load(&History::of(77, 400).lines).await;
    parts.sweep().await;
    eventually("it has parked some", LIMIT, async || match parked(2).await {
        0 => Err("nothing is parked".to_owned()),
        _ => Ok(()),
    })
    .await;
    assert!(parked(1).await == 0 && parts.database.head().await > head);
    execute("alter table user_directory__g2.users drop constraint late".to_owned()).await;
    // To the last event: until then it may park another, which it was refused before.
    let users = catalogue().projection(USERS).unwrap();
    eventually("it has caught up", LIMIT, async || {
        let gate = gate::look(pool, users, Way::Promote, None).await.unwrap();
        if gate.behind == 0 { Ok(()) } else { Err(format!("{gate:?}")) }
    })
    .await;
    let refused = ask(&parts, USERS, Way::Promote).await.unwrap_err().to_string();
    assert!(refused.contains("parked in it, which the live generation has applied"), "{refused}");
    let operation = retry(of(2)).await;
    is(&parts, operation, State::Succeeded).await;
    exchanged(&parts, USERS, Way::Promote).await;
    stop.cancel();
    redriving.await.unwrap();
    keeping.stop().await;
    parts.converge(&Held::default()).await;
}

/// In a generation that another has replaced, and whose code nobody runs any more: nobody can apply it, and nobody reads it.
#[tokio::test]
async fn a_retry_does_not_wait_for_code_that_is_gone() {
    const USERS: &str = "user_directory";
    let (parts, _) = Parts::with_history(seeded().random(), 300).await;
    let pool = &parts.database.pool;
    parts.sweep().await;
    let keeping = Keeping::of(&parts);
    let rebuild = start(&parts, USERS, 1).await;
    is(&parts, rebuild, State::Waiting).await;
    exchanged(&parts, USERS, Way::Promote).await;
    keeping.stop().await;
    let retry = Uuid::from_u128(7);
    for sql in [
        "update generations set version = 0, replaced_at = replaced_at - interval '1 min'
         where projection = 'user_directory' and generation = 1",
        "insert into operations (id, kind, selection, state, selected, created_at)
         values ('00000000-0000-0000-0000-000000000007', 'retry', '{}', 'running', 1, now() - interval '1 min')",
        "insert into parked_events (id, topic, projection, generation, reason, error, event_id, aggregate_id, event_version, position,
                                    payload, decision, operation_id)
         select event_id, 'integration-events', 'user_directory', 1, 'panicked', 'no', event_id, aggregate_id, event_version, position,
                '', 'retry', '00000000-0000-0000-0000-000000000007'
         from events where aggregate_type = 'User' order by position limit 1",
    ] {
        assert_eq!(sqlx::query(sql).execute(pool).await.unwrap().rows_affected(), 1, "{sql}");
    }
    let keeping = Keeping::of(&parts);
    is(&parts, retry, State::Failed).await;
    let error = operations::get(pool, retry).await.unwrap().unwrap().error.unwrap();
    assert!(error.starts_with("0 applied, 0 parked, 1 left as they are: another generation is read now"), "{error}");
    let left = "select count(*) from parked_events where decision is null and operation_id is null";
    assert_eq!(parts.database.count(left).await, 1, "somebody may decide about it again");
    keeping.stop().await;
}

/// One connection, over which nothing comes quickly: whoever holds it and does not go on holds up all others.
#[tokio::test]
async fn measuring_live_lag_holds_up_nobody_who_builds() {
    let (parts, _) = Parts::with_history(seeded().random(), 500).await;
    parts.sweep().await;
    let proxy = Proxy::before(&parts.database.url).await;
    let reading = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(10));
    let reading = reading.connect(&proxy.url).await.unwrap();
    proxy.set(Weather::Slow(Duration::from_millis(150)));
    let rebuild = start(&parts, PROGRESS, 1).await;
    let (stop, keeper) = (CancellationToken::new(), Generations { reading, ..keeper(&parts) });
    let running = tokio::spawn(keeper.run(stop.clone()));
    is(&parts, rebuild, State::Waiting).await;
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn of_fifty_starts_at_once_one_is_a_rebuild_and_the_others_are_told_which() {
    let (parts, _) = Parts::with_history(seeded().random(), 50).await;
    let projection = catalogue().projection(PROGRESS).unwrap();
    let plan = rebuild::plan(&parts.database.pool, projection).await.unwrap();
    let ask = |key: Option<String>| {
        let (pool, plan_token) = (parts.database.pool.clone(), plan.plan_token.clone());
        async move {
            let new = NewRebuild { parts: 1, rate: None, plan_token, by: by(), idempotency_key: key };
            rebuild::ask(&pool, projection, &new).await
        }
    };
    let all = futures::future::join_all((0..50).map(|_| ask(None))).await;
    let started: Vec<_> = all.iter().filter_map(|asked| asked.as_ref().ok()).collect();
    assert_eq!(started.len(), 1);
    let told = |asked: &Result<Uuid, Refused>| matches!(asked, Err(Refused::UnderWay { operation, .. }) if operation == started[0]);
    assert_eq!(all.iter().filter(|asked| told(asked)).count(), 49);
    assert_eq!(parts.database.count("select count(*) from audit_log where action = 'rebuild.start'").await, 1);

    rebuild::pause(&parts.database.pool, *started[0], &by()).await.unwrap();
    rebuild::cancel(&parts.database.pool, *started[0], &by()).await.unwrap();
    let keyed = || ask(Some("once".to_owned()));
    assert_eq!(keyed().await.unwrap(), keyed().await.unwrap(), "one key, one rebuild");
    let other = NewRebuild {
        parts: 2,
        rate: None,
        plan_token: plan.plan_token.clone(),
        by: by(),
        idempotency_key: Some("once".to_owned()),
    };
    let refused = rebuild::ask(&parts.database.pool, projection, &other).await.unwrap_err();
    assert!(matches!(refused, Refused::Operation(operations::Refused::KeyReused(_))), "{refused}");
}

#[tokio::test]
async fn a_rebuild_is_paused_resumed_and_cancelled_and_leaves_nothing() {
    let (parts, _) = Parts::with_history(seeded().random(), 2000).await;
    let rebuild = start(&parts, PROGRESS, 1).await;
    let keeping = Keeping::of(&parts);
    is(&parts, rebuild, State::Waiting).await;
    rebuild::pause(&parts.database.pool, rebuild, &by()).await.unwrap();
    let reached = || async { all(&parts, PROGRESS).await[0].position };
    eventually("it says that it is paused", LIMIT, async || {
        let pace = all(&parts, PROGRESS).await[0].pace.clone();
        if pace == ["paused"] { Ok(()) } else { Err(format!("{pace:?}")) }
    })
    .await;
    let before = reached().await;
    parts.load(&History::of(7, 300).lines).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(reached().await, before, "nothing is built while it is paused");
    rebuild::resume(&parts.database.pool, rebuild, &by()).await.unwrap();
    let head = parts.database.head().await;
    eventually("it goes on", LIMIT, async || match reached().await {
        Some(position) if position >= head.0 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    keeping.stop().await;
    rebuild::cancel(&parts.database.pool, rebuild, &by()).await.unwrap();
    assert_eq!(all(&parts, PROGRESS).await[0].standing, Standing::Abandoned, "nobody has looked at it yet");
    let keeping = Keeping::of(&parts);
    eventually("it is gone", LIMIT, async || match all(&parts, PROGRESS).await[0].standing {
        Standing::Retired => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let schemas = "select count(*) from pg_namespace where nspname like 'learner_progress%'";
    assert_eq!(parts.database.count(schemas).await, 1);
    assert!(matches!(ask(&parts, PROGRESS, Way::Promote).await, Err(Refused::Impossible(_))));
    keeping.stop().await;
}

#[tokio::test]
async fn what_a_person_discarded_a_rebuild_goes_on_without() {
    let (parts, _) = Parts::with_history(seeded().random(), 300).await;
    parts.sweep().await;
    let pool = &parts.database.pool;
    let discard = "insert into operations (id, kind, selection, state, selected)
                       values ('00000000-0000-7000-8000-000000000001', 'discard', '{}', 'succeeded', 1)";
    sqlx::query(discard).execute(pool).await.unwrap();
    let discard = "insert into discarded_events (id, topic, projection, generation, reason, error, event_id, aggregate_id,
                       event_version, position, payload, attributes, attempts, first_parked_at, last_parked_at, operation_id)
                   select event_id, 'integration-events', 'user_directory', 1, 'wrong_data', 'no', event_id, aggregate_id,
                       event_version, position, '', '{}', 1, now(), now(), '00000000-0000-7000-8000-000000000001'
                   from events where aggregate_type = 'User' and event_version = 1 order by position limit 1";
    assert_eq!(sqlx::query(discard).execute(pool).await.unwrap().rows_affected(), 1);
    let keeping = Keeping::of(&parts);
    let rebuild = start(&parts, "user_directory", 1).await;
    is(&parts, rebuild, State::Waiting).await;
    keeping.stop().await;
    let missing = "select count(*) from user_directory.users as live
                   left join user_directory__g2.users as rebuilt using (user_id)
                   where rebuilt.user_id is null";
    assert_eq!(parts.database.count(missing).await, 1, "without the event that made it");
    let known = "select count(*) from projected_aggregates as live
                 join projected_aggregates as rebuilt using (projection, aggregate_id, version)
                 where projection = 'user_directory' and live.generation = 1 and rebuilt.generation = 2";
    let all = "select count(*) from projected_aggregates where projection = 'user_directory' and generation = 1";
    assert_eq!(parts.database.count(known).await, parts.database.count(all).await, "and on to the same versions");

    // Once it is read, why a row is not there is still said.
    let keeping = Keeping::of(&parts);
    exchanged(&parts, "user_directory", Way::Promote).await;
    let of = sqlx::query_scalar("select aggregate_id from discarded_events").fetch_one(pool).await.unwrap();
    let progress = workers::inspect::progress(pool, of, &["user_directory"]).await.unwrap();
    let discarded: Vec<_> = progress[0].discarded.iter().map(|it| it.version).collect();
    assert_eq!(discarded, [Some(1)]);
    let users = catalogue().projection("user_directory").unwrap();
    let topic = users.topics()[0];
    let counted = workers::losses::count(pool, users, topic, None, Duration::from_secs(60)).await.unwrap();
    assert_eq!((counted.discarded, counted.lost), (1, 0), "{counted:?}");
    keeping.stop().await;
}
