//! Rows of a read model, looked at through the admin API and by `fleet rows`: without SQL, within bounds, and never unseen.

use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::client::{append, connect, event};
use crate::harness::parts::LIMIT;
use crate::harness::{Fleet, Process, eventually};

/// Entries with spellings `word 0` to `word 249` whose keys are in that order.
async fn words(pool: &PgPool, count: i32) {
    sqlx::query(
        "insert into vocabulary.entries (entry_id, spelling, item_count, published_count, created_at)
         select ('00000000-0000-7000-8000-' || lpad(number::text, 12, '0'))::uuid, 'word ' || number, number, 0, now()
         from generate_series(0, $1 - 1) as number",
    )
    .bind(count)
    .execute(pool)
    .await
    .unwrap();
}

struct Looker {
    fleet: Fleet,
    admin: Process,
}

impl Looker {
    async fn new() -> Self {
        let fleet = Fleet::new().await;
        let admin = fleet.process("admin").await.start().await;
        Self { fleet, admin }
    }

    /// Exit code, standard output, standard error of `fleet rows`.
    async fn rows(&self, args: &[&str]) -> (i32, String, String) {
        let builder = self.fleet.process("rows").await.env("FLEET_HTTP", &self.admin.http());
        let builder = ["--actor", "ada", "--reason", "a test"].iter().chain(args).fold(builder, |it, arg| it.arg(arg));
        let (status, out, error) = builder.output().await;
        (status.code().unwrap(), out, error)
    }

    /// What the API answers to a body that is right but for `wrong`.
    async fn ask(&self, mut body: Value, wrong: Value) -> (u16, Value) {
        body["actor"] = "ada".into();
        body["reason"] = "a test".into();
        for (name, value) in wrong.as_object().unwrap() {
            body[name] = value.clone();
        }
        let url = format!("http://{}/admin/v1/projections/vocabulary/rows", self.admin.http());
        let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

#[tokio::test]
async fn every_row_comes_once_and_that_somebody_looked_is_written_down_without_what_for() {
    let looker = Looker::new().await;
    words(&looker.fleet.database.pool, 250).await;
    let (code, out, error) = looker.rows(&["vocabulary"]).await;
    assert_eq!(code, 0, "{error}");
    assert!(out.starts_with("generation 1 of vocabulary, built by version "), "{out}");
    for said in ["\nentries: ", "vocabulary_entries: a view", "entry_id                  uuid", "jsonb"] {
        assert!(out.contains(said), "{said}: {out}");
    }

    // More than a page of them, in the order of their keys.
    let (code, out, error) = looker.rows(&["vocabulary", "entries", "--limit", "10000", "--json"]).await;
    assert_eq!((code, &*error), (0, ""));
    let seen = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let seen: Vec<_> = seen.map(|row| row["row"]["item_count"].as_i64().unwrap()).collect();
    assert_eq!(seen, (0..250).collect::<Vec<_>>());
    let (_, out, error) =
        looker.rows(&["vocabulary", "entries", "--columns", "item_count,spelling", "--limit", "2"]).await;
    assert_eq!(out, "item_count  spelling\n0           word 0\n1           word 1\n");
    assert_eq!(error, "there are more than these 2: see --where and --limit\n");

    // By a value, by two, by none, of a view.
    let one = ["vocabulary", "vocabulary_entries", "--where", "spelling=word 7", "--columns", "item_count"];
    assert_eq!(looker.rows(&one).await.1, "item_count\n7\n");
    let none = ["vocabulary", "entries", "--where", "spelling=word 7", "--where", "item_count=8"];
    assert_eq!(looker.rows(&none).await.1, "generation 1 has no such row\n");
    let (_, out, _) = looker.rows(&["vocabulary", "entries", "--where", "created_at"]).await;
    assert!(out.starts_with("generation 1 has no such row: created_at alone asks for those that have none"), "{out}");

    let audit =
        sqlx::query_as::<_, (String, String, String, Value)>("select actor, action, target, detail from audit_log");
    let audit = audit.fetch_all(&looker.fleet.database.pool).await.unwrap();
    assert!(audit.iter().all(|(actor, action, ..)| (&**actor, &**action) == ("ada", "rows.reveal")), "{audit:?}");
    assert_eq!(audit.len(), 7, "three pages, and four more looks: {audit:?}");
    assert!(audit.iter().any(|(_, _, target, _)| target == "vocabulary.vocabulary_entries"), "{audit:?}");
    assert!(audit.iter().any(|(.., detail)| detail["where"] == json!(["item_count", "spelling"])), "{audit:?}");
    assert!(!format!("{audit:?}").contains("word 7"), "{audit:?}");
}

#[tokio::test]
async fn what_cannot_be_meant_is_said_and_nothing_is_seen_without_a_reason() {
    let looker = Looker::new().await;
    words(&looker.fleet.database.pool, 3).await;
    for (wrong, status, says) in [
        (json!({"reason": " "}), 400, "reason: must say something"),
        (json!({"table": "entrys"}), 400, "did you mean entries?"),
        (json!({"table": "entries\" as it; drop table entries; --"}), 400, "there is no table"),
        (json!({"where": {"speling": "x"}}), 400, "did you mean spelling?"),
        (json!({"where": {"spelling\" is null or \"spelling": "x"}}), 400, "there is no column"),
        (json!({"where": {"entry_id": "7"}}), 400, "invalid input syntax for type uuid"),
        (json!({"where": {"item_count": "99999999999"}}), 400, "out of range"),
        (json!({"where": {"spelling": "a\u{0}b"}}), 400, "invalid byte sequence"),
        (json!({"where": {"spelling": 7}}), 400, "where.spelling: invalid type"),
        (json!({"columns": ["spelling", "nothing"]}), 400, "there is no column"),
        (json!({"columns": vec!["spelling"; 101]}), 400, "at most 100 columns"),
        (json!({"after": {"spelling": "x"}}), 400, "`next`"),
        (json!({"after": {}}), 400, "`next`"),
        (json!({"after": {"entry_id": "x"}}), 400, "invalid input syntax for type uuid"),
        (json!({"limit": 101}), 400, "limit: must be from 1 to 100"),
        (json!({"generation": 9}), 404, "vocabulary has no generation 9"),
    ] {
        let (was, problem) = looker.ask(json!({"table": "entries"}), wrong.clone()).await;
        assert_eq!(was, status, "{wrong}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{wrong}: {problem}");
    }
    let url = format!("http://{}/admin/v1/projections/vocabular/rows", looker.admin.http());
    let body = json!({"table": "entries", "actor": "ada", "reason": "a test"});
    let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    assert!(answer.text().await.unwrap().contains("did you mean vocabulary?"));
    let (status, page) = looker.ask(json!({"table": "entries"}), json!({})).await;
    assert_eq!((status, page["rows"].as_array().unwrap().len()), (200, 3), "{page}");
}

/// However large a row is, and whoever holds the table.
#[tokio::test]
async fn a_page_has_a_bound_in_bytes_and_in_time() {
    let looker = Looker::new().await;
    let pool = &looker.fleet.database.pool;
    words(pool, 12).await;
    sqlx::raw_sql(
        "update vocabulary.entries set spelling = repeat('x', case item_count when 3 then 1200000 else 900000 end)",
    )
    .execute(pool)
    .await
    .unwrap();
    let (mut after, mut seen, mut pages) = (Value::Null, Vec::new(), 0);
    loop {
        let (status, page) = looker.ask(json!({"table": "entries"}), json!({"after": after})).await;
        assert_eq!(status, 200, "{page}");
        let rows = page["rows"].as_array().unwrap();
        let given =
            rows.iter().filter(|row| !row["row"].is_null()).map(|row| row["bytes"].as_i64().unwrap()).sum::<i64>();
        assert!(given < 4 << 20 && !rows.is_empty(), "{given}");
        seen.extend(rows.iter().map(|row| (row["key"]["entry_id"].to_string(), row["row"]["item_count"].as_i64())));
        pages += 1;
        after = page["next"].clone();
        if after.is_null() {
            assert_eq!(page["more"], false);
            break;
        }
    }
    assert_eq!(pages, 3);
    let counts: Vec<_> = seen.iter().map(|(_, count)| *count).collect();
    let expected: Vec<_> = (0..12).map(|count| (count != 3).then_some(count)).collect();
    assert_eq!(counts, expected, "the fourth is too large for an answer");
    let (_, out, error) = looker.rows(&["vocabulary", "entries", "--where", "item_count=3"]).await;
    assert!(
        error.contains("entry_id=00000000-0000-7000-8000-000000000003: 1.1") && error.contains("--columns"),
        "{out}{error}"
    );
    let (code, out, _) =
        looker.rows(&["vocabulary", "entries", "--where", "item_count=3", "--columns", "published_count"]).await;
    assert_eq!((code, &*out), (0, "published_count\n0\n"));

    let mut holder = pool.begin().await.unwrap();
    sqlx::raw_sql("lock table vocabulary.entries in access exclusive mode").execute(&mut *holder).await.unwrap();
    let (code, _, error) = looker.rows(&["vocabulary", "entries"]).await;
    assert_eq!(code, 4, "{error}");
    assert!(error.contains("it took more than 5 s") && error.contains("fleet locks"), "{error}");
    holder.rollback().await.unwrap();
    assert_eq!(looker.rows(&["vocabulary", "entries", "--columns", "item_count", "--limit", "1"]).await.0, 0);
}

/// What is read is what readers see, also when another generation takes its place; the others are there by their number.
#[tokio::test]
async fn rows_are_those_of_the_generation_that_is_meant() {
    let looker = Looker::new().await;
    let fleet = &looker.fleet;
    let store = fleet.event_store().await;
    let _worker = fleet.worker("vocabulary-events", &store).await;
    let run = async |command: &str, args: &[&str]| {
        let builder = fleet.process(command).await.env("FLEET_HTTP", &looker.admin.http());
        let all = ["vocabulary", "--actor", "ada", "--reason", "a test"];
        let (status, out, error) = all.iter().chain(args).fold(builder, |it, arg| it.arg(arg)).output().await;
        (status.success(), out + &error)
    };
    let created = event("EntryCreated", json!({"entry_id": Uuid::now_v7(), "spelling": "of both"}));
    connect(&store).await.append_events(append("VocabularyEntry", Uuid::now_v7(), vec![created])).await.unwrap();
    fleet.settled("vocabulary-events", 1).await;
    let (built, said) = run("rebuild", &[]).await;
    assert!(built, "{said}");
    let id = said.split_once("operation ").and_then(|(_, rest)| rest.split_once(':')).unwrap().0;
    let builder = fleet.process("operations").await.env("FLEET_HTTP", &looker.admin.http());
    let (status, _, error) = builder.arg("differences").arg(id).output().await;
    assert!(status.code() == Some(4) && error.contains("has compared nothing"), "{error}");
    // By hand, so that the two can be told apart.
    let marked = "update vocabulary__g2.entries set spelling = 'of the second'";
    sqlx::raw_sql(marked).execute(&fleet.database.pool).await.unwrap();
    let spelling = ["vocabulary", "entries", "--columns", "spelling"];
    let of = async |generation: &[&str]| looker.rows(&[&spelling[..], generation].concat()).await.1;
    assert_eq!(of(&[]).await, "spelling\nof both\n");
    assert_eq!(of(&["--generation", "2"]).await, "spelling\nof the second\n");
    eventually("it is promoted", LIMIT, async || match run("promote", &[]).await {
        (true, said) => Ok(said),
        (false, said) => Err(said),
    })
    .await;
    assert_eq!(of(&[]).await, "spelling\nof the second\n");
    assert_eq!(of(&["--generation", "1"]).await, "spelling\nof both\n");
}
