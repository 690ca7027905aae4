//! `order-events`: what becomes of an order.

use fleet::serde::Deserialize;
use fleet::serde_json::Value;
use fleet::uuid::Uuid;
use fleet::{DecodeError, EventSet, Payload, Topic, Upcast, payload, payload_of, upcast, upcasted};

pub static ORDERS: Topic = Topic {
    name: "order-events",
    aggregate_types: &["Order"],
    subscription: "order-projection",
    retention_days: 7,
    adopts_foreign_events: false,
};

pub enum OrderEvent {
    Placed(OrderPlaced),
    Shipped(OrderShipped),
    Cancelled(OrderCancelled),
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(crate = "fleet::serde")]
pub struct OrderPlaced {
    pub order_id: Uuid,
    pub customer_id: Uuid,
    pub total_cents: i64,
    pub currency: String,
}

#[derive(Deserialize)]
#[serde(crate = "fleet::serde")]
pub struct OrderShipped {
    pub order_id: Uuid,
}

#[derive(Deserialize)]
#[serde(crate = "fleet::serde")]
pub struct OrderCancelled {
    pub order_id: Uuid,
    pub customer_id: Uuid,
    /// What the customer need not pay any more.
    pub total_cents: i64,
}

/// Schema 1 was written when all prices were in euros.
static ORDER_PLACED: Upcast = Upcast(&[|mut data| {
    upcast::rename(&mut data, "total", "total_cents");
    data.entry("currency".to_owned()).or_insert_with(|| Value::from("EUR").into());
    data
}]);

impl EventSet for OrderEvent {
    const TOPICS: &'static [&'static Topic] = &[&ORDERS];

    fn decode(event: &Payload) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match event.event_type.as_str() {
            "OrderPlaced" if event.metadata.schema_version() < ORDER_PLACED.newest() => {
                Self::Placed(upcasted(event, &ORDER_PLACED)?)
            }
            "OrderPlaced" => Self::Placed(payload_of(event, ORDER_PLACED.newest())?),
            "OrderShipped" => Self::Shipped(payload(event)?),
            "OrderCancelled" => Self::Cancelled(payload(event)?),
            _ => return Ok(None),
        }))
    }
}

#[test]
fn an_order_of_schema_1_was_in_euros() {
    let (order_id, customer_id) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let data = fleet::serde_json::json!({"order_id": order_id, "customer_id": customer_id, "total": 1200});
    let event = OrderEvent::decode(&Payload {
        aggregate_type: "Order".to_owned(),
        event_type: "OrderPlaced".to_owned(),
        event_data: fleet::serde_json::value::to_raw_value(&data).expect("JSON"),
        metadata: fleet::Metadata::default(),
    });
    let Ok(Some(OrderEvent::Placed(placed))) = event else { panic!("it decodes") };
    assert_eq!(placed, OrderPlaced { order_id, customer_id, total_cents: 1200, currency: "EUR".to_owned() });
}
