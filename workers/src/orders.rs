//! A topic for the tests of this crate.

use events::Topic;

pub static ORDERS: Topic = Topic {
    name: "order-events",
    aggregate_types: &["Order"],
    subscription: "order-projection",
    retention_days: 7,
    adopts_foreign_events: false,
};
