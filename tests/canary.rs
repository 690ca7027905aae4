//! What is secret stays where it belongs: canaries in payloads, tokens and passwords are in nothing that comes out.

use std::time::Duration;

use event_store::proto::NewEvent;
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};
use tonic::Request;
use uuid::Uuid;
use workers::admin::ROUTES;

use crate::harness::client::{Store, append, connect, event, signed_up};
use crate::harness::otlp::Receiver;
use crate::harness::parts::LIMIT;
use crate::harness::{Builder, Fleet, Process, eventually};

const ROLES: &str = r#"{"operator": ["bird"], "appender": ["bird"], "reader": ["bird"]}"#;

/// As much as anybody would log, of the fleet's own.
const LOG: &str = "info,fleet=debug,workers=debug,event_store=debug,database=debug,identity=debug,bus=debug,sqlx=debug";

struct Cage {
    fleet: Fleet,
    files: tempfile::TempDir,
    token: String,
    receiver: Receiver,
}

impl Cage {
    async fn process(&self, role: &str) -> Builder {
        let builder = self.fleet.process(role).await;
        self.seen(builder)
    }

    fn seen(&self, builder: Builder) -> Builder {
        builder
            .env("FLEET_AUTH", &format!("tokens:{}", self.files.path().join("tokens").display()))
            .env("FLEET_ROLES", ROLES)
            .env("FLEET_LOG", LOG)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.receiver.endpoint)
            .env("OTEL_TRACES_SAMPLER_ARG", "1.0")
    }

    fn token_file(&self) -> String {
        self.files.path().join("token").to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn nothing_that_comes_out_has_a_payload_a_token_or_a_password_in_it() {
    let files = tempfile::tempdir().unwrap();
    let minted = identity::Tokens::mint("bird").unwrap();
    std::fs::write(files.path().join("tokens"), &minted.line).unwrap();
    std::fs::write(files.path().join("token"), &minted.token).unwrap();
    let cage = Cage { fleet: Fleet::new().await, files, token: minted.token, receiver: Receiver::start().await };
    let fleet = &cage.fleet;
    let payload = format!("canary{}", Uuid::now_v7().simple());
    let wrong = format!("fleet_wrong{}", Uuid::now_v7().simple());
    let mut canaries = vec![payload.clone(), cage.token.clone(), wrong.clone()];
    canaries.extend(fleet.database.without_password().map(|(_, password)| password));
    let mut out: Vec<(String, String)> = Vec::new();

    let store = cage.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0").start().await;
    let worker = |topic: &'static str, store: &Process| {
        let (cage, grpc) = (&cage, store.grpc());
        async move {
            let url = cage.fleet.database.url_of("worker", Some(topic));
            let builder = cage.process("worker").await.env("DATABASE_URL", &url).env("FLEET_GRPC", &grpc);
            let builder = builder.env("FLEET_TOPIC", topic).env("FLEET_SWEEP_GRACE", "1").env("FLEET_STREAMS", "8");
            builder.env("FLEET_TOKEN_FILE", &cage.token_file()).start().await
        }
    };
    let workers = [worker("vocabulary-events", &store).await, worker("integration-events", &store).await];
    let admin = cage.process("admin").await.start().await;

    // Good events, events of the wrong shape, and requests that are refused, each with the canary wherever text may stand.
    let client = connect(&store).await;
    let sent = async |token: &str, aggregate_type: &str, id: Uuid, events: Vec<NewEvent>| {
        let mut request = Request::new(append(aggregate_type, id, events));
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let mut client: Store = client.clone();
        client.append_events(request).await
    };
    let entry = Uuid::now_v7();
    let good = event("EntryCreated", json!({"entry_id": entry, "spelling": payload}));
    sent(&cage.token, "VocabularyEntry", entry, vec![good]).await.unwrap();
    let bad = Uuid::now_v7();
    for (event_type, data) in [
        ("EntryCreated", json!({"entry_id": payload, "spelling": [payload]})),
        ("EntryCreated", json!({"entry_id": bad, "spelling": {&payload: payload}})),
    ] {
        let id = Uuid::now_v7();
        sent(&cage.token, "VocabularyEntry", id, vec![event(event_type, data)]).await.unwrap();
    }
    let user = Uuid::now_v7();
    let mut spoilt = signed_up(user);
    spoilt.event_data = json!({"user_id": user, "email": payload, "first_name": 7, "last_name": payload}).to_string();
    sent(&cage.token, "User", user, vec![spoilt]).await.unwrap();
    let unread = NewEvent { event_data: format!("{{\"x\": {payload}}}"), ..signed_up(user) };
    let hostile = NewEvent { metadata: format!("[\"{payload}\"]"), ..signed_up(user) };
    for (token, events) in [
        (&*cage.token, vec![unread]),
        (&cage.token, vec![hostile]),
        (&wrong, vec![signed_up(user)]),
        (&payload, vec![signed_up(user)]),
    ] {
        let refused = sent(token, "User", user, events).await.unwrap_err();
        out.push(("a refusal of gRPC".to_owned(), format!("{refused:?}")));
    }
    let foreign = Uuid::now_v7();
    let data = json!({"user_id": foreign, "email": payload, "name": [payload]});
    let foreign = crate::adoption::foreign("User", foreign, "UserSignedUp", 1, &data);
    crate::adoption::publish_foreign(fleet, "integration-events", &foreign).await;
    eventually("what is wrong is parked", LIMIT, async || {
        match fleet.database.count("select count(*) from parked_events").await {
            parked if parked >= 4 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;

    // Everything that an operator does.
    let letters: Vec<Uuid> =
        sqlx::query_scalar("select id from parked_events order by id").fetch_all(&fleet.database.pool).await.unwrap();
    let first = letters[0].to_string();
    let by = ["--actor", "ada", "--reason", "a test"];
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["doctor"],
        &["dead-letters", "list", "--json"],
        &["dead-letters", "show", &first],
        &["dead-letters", "show", &first, "--payload"],
        &["dead-letters", "retry", &first, "--yes"],
        &["inspect", &entry.to_string()],
        &["replay", "vocabulary"],
        &["verify", "vocabulary"],
        &["audit", "--json"],
        &["operations", "list", "--json"],
        &["pause", "vocabulary"],
        &["resume", "vocabulary"],
    ] {
        let attributed = matches!(args[0], "replay" | "verify" | "pause" | "resume")
            || args.last() == Some(&"--payload")
            || args.last() == Some(&"--yes");
        let mut builder = fleet.process(args[0]).await.env("FLEET_HTTP", &admin.http());
        builder = builder.env("FLEET_TOKEN_FILE", &cage.token_file());
        let more: &[&str] = if attributed { &by } else { &[] };
        builder = args[1..].iter().chain(more).fold(builder, |builder, arg| builder.arg(arg));
        let (_, said, error) = builder.output().await;
        out.push((format!("{args:?}"), said + &error));
    }
    let http = reqwest::Client::new();
    for (method, path, _) in ROUTES {
        for token in [&*cage.token, &wrong] {
            let path = path.replace("{name}", "vocabulary").replace("{generation}", "1").replace("{event}", "1");
            let path = path.replace("{id}", &first);
            let url = format!("http://{}/admin/v1{path}", admin.http());
            let request = http.request(method.parse().unwrap(), url).header(AUTHORIZATION, format!("Bearer {token}"));
            let request = if *method == "GET" { request } else { request.json(&json!({"reason": [payload]})) };
            let answer = request.timeout(Duration::from_secs(30)).send().await.unwrap();
            out.push((format!("{method} {path}"), answer.text().await.unwrap()));
        }
    }
    // A password that is wrong, and an address where nobody is.
    for url in [fleet.database.url_as("fleet_nobody"), "postgres://fleet:canarypassword@127.0.0.1:1/x".to_owned()] {
        let (_, said, error) = Process::builder("migrate").env("DATABASE_URL", &url).output().await;
        out.push(("migrate".to_owned(), said + &error));
    }
    canaries.push("canarypassword".to_owned());

    for process in workers.iter().chain([&store, &admin]) {
        let metrics = reqwest::get(format!("http://{}/metrics", process.http())).await.unwrap();
        out.push(("metrics".to_owned(), metrics.text().await.unwrap()));
        let line = std::fs::read(format!("/proc/{}/cmdline", process.id())).unwrap();
        out.push(("ps".to_owned(), String::from_utf8_lossy(&line).into_owned()));
    }
    let mut processes: Vec<Process> = workers.into_iter().chain([store, admin]).collect();
    for process in &mut processes {
        process.terminate();
        process.ended(Duration::from_secs(12)).await;
        out.push(("log".to_owned(), process.logged().join("\n")));
    }
    out.push(("spans".to_owned(), format!("{:?}", cage.receiver.spans())));
    assert!(cage.receiver.spans().len() > 20, "there are spans to look at");
    let logged: usize = out.iter().filter(|(from, _)| from == "log").map(|(_, text)| text.len()).sum();
    assert!(logged > 1000, "there is a log to look at");
    for (from, text) in &out {
        for canary in &canaries {
            if let Some(at) = text.find(canary.as_str()) {
                let around: String = text[..at].chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect();
                panic!("{from}: …{around}[{canary}]");
            }
        }
    }
    let bytes: usize = out.iter().map(|(_, text)| text.len()).sum();
    println!("{bytes} bytes of {} answers, logs, metrics and spans, and no canary in them", out.len());
    let shown: Vec<Value> =
        sqlx::query_scalar("select to_jsonb(audit_log) from audit_log").fetch_all(&fleet.database.pool).await.unwrap();
    assert!(!shown.is_empty());
}
