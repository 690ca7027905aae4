//! The parts of a fleet, for a program that has a process of its own.
//!
//! [`Builder::run`](crate::Builder::run) is the whole command line. A service that wants to keep a read model up to date beside
//! its other work has a pool, an HTTP server, a subscriber of traces and an end of its own; it takes [`Parts`] instead:
//!
//! ```no_run
//! use fleet::host::{Bus, CancellationToken, Gate, Google, Parts, Worker};
//! use fleet::sqlx::PgPool;
//! use fleet::{Catalogue, Topic};
//! # use fleet::axum::{self, Router};
//!
//! # async fn serve(
//! #     catalogue: &Catalogue, topic: &'static Topic, pool: &PgPool, own: Router, stop: CancellationToken,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let mut parts = Parts::builder(catalogue, pool).shutdown(stop.clone()).start().await?;
//! parts.migrate().await?;
//! let bus = Bus::Google(Google::new("my-project", None));
//! parts.worker(Worker::of(topic, bus, "event-store.internal:50051"))?;
//! let app = own.nest("/fleet", parts.router(Gate::open())?); // /fleet/metrics, /fleet/readyz, /fleet/admin/v1/…
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
//! let (worked, served) = tokio::join!(parts.run(), served);
//! # worked?; served?; Ok(())
//! # }
//! ```
//!
//! `Gate::open()` asks nobody who they are: here the service itself lets only operators get to `/fleet`. [`Gate::new`] asks.
//!
//! What holds of them:
//! - They read nothing from the environment, set no global subscriber and no panic hook, and listen to no signal. (Google's
//!   client finds its credentials as it does everywhere.)
//! - They end when the program's token is cancelled, within 8 s; what is unfinished then is rolled back, and comes again.
//! - One of them that fails or panics ends the others, and [`Parts::run`] says which it was. The program goes on: what that
//!   means for it, it decides.
//! - The database is the one in which the event store keeps its events: workers read them there. gRPC is for appending what others
//!   published.
//! - A process works on one database: parts of two `Parts` in it may be of different topics, not of different databases.
//!
//! `fleet dev` and `fleet worker` are made of the same parts.

mod builder;
mod error;
pub(crate) mod event_store;
pub(crate) mod grants;
pub(crate) mod migrations;
mod parts;
pub(crate) mod pools;
pub(crate) mod running;
pub(crate) mod worker;

pub use bus::embedded::Embedded;
pub use bus::google::Google;
pub use identity::{Credentials, Gate, Keys, Members, Tokens, Way};
pub use prometheus::Registry;
pub use tokio_util::sync::CancellationToken;
pub use workers::generations::Raised;
pub use workers::part::Ended;
pub use workers::push::{OidcConfig, Verifier};

pub use crate::bus_choice::Bus;
pub use builder::Builder;
pub use error::Error;
pub use grants::{Duty, Granted};
pub use parts::Parts;
pub use worker::Worker;
