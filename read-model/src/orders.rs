//! A domain for the tests of this crate: orders, and the payments for them.

use std::collections::BTreeMap;

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

/// An order or a payment.
pub struct MoneyEvent(Placed);

impl EventSet for MoneyEvent {
    const TOPICS: &'static [&'static Topic] = &[&ORDERS, &PAYMENTS];

    fn decode(event: &Payload) -> Result<Option<Self>, DecodeError> {
        Ok(Some(Self(payload(event)?)))
    }
}

pub struct Open;

impl Projection for Open {
    const NAME: &'static str = "open_orders";
    const VERSION: u32 = 1;
    const TABLES: &'static str = "";
    type Event = OrderEvent;
    type Changes = BTreeMap<(), i64>;

    fn fold(changes: &mut Self::Changes, event: &Recorded<OrderEvent>) {
        *changes.entry(()).or_default() += event.data.0.amount;
    }

    async fn write(_: Self::Changes, _: &mut PgConnection) -> Result<(), Error> {
        Ok(())
    }
}

pub struct Totals;

impl Projection for Totals {
    const NAME: &'static str = "totals";
    const VERSION: u32 = 1;
    const TABLES: &'static str = "";
    type Event = MoneyEvent;
    type Changes = BTreeMap<(), i64>;

    fn fold(changes: &mut Self::Changes, event: &Recorded<MoneyEvent>) {
        *changes.entry(()).or_default() += event.data.0.amount;
    }

    async fn write(_: Self::Changes, _: &mut PgConnection) -> Result<(), Error> {
        Ok(())
    }
}
