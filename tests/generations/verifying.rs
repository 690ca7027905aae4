//! What readers see, compared with what the store folds to.

use std::collections::BTreeSet;
use std::time::Instant;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;
use uuid::Uuid;
use workers::generations::gate::Way;
use workers::generations::verify::{self, Findings};
use workers::operations::{self, State};

use crate::harness::parts::{LIMIT, Parts, line};
use crate::harness::{catalogue, eventually, full_size};
use crate::histories::History;
use crate::sample::seeded;

use super::{Keeping, PROGRESS, by, exchanged, live, start};
#[cfg(debug_assertions)]
use super::{VERIFY, dies, is};

async fn verified(parts: &Parts, projection: &str) -> (Uuid, Findings) {
    let projection = catalogue().projection(projection).unwrap();
    let operation = verify::ask(&parts.database.pool, projection, &by(), None).await.unwrap();
    let result = eventually("it has ended", LIMIT, async || {
        let now = operations::get(&parts.database.pool, operation).await.unwrap().unwrap();
        match now.state {
            State::Succeeded => Ok(now.result.unwrap().0),
            State::Failed => panic!("{:?}", now.error),
            state => Err(format!("{state:?}")),
        }
    })
    .await;
    (operation, serde_json::from_value(result).unwrap())
}

/// Code that does not take any more what it has once applied says so, and not only that aggregates differ.
#[tokio::test]
async fn a_verification_says_what_this_code_does_not_take_any_more() {
    let (parts, _) = Parts::with_history(seeded().random(), 500).await;
    let user = Uuid::now_v7();
    parts.load(&[line("User", user, 0, "UserSignedUp", &json!({"user_id": user, "email": "ada@example.org"}))]).await;
    parts.sweep().await;
    let as_if_applied = "with parked as (
                             delete from parked_events where projection = 'user_directory' and aggregate_id = $1 returning event_version
                         )
                         update projected_aggregates set version = parked.event_version, held = false
                         from parked
                         where projection = 'user_directory' and aggregate_id = $1";
    let done = sqlx::query(as_if_applied).bind(user).execute(&parts.database.pool).await.unwrap();
    assert_eq!(done.rows_affected(), 1);
    let _keeping = Keeping::of(&parts);
    let (_, findings) = verified(&parts, "user_directory").await;
    assert!(!findings.equal && findings.refused == 1 && findings.ledger_differences == 1, "{findings:?}");
    assert!(findings.refused_for.as_ref().unwrap().contains("missing field"), "{findings:?}");
}

/// What was done to the rows behind the fleet's back is found and named, each by its key; the rest is equal.
#[tokio::test]
async fn a_verification_names_what_was_changed_removed_and_added_by_hand() {
    let (parts, _) = Parts::with_history(seeded().random(), 3000).await;
    parts.sweep().await;
    let keeping = Keeping::of(&parts);
    let (_, findings) = verified(&parts, PROGRESS).await;
    assert!(findings.equal && findings.events > 500, "{findings:?}");
    assert!(findings.tables.len() == 4 && findings.tables.iter().all(|table| table.rows > 0), "{findings:?}");
    for sql in [
        "update learner_progress.user_progress set answers = answers + 1
         where user_id = (select user_id from learner_progress.user_progress order by user_id limit 1)",
        "delete from learner_progress.daily_progress
         where (user_id, date) = (select user_id, date from learner_progress.daily_progress order by user_id, date limit 1)",
        "insert into learner_progress.daily_progress
         select user_id, date + 10000, sessions_completed, sessions_abandoned, answers, correct, study_seconds
         from learner_progress.daily_progress order by user_id, date limit 1",
    ] {
        assert_eq!(sqlx::query(sql).execute(&parts.database.pool).await.unwrap().rows_affected(), 1);
    }
    let (operation, findings) = verified(&parts, PROGRESS).await;
    assert!(!findings.equal && findings.ledger_differences == 0, "{findings:?}");
    let found = verify::differences(&parts.database.pool, operation).await.unwrap();
    let kinds: Vec<_> = found.iter().map(|it| (&*it.table_name, &*it.kind, it.columns.clone())).collect();
    assert_eq!(
        BTreeSet::from_iter(kinds),
        BTreeSet::from([
            ("user_progress", "changed", vec!["answers".to_owned()]),
            ("daily_progress", "missing", vec![]),
            ("daily_progress", "extra", vec![]),
        ])
    );
    assert!(found.iter().all(|it| it.key["user_id"].is_string()), "{found:?}");
    eventually("nothing of it is left", LIMIT, async || {
        match parts.database.count("select count(*) from pg_namespace where nspname like 'learner_progress__g%'").await
        {
            0 => Ok(()),
            left => Err(left.to_string()),
        }
    })
    .await;
    keeping.stop().await;
}

/// Three rows of a million, at full size.
#[tokio::test]
async fn a_verification_finds_a_row_among_very_many() {
    let users: i64 = if full_size() { 1_000_000 } else { 3000 };
    let parts = Parts::new().await;
    let pool = &parts.database.pool;
    let fill = "
        with told as (
            select number, md5(number::text)::uuid as id,
                   jsonb_build_object('user_id', md5(number::text)::uuid, 'name', 'Ada', 'email', number || '@example.org') as event_data
            from generate_series(1, $1) as number
        ), head as (
            update event_store_head set position = $1
        )
        insert into events (position, event_id, aggregate_id, aggregate_type, event_type, event_version, event_data, metadata,
                            occurred_at, created_at, data_bytes)
        select number, md5('event ' || number)::uuid, id, 'User', 'UserSignedUp', 1, event_data, '{}',
               now(), now(), octet_length(event_data::text) + 2
        from told";
    sqlx::query(fill).bind(users).execute(pool).await.unwrap();
    let keeping = Keeping::of(&parts);
    // As of a store in which much was applied, and nothing was counted since: Postgres believes that there is nothing of this one.
    let counted = "alter table projected_aggregates set (autovacuum_enabled = off);
                   insert into projected_aggregates (projection, generation, aggregate_id, version)
                   select 'vocabulary', 1, md5('entry ' || number)::uuid, 1 from generate_series(1, 5000) as number;
                   analyze projected_aggregates";
    sqlx::raw_sql(counted).execute(pool).await.unwrap();
    start(&parts, "user_directory", 2).await;
    exchanged(&parts, "user_directory", Way::Promote).await;
    let (_, findings) = verified(&parts, "user_directory").await;
    assert!(findings.equal && findings.events == users && findings.tables[0].rows == users, "{findings:?}");
    for sql in [
        "update user_directory.users set email = 'nobody@example.org' where user_id = md5('7')::uuid",
        "delete from user_directory.users where user_id = md5('77')::uuid",
        "insert into user_directory.users
         select (jsonb_populate_record(users, '{\"user_id\": \"00000000-0000-0000-0000-000000000000\"}')).*
         from user_directory.users where user_id = md5('777')::uuid",
    ] {
        assert_eq!(sqlx::query(sql).execute(pool).await.unwrap().rows_affected(), 1);
    }
    let began = Instant::now();
    let (operation, findings) = verified(&parts, "user_directory").await;
    println!("{users} rows were compared in {:?}", began.elapsed());
    let found = verify::differences(pool, operation).await.unwrap();
    let found =
        found.iter().map(|it| (it.kind.clone(), it.key["user_id"].as_str().unwrap().to_owned(), it.columns.clone()));
    let id = async |number: &str| {
        sqlx::query_scalar::<_, String>("select md5($1)::uuid::text").bind(number).fetch_one(pool).await.unwrap()
    };
    let expected = [
        ("changed".to_owned(), id("7").await, vec!["email".to_owned()]),
        ("missing".to_owned(), id("77").await, vec![]),
        ("extra".to_owned(), Uuid::nil().to_string(), vec![]),
    ];
    assert_eq!(found.collect::<BTreeSet<_>>(), BTreeSet::from(expected), "{findings:?}");
    keeping.stop().await;
}

/// Under live traffic, shuffled and tripled, with aggregates that are held, on a read model of two topics as well.
#[tokio::test]
async fn a_verification_of_what_is_right_finds_nothing_whatever_comes_meanwhile() {
    let mut rng = seeded();
    let history = History::of(rng.random(), if full_size() { 80_000 } else { 4000 }).poison(rng.random(), 0.02);
    let parts = Parts::new().await;
    let half = history.lines.len() / 2;
    parts.load(&history.lines[..half]).await;
    parts.sweep().await;
    let keeping = Keeping::of(&parts);
    let traffic = live(&parts, &history, half, 1000.0, <StdRng as rand::SeedableRng>::seed_from_u64(rng.random()));
    let verifying = async {
        let projections = [PROGRESS, "learning_time", "user_directory", "vocabulary", PROGRESS];
        for projection in projections.into_iter().cycle().take(if full_size() { 10 } else { 5 }) {
            let (operation, findings) = verified(&parts, projection).await;
            let found = verify::differences(&parts.database.pool, operation).await.unwrap();
            assert!(findings.equal, "{projection}: {findings:?} {found:?}");
        }
    };
    tokio::join!(traffic, verifying);
    keeping.stop().await;
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn a_verification_that_dies_goes_on_where_it_was() {
    let (parts, _) = Parts::with_history(seeded().random(), 2000).await;
    parts.sweep().await;
    let projection = catalogue().projection(PROGRESS).unwrap();
    let operation = verify::ask(&parts.database.pool, projection, &by(), None).await.unwrap();
    for point in ["rebuild.created", "rebuild.committed"].into_iter().chain(VERIFY) {
        dies(&parts, point).await;
    }
    is(&parts, operation, State::Succeeded).await;
    let result = operations::get(&parts.database.pool, operation).await.unwrap().unwrap().result.unwrap().0;
    assert_eq!(result["equal"], true, "{result}");
}
