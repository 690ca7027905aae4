//! A domain for the tests of this crate: orders, and the payments for them.

use events::{DecodeError, EventSet, Payload, Recorded, Topic, payload};
use serde::Deserialize;
use sqlx::PgConnection;

use crate::{Error, Projection};

pub static ORDERS: Topic = Topic {
    name: "order-events",
    aggregate_types: &["Order"],
    subscription: "order-projection",
    retention_days: 7,
    adopts_foreign_events: false,
};

pub static PAYMENTS: Topic = Topic {
    name: "payment-events",
    aggregate_types: &["Payment"],
    subscription: "payment-projection",
    retention_days: 7,
    adopts_foreign_events: false,
};

#[derive(Debug, Deserialize)]
pub struct Placed {
    pub amount: i64,
}

pub struct OrderEvent(Placed);

impl EventSet for OrderEvent {
    const TOPICS: &'static [&'static Topic] = &[&ORDERS];

    fn decode(event: &Payload) -> Result<Option<Self>, DecodeError> {
        Ok((event.event_type == "OrderPlaced").then(|| payload(event)).transpose()?.map(Self))
    }
}

/// What is paid.
pub struct PaymentEvent(Placed);

impl EventSet for PaymentEvent {
    const TOPICS: &'static [&'static Topic] = &[&PAYMENTS];

    fn decode(event: &Payload) -> Result<Option<Self>, DecodeError> {
        Ok(Some(Self(payload(event)?)))
    }
}

/// An order or a payment.
pub struct MoneyEvent(Placed);

impl EventSet for MoneyEvent {
    const TOPICS: &'static [&'static Topic] = &[&ORDERS, &PAYMENTS];

    fn decode(event: &Payload) -> Result<Option<Self>, DecodeError> {
        Ok(Some(Self(payload(event)?)))
    }
}

/// Orders, twice: a mistake of its author.
pub struct TwiceEvent(Placed);

impl EventSet for TwiceEvent {
    const TOPICS: &'static [&'static Topic] = &[&ORDERS, &ORDERS];

    fn decode(event: &Payload) -> Result<Option<Self>, DecodeError> {
        Ok(Some(Self(payload(event)?)))
    }
}

/// A read model that adds up what the events of a set say.
macro_rules! sum {
    ($projection:ident, $name:literal, $event:ty) => {
        sum!($projection, $name, $event, 1, "create table sums (id int primary key)");
    };
    ($projection:ident, $name:literal, $event:ty, $version:literal, $tables:literal) => {
        pub struct $projection;

        impl Projection for $projection {
            const NAME: &'static str = $name;
            const VERSION: u32 = $version;
            const TABLES: &'static str = $tables;
            type Event = $event;
            type Changes = i64;

            fn fold(changes: &mut i64, event: &Recorded<$event>) {
                *changes += event.data.0.amount;
            }

            async fn write(_: i64, _: &mut PgConnection) -> Result<(), Error> {
                Ok(())
            }
        }
    };
}

sum!(Open, "open_orders", OrderEvent);
sum!(Totals, "totals", PaymentEvent);
sum!(Both, "both", MoneyEvent);
sum!(Twice, "twice", TwiceEvent);
sum!(Empty, "empty", OrderEvent, 1, "\n");
sum!(Newborn, "newborn", OrderEvent, 0, "create table sums (id int primary key)");
