//! Nobody gets in who does not belong.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use event_store::service::access::{CALLS, Needs};
use fleet::client::endpoint;
use identity::Role;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::client::Grpc;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;
use uuid::Uuid;
use workers::admin::ROUTES;

use crate::adoption;
use crate::harness::front::Front;
use crate::harness::issuer::{Issuer, claims, now, stripped};
use crate::harness::{Admin, Builder, Fleet, Process, eventually};

const AUDIENCE: &str = "https://admin.example.org";
const IAP_AUDIENCE: &str = "/projects/1/locations/europe-west1/services/fleet-admin";

/// People of each role, by the name that the issuer knows them by.
const ROLES: &str = r#"{
    "viewer": ["viewer@example.org"],
    "operator": ["operator@example.org", "group:on-call"],
    "payload-reader": ["reader@example.org"],
    "appender": ["appender@example.org", "shop"],
    "reader": ["consumer@example.org"]
}"#;

/// What guards a door, and who can show what at it.
struct Keeper {
    google: Issuer,
    iap: Issuer,
    files: TempDir,
}

impl Keeper {
    async fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let made = identity::Tokens::mint("shop").unwrap();
        std::fs::write(files.path().join("shop"), made.token).unwrap();
        std::fs::write(files.path().join("tokens"), made.line).unwrap();
        Self { google: Issuer::start().await, iap: Issuer::elliptic().await, files }
    }

    /// A role that asks in all ways but the one that trusts Cloud Run.
    fn asking(&self, builder: Builder) -> Builder {
        let tokens = self.files.path().join("tokens");
        self.by(builder, &format!("iap:{IAP_AUDIENCE},google:{AUDIENCE},tokens:{}", tokens.display()))
    }

    fn by(&self, builder: Builder, ways: &str) -> Builder {
        builder
            .env("FLEET_AUTH", ways)
            .env("FLEET_ROLES", ROLES)
            .env("FLEET_AUTH_GOOGLE_KEYS", &self.google.url)
            .env("FLEET_AUTH_IAP_KEYS", &self.iap.url)
    }

    fn of(&self, email: &str) -> String {
        self.google.token("one", &claims(AUDIENCE, email))
    }

    fn asserted(&self, claims: &Value) -> HeaderMap {
        let assertion = HeaderValue::from_str(&self.iap.token("one", claims)).unwrap();
        HeaderMap::from_iter([("x-goog-iap-jwt-assertion".parse().unwrap(), assertion)])
    }

    /// What is shown by somebody who should not get in, whoever he says that he is.
    fn forgeries(&self) -> Vec<(&'static str, HeaderMap)> {
        let of_operator = || claims(AUDIENCE, "operator@example.org");
        let with = |field: &str, value: Value| {
            let mut claims = of_operator();
            claims[field] = value;
            self.google.token("one", &claims)
        };
        let mut asserted = json!({
            "iss": "https://cloud.google.com/iap", "aud": IAP_AUDIENCE, "sub": "accounts.google.com:1",
            "email": "operator@example.org", "iat": now(), "exp": now() + 600,
        });
        asserted["aud"] = json!("/projects/1/locations/europe-west1/services/other");
        let mut swapped = of_operator();
        swapped["iss"] = json!("https://cloud.google.com/iap");
        swapped["aud"] = json!(IAP_AUDIENCE);
        let good = self.of("operator@example.org");
        let mut two = bearer(&good);
        two.append(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {good}")).unwrap());
        let named = HeaderMap::from_iter([(
            "x-goog-authenticated-user-email".parse().unwrap(),
            HeaderValue::from_static("accounts.google.com:operator@example.org"),
        )]);
        let mut basic = HeaderMap::new();
        basic.insert(AUTHORIZATION, HeaderValue::from_static("Basic b3BlcmF0b3I6"));
        vec![
            ("none", HeaderMap::new()),
            ("a header of IAP without its token", named),
            ("a password", basic),
            ("wrong audience", bearer(&with("aud", "https://admin.example.org.evil.example".into()))),
            (
                "a list of audiences without ours",
                bearer(&with("aud", json!(["https://a.example", "https://b.example"]))),
            ),
            ("wrong issuer", bearer(&with("iss", "https://accounts.google.com.evil.example".into()))),
            ("expired", bearer(&with("exp", (now() - 60).into()))),
            ("not yet valid", bearer(&with("nbf", (now() + 120).into()))),
            ("issued in the future", bearer(&with("iat", (now() + 120).into()))),
            ("alg none", bearer(&self.google.forged("none", &of_operator()))),
            ("alg None", bearer(&self.google.forged("None", &of_operator()))),
            ("HS256 with the public key", bearer(&self.google.forged("HS256", &of_operator()))),
            ("unknown key id", bearer(&self.google.token("two", &of_operator()))),
            ("the key of another issuer", bearer(&self.iap.token("one", &of_operator()))),
            ("an assertion for another service", self.asserted(&asserted)),
            ("an assertion by Google's other key", {
                let forged = HeaderValue::from_str(&self.google.token("one", &swapped)).unwrap();
                HeaderMap::from_iter([("x-goog-iap-jwt-assertion".parse().unwrap(), forged)])
            }),
            ("stripped signature", bearer(&stripped(&good))),
            ("no signature", bearer(good.rsplit_once('.').unwrap().0)),
            ("a token that nobody has", bearer("fleet_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
            ("two tokens", two),
            ("a token of 10 kB", bearer(&format!("{good}{}", "A".repeat(10_000)))),
        ]
    }
}

fn bearer(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap())])
}

/// A path of a route, with something for each of its names.
fn filled(path: &str) -> String {
    let path = path.replace("{name}", "vocabulary").replace("{generation}", "7");
    path.replace("{id}", "01900000-0000-7000-8000-000000000001").replace("{event}", "1")
}

async fn asked(process: &Process, method: &str, path: &str, headers: HeaderMap) -> StatusCode {
    let method: Method = method.parse().unwrap();
    let url = format!("http://{}/admin/v1{}", process.http(), filled(path));
    // Making one takes longer than the request; connections are not kept, because each test has a runtime of its own.
    static CLIENT: LazyLock<reqwest::Client> =
        LazyLock::new(|| reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap());
    let request = CLIENT.request(method.clone(), url).headers(headers);
    // Nothing that could be meant, so that whoever is let through changes nothing.
    let request = if method == Method::GET { request } else { request.json(&json!({"nonsense": true})) };
    request.send().await.unwrap().status()
}

async fn called(store: &Process, path: &'static str, headers: &HeaderMap) -> Code {
    let channel = endpoint(&store.grpc()).unwrap().connect().await.unwrap();
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let mut request = Request::new(tokio_stream::iter([()]));
    *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(headers.clone());
    let codec = ProstCodec::<(), ()>::default();
    let answered = client.streaming(request, path.parse().unwrap(), codec).await;
    match answered {
        Err(status) => status.code(),
        Ok(mut messages) => match messages.get_mut().message().await {
            Err(status) => status.code(),
            Ok(_) => Code::Ok,
        },
    }
}

/// Every route and every call, with everything that somebody might show. What it comes to is printed as a table.
#[tokio::test]
async fn every_route_and_every_call_lets_in_who_has_its_role_and_nobody_else() {
    let fleet = Fleet::new().await;
    let keeper = Keeper::new().await;
    let admin = keeper.asking(fleet.process("admin").await).start().await;
    let store = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = keeper.asking(store.env("FLEET_NO_RELAY", "true")).start().await;
    let person = |name: &str| bearer(&keeper.of(&format!("{name}@example.org")));
    let on_call = keeper.asserted(&json!({
        "iss": "https://cloud.google.com/iap", "aud": IAP_AUDIENCE, "sub": "accounts.google.com:9",
        "email": "somebody@example.org", "groups": ["on-call"], "iat": now(), "exp": now() + 600,
    }));
    let shop = std::fs::read_to_string(keeper.files.path().join("shop")).unwrap();
    let mut callers: Vec<(&str, HeaderMap, Option<&[Role]>)> =
        keeper.forgeries().into_iter().map(|(what, headers)| (what, headers, None)).collect();
    let known: [(&str, HeaderMap, &[Role]); 9] = [
        ("verified, without a role", person("nobody"), &[]),
        ("viewer", person("viewer"), &[Role::Viewer]),
        ("operator", person("operator"), &[Role::Viewer, Role::Operator]),
        ("operator, in capitals", person("OPERATOR"), &[Role::Viewer, Role::Operator]),
        ("operator by a group, through IAP", on_call, &[Role::Viewer, Role::Operator]),
        ("payload-reader", person("reader"), &[Role::Viewer, Role::PayloadReader]),
        ("appender", person("appender"), &[Role::Appender]),
        ("appender by a token of a file", bearer(&shop), &[Role::Appender]),
        ("reader", person("consumer"), &[Role::Reader]),
    ];
    callers.extend(known.map(|(what, headers, roles)| (what, headers, Some(roles))));

    let mut rows = 0;
    println!("{:<36} {:>22} {:>26}", "shown", "admin API", "gRPC");
    for (what, headers, roles) in &callers {
        let mut came_to: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for (method, path, role) in ROUTES {
            let status = asked(&admin, method, path, headers.clone()).await;
            let expected = match roles {
                None => status == StatusCode::UNAUTHORIZED,
                Some(roles) if roles.contains(role) => {
                    ![StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status) && !status.is_server_error()
                }
                Some(_) => status == StatusCode::FORBIDDEN,
            };
            assert!(expected, "{what}: {method} {path} came to {status}");
            let said =
                if [401, 403].contains(&status.as_u16()) { status.as_u16().to_string() } else { "in".to_owned() };
            *came_to.entry(("http", said)).or_default() += 1;
            rows += 1;
        }
        for path in ["/dead-letters/{id}", "/unreadable/{event}"] {
            let look = format!("{path}?payload=true&actor=x&reason=y");
            let status = asked(&admin, "GET", &look, headers.clone()).await;
            let refused = match roles {
                None => Some(StatusCode::UNAUTHORIZED),
                Some(roles) => (!roles.contains(&Role::PayloadReader)).then_some(StatusCode::FORBIDDEN),
            };
            assert_eq!(status, refused.unwrap_or(StatusCode::NOT_FOUND), "{what}: {look}");
        }
        for (path, needs) in CALLS {
            let code = called(&store, path, headers).await;
            let barred = [Code::Unauthenticated, Code::PermissionDenied];
            let expected = match (needs, roles) {
                (Needs::Nothing, _) => !barred.contains(&code),
                (_, None) => code == Code::Unauthenticated,
                (Needs::Role(role), Some(roles)) if roles.contains(role) => !barred.contains(&code),
                (Needs::Role(_), Some(_)) => code == Code::PermissionDenied,
            };
            assert!(expected, "{what}: {path} came to {code:?}");
            let said = if barred.contains(&code) { format!("{code:?}") } else { "in".to_owned() };
            *came_to.entry(("grpc", said)).or_default() += 1;
            rows += 1;
        }
        let of = |door: &str| {
            let of_door = came_to.iter().filter(|((of, _), _)| *of == door);
            of_door.map(|((_, said), count)| format!("{count} {said}")).collect::<Vec<_>>().join(", ")
        };
        println!("{what:<36} {:>22} {:>36}", of("http"), of("grpc"));
    }
    println!("{rows} pairs of a route and what is shown");
    assert_eq!(keeper.google.fetched() + keeper.iap.fetched(), 4, "each door has asked each issuer once");
    // What was refused was counted, and nobody has done anything.
    let counted = admin.counter("admin_refused_requests_total{reason=\"forbidden\",request=\"change\"}").await;
    assert!(counted > 50, "{counted}");
    assert!(store.counter("eventstore_refused_calls_total").await > 100);
    assert_eq!(fleet.database.count("select count(*) from audit_log").await, 0);
    assert_eq!(fleet.database.count("select count(*) from events").await, 0);
}

#[tokio::test]
async fn behind_cloud_run_a_token_that_it_has_checked_is_believed_and_no_other_is() {
    let fleet = Fleet::new().await;
    let keeper = Keeper::new().await;
    let admin = keeper.by(fleet.process("admin").await, "cloud-run").start().await;
    let whole = keeper.of("operator@example.org");
    let mut old = claims(AUDIENCE, "operator@example.org");
    old["exp"] = (now() - 60).into();
    let mut unverified = claims(AUDIENCE, "operator@example.org");
    unverified["email_verified"] = false.into();
    for (token, status) in [
        (stripped(&whole), StatusCode::OK),
        (whole.clone(), StatusCode::UNAUTHORIZED),
        (stripped(&keeper.google.token("one", &old)), StatusCode::UNAUTHORIZED),
        (stripped(&keeper.google.token("one", &unverified)), StatusCode::FORBIDDEN),
        ("x.y.SIGNATURE_REMOVED_BY_GOOGLE".to_owned(), StatusCode::UNAUTHORIZED),
        ("SIGNATURE_REMOVED_BY_GOOGLE".to_owned(), StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(asked(&admin, "GET", "/operations", bearer(&token)).await, status, "{token}");
    }
    // Cloud Run checks the token of the one header, and leaves the other as somebody wrote it.
    let own = stripped(&keeper.of("viewer@example.org"));
    for (checked, other, status) in [
        (&*own, &*stripped(&whole), StatusCode::FORBIDDEN),
        (&stripped(&whole), &own, StatusCode::BAD_REQUEST),
        (&stripped(&whole), "x.y.z", StatusCode::BAD_REQUEST),
        (&whole, &stripped(&whole), StatusCode::UNAUTHORIZED),
    ] {
        let mut headers = bearer(other);
        headers.insert("x-serverless-authorization", bearer(checked)[AUTHORIZATION].clone());
        assert_eq!(asked(&admin, "POST", "/operations/stop", headers).await, status);
    }
}

#[tokio::test]
async fn who_is_written_down_is_who_was_verified_whoever_it_says_that_it_is() {
    let fleet = Fleet::new().await;
    let keeper = Keeper::new().await;
    let admin = keeper.asking(fleet.process("admin").await).start().await;
    let token = NamedTempFile::new().unwrap();
    std::fs::write(&token, keeper.of("operator@example.org")).unwrap();
    let pause = async |token: &Path| {
        let builder = fleet.process("pause").await.env("FLEET_HTTP", &admin.http()).arg("vocabulary");
        let builder = builder.env("FLEET_TOKEN_FILE", token.to_str().unwrap());
        builder.arg("--actor").arg("mallory").arg("--reason").arg("a test").output().await
    };
    let (status, out, error) = pause(token.path()).await;
    assert!(status.success(), "{out}{error}");
    let actors: Vec<String> =
        sqlx::query_scalar("select actor from audit_log").fetch_all(&fleet.database.pool).await.unwrap();
    assert_eq!(actors, ["operator@example.org"]);

    for (shown, exit, says) in
        [(keeper.of("viewer@example.org"), 4, "needs the role operator"), ("x.y.z".to_owned(), 4, "--token-file")]
    {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(&file, shown).unwrap();
        let (status, out, error) = pause(file.path()).await;
        assert_eq!(status.code(), Some(exit), "{out}{error}");
        assert!(error.contains(says), "{error}");
    }
    let (status, _, error) = pause(Path::new("/nowhere/token")).await;
    assert_eq!(status.code(), Some(4), "{error}");
    assert!(error.contains("the token file /nowhere/token"), "{error}");
}

#[tokio::test]
async fn what_lets_everybody_in_listens_on_this_machine_only() {
    let fleet = Fleet::new().await;
    let tokens = NamedTempFile::new().unwrap();
    std::fs::write(&tokens, "no token at all").unwrap();
    let tokens = format!("tokens:{}", tokens.path().display());
    let everywhere = [("FLEET_HTTP_LISTEN", "0.0.0.0:0"), ("FLEET_GRPC_LISTEN", "0.0.0.0:0")];
    for (role, own, says) in [
        ("admin", &[][..], "would let in whoever reaches 0.0.0.0"),
        ("event-store", &[], "would let in whoever reaches 0.0.0.0"),
        ("admin", &[("FLEET_AUTH", "cloud-run")], "nobody who may come in"),
        ("admin", &[("FLEET_ROLES", ROLES)], "no way to show"),
        ("admin", &[("FLEET_AUTH", "basic"), ("FLEET_ROLES", ROLES)], "is no way to show who one is"),
        ("admin", &[("FLEET_AUTH", "iap:"), ("FLEET_ROLES", ROLES)], "is no way to show who one is"),
        (
            "admin",
            &[("FLEET_AUTH", "google:x"), ("FLEET_ROLES", "{\"oprator\": [\"a@b\"]}")],
            "did you mean \"operator\"",
        ),
        (
            "admin",
            &[("FLEET_AUTH", "google:x"), ("FLEET_ROLES", "{\"viewer\": [\"allUsers\"]}")],
            "nobody in particular",
        ),
        (
            "admin",
            &[("FLEET_AUTH", "google:x"), ("FLEET_ROLES", "{\"appender\": [\"ada@example.org\"]}")],
            "nobody has a role that is good for anything at the admin API: viewer, operator, payload-reader",
        ),
        ("admin", &[("FLEET_AUTH", &tokens), ("FLEET_ROLES", ROLES)], "line 1 is not a name and a hash"),
        ("admin", &[("FLEET_AUTH", "tokens:/nowhere"), ("FLEET_ROLES", ROLES)], "reading the tokens in /nowhere"),
    ] {
        let builder =
            everywhere.iter().chain(own).fold(fleet.process(role).await, |it, (name, value)| it.env(name, value));
        let (status, _, error) = builder.output().await;
        assert_eq!(status.code(), Some(2), "{role} {own:?}: {error}");
        assert!(error.lines().count() == 1 && error.contains(says), "{role} {own:?}: {error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let dev = Process::builder("dev").env("FLEET_DATA_DIR", dir.path().to_str().unwrap());
    let (status, _, error) = dev.env("FLEET_HTTP", "0.0.0.0:0").env("FLEET_GRPC", "127.0.0.1:0").output().await;
    assert_eq!((status.code(), error.contains("loopback")), (Some(1), true), "{error}");
}

#[tokio::test]
async fn a_worker_that_others_reach_has_no_admin_api_and_metrics_can_have_a_port_of_their_own() {
    let fleet = Fleet::new().await;
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("FLEET_NO_RELAY", "true").start().await;
    let pushed = fleet.worker_builder("vocabulary-events", &store).await.env("FLEET_DELIVERY", "push");
    let pushed =
        pushed.env("FLEET_PUSH_UNAUTHENTICATED", "true").env("FLEET_METRICS_LISTEN", "127.0.0.1:0").start().await;
    let pulling =
        fleet.worker_builder("vocabulary-events", &store).await.env("FLEET_HTTP_LISTEN", "0.0.0.0:0").start().await;
    for (worker, path, status) in [
        (&pushed, "/readyz", 200),
        (&pushed, "/metrics", 404),
        (&pushed, "/admin/v1/projections", 404),
        (&pushed, "/admin/v1/openapi.json", 404),
        (&pulling, "/metrics", 200),
        (&pulling, "/admin/v1/projections", 404),
    ] {
        let address = worker.http().replace("0.0.0.0", "127.0.0.1");
        let answer = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path} of {address}");
    }
    let line = eventually("it says where", Duration::from_secs(10), async || {
        let said = pushed
            .logged()
            .into_iter()
            .find_map(|line| serde_json::from_str::<Value>(&line).ok()?.get("metrics").cloned());
        said.ok_or_else(|| "nothing yet".to_owned())
    });
    let metrics = reqwest::get(format!("http://{}/metrics", line.await.as_str().unwrap())).await.unwrap();
    assert!(metrics.text().await.unwrap().contains("projection_events_total"));
}

/// The command line and an adopting worker, to an event store that is not beside them: by TLS, with a token.
#[tokio::test]
async fn who_has_a_token_appends_and_adopts_over_tls() {
    let fleet = Fleet::new().await;
    let keeper = Keeper::new().await;
    let store = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = keeper.asking(store).start().await;
    let front = Front::of(&store.grpc()).await;
    let roots = front.roots.to_str().unwrap();
    let shop = keeper.files.path().join("shop");
    let user = Uuid::now_v7();
    let mut file = NamedTempFile::new().unwrap();
    let line = json!({"aggregate_type": "User", "aggregate_id": user, "events": [{
        "event_type": "UserSignedUp", "metadata": {"schema_version": 2}, "occurred_at": "2026-03-01T08:00:00.123Z",
        "event_data": {"user_id": user, "email": "ada@example.org", "first_name": "Ada", "last_name": "L"},
    }]});
    writeln!(file, "{line}").unwrap();
    let import = async |token: Option<&Path>| {
        let builder = fleet.process("import").await.arg(file.path().to_str().unwrap()).env("FLEET_GRPC", &front.url);
        let builder = builder.env("SSL_CERT_FILE", roots);
        let builder = token.iter().fold(builder, |it, token| it.env("FLEET_TOKEN_FILE", token.to_str().unwrap()));
        builder.output().await
    };
    let (status, out, error) = import(None).await;
    assert_eq!(status.code(), Some(4), "{out}{error}");
    assert!(error.contains("--token-file"), "{error}");
    let (status, out, error) = import(Some(&shop)).await;
    assert!(status.success(), "{out}{error}");
    assert_eq!(fleet.database.count("select count(*) from events").await, 1);

    let worker = fleet.worker_builder("integration-events", &store).await.env("FLEET_GRPC", &front.url);
    let _worker = worker.env("SSL_CERT_FILE", roots).env("FLEET_TOKEN_FILE", shop.to_str().unwrap()).start().await;
    let foreign = Uuid::now_v7();
    let data = json!({"user_id": foreign, "email": "ben@example.org", "name": "Ben"});
    let event = adoption::foreign("User", foreign, "UserSignedUp", 1, &data);
    adoption::publish_foreign(&fleet, "integration-events", &event).await;
    eventually("it is adopted", Duration::from_secs(60), async || {
        match fleet.database.count("select count(*) from events").await {
            2 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}

/// What runs on Google Cloud has the tokens of its account from the metadata server.
#[tokio::test]
async fn a_program_on_google_cloud_shows_the_token_of_its_account() {
    let fleet = Fleet::new().await;
    let keeper = Keeper::new().await;
    let admin = keeper.by(fleet.process("admin").await, &format!("google:{AUDIENCE}")).start().await;
    let token = keeper.of("operator@example.org");
    let metadata = axum::Router::new().fallback(async move |request: axum::extract::Request| {
        let asked = request.uri().to_string();
        assert!(asked.starts_with("/computeMetadata/v1/instance/service-accounts/default/identity"), "{asked}");
        assert_eq!(request.headers()["metadata-flavor"], "Google");
        assert!(asked.contains("admin.example.org") && asked.contains("format=full"), "{asked}");
        token
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, metadata).await });
    let home = tempfile::tempdir().unwrap();
    let run = async |host: &str| {
        let builder = fleet.process("pause").await.env("FLEET_HTTP", &admin.http()).arg("vocabulary");
        let builder = builder.env("FLEET_GOOGLE_AUDIENCE", AUDIENCE).env("GCE_METADATA_HOST", host);
        let builder = builder.env("HOME", home.path().to_str().unwrap());
        builder.arg("--actor").arg("mallory").arg("--reason").arg("a test").output().await
    };
    let (status, out, error) = run(&host).await;
    assert!(status.success(), "{out}{error}");
    let actors: Vec<String> =
        sqlx::query_scalar("select actor from audit_log").fetch_all(&fleet.database.pool).await.unwrap();
    assert_eq!(actors, ["operator@example.org"]);
    let (status, _, error) = run("127.0.0.1:1").await;
    assert_eq!(status.code(), Some(4), "{error}");
    assert!(error.contains("Google gives no ID token for https://admin.example.org"), "{error}");
}

/// A connection that is slow costs itself; heads that are too large are refused; what comes in part does not stay.
#[tokio::test]
async fn who_speaks_slowly_or_too_much_is_cut_off() {
    let fleet = Fleet::new().await;
    let admin = fleet.process("admin").await.start().await;
    let huge = format!("GET /readyz HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(20_000));
    let many = format!("GET /readyz HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(100));
    for head in [huge, many] {
        let mut stream = tokio::net::TcpStream::connect(admin.http()).await.unwrap();
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
    let body = format!(r#"{{"actor": "ada", "reason": "x", "seconds": {deep}}}"#);
    let (headers, path) = (
        HeaderMap::from_iter([("content-type".parse().unwrap(), "application/json".parse().unwrap())]),
        "/projections/vocabulary/pause",
    );
    let answer = Admin::of(&admin).raw(Method::POST, path, headers, &body).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
}
