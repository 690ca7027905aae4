//! A domain for the tests of this crate: orders, which were once placed under another name.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{DecodeError, EventSet, Json, Metadata, Payload, Topic, Upcast, payload, payload_of, upcast, upcasted};

static ORDERS: Topic = Topic {
    name: "order-events",
    aggregate_types: &["Order"],
    subscription: "order-projection",
    retention_days: 7,
    adopts_foreign_events: false,
};

#[derive(Debug, PartialEq)]
pub enum OrderEvent {
    Placed(Placed),
    Paid(Paid),
}

/// What is now `OrderPlaced` was `OrderMade` in schema 1, and its `note` a `remark`.
static PLACED: Upcast = Upcast(&[|mut data| {
    upcast::rename(&mut data, "remark", "note");
    data
}]);

impl EventSet for OrderEvent {
    const TOPICS: &'static [&'static Topic] = &[&ORDERS];

    fn decode(event: &Payload) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match event.event_type.as_str() {
            "OrderPlaced" => Self::Placed(payload_of(event, PLACED.newest())?),
            "OrderMade" => Self::Placed(upcasted(event, &PLACED)?),
            "OrderPaid" => Self::Paid(payload(event)?),
            _ => return Ok(None),
        }))
    }
}

#[derive(Debug, PartialEq, Deserialize)]
pub struct Placed {
    pub note: Json,
}

#[derive(Debug, PartialEq, Deserialize)]
pub struct Paid {
    pub amount: i64,
}

/// An event of an order, as it is stored.
pub fn stored(event_type: &str, schema_version: u32, data: &str) -> Payload {
    Payload {
        aggregate_type: "Order".to_owned(),
        event_type: event_type.to_owned(),
        event_data: RawValue::from_string(data.to_owned()).expect("JSON"),
        metadata: Metadata::from([("schema_version", schema_version.into())]),
    }
}
