//! Bookkeeping does not grow for ever, and nothing of it goes that somebody still needs.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;
use workers::retention::{Gauges, Pruner, Retention};

use crate::dead_letters::{LIMIT, letters, poisoned_user};
use crate::harness::client::{append, connect, event, signed_up};
use crate::harness::{Admin, Database, Fleet, eventually};

/// A row of each table that is older than anything is kept, and one that is not.
async fn fill(database: &Database) {
    let rows = "
        insert into idempotency_keys (key, digest, first_position, event_count, created_at)
        values ('old', '', 1, 1, now() - interval '36 days'), ('promised', '', 1, 1, now() - interval '30 days');
        insert into operations (id, kind, selection, state, selected, finished_at, created_at)
        select gen_random_uuid(), 'retry', jsonb_build_object('is', state || age), state, 1,
               case when state in ('succeeded', 'failed') then now() - age * interval '1 day' end,
               now() - age * interval '1 day'
        from unnest(array['succeeded', 'failed', 'pending', 'running']) as state, unnest(array[2000, 100]) as age;
        insert into audit_log (id, at, actor, action, target, reason)
        select gen_random_uuid(), now() - age * interval '1 day', 'ada', 'test', age::text, 'a test'
        from unnest(array[2000, 1000]) as age;
        -- Of an operation each: an event of a read model that is there, one of a read model that is gone, a message.
        insert into discarded_events (
            id, topic, projection, generation, reason, error, event_id, aggregate_id, event_version, position, payload,
            attributes, attempts, first_parked_at, last_parked_at, operation_id, discarded_at
        )
        select
            gen_random_uuid(), 'integration-events', projection, 1, 'wrong_data', 'no', gen_random_uuid(),
            gen_random_uuid(), 1, 1, 'secret', '{\"a\": \"b\"}', 1, now(), now(),
            (select id from operations where selection ->> 'is' = 'failed2000'), now() - age * interval '1 day'
        from unnest(array['user_directory', 'gone', null]) as projection, unnest(array[400, 300]) as age;
        insert into parked_events (id, topic, reason, error, message_id, payload, decision, operation_id)
        values (gen_random_uuid(), 'nobody', 'undecodable', 'no', '1', 'x', 'retry',
                (select id from operations where selection ->> 'is' = 'succeeded100'));
        update operations set finished_at = now() - interval '2000 days' where selection ->> 'is' = 'succeeded100'";
    sqlx::raw_sql(rows).execute(&database.pool).await.unwrap();
}

/// What is left, in words.
async fn left(database: &Database) -> Value {
    let sql = "select jsonb_build_object(
        'keys', (select jsonb_agg(key order by key) from idempotency_keys),
        'operations', (select jsonb_agg(selection ->> 'is' order by selection ->> 'is') from operations),
        'audit', (select jsonb_agg(target order by target) from audit_log where action = 'test'),
        'discarded', (
            select jsonb_agg(coalesce(projection, '-') || ' ' || convert_from(payload, 'UTF8') || attributes
                             order by coalesce(projection, '-'), payload)
            from discarded_events
        )
    )";
    sqlx::query_scalar(sql).fetch_one(&database.pool).await.unwrap()
}

fn all_that_is_needed() -> Value {
    json!({
        "keys": ["promised"],
        // Those that are open; those that a letter points to, parked or discarded; those that are young.
        "operations": ["failed100", "failed2000", "pending100", "pending2000", "running100", "running2000", "succeeded100"],
        "audit": ["1000"],
        "discarded": [
            "- secret{\"a\": \"b\"}", "gone secret{\"a\": \"b\"}", "user_directory {}", "user_directory secret{\"a\": \"b\"}",
        ],
    })
}

#[tokio::test]
async fn an_event_store_prunes_what_is_old_and_nothing_that_is_needed_also_if_there_are_two() {
    let fleet = Fleet::new().await;
    fill(&fleet.database).await;
    let stores = [fleet.event_store().await, fleet.event_store().await];
    eventually("what is old is gone", LIMIT, async || {
        let left = left(&fleet.database).await;
        if left == all_that_is_needed() { Ok(()) } else { Err(left.to_string()) }
    })
    .await;
    eventually("it is measured", LIMIT, async || {
        let (mut pruned, mut oldest) = (0, String::new());
        for store in &stores {
            pruned += store.counter("retention_pruned_rows_total").await;
            let metrics = reqwest::get(format!("http://{}/metrics", store.http())).await.unwrap().text().await.unwrap();
            oldest += metrics
                .lines()
                .find(|it| it.starts_with("retention_oldest_row_seconds{table=\"audit_log\"}"))
                .unwrap_or("");
        }
        // 1 key, 1 operation, 1 entry, 3 discarded.
        if pruned == 6 && oldest.contains("} 8640") { Ok(()) } else { Err(format!("{pruned}, {oldest}")) }
    })
    .await;
}

#[tokio::test]
async fn by_hand_a_plan_comes_first_and_what_is_done_is_recorded_once() {
    let fleet = Fleet::new().await;
    fill(&fleet.database).await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    let before = left(&fleet.database).await;
    let (_, plan) = admin.post("/prunes", &json!({})).await;
    let rows: Vec<_> = plan["old"].as_array().unwrap().iter().map(|old| old["rows"].as_i64().unwrap()).collect();
    assert_eq!(rows, [1, 3, 3, 1], "{plan}");
    let run = json!({"dry_run": false, "plan_token": plan["plan_token"], "actor": "ada", "reason": "a test"});
    let with = |name: &str, value: Value| {
        let mut run = run.clone();
        run[name] = value;
        run
    };
    for (body, status) in [
        (with("reason", json!("")), StatusCode::BAD_REQUEST),
        (with("actor", json!(" ")), StatusCode::BAD_REQUEST),
        (with("keep", json!({"idempotency_keys": 30})), StatusCode::BAD_REQUEST),
        (with("keep", json!({"audit_log": 1})), StatusCode::BAD_REQUEST),
        (with("keep", json!({"operations": 20})), StatusCode::PRECONDITION_FAILED),
        (with("plan_token", json!("9999999999999999-35-180-365-1095")), StatusCode::PRECONDITION_FAILED),
        (with("plan_token", Value::Null), StatusCode::PRECONDITION_REQUIRED),
    ] {
        let (answered, problem) = admin.post("/prunes", &body).await;
        assert_eq!(answered, status, "{body}: {problem}");
    }
    assert_eq!(left(&fleet.database).await, before, "nothing was done");

    let (status, done) = admin.post_with_key("/prunes", &run, "once").await;
    assert_eq!((status, &done["pruned"]["discarded_events"]), (StatusCode::OK, &json!(3)), "{done}");
    assert_eq!(left(&fleet.database).await, all_that_is_needed());
    assert_eq!(admin.post_with_key("/prunes", &run, "once").await, (StatusCode::OK, done), "one key, one prune");
    let (_, other) = admin.post("/prunes", &json!({})).await;
    let (status, _) = admin.post_with_key("/prunes", &with("plan_token", other["plan_token"].clone()), "once").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let entries = admin.get("/audit").await;
    let prunes: Vec<_> =
        entries["entries"].as_array().unwrap().iter().filter(|it| it["action"] == "retention.prune").collect();
    assert!(prunes.len() == 1 && prunes[0]["actor"] == "ada" && prunes[0]["reason"] == "a test", "{entries}");

    let command = async |args: &[&str]| {
        let builder = fleet.process("prune").await.env("FLEET_HTTP", &process.http());
        let (status, out, error) = args.iter().fold(builder, |builder, arg| builder.arg(arg)).output().await;
        (status.code(), out + &error)
    };
    let (code, out) = command(&["--keep-operations", "50"]).await;
    assert!(code == Some(0) && out.contains("nothing is done yet") && out.contains("operations"), "{out}");
    let (code, out) = command(&["--keep-operations", "50", "--yes", "--actor", "ada", "--reason", "room"]).await;
    assert!(code == Some(0) && out.contains("operations: 1 pruned"), "{out}");
    let (code, out) = command(&["--keep-idempotency-keys", "7", "--yes", "--reason", "room"]).await;
    assert!(code == Some(1) && out.contains("at least 31 days"), "{out}");
}

#[tokio::test]
async fn a_discarded_event_whose_contents_are_gone_is_still_counted_as_one() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let _worker = fleet.worker("integration-events", &store).await;
    let admin = fleet.process("admin").await.start().await;
    let admin = Admin::of(&admin);
    let mut client = connect(&store).await;
    let goal = |user| event("LearningGoalSet", json!({"user_id": user, "daily_goal": "many"}));
    poisoned_user(&mut client, goal, 1).await;
    let letter = letters(&fleet, &admin, 1).await.remove(0);
    let discard = json!({"event_id": letter["event_id"], "error": letter["error"], "actor": "ada", "reason": "a test"});
    let (_, operation) =
        admin.post(&format!("/dead-letters/{}/discard", letter["id"].as_str().unwrap()), &discard).await;
    admin.succeeded(&operation).await;
    fleet.settled("integration-events", 3).await;
    let past = "update discarded_events set discarded_at = now() - interval '2 years'";
    sqlx::query(past).execute(&fleet.database.pool).await.unwrap();
    let (_, plan) = admin.post("/prunes", &json!({})).await;
    let run = json!({"dry_run": false, "plan_token": plan["plan_token"], "actor": "ada", "reason": "a test"});
    let (_, done) = admin.post("/prunes", &run).await;
    assert_eq!(done["pruned"]["discarded_events"], 1, "{done}");
    assert_eq!(fleet.database.count("select count(*) from discarded_events where length(payload) = 0").await, 1);
    let counted = admin.get("/losses?projection=user_directory&topic=integration-events").await;
    assert_eq!((&counted["applied"], &counted["discarded"], &counted["lost"]), (&json!(3), &json!(1), &json!(0)));
    let gone = admin.get(&format!("/operations/{}", operation["id"].as_str().unwrap())).await;
    assert_eq!(gone["state"], "succeeded", "what decided about it stays");
}

/// However much is old: in pieces, and stopped at once.
#[tokio::test]
async fn many_old_keys_go_in_pieces_while_appends_go_on() {
    let fleet = Fleet::new().await;
    let many = "insert into idempotency_keys (key, digest, first_position, event_count, created_at)
        select 'old-' || number, '', 1, 1, now() - interval '40 days' from generate_series(1, 25000) as number";
    sqlx::query(many).execute(&fleet.database.pool).await.unwrap();
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let registry = prometheus::Registry::new();
    let pruner = Pruner {
        pool: fleet.database.pool.clone(),
        retention: Retention::default(),
        gauges: Gauges::register(&registry).unwrap(),
    };
    let stop = tokio_util::sync::CancellationToken::new();
    let pruning = tokio::spawn(pruner.run(stop.clone()));
    eventually("they are gone", LIMIT, async || {
        let user = Uuid::now_v7();
        let mut request = append("User", user, vec![signed_up(user)]);
        request.idempotency_key = user.to_string();
        client.clone().append_events(request).await.unwrap();
        let old = fleet.database.count("select count(*) from idempotency_keys where key like 'old-%'").await;
        if old == 0 { Ok(()) } else { Err(format!("{old} are left")) }
    })
    .await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(8), pruning).await.unwrap().unwrap();
    let user = Uuid::now_v7();
    let mut request = append("User", user, vec![signed_up(user)]);
    request.idempotency_key = "old-1".to_owned();
    client.append_events(request).await.unwrap();
}
