//! Old users in the shape of today.

use fleet::Metadata;
use fleet::serde_json::json;
use fleet::uuid::Uuid;

use super::*;

const USER: Uuid = Uuid::from_u128(1);

fn signed_up(schema_version: Option<u32>, data: &Value) -> Result<Option<IntegrationEvent>, DecodeError> {
    IntegrationEvent::decode(&Payload {
        aggregate_type: "User".to_owned(),
        event_type: "UserSignedUp".to_owned(),
        event_data: fleet::serde_json::value::to_raw_value(data).expect("JSON"),
        metadata: schema_version
            .map_or_else(Metadata::default, |version| Metadata::from([("schema_version", version.into())])),
    })
}

#[test]
fn the_one_name_of_schema_1_is_the_first_name() {
    let old = json!({"user_id": USER, "email": "ada@example.org", "name": "Ada Byron"});
    let new = UserSignedUp {
        user_id: USER,
        email: "ada@example.org".to_owned(),
        first_name: "Ada Byron".to_owned(),
        last_name: String::new(),
    };
    for schema_version in [None, Some(1)] {
        let event = signed_up(schema_version, &old).expect("old data decodes");
        assert_eq!(event, Some(IntegrationEvent::UserSignedUp(new.clone())));
    }
}

#[test]
fn a_schema_that_this_code_does_not_know_is_an_error() {
    let error = signed_up(Some(3), &json!({"user_id": USER})).expect_err("of the future").to_string();
    assert!(error.contains("run newer code"), "{error}");
}
