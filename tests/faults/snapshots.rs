//! A snapshot that somebody holds open elsewhere: nothing becomes slower beside it, and its holder is named.

use std::time::Instant;

use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;
use workers::lag::Measurer;

use super::growth::{number, user};
use crate::harness::parts::{LIMIT, Parts};
use crate::harness::{Database, catalogue, eventually, full_size};

/// A transaction with a snapshot, of a program with this name, until it is dropped.
async fn snapshot(database: &Database, name: &str) -> sqlx::PgConnection {
    use sqlx::{ConnectOptions, Executor};
    let options = database::options(&database.url).unwrap().application_name(name);
    let mut open = options.connect().await.unwrap();
    open.execute("set idle_in_transaction_session_timeout = 0").await.unwrap();
    open.execute("begin isolation level repeatable read").await.unwrap();
    open.execute("select count(*) from events").await.unwrap();
    open
}

#[tokio::test]
async fn a_snapshot_that_is_open_elsewhere_makes_appends_no_slower() {
    let parts = Parts::new().await;
    let appends = if full_size() { 60_000 } else { 20_000 };
    let measured = 200;
    let pages = "select coalesce(sum(heap_blks_hit + heap_blks_read), 0)::bigint from pg_statio_user_tables
                 where relname = 'event_store_head'";
    let some = async || {
        let started = Instant::now();
        for _ in 0..measured {
            parts.append(&user(Uuid::now_v7(), 0)).await.unwrap();
        }
        started.elapsed()
    };
    some().await;
    let without = some().await;
    let _open = snapshot(&parts.database, "pg_dump").await;
    // Versions of the head row that nobody may remove, as so many appends leave them.
    let update = format!(
        "do $$ declare place tid; begin
             select ctid into place from event_store_head;
             for number in 1..{appends} loop
                 update event_store_head set position = position where ctid = place returning ctid into place;
                 commit;
             end loop;
         end $$"
    );
    let mut updating = parts.database.pool.acquire().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(update)).execute(&mut *updating).await.unwrap();
    updating.close().await.unwrap();
    let table = parts.database.count("select pg_relation_size('event_store_head') / 8192").await;
    assert!(table > appends / 200, "the old versions are still there: {table} pages");
    some().await;
    let before = parts.database.count(pages).await;
    let with = some().await;
    // The writer's connection tells the statistics what it did a while later, or when it ends.
    let (Parts { database, appender, .. }, head) = (parts, table);
    drop(appender);
    let read = eventually("the statistics have come", LIMIT, async || {
        let read = database.count(pages).await - before;
        if read >= measured { Ok(read) } else { Err(format!("{read}")) }
    })
    .await;
    println!(
        "{measured} appends: {without:?}, beside a snapshot open for {appends}: {with:?}, {read} pages of the head"
    );
    assert!(read < measured * head / 4, "{read} pages of the head row's table for {measured} appends; it has {head}");
    if full_size() {
        assert!(with < without * 3, "{without:?} before, {with:?} beside the snapshot");
    }
}

/// The part of a plan that finds rows of a table. (To delete them is more work than to find them, and always the same.)
fn found<'a>(plan: &'a serde_json::Value, table: &str) -> Option<&'a serde_json::Value> {
    if plan["Relation Name"] == table && plan["Node Type"].as_str().is_some_and(|node| node.contains("Index")) {
        return Some(plan);
    }
    plan["Plans"].as_array()?.iter().find_map(|part| found(part, table))
}

#[tokio::test]
async fn a_snapshot_that_is_open_elsewhere_makes_forgetting_ids_no_slower() {
    let database = Database::new().await;
    let rounds = if full_size() { 60 } else { 12 };
    let _open = snapshot(&database, "pg_dump").await;
    let mut db = database.pool.acquire().await.unwrap();
    let mut pages = Vec::new();
    for round in 0..rounds {
        let (before, settled) = (round * 1000, (round + 1) * 1000);
        sqlx::query(
            "insert into processed_event_ids (projection, generation, event_id, position)
             select 'vocabulary', 1, gen_random_uuid(), position from generate_series($1 + 1, $2) as position",
        )
        .bind(before)
        .bind(settled)
        .execute(&mut *db)
        .await
        .unwrap();
        let settle = include_str!("../../workers/src/sweep/settle.sql");
        let explain = format!("explain (analyze, buffers, format json) {settle}");
        let row = sqlx::query(AssertSqlSafe(explain))
            .bind("vocabulary")
            .bind(1)
            .bind(settled)
            .bind(0_i64)
            .bind(before)
            .bind("vocabulary-events")
            .fetch_one(&mut *db)
            .await
            .unwrap();
        let plan: serde_json::Value = row.get(0);
        let finding = found(&plan[0]["Plan"], "processed_event_ids").expect("the ids are found by an index");
        let blocks = |name: &str| finding[name].as_i64().unwrap();
        pages.push(blocks("Shared Hit Blocks") + blocks("Shared Read Blocks"));
    }
    assert_eq!(number(&database.pool, "select count(*) from processed_event_ids").await, 0);
    let (first, last) = (pages[1].min(pages[2]), pages[rounds as usize - 1]);
    assert!(last <= first * 3, "pages read to find a thousand ids to forget: {pages:?}");
}

#[tokio::test]
async fn who_holds_the_oldest_snapshot_is_named_with_its_pid() {
    let database = Database::new().await;
    let measurer = Measurer::new(database.pool.clone(), catalogue().projections().to_vec());
    let mut open = snapshot(&database, "forgotten in a terminal").await;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut open).await.unwrap();
    eventually("it is named", LIMIT, async || {
        let oldest = measurer.report().await.unwrap().store.oldest_snapshot;
        let named = oldest.as_ref().is_some_and(|oldest| oldest.pid == Some(pid) && oldest.seconds >= 1.0);
        if named { Ok(()) } else { Err(format!("{oldest:?}")) }
    })
    .await;
    sqlx::raw_sql("rollback").execute(&mut open).await.unwrap();
    let oldest = measurer.report().await.unwrap().store.oldest_snapshot;
    assert!(oldest.as_ref().is_none_or(|oldest| oldest.pid != Some(pid)), "{oldest:?}");
}
