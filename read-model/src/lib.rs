//! What a read model is: how an author writes one, how it is tested, and how a program lists those that it has.
//!
//! A [`Projection`] [folds](Projection::fold) events into changes, which is pure and tested without a database, and
//! [writes](Projection::write) the changes in a handful of set-based statements. The engine does the rest: order,
//! deduplication, transactions, poison, replay. Topics and projections make a [`Catalogue`], which is all that the
//! engine knows of its program.
//!
//! This crate knows the language (`events`) and Postgres. It must not know where events come from.
//!
//! # A whole read model
//!
//! How many orders were placed on each day. A program that depends on `fleet` alone writes `fleet` for `events` and
//! `read_model`, `fleet::chrono`, `fleet::sqlx` and `fleet::uuid` for the others, and beside the derive
//! `#[serde(crate = "fleet::serde")]`. The statement may be a `query!`, which is checked at compile time.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use chrono::NaiveDate;
//! use events::{DecodeError, EventSet, Payload, Recorded, Topic, payload};
//! use read_model::testing::{Generation, folded, recorded};
//! use read_model::{Error, Projection, column};
//! use sqlx::PgConnection;
//! use uuid::Uuid;
//!
//! static ORDERS: Topic = Topic {
//!     name: "order-events",
//!     aggregate_types: &["Order"],
//!     subscription: "order-projection",
//!     retention_days: 7,
//!     adopts_foreign_events: false,
//! };
//!
//! #[derive(serde::Deserialize)]
//! struct OrderPlaced {
//!     order_id: Uuid,
//! }
//!
//! enum OrderEvent {
//!     Placed(OrderPlaced),
//! }
//!
//! impl EventSet for OrderEvent {
//!     const TOPICS: &'static [&'static Topic] = &[&ORDERS];
//!
//!     fn decode(event: &Payload) -> Result<Option<Self>, DecodeError> {
//!         Ok(Some(match event.event_type.as_str() {
//!             "OrderPlaced" => Self::Placed(payload(event)?),
//!             _ => return Ok(None),
//!         }))
//!     }
//! }
//!
//! struct OrdersByDay;
//!
//! impl Projection for OrdersByDay {
//!     const NAME: &'static str = "orders_by_day";
//!     const VERSION: u32 = 1;
//!     const TABLES: &'static str = "create table orders (date date primary key, placed int not null)";
//!     type Event = OrderEvent;
//!     type Changes = BTreeMap<NaiveDate, i32>;
//!
//!     fn fold(changes: &mut Self::Changes, event: &Recorded<OrderEvent>) {
//!         let OrderEvent::Placed(_) = event.data;
//!         *changes.entry(event.occurred_at.date_naive()).or_default() += 1;
//!     }
//!
//!     // A difference is added, not a value set: another worker may be adding to the same day.
//!     async fn write(changes: Self::Changes, db: &mut PgConnection) -> Result<(), Error> {
//!         sqlx::query(
//!             "insert into orders as stored
//!              select * from unnest($1::date[], $2::int[])
//!              on conflict (date) do update
//!              set placed = stored.placed + excluded.placed",
//!         )
//!         .bind(column(&changes, |(date, _)| *date))
//!         .bind(column(&changes, |(_, placed)| *placed))
//!         .execute(db)
//!         .await?;
//!         Ok(())
//!     }
//! }
//!
//! let order_id = Uuid::now_v7();
//! let event = recorded(order_id, 1, "2026-01-05T23:59:59Z", OrderEvent::Placed(OrderPlaced { order_id }));
//!
//! // The fold needs no database …
//! let date = NaiveDate::from_ymd_opt(2026, 1, 5).expect("a date");
//! assert_eq!(folded::<OrdersByDay>([&event]), BTreeMap::from([(date, 1)]));
//!
//! // … and the rows need one that the test brings.
//! async fn the_rows(event: Recorded<OrderEvent>, db: &mut PgConnection) -> Result<(), Error> {
//!     let generation = Generation::<OrdersByDay>::create(db).await?;
//!     generation.apply(db, &[event], 100).await?;
//!     let rows = generation.rows(db, "orders").await?;
//!     assert_eq!(rows, [serde_json::json!({"date": "2026-01-05", "placed": 1})]);
//!     generation.drop(db).await
//! }
//! ```

#![deny(missing_docs)]

mod catalogue;
mod column;
mod erased;
mod foreign;
mod projection;
pub mod testing;

#[cfg(test)]
mod orders;

pub use catalogue::{Catalogue, Mistake, erased};
pub use column::column;
pub use erased::{AnyProjection, Folded, Pending};
pub use foreign::{Foreign, Unfit, foreign, unfit};
pub use projection::{Error, Projection};
