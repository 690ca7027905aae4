//! The admin API as programs see it: described, and refused in one way only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fleet::exit::Exit;
use reqwest::header::{ALLOW, ETAG, HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;
use workers::admin::{Kind, ROUTES, openapi};

use crate::harness::terraform::root;
use crate::harness::{Admin, Fleet, eventually};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"];

fn description() -> Value {
    serde_json::from_str(&openapi::text()).unwrap()
}

/// Each operation that is described: its method, its path, and what is said of it.
fn described() -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in description()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    all
}

fn with_ids(path: &str) -> String {
    path.replace("{id}", &Uuid::nil().to_string()).replace("{event}", "1").replace("{name}", "vocabulary")
}

#[tokio::test]
async fn every_route_is_described_and_what_is_described_is_a_route() {
    // A route comes into the router by its handler's own description, and in no other way.
    let mut handlers = 0;
    for entry in std::fs::read_dir(root().join("workers/src/admin")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        handlers += text.matches("#[utoipa::path(").count();
        for line in text.lines().filter(|line| !line.contains("problem::unknown_route")) {
            let other = [".route(", ".route_service(", ".nest_service("].iter().find(|other| line.contains(**other));
            assert_eq!(other, None, "makes a route that nobody describes: {line}");
        }
    }
    let described = described();
    assert_eq!(handlers, described.len(), "a handler is described, and is not among the routes");

    let fleet = Fleet::new().await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path, _) in described {
        let of_path = methods.entry(path).or_default();
        if method == "GET" {
            of_path.insert("HEAD".to_owned());
        }
        of_path.insert(method);
    }
    for (path, described) in methods {
        for method in METHODS {
            let asked = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = admin.raw(asked, &with_ids(&path), HeaderMap::new(), "").await;
            let refused = answer.status() == StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(!refused, described.contains(method), "{method} {path}: {}", answer.status());
            if refused {
                let allowed = answer.headers()[ALLOW].to_str().unwrap().split(',').map(str::to_owned);
                assert_eq!(allowed.collect::<BTreeSet<_>>(), described, "{path}");
            } else if method != "HEAD" && !answer.status().is_success() {
                let problem: Value = answer.json().await.unwrap();
                assert_ne!(problem["type"], Kind::UnknownRoute.urn(), "{method} {path}");
            }
        }
    }
    let served: Value = admin.get("/openapi.json").await;
    assert_eq!(served, description(), "what is served is what `fleet openapi` prints");
    let (status, out, _) = fleet.process("openapi").await.output().await;
    assert_eq!((status.code(), serde_json::from_str::<Value>(&out).unwrap()), (Some(0), served));
}

#[test]
fn the_description_refers_to_nothing_that_it_lacks_and_names_every_problem() {
    let (document, text) = (description(), openapi::text());
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for rest in text.split("\"#/components/schemas/").skip(1) {
        let name = rest.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name} is not described");
    }
    let urns: Vec<_> = Kind::ALL.iter().map(|kind| json!(kind.urn())).collect();
    assert_eq!(schemas["Kind"]["enum"], json!(urns));
    let mut names = BTreeSet::new();
    for (method, path, operation) in described() {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{name} is two operations");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path} answers nothing");
        let problems = operation["x-problems"].as_array().unwrap();
        for kind in Kind::ALL.iter().filter(|kind| problems.contains(&json!(kind.urn()))) {
            let response = &responses[kind.status().as_str()];
            assert!(response["content"]["application/problem+json"].is_object(), "{method} {path}: {kind:?}");
        }
    }
}

#[test]
fn no_two_types_are_described_under_one_name() {
    // The one would be described as the other, and nobody would say so.
    let mut folders = vec![root().join("workers/src"), root().join("event-store/src")];
    let mut names = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            for described in
                text.split("#[derive(").skip(1).filter(|it| it.split(')').next().unwrap().contains("ToSchema"))
            {
                let (attributes, rest) = described.split_once("struct ").unwrap_or((described, ""));
                let (attributes, rest) = attributes.split_once("enum ").unwrap_or((attributes, rest));
                let name = attributes.split_once("#[schema(as = ").map_or(rest, |(_, name)| name);
                let name: String = name.chars().take_while(|letter| letter.is_alphanumeric()).collect();
                assert!(!name.is_empty(), "{}: {described}", path.display());
                assert!(
                    names.insert(name.clone()),
                    "{}: {name} is another type already: schema(as = …)",
                    path.display()
                );
            }
        }
    }
    let described = description();
    for name in described["components"]["schemas"].as_object().unwrap().keys() {
        assert!(names.contains(name), "{name} is described by nobody");
    }
}

/// The lines of a document between two marks, which a program writes.
fn generated(document: &str, mark: &str) -> String {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let (_, rest) = text.split_once(&format!("<!-- {mark} -->\n")).unwrap_or_else(|| panic!("{document}: no {mark}"));
    rest.split_once("<!-- end -->").unwrap().0.to_owned()
}

#[test]
fn the_documentation_says_what_the_code_does() {
    let mut routes = "| | | who | does | problems of its own |\n| --- | --- | --- | --- | --- |\n".to_owned();
    let common = [
        Kind::Invalid,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::Internal,
        Kind::IdentityUnavailable,
        Kind::Unavailable,
        Kind::TooLarge,
        Kind::WrongContentType,
    ];
    for (method, path, operation) in described() {
        let problems = operation["x-problems"].as_array().unwrap().iter().filter_map(Value::as_str);
        let own = problems.filter(|urn| !common.iter().any(|kind| kind.urn() == *urn));
        let own: Vec<_> = own.map(|urn| format!("`{}`", urn.strip_prefix("urn:fleet:").unwrap())).collect();
        let summary = operation["summary"].as_str().unwrap();
        let who = ROUTES.iter().find(|(of, at, _)| (*of, *at) == (&*method, &*path)).unwrap().2.as_str();
        routes += &format!("| {method} | `{path}` | {who} | {summary} | {} |\n", own.join(", "));
    }
    let mut problems = "| `type` | status | title | when |\n| --- | --- | --- | --- |\n".to_owned();
    for kind in Kind::ALL {
        let (urn, status, title, when) = (kind.urn(), kind.status().as_u16(), kind.title(), kind.when());
        problems += &format!("| `{urn}` | {status} | {title} | {when} |\n");
    }
    let mut exits = "| code | means |\n| --- | --- |\n".to_owned();
    for exit in Exit::ALL {
        exits += &format!("| {} | {} |\n", exit.code(), exit.meaning());
    }
    for (mark, expected) in [("routes", routes), ("problems", problems), ("exit codes", exits)] {
        assert_eq!(generated("docs/api.md", mark), expected, "docs/api.md, {mark}, is to be:\n{expected}");
    }
}

#[tokio::test]
async fn whatever_is_refused_is_a_problem_of_the_closed_set() {
    let fleet = Fleet::new().await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    let json =
        || HeaderMap::from_iter([(HeaderName::from_static("content-type"), "application/json".parse().unwrap())]);
    let form = || HeaderMap::from_iter([(HeaderName::from_static("content-type"), "text/plain".parse().unwrap())]);
    let key = |key: &[u8]| {
        let mut headers = json();
        headers.insert("idempotency-key", reqwest::header::HeaderValue::from_bytes(key).unwrap());
        headers
    };
    let id = Uuid::now_v7();
    let (replay, large) = (r#"{"projection":"vocabulary","dry_run":true}"#, " ".repeat(300_000));
    let discard = r#"{"event_id":null,"error":"\u0000","actor":"ada","reason":"a test"}"#;
    let retrying = format!("/dead-letters/{id}/retry");
    let discarding = format!("/dead-letters/{id}/discard");
    for (method, path, headers, body, kind) in [
        (Method::GET, "", HeaderMap::new(), "", Kind::UnknownRoute),
        (Method::GET, "/", HeaderMap::new(), "", Kind::UnknownRoute),
        (Method::GET, "/nothing", HeaderMap::new(), "", Kind::UnknownRoute),
        (Method::POST, "/operations/1/2/3", json(), "{}", Kind::UnknownRoute),
        (Method::DELETE, "/operations", HeaderMap::new(), "", Kind::WrongMethod),
        (Method::GET, "/replays", HeaderMap::new(), "", Kind::WrongMethod),
        (Method::POST, "/replays", json(), &large, Kind::TooLarge),
        (Method::POST, "/replays", HeaderMap::new(), replay, Kind::WrongContentType),
        (Method::POST, "/replays", form(), replay, Kind::WrongContentType),
        (Method::POST, "/replays", json(), "", Kind::Invalid),
        (Method::POST, "/replays", json(), "\u{1}", Kind::Invalid),
        (Method::POST, "/replays", key(b"k\xe9y"), r#"{"projection":"vocabulary"}"#, Kind::Invalid),
        (Method::POST, "/replays", key(b"k\ty"), replay, Kind::Invalid),
        (Method::POST, "/replays", json(), r#"["vocabulary"]"#, Kind::Invalid),
        (Method::POST, &retrying, json(), "[]", Kind::Invalid),
        (Method::POST, "/dead-letter-batches", json(), r#"{"filter":[]}"#, Kind::Invalid),
        (Method::POST, &discarding, json(), discard, Kind::Invalid),
        (Method::GET, "/unreadable/1?reason=%00", HeaderMap::new(), "", Kind::Invalid),
        (Method::GET, "/operations/%ff", HeaderMap::new(), "", Kind::Invalid),
        (Method::GET, "/operations/x", HeaderMap::new(), "", Kind::NotFound),
        (Method::GET, "/operations?limit=0", HeaderMap::new(), "", Kind::Invalid),
        (Method::GET, "/operations?limit=101", HeaderMap::new(), "", Kind::Invalid),
        (Method::GET, "/operations?limit=1&limit=2", HeaderMap::new(), "", Kind::Invalid),
        (Method::GET, "/audit?before=x", HeaderMap::new(), "", Kind::Invalid),
        (Method::GET, "/dead-letters?event_type=%00", HeaderMap::new(), "", Kind::Invalid),
    ] {
        let answer = admin.raw(method.clone(), path, headers, body).await;
        assert_eq!(answer.status().as_u16(), kind.status().as_u16(), "{method} {path}");
        let kind_of_body = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap());
        assert_eq!(kind_of_body, Some("application/problem+json"), "{method} {path}");
        let problem: Value = answer.json().await.unwrap();
        let said = (&problem["type"], &problem["title"], &problem["status"]);
        let expected = (&json!(kind.urn()), &json!(kind.title()), &json!(kind.status().as_u16()));
        assert_eq!(said, expected, "{method} {path}: {problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{method} {path}: {problem}");
    }
    assert_eq!(admin.operations().await, Vec::<Value>::new(), "nothing is done");
    // Elsewhere the port answers as it did.
    let url = format!("http://{}/nothing", process.http());
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!((answer.status(), answer.headers().get("content-type")), (StatusCode::NOT_FOUND, None));
}

#[tokio::test]
async fn lists_go_on_where_a_page_ends() {
    let fleet = Fleet::new().await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    let mut asked = Vec::new();
    for _ in 0..7 {
        let (status, operation) = admin.post("/replays", &json!({"projection": "vocabulary"})).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        asked.push(operation["id"].clone());
    }
    asked.reverse();
    for (list, items) in [("operations", "operations"), ("audit", "entries")] {
        let (mut seen, mut next) = (Vec::new(), String::new());
        for _ in 0..4 {
            let page = admin.get(&format!("/{list}?limit=3{next}")).await;
            let items = page[items].as_array().unwrap();
            assert!(items.len() <= 3, "{page}");
            seen.extend(items.iter().map(|item| item.get("target").unwrap_or(&item["id"]).clone()));
            match page["next"].as_str() {
                Some(last) => next = format!("&before={last}"),
                None => break,
            }
        }
        assert_eq!(seen, asked, "{list}");
    }
}

#[tokio::test]
async fn what_is_unchanged_is_not_sent_again() {
    let fleet = Fleet::new().await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    let (_, operation) = admin.post("/replays", &json!({"projection": "vocabulary"})).await;
    let path = format!("/operations/{}", operation["id"].as_str().unwrap());
    let tag = admin.raw(Method::GET, &path, HeaderMap::new(), "").await.headers()[ETAG].clone();
    let asked = async || {
        let headers = HeaderMap::from_iter([(IF_NONE_MATCH, tag.clone())]);
        admin.raw(Method::GET, &path, headers, "").await
    };
    let same = asked().await;
    assert_eq!((same.status(), &same.headers()[ETAG]), (StatusCode::NOT_MODIFIED, &tag));
    assert_eq!(same.text().await.unwrap(), "");
    sqlx::query("update operations set seen = seen + 1").execute(&fleet.database.pool).await.unwrap();
    let other = asked().await;
    assert_eq!(other.status(), StatusCode::OK);
    assert_ne!(other.headers()[ETAG], tag);
}

#[tokio::test]
async fn a_decision_about_a_letter_that_has_changed_since_it_was_seen_is_refused() {
    let fleet = Fleet::new().await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    let id = crate::commands::park(&fleet, "no JSON").await;
    let path = format!("/dead-letters/{id}");
    let tag = async || admin.raw(Method::GET, &path, HeaderMap::new(), "").await.headers()[ETAG].clone();
    let decide = async |what: &str, body: &Value, seen: &reqwest::header::HeaderValue| {
        let kind = (HeaderName::from_static("content-type"), "application/json".parse().unwrap());
        let headers = HeaderMap::from_iter([(IF_MATCH, seen.clone()), kind]);
        let answer = admin.raw(Method::POST, &format!("{path}/{what}"), headers, &body.to_string()).await;
        (answer.status(), answer.json::<Value>().await.unwrap())
    };
    let by = json!({"actor": "ada", "reason": "a test"});
    let discard = json!({"event_id": null, "error": "no event", "actor": "ada", "reason": "a test"});
    let seen = tag().await;
    sqlx::query("update parked_events set attempts = attempts + 1").execute(&fleet.database.pool).await.unwrap();
    for (what, body) in [("retry", &by), ("discard", &discard)] {
        let (status, problem) = decide(what, body, &seen).await;
        assert_eq!((status, &problem["type"]), (StatusCode::PRECONDITION_FAILED, &json!(Kind::Changed.urn())));
    }
    assert_eq!(admin.operations().await, Vec::<Value>::new(), "nothing is decided");
    assert_eq!(admin.get("/audit").await["entries"], json!([]), "and nothing is written");
    let seen = tag().await;
    let (status, operation) = decide("retry", &by, &seen).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{operation}");
    eventually("the letter says so", Duration::from_secs(10), async || {
        let letter = admin.get(&path).await;
        if letter["decision"] == "retry" { Ok(()) } else { Err(letter.to_string()) }
    })
    .await;
    let (status, problem) = decide("discard", &discard, &tag().await).await;
    assert_eq!((status, &problem["type"]), (StatusCode::CONFLICT, &json!(Kind::Conflict.urn())), "{problem}");
}
