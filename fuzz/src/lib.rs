//! What holds for whatever bytes come in from outside.
//!
//! Two callers: the fuzz targets beside it, which look for bytes that break it, and `tests/corpus.rs`, which goes through
//! the known ones on every run of the tests. It must not know libFuzzer.

use base64::prelude::{BASE64_STANDARD, Engine};
use events::{EventSet, Payload, Position, Recorded, Topic, wire};
use projections::topics::integration::IntegrationEvent;
use projections::topics::progress::ProgressEvent;
use projections::topics::vocabulary::VocabularyEvent;
use projections::topics::{INTEGRATION, PROGRESS, VOCABULARY};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use workers::admin::{dead_letters, generations, operations, pauses, prunes, replays};
use workers::object::Object;
use workers::push;
use workers::replay::Selection;

static TOPICS: [&Topic; 3] = [&INTEGRATION, &PROGRESS, &VOCABULARY];

/// Stands in seeds where values are: no error may repeat it.
const SECRET: &str = "s3cr3t";

fn discreet(error: &str) {
    assert!(!error.contains(SECRET), "an error says what is wrong, not what was said: {error}");
}

/// The data of a message: what decodes has an identity, and is the same after it went over the bus once more.
pub fn wire(data: &[u8]) {
    let identity = wire::identify(data);
    if let Err(error) = &identity {
        discreet(&error.to_string());
    }
    let event = match wire::decode(data) {
        Ok(event) => event,
        Err(error) => return discreet(&error.to_string()),
    };
    let identity = identity.expect("what decodes has an identity");
    assert_eq!((identity.event_id, identity.aggregate_id), (event.event_id, Some(event.aggregate_id)));

    let event = recorded(&event);
    let (encoded, attributes) = wire::encode(&event);
    let again = recorded(&wire::decode(&encoded).expect("what was encoded decodes"));
    assert_eq!(again.event_id, event.event_id);
    assert_eq!((again.aggregate_id, again.version), (event.aggregate_id, event.version));
    assert_eq!((again.position, again.occurred_at), (event.position, event.occurred_at));
    assert_eq!(again.data.aggregate_type, event.data.aggregate_type);
    assert_eq!(again.data.event_type, event.data.event_type);
    assert_eq!(again.data.event_data.get(), event.data.event_data.get());
    assert_eq!(again.data.metadata, event.data.metadata);
    assert_eq!(wire::encode(&again), (encoded, attributes), "a second time changes nothing");

    means_the_same::<VocabularyEvent>(&event, &again);
    means_the_same::<ProgressEvent>(&event, &again);
    means_the_same::<IntegrationEvent>(&event, &again);
}

fn recorded(event: &wire::Event<'_>) -> Recorded<Payload> {
    Recorded {
        event_id: event.event_id,
        aggregate_id: event.aggregate_id,
        version: event.event_version,
        position: event.position.unwrap_or_default(),
        occurred_at: event.occurred_at,
        recorded_at: event.occurred_at,
        data: Payload {
            aggregate_type: event.aggregate_type.to_string(),
            event_type: event.event_type.to_string(),
            event_data: event.event_data.to_owned(),
            metadata: event.metadata.clone().into_owned(),
        },
    }
}

fn means_the_same<E: EventSet + PartialEq + std::fmt::Debug>(one: &Recorded<Payload>, other: &Recorded<Payload>) {
    let read = |event: &Recorded<Payload>| E::decode(&event.data).map_err(|error| error.reason);
    let (one, other) = (read(one), read(other));
    if let Err(reason) = &one {
        discreet(reason);
    }
    assert_eq!(one, other);
}

/// The body of a push request: it is for one topic at most, nothing of it is lost, and posted again it is the same.
pub fn push(data: &[u8]) {
    let mut served = 0;
    for topic in TOPICS {
        let Ok(pushed) = push::read(topic, data) else { continue };
        served += 1;
        if let Ok(Value::Object(said)) = serde_json::from_slice(data) {
            let message = &said["message"];
            assert_eq!(message["messageId"], pushed.message_id.as_str());
            assert_eq!(message["data"].as_str().unwrap_or_default(), BASE64_STANDARD.encode(&pushed.message.data));
            let attributes = message.get("attributes").and_then(Value::as_object).map_or(0, |said| said.len());
            assert_eq!(pushed.message.attributes.len(), attributes);
            assert!(pushed.message.attributes.iter().all(|(name, value)| message["attributes"][name] == *value));
            assert_eq!(said.get("deliveryAttempt").and_then(Value::as_u64), pushed.attempt.map(u64::from));
        }
        let body = json!({
            "message": {
                "data": BASE64_STANDARD.encode(&pushed.message.data),
                "attributes": pushed.message.attributes,
                "messageId": pushed.message_id,
                "publishTime": pushed.published_at,
            },
            "subscription": format!("projects/any/subscriptions/{}", topic.subscription),
            "deliveryAttempt": pushed.attempt,
        });
        assert_eq!(push::read(topic, body.to_string().as_bytes()), Ok(pushed));
    }
    assert!(served <= 1, "a subscription belongs to one topic");
}

/// The selection of a replay: written down and read again it is the same, and an accepted one means what it says.
pub fn selection(data: &[u8]) {
    let Ok(selection) = serde_json::from_slice::<Selection>(data) else { return };
    let written = serde_json::to_vec(&selection).expect("a selection can be written");
    let again = serde_json::from_slice::<Selection>(&written).expect("what was written can be read");
    assert_eq!(again, selection);
    assert_eq!(again.check(), selection.check());
    if selection.check().is_err() {
        return;
    }
    let after = selection.after();
    assert!(after >= Position::START);
    for head in [0, 1, 1000, i64::MAX].map(Position) {
        assert!(selection.upto(head) <= head);
    }
    if let Some(positions) = selection.positions {
        assert!(positions.from.is_none_or(|from| after.next() == Position(from)));
        assert!(
            positions.to.is_none_or(|to| after < Position(to) && selection.upto(Position(i64::MAX)) == Position(to))
        );
    }
    if let Some(times) = selection.times {
        assert!(times.from.is_none_or(|from| selection.includes(from)));
        assert!(times.to.is_none_or(|to| !selection.includes(to)));
    }
    for topic in TOPICS {
        let filter = selection.filter(&[topic]);
        assert_eq!(filter.aggregate_ids.len(), selection.aggregates.as_ref().map_or(0, |ids| ids.len()));
        assert_eq!(filter.event_types.len(), selection.event_types.as_ref().map_or(0, |types| types.len()));
    }
}

/// What somebody shows at a door: nobody gets in whom the door does not know, and no refusal repeats what was shown.
pub fn token(data: &[u8]) {
    use std::sync::LazyLock;

    use axum::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
    use identity::{Gate, Keys, Members, Tokens, Verifier, Way};

    // An issuer whose keys cannot be had: whatever is signed by it stays unknown.
    static GATE: LazyLock<Gate> = LazyLock::new(|| {
        let keys = || Keys::at("http://127.0.0.1:1/keys").expect("a client");
        let known = format!("known {}", "ab".repeat(32));
        let ways = vec![
            Way::Iap(Verifier::iap("/projects/1", keys())),
            Way::Google(Verifier::google("https://x.example", keys())),
            Way::Tokens(Tokens::parse(&known).expect("a token")),
        ];
        Gate::new(ways, Members::parse(r#"{"operator": ["known"]}"#).expect("roles"))
    });
    // What Cloud Run has checked is believed: there, only what is no token is refused, as discreetly.
    static TRUSTING: LazyLock<Gate> =
        LazyLock::new(|| Gate::new(vec![Way::CloudRun], Members::parse(r#"{"operator": ["known"]}"#).expect("roles")));
    static RUNTIME: LazyLock<tokio::runtime::Runtime> =
        LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));

    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    for name in [AUTHORIZATION.as_str(), "x-goog-iap-jwt-assertion"] {
        let mut headers = HeaderMap::new();
        headers.insert(name.parse::<axum::http::HeaderName>().expect("a name"), value.clone());
        let refusal = RUNTIME.block_on(GATE.admit(&headers)).expect_err("nobody was given this token");
        discreet(&refusal.to_string());
        if let Err(refusal) = RUNTIME.block_on(TRUSTING.admit(&headers)) {
            discreet(&refusal.to_string());
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        for error in [Tokens::parse(text).err(), Members::parse(text).err()].into_iter().flatten() {
            assert!(error.len() < 1000 + 4 * text.len());
        }
    }
}

/// The body of a request to the admin API: what is read is the same when it is written and read again.
pub fn admin_body(data: &[u8]) {
    fn same<T: Serialize + DeserializeOwned>(data: &[u8]) {
        let Object(read) = match serde_json::from_slice::<Object<T>>(data) {
            Ok(read) => read,
            Err(_) => return,
        };
        let written = serde_json::to_value(&read).expect("what was read can be written");
        let text = serde_json::to_vec(&written).expect("a value can be written");
        let Object(again) = serde_json::from_slice::<Object<T>>(&text).expect("what was written can be read");
        let again = serde_json::to_value(&again).expect("it can be written");
        assert!(equal(&again, &written), "{again} is not {written}");
    }
    /// The last bit of a number of very many digits may be another, which is how serde_json reads it.
    fn equal(one: &Value, other: &Value) -> bool {
        match (one, other) {
            (Value::Array(one), Value::Array(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
            }
            (Value::Object(one), Value::Object(other)) => {
                let same = |(name, value)| other.get(name).is_some_and(|other| equal(value, other));
                one.len() == other.len() && one.iter().all(same)
            }
            (Value::Number(one), Value::Number(other)) if one.is_f64() && other.is_f64() => {
                let (one, other) = (one.as_f64().unwrap_or(f64::NAN), other.as_f64().unwrap_or(f64::NAN));
                (one - other).abs() <= one.abs() * 4.0 * f64::EPSILON
            }
            (one, other) => one == other,
        }
    }
    same::<pauses::Pause>(data);
    same::<pauses::Resume>(data);
    same::<operations::RateChange>(data);
    same::<operations::Stop>(data);
    same::<generations::Rebuild>(data);
    same::<generations::AsOfRequest>(data);
    same::<generations::Change>(data);
    same::<generations::Steering>(data);
    same::<dead_letters::Batch>(data);
    same::<dead_letters::DiscardOne>(data);
    same::<prunes::Request>(data);
    same::<replays::Request>(data);
}
