//! More than fits: at every limit of a batch, a page, a window, a step, what comes after it is neither lost nor taken for
//! something that is not there.
//!
//! `tests/mutants/run --limits 3` runs all tests with limits so small that every one of them is passed all the time.

use std::collections::BTreeSet;

use event_store::read::{self, Filter};
use events::{AppendLine, Position};
use rand::Rng;
use serde_json::json;
use sqlx::Executor;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::apply::Mode;
use workers::audit::Attribution;
use workers::dead_letters::{self, MAX_PLANNED, Retry};
use workers::redrive::Redrive;

use crate::harness::parts::{LIMIT, Parts, apply, line};
use crate::harness::{eventually, full_size};
use crate::histories::History;
use crate::oracle::Held;
use crate::sample::seeded;

fn user(user: Uuid, versions: i32) -> Vec<AppendLine> {
    let data = json!({"user_id": user, "email": format!("{user}@example.org"), "first_name": "A", "last_name": "B"});
    let first = line("User", user, 0, "UserSignedUp", &data);
    let later = (1..versions).map(|version| {
        let data = json!({"user_id": user, "email": format!("{version}-{user}@example.org")});
        line("User", user, version, "UserEmailUpdated", &data)
    });
    std::iter::once(first).chain(later).collect()
}

/// One message brings thousands of versions: read in several pieces, none of them taken for all there is.
#[tokio::test]
async fn more_missing_versions_than_are_read_at_a_time_are_no_hole() {
    let versions = if full_size() { 100_000 } else { 4_500 };
    let parts = Parts::new().await;
    let [long, short] = [(); 2].map(|()| Uuid::now_v7());
    parts.load(&user(long, versions)).await;
    parts.load(&user(short, 3)).await;
    let events = parts.events(Position::START).await;
    // The last of each, and one in the middle of the long one.
    let brought = [versions as usize / 2, versions as usize - 1, events.len() - 1].map(|index| events[index].clone());
    let tally = apply(parts.applier("user_directory"), &brought, Mode::Live).await.unwrap();
    assert_eq!((tally.applied, tally.parked, tally.held), (versions as u64 + 3, 0, 0), "{tally:?}");
    parts.converge(&Held::default()).await;
}

/// A page that ends for its size says where, also if a filter keeps its rows from being counted.
#[tokio::test]
async fn a_page_that_is_full_before_its_window_ends_claims_no_more_than_it_holds() {
    let large = if full_size() { 60 } else { 12 };
    let parts = Parts::new().await;
    let text = "x".repeat(4 << 20);
    let mut lines = Vec::new();
    for _ in 0..large {
        let [entry, other] = [(); 2].map(|()| Uuid::now_v7());
        let data = json!({"entry_id": entry, "spelling": "long", "more": text});
        lines.push(line("VocabularyEntry", entry, 0, "EntryCreated", &data));
        lines.extend(user(other, 1));
    }
    parts.load(&lines).await;
    let head = parts.database.head().await;
    for filter in [Filter::default(), Filter::aggregate_types(&["VocabularyEntry"])] {
        let (mut after, mut found, mut pages) = (Position::START, BTreeSet::new(), 0);
        while after < head {
            let page = read::page(&parts.database.pool, after, head, 1000, &filter).await.unwrap();
            assert!(page.upto > after, "it goes on");
            found.extend(page.events.iter().map(|event| event.position.0));
            after = page.upto;
            pages += 1;
        }
        assert!(pages > 1, "not everything fits into one page");
        let wanted = if filter == Filter::default() { 2 * large } else { large };
        assert_eq!(found.len(), wanted, "in {pages} pages");
    }
}

/// Windows without any event of the topic, and more unsettled events than are looked at in one go.
#[tokio::test]
async fn a_sweep_goes_through_more_than_it_looks_at_in_one_go() {
    let mut rng = seeded();
    let events = if full_size() { 200_000 } else { 11_500 };
    let parts = Parts::new().await;
    let first = Uuid::now_v7();
    parts.load(&user(first, 1)).await;
    let history = History::of(rng.random(), events);
    let of_users = |line: &&AppendLine| line.aggregate_type == "User";
    let others: Vec<_> = history.lines.iter().filter(|line| !of_users(line)).cloned().collect();
    let users: Vec<_> = history.lines.iter().filter(of_users).cloned().collect();
    parts.load(&others).await;
    parts.load(&users).await;
    parts.load(&user(Uuid::now_v7(), 1500)).await;
    parts.converge(&Held::default()).await;
}

/// More dead letters than are read at a time, and more waiting behind one than a step takes.
#[tokio::test]
async fn a_redrive_goes_through_more_than_it_takes_at_a_time() {
    let (letters, waiting) = if full_size() { (5_000, 20_000) } else { (230, 650) };
    let parts = Parts::new().await;
    let pool = &parts.database.pool;
    pool.execute("alter table user_directory.users add constraint poison check (false) not valid").await.unwrap();
    let mut lines = user(Uuid::now_v7(), waiting);
    for _ in 1..letters {
        lines.extend(user(Uuid::now_v7(), 2));
    }
    parts.load(&lines).await;
    parts.sweep().await;
    let parked = "select count(*) from parked_events";
    assert_eq!(parts.database.count(parked).await, letters);
    pool.execute("alter table user_directory.users drop constraint poison").await.unwrap();
    let plan = dead_letters::plan(pool, &Default::default(), MAX_PLANNED).await.unwrap();
    assert_eq!((plan.selected, plan.waiting), (letters, letters - 1 + i64::from(waiting) - 1));
    let filter = dead_letters::Filter::default();
    let plan_token = plan.plan_token.unwrap();
    let retry = Retry { filter, plan_token, rate: 1e6, by: Attribution::default(), idempotency_key: None };
    dead_letters::retry(pool, &retry).await.unwrap();

    let stop = CancellationToken::new();
    let redrive = Redrive { applier: parts.applier("user_directory").clone() };
    let redriving = tokio::spawn(redrive.run(stop.clone()));
    let open = "select count(*) from operations where state <> 'succeeded'";
    eventually("everything is redriven", LIMIT, async || {
        let (parked, open) = (parts.database.count(parked).await, parts.database.count(open).await);
        if (parked, open) == (0, 0) { Ok(()) } else { Err(format!("{parked} parked, {open} operations")) }
    })
    .await;
    stop.cancel();
    redriving.await.unwrap();
    let applied = "select applied from operations";
    assert_eq!(parts.database.count(applied).await, 2 * (letters - 1) + i64::from(waiting));
    // The ids of what was redriven are forgotten when the settled position moves on.
    parts.load(&user(Uuid::now_v7(), 1)).await;
    parts.converge(&Held::default()).await;
}
