//! What on-call sees of events that cannot be read, and of messages that the bus does not take.

use std::time::Duration;

use event_store::proto::ReadAllRequest;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::harness::client::connect;
use crate::harness::{Admin, Fleet, Process, eventually, full_size};

const LIMIT: Duration = Duration::from_secs(60);

/// Appends past the store's checks. `data` is SQL.
async fn plant(fleet: &Fleet, user: Uuid, version: i32, data: &str) {
    let sql = format!(
        "with head as (update event_store_head set position = position + 1 returning position)
         insert into events (position, event_id, aggregate_id, aggregate_type, event_type, event_version, event_data,
             metadata, occurred_at)
         select position, gen_random_uuid(), $1, 'User', 'UserEmailUpdated', $2, {data},
             jsonb_build_object('schema_version', 1), now() from head"
    );
    sqlx::query(AssertSqlSafe(sql)).bind(user).bind(version).execute(&fleet.database.pool).await.unwrap();
}

/// An event that prints more than 20 MB.
fn endless() -> String {
    let count = if full_size() { 66_000 } else { 1_300 };
    format!(
        "jsonb_build_object('user_id', 'ada', 'email', 'ada@example.org',
             'n', (select jsonb_agg('1e-16383'::numeric) from generate_series(1, {count})))"
    )
}

/// 300 members; one is a long text, each of the others prints 131 kB.
const MANY: &str = "(select jsonb_object_agg('member' || n, case n when 7 then to_jsonb(repeat('wörd', 5000))
    else to_jsonb('1e131071'::numeric) end) from generate_series(1, 300) as n)";

/// Has a reader go through the store, and so find what cannot be read.
async fn read_everything(store: &Process) {
    let mut events = connect(store).await.read_all(ReadAllRequest::default()).await.unwrap().into_inner();
    while events.message().await.unwrap().is_some() {}
}

async fn command(fleet: &Fleet, admin: &Process, args: &[&str]) -> (bool, String) {
    let mut builder = fleet.process(args[0]).await.env("FLEET_HTTP", &admin.http());
    for arg in &args[1..] {
        builder = builder.arg(arg);
    }
    let (status, out, err) = builder.output().await;
    (status.success(), out + &err)
}

#[tokio::test]
async fn an_unreadable_event_is_listed_without_its_data_and_shown_in_part() {
    let fleet = Fleet::new().await;
    let (ada, ben) = (Uuid::now_v7(), Uuid::now_v7());
    plant(&fleet, ada, 1, r#"'{"user_id": "ada", "email": "ada@example.org"}'"#).await;
    plant(&fleet, ada, 2, &endless()).await;
    plant(&fleet, ben, 1, MANY).await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    let (ok, out) = command(&fleet, &process, &["unreadable", "list"]).await;
    assert!(ok && !out.contains("POSITION"), "nobody has looked yet: {out}");
    read_everything(&fleet.event_store().await).await;

    let (ok, out) = command(&fleet, &process, &["unreadable", "list"]).await;
    let lines: Vec<_> = out.lines().map(str::trim_start).collect();
    assert!(ok && lines.len() == 3 && lines[0].starts_with("POSITION"), "{out}");
    assert!(lines[1].starts_with("3 ") && lines[2].starts_with("2 "), "{out}");
    for said in [&ada.to_string(), "UserEmailUpdated", "integration-events", "bytes or more when it is read"] {
        assert!(lines[2].contains(said), "no {said} in {out}");
    }
    let (_, json) = command(&fleet, &process, &["unreadable", "list", "--json"]).await;
    assert_eq!(json.lines().count(), 2);
    for listed in [&out, &json] {
        assert!(!listed.contains("example.org") && !listed.contains("member"), "{listed}");
    }

    let first = admin.get("/unreadable?limit=1").await;
    assert_eq!((&first["unreadable"][0]["position"], &first["next"]), (&json!(3), &json!(3)));
    let second = admin.get("/unreadable?limit=1&before=3").await;
    assert_eq!((&second["unreadable"][0]["position"], &second["next"]), (&json!(2), &json!(2)));
    assert_eq!(admin.get("/unreadable?limit=1&before=2").await, json!({"unreadable": [], "next": null}));
    for wrong in ["limit=0", "limit=101"] {
        let (status, problem) = admin.ask(&format!("/unreadable?{wrong}")).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("limit")));
    }

    let (ok, out) = command(&fleet, &process, &["unreadable", "show", "2"]).await;
    assert!(ok && !out.contains("example.org"), "{out}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&shown["topic"], &shown["event_version"]), (&json!("integration-events"), &json!(2)));
    assert!(shown["stored_bytes"].as_i64().unwrap() < 100_000, "{shown}");
    assert!(shown["printed_bytes"].as_i64().unwrap() > 20_000_000, "{shown}");
    let data = &shown["contents"]["event_data"];
    assert_eq!((&data["count"], &data["largest"][0]["name"]), (&json!(3), &json!("n")));
    assert!(data["largest"][0]["printed_bytes"].as_i64().unwrap() > 20_000_000, "{data}");
    assert_eq!(shown["contents"]["metadata"]["largest"][0]["name"], "schema_version");
    let id = shown["event_id"].as_str().unwrap();
    assert_eq!(admin.get(&format!("/unreadable/{id}")).await, shown);

    let many = admin.get("/unreadable/3").await;
    let members = &many["contents"]["event_data"];
    assert_eq!((&members["count"], &members["largest"][0]["name"]), (&json!(300), &json!("member7")));
    assert_eq!(members["largest"].as_array().unwrap().len(), 200);
}

#[tokio::test]
async fn the_payload_of_an_unreadable_event_is_shown_in_part_and_the_look_is_recorded() {
    let fleet = Fleet::new().await;
    let ada = Uuid::now_v7();
    plant(&fleet, ada, 1, &endless()).await;
    plant(&fleet, ada, 2, MANY).await;
    read_everything(&fleet.event_store().await).await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);

    let (ok, out) = command(&fleet, &process, &["unreadable", "show", "1", "--payload"]).await;
    assert!(!ok && out.contains("--reason"), "{out}");
    let (status, problem) = admin.ask("/unreadable/1?payload=true&actor=ada").await;
    assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("reason")));
    assert_eq!(admin.get("/audit").await["entries"], json!([]), "nothing was shown");

    let look = ["unreadable", "show", "1", "--payload", "--reason", "TICKET-7: whose is it", "--actor", "eve"];
    let (ok, out) = command(&fleet, &process, &look).await;
    assert!(ok && out.contains("ada@example.org"), "{out}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    let beginning = shown["contents"]["event_data"]["largest"][0]["beginning"].as_str().unwrap();
    assert!(beginning.starts_with("[1.000e-16383, 1.000e-16383, ") && beginning.ends_with(", …]"), "{beginning}");
    let entry = &admin.get("/audit").await["entries"][0];
    assert_eq!((&entry["action"], &entry["target"]), (&json!("unreadable.reveal"), &shown["event_id"]));
    assert_eq!((&entry["actor"], &entry["reason"]), (&json!("eve"), &json!("TICKET-7: whose is it")));

    let many = admin.get("/unreadable/2?payload=true&actor=eve&reason=TICKET-8").await;
    let members = many["contents"]["event_data"]["largest"].as_array().unwrap();
    let beginnings: Vec<_> = members.iter().map(|member| member["beginning"].as_str().unwrap()).collect();
    assert!(beginnings[0].starts_with("\"wördwörd") && beginnings[0].ends_with("\"…"), "{}", beginnings[0]);
    assert!(beginnings.iter().all(|beginning| beginning.chars().count() < 1100), "each is the beginning only");
    assert_eq!(beginnings[1], "1.000e+131071");
}

#[tokio::test]
async fn an_event_that_nobody_found_unreadable_is_an_error_that_says_which_it_is() {
    let fleet = Fleet::new().await;
    plant(&fleet, Uuid::now_v7(), 1, r#"'{"user_id": "ada"}'"#).await;
    let process = fleet.process("admin").await.start().await;
    let nobody = Uuid::now_v7().to_string();
    for (event, problem) in [
        ("1", "the event at position 1 is in the store, and no reader has found it unreadable".to_owned()),
        ("99", "there is no event at position 99 in the store".to_owned()),
        (&nobody, format!("there is no event with the id {nobody} in the store")),
        ("first", "\"first\" is neither a position nor the id of an event".to_owned()),
    ] {
        let (ok, out) = command(&fleet, &process, &["unreadable", "show", event]).await;
        assert!(!ok && out.contains(&problem), "{event}: {out}");
        let (status, answer) = Admin::of(&process).ask(&format!("/unreadable/{event}")).await;
        assert_eq!((status, &answer["detail"]), (StatusCode::NOT_FOUND, &json!(problem)));
    }
}

#[tokio::test]
async fn an_event_that_takes_too_long_to_look_at_is_shown_without_contents() {
    let fleet = Fleet::new().await;
    plant(&fleet, Uuid::now_v7(), 1, MANY).await;
    read_everything(&fleet.event_store().await).await;
    // A value so large that Postgres is not done with it for a minute.
    let slow = "create or replace function json_in_part(data jsonb, room integer, depth integer) returns text
                language sql as $$ select pg_sleep(60)::text $$";
    sqlx::raw_sql(slow).execute(&fleet.database.pool).await.unwrap();
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    let shown = admin.get("/unreadable/1?payload=true&actor=eve&reason=TICKET-9").await;
    assert_eq!((&shown["position"], &shown["contents"]), (&json!(1), &Value::Null));
    assert!(shown["problem"].as_str().unwrap().contains("statement timeout"), "{shown}");
    assert_eq!(admin.get("/audit").await["entries"][0]["reason"], "TICKET-9", "also a look that fails is recorded");
    assert!(admin.get("/unreadable/1").await["contents"].is_object(), "without the payload it does not take long");
}

#[tokio::test]
async fn messages_that_the_bus_refuses_are_listed_with_their_reason() {
    let fleet = Fleet::new().await;
    let ada = Uuid::now_v7();
    plant(&fleet, ada, 1, r#"'{"user_id": "ada"}'"#).await;
    plant(&fleet, ada, 2, "jsonb_build_object('email', repeat('x', 10000000))").await;
    let old = "insert into refused_messages (topic, position, reason, refused_at) values
        ('integration-events', 0, 'remembered', now() - interval '89 days'),
        ('integration-events', 1, 'forgotten', now() - interval '91 days')";
    sqlx::query(old).execute(&fleet.database.pool).await.unwrap();
    let _store = fleet.event_store().await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    let line = eventually("it is recorded", LIMIT, async || {
        let (ok, out) = command(&fleet, &process, &["refused", "list"]).await;
        assert!(ok, "{out}");
        let line = out.lines().map(str::trim_start).find(|line| line.starts_with("2 ")).map(str::to_owned);
        line.ok_or(out)
    })
    .await;
    for said in ["integration-events", &ada.to_string(), "UserEmailUpdated", "at most 10000000"] {
        assert!(line.contains(said), "no {said} in {line}");
    }
    let (ok, out) = command(&fleet, &process, &["refused", "list", "--topic", "vocabulary-events"]).await;
    assert!(ok && out.contains("has taken every message"), "{out}");
    let (ok, out) = command(&fleet, &process, &["refused", "list", "--topic", "nowhere"]).await;
    assert!(!ok && out.contains("integration-events"), "{out}");

    // Pages go on before the last position, also if two topics have refused it.
    let more = "insert into refused_messages (topic, position, reason) values
        ('vocabulary-events', 7, 'a'), ('progress-events', 7, 'b'), ('vocabulary-events', 5, 'c')";
    sqlx::query(more).execute(&fleet.database.pool).await.unwrap();
    let mut seen = Vec::new();
    let mut query = "limit=1".to_owned();
    loop {
        let page = admin.get(&format!("/refused?{query}")).await;
        let positions = page["refused"].as_array().unwrap().iter().map(|message| message["position"].as_i64().unwrap());
        seen.push(positions.collect::<Vec<_>>());
        let Some(next) = page["next"].as_i64() else { break };
        query = format!("limit=1&before={next}");
    }
    assert_eq!(seen, [vec![7, 7], vec![5], vec![2], vec![0], vec![]]);
    let json = command(&fleet, &process, &["refused", "list", "--json"]).await.1;
    assert_eq!(json.lines().count(), 5, "{json}");
}
