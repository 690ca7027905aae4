//! Push with tokens: only the subscription may push, and 2xx comes only after the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use axum::Json;
use axum::routing::get;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use events::{EventId, wire};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::Executor;
use uuid::Uuid;

use crate::harness::client::{append, connect, signed_up};
use crate::harness::parts::LIMIT;
use crate::harness::{Fleet, Process, eventually};

const AUDIENCE: &str = "https://worker.example.org";
const ACCOUNT: &str = "push@project.iam.gserviceaccount.com";

/// An issuer of tokens, with its keys on a port of this machine.
pub struct Issuer {
    key: EncodingKey,
    pub url: String,
    fetched: Arc<AtomicUsize>,
}

impl Issuer {
    pub async fn start() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = pair.public_key();
        let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({"keys": [{
            "kid": "one", "kty": "RSA", "alg": "RS256", "use": "sig",
            "n": part(public.modulus().big_endian_without_leading_zero()),
            "e": part(public.exponent().big_endian_without_leading_zero()),
        }]});
        let key = EncodingKey::from_rsa_der(&pkcs1(pair.as_der().unwrap().as_ref()));
        let fetched = Arc::new(AtomicUsize::new(0));
        let counted = fetched.clone();
        let keys = get(async move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Json(jwk)
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/certs", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/certs", keys)).await });
        Self { key, url, fetched }
    }

    /// A token as Pub/Sub has them.
    pub fn token_for(&self, audience: &str, account: &str) -> String {
        let mut claims = claims();
        claims["aud"] = audience.into();
        claims["email"] = account.into();
        self.token("one", &claims)
    }

    fn token(&self, kid: &str, claims: &Value) -> String {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) };
        encode(&header, claims, &self.key).unwrap()
    }
}

/// The RSA key inside a PKCS#8 document: what `from_rsa_der` takes.
fn pkcs1(pkcs8: &[u8]) -> Vec<u8> {
    // PrivateKeyInfo ends in an OCTET STRING that holds the PKCS#1 key, itself a SEQUENCE.
    let start = pkcs8.windows(2).skip(20).position(|pair| pair == [0x30, 0x82]).unwrap() + 20;
    pkcs8[start..].to_vec()
}

fn claims() -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({"iss": "https://accounts.google.com", "aud": AUDIENCE, "email": ACCOUNT, "email_verified": true, "iat": now, "exp": now + 600})
}

async fn push(worker: &Process, token: Option<&str>, data: &[u8]) -> StatusCode {
    let body = json!({
        "message": {"data": BASE64_STANDARD.encode(data), "messageId": Uuid::now_v7().to_string(), "attributes": {}},
        "subscription": "projects/p/subscriptions/integration-projection",
    });
    let mut request = reqwest::Client::new().post(format!("http://{}/push", worker.http())).json(&body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.unwrap().status()
}

#[tokio::test]
async fn only_the_subscriptions_own_token_opens_and_2xx_means_committed() {
    let fleet = Fleet::new().await;
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("FLEET_NO_RELAY", "true").start().await;
    let issuer = Issuer::start().await;
    let worker = fleet
        .worker_builder("integration-events", &store)
        .await
        .env("FLEET_DELIVERY", "push")
        .env("FLEET_SWEEP_GRACE", "3600")
        .env("FLEET_PUSH_AUDIENCE", AUDIENCE)
        .env("FLEET_PUSH_SERVICE_ACCOUNT", ACCOUNT)
        .env("FLEET_PUSH_JWKS_URL", &issuer.url)
        .start()
        .await;
    let user = Uuid::now_v7();
    let appended = connect(&store).await.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    let id = EventId(appended.into_inner().events[0].event_id.parse().unwrap());
    let event = event_store::read::by_id(&fleet.database.pool, &[id]).await.unwrap().events.remove(0);
    let (data, _) = wire::encode(&event);

    let with = |field: &str, value: Value| {
        let mut claims = claims();
        claims[field] = value;
        issuer.token("one", &claims)
    };
    let mut unverified = claims();
    unverified.as_object_mut().unwrap().remove("email_verified");
    let mut tampered = issuer.token("one", &claims());
    tampered.truncate(tampered.len() - 8);
    tampered.push_str("AAAAAAAA");
    for (token, status) in [
        (None, StatusCode::UNAUTHORIZED),
        (Some("x.y.z".to_owned()), StatusCode::UNAUTHORIZED),
        (Some(tampered), StatusCode::UNAUTHORIZED),
        (Some(with("aud", "https://other.example.org".into())), StatusCode::UNAUTHORIZED),
        (Some(with("iss", "https://evil.example.org".into())), StatusCode::UNAUTHORIZED),
        (Some(with("exp", 1_000_000_000.into())), StatusCode::UNAUTHORIZED),
        (Some(with("email", "other@project.iam.gserviceaccount.com".into())), StatusCode::FORBIDDEN),
        (Some(with("email_verified", false.into())), StatusCode::FORBIDDEN),
        (Some(issuer.token("one", &unverified)), StatusCode::FORBIDDEN),
    ] {
        assert_eq!(push(&worker, token.as_deref(), &data).await, status);
    }
    for _ in 0..5 {
        assert_eq!(push(&worker, Some(&issuer.token("two", &claims())), &data).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(issuer.fetched.load(Ordering::Relaxed), 1, "unknown key ids do not make us fetch again and again");
    assert_eq!(fleet.database.count("select count(*) from user_directory.users").await, 0);

    assert_eq!(push(&worker, Some(&issuer.token("one", &claims())), &data).await, StatusCode::NO_CONTENT);
    assert_eq!(fleet.database.count("select count(*) from user_directory.users").await, 1, "2xx means committed");
    assert_eq!(push(&worker, Some(&issuer.token("one", &claims())), &data).await, StatusCode::NO_CONTENT);
    assert_eq!(push(&worker, Some(&issuer.token("one", &claims())), b"rubbish").await, StatusCode::NO_CONTENT);
    assert_eq!(fleet.database.count("select count(*) from parked_events").await, 1);
}

#[tokio::test]
async fn while_the_issuers_keys_cannot_be_had_a_push_shall_come_again_and_nothing_is_parked() {
    let fleet = Fleet::new().await;
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("FLEET_NO_RELAY", "true").start().await;
    let issuer = Issuer::start().await;
    let pushed = async |jwks: &str| {
        let builder = fleet.worker_builder("integration-events", &store).await.env("FLEET_DELIVERY", "push");
        let builder = builder.env("FLEET_PUSH_AUDIENCE", AUDIENCE).env("FLEET_PUSH_SERVICE_ACCOUNT", ACCOUNT);
        let worker = builder.env("FLEET_PUSH_JWKS_URL", jwks).start().await;
        let token = issuer.token("one", &claims());
        let pushes = (0..20).map(|_| push(&worker, Some(&token), b"rubbish"));
        futures::future::join_all(pushes).await
    };
    // Nobody listens on port 1.
    let statuses = pushed("http://127.0.0.1:1/certs").await;
    assert!(statuses.iter().all(|status| *status == StatusCode::SERVICE_UNAVAILABLE), "{statuses:?}");
    assert_eq!(fleet.database.count("select count(*) from parked_events").await, 0);

    let statuses = pushed(&issuer.url).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::NO_CONTENT), "{statuses:?}");
    assert_eq!(issuer.fetched.load(Ordering::Relaxed), 1, "one fetch for all who ask at once");
}

/// One message takes all the room there is, for as long as it cannot be applied.
#[tokio::test]
async fn what_is_pushed_while_there_is_no_room_is_answered_429_and_applied_when_it_comes_again() {
    let fleet = Fleet::new().await;
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("FLEET_NO_RELAY", "true").start().await;
    let worker = fleet.worker_builder("integration-events", &store).await.env("FLEET_DELIVERY", "push");
    let worker = worker.env("FLEET_SWEEP_GRACE", "3600").env("FLEET_MAX_OUTSTANDING_BYTES", "1048576");
    let worker = worker.env("FLEET_PUSH_UNAUTHENTICATED", "true").start().await;
    let mut client = connect(&store).await;
    let mut messages = Vec::new();
    for padding in [2_000_000, 10] {
        let user = Uuid::now_v7();
        let mut event = signed_up(user);
        event.event_data.truncate(event.event_data.len() - 1);
        event.event_data += &format!(r#","padding":"{}"}}"#, "x".repeat(padding));
        let appended = client.append_events(append("User", user, vec![event])).await.unwrap();
        let id = EventId(appended.into_inner().events[0].event_id.parse().unwrap());
        let event = event_store::read::by_id(&fleet.database.pool, &[id]).await.unwrap().events.remove(0);
        messages.push(wire::encode(&event).0);
    }
    let [large, small] = &messages[..] else { unreachable!() };
    let mut lock = fleet.database.pool.begin().await.unwrap();
    lock.execute("lock table user_directory.users in access exclusive mode").await.unwrap();
    let (large, refused) = tokio::join!(push(&worker, None, large), async {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
        eventually("the large one is in hand", LIMIT, async || match fleet.database.count(waiting).await {
            0 => Err("nobody waits for the lock".to_owned()),
            _ => Ok(()),
        })
        .await;
        eventually("it has no room", LIMIT, async || match push(&worker, None, small).await {
            StatusCode::TOO_MANY_REQUESTS => Ok(()),
            other => Err(other.to_string()),
        })
        .await;
        lock.rollback().await.unwrap();
    });
    let () = refused;
    assert_eq!(large, StatusCode::NO_CONTENT);
    assert_eq!(push(&worker, None, small).await, StatusCode::NO_CONTENT, "it comes again");
    assert_eq!(fleet.database.count("select count(*) from user_directory.users").await, 2);
}
