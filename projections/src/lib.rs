//! The read models: what is made of the events.
//!
//! A projection is a folder (its code, its `schema.sql`) and a line in [`registry`]. It [folds](Projection::fold)
//! events into changes, which is pure and tested without a database, and [writes](Projection::write) the changes in
//! a handful of set-based statements. The runtime does the rest: order, deduplication, transactions, poison, replay.
//!
//! This crate knows the language (`events`) and Postgres. It must not know where events come from.
//!
//! # A whole projection
//!
//! How many users signed up on each day. In this repository the statement would be a `query!`, which is checked at
//! compile time.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use chrono::NaiveDate;
//! use events::Recorded;
//! use events::integration::{IntegrationEvent, UserSignedUp};
//! use projections::testing::{Generation, folded, recorded};
//! use projections::{Error, Projection, column};
//! use sqlx::PgConnection;
//! use uuid::Uuid;
//!
//! struct SignUps;
//!
//! impl Projection for SignUps {
//!     const NAME: &'static str = "sign_ups";
//!     const VERSION: u32 = 1;
//!     const TABLES: &'static str = "create table sign_ups (date date primary key, users int not null)";
//!     type Event = IntegrationEvent;
//!     type Changes = BTreeMap<NaiveDate, i32>;
//!
//!     fn fold(changes: &mut Self::Changes, event: &Recorded<IntegrationEvent>) {
//!         if let IntegrationEvent::UserSignedUp(_) = event.data {
//!             *changes.entry(event.occurred_at.date_naive()).or_default() += 1;
//!         }
//!     }
//!
//!     // A difference is added, not a value set: another worker may be adding to the same day.
//!     async fn write(changes: Self::Changes, db: &mut PgConnection) -> Result<(), Error> {
//!         sqlx::query(
//!             "insert into sign_ups as stored
//!              select * from unnest($1::date[], $2::int[])
//!              on conflict (date) do update
//!              set users = stored.users + excluded.users",
//!         )
//!         .bind(column(&changes, |(date, _)| *date))
//!         .bind(column(&changes, |(_, users)| *users))
//!         .execute(db)
//!         .await?;
//!         Ok(())
//!     }
//! }
//!
//! let user_id = Uuid::now_v7();
//! let signed_up = IntegrationEvent::UserSignedUp(UserSignedUp {
//!     user_id,
//!     email: "ada@example.org".into(),
//!     first_name: "Ada".into(),
//!     last_name: "Byron".into(),
//! });
//! let event = recorded(user_id, 1, "2026-01-05T23:59:59Z", signed_up);
//!
//! // The fold needs no database …
//! let date = NaiveDate::from_ymd_opt(2026, 1, 5).expect("a date");
//! assert_eq!(folded::<SignUps>([&event]), BTreeMap::from([(date, 1)]));
//!
//! // … and the rows need one that the test brings.
//! async fn the_rows(event: Recorded<IntegrationEvent>, db: &mut PgConnection) -> Result<(), Error> {
//!     let generation = Generation::<SignUps>::create(db).await?;
//!     generation.apply(db, &[event], 100).await?;
//!     let rows = generation.rows(db, "sign_ups").await?;
//!     assert_eq!(rows, [serde_json::json!({"date": "2026-01-05", "users": 1})]);
//!     generation.drop(db).await
//! }
//! ```

mod column;
mod erased;
mod projection;
pub mod registry;
pub mod testing;

pub mod learner_journeys;
pub mod learner_progress;
pub mod user_directory;
pub mod vocabulary;

pub use column::column;
pub use erased::{AnyProjection, Folded, Pending};
pub use projection::{Error, Projection};
