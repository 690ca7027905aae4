//! Push with tokens: only the subscription may push, and 2xx comes only after the commit.

use base64::prelude::{BASE64_STANDARD, Engine};
use events::{EventId, wire};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::Executor;
use uuid::Uuid;

use crate::harness::client::{append, connect, signed_up};
use crate::harness::issuer::{self, Issuer};
use crate::harness::parts::LIMIT;
use crate::harness::{Fleet, Process, eventually};

const AUDIENCE: &str = "https://worker.example.org";
const ACCOUNT: &str = "push@project.iam.gserviceaccount.com";

fn claims() -> Value {
    issuer::claims(AUDIENCE, ACCOUNT)
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
    assert_eq!(issuer.fetched(), 1, "unknown key ids do not make us fetch again and again");
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
    assert_eq!(issuer.fetched(), 1, "one fetch for all who ask at once");
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
