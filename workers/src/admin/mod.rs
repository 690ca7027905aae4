//! The admin API: `/admin/v1`.
//!
//! What is asked and answered is public and can be read as well as written, so that a client in Rust, as the command line
//! is, needs no names of fields of its own.

pub mod aggregates;
pub mod audit;
pub mod dead_letters;
mod names;
mod operations;
pub mod pauses;
mod problem;
mod projections;
pub mod refused;
pub mod replays;
mod request;
pub mod unreadable;
pub mod wait_for;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use read_model::Catalogue;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

pub use problem::Problem;
pub use request::Look;

use crate::lag::Measurer;
use crate::wait_for::Waits;

const MAX_BODY: usize = 256 << 10;

/// What the handlers need. An admin is given the whole catalogue, a worker what listens to its topic.
#[derive(Clone)]
pub struct Admin {
    pool: PgPool,
    catalogue: Catalogue,
    measurer: Measurer,
    waits: Waits,
}

pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/admin/v1/projections", get(projections::list))
        .route("/admin/v1/projections/{name}", get(projections::show))
        .route("/admin/v1/projections/{name}/pause", post(pauses::pause))
        .route("/admin/v1/projections/{name}/resume", post(pauses::resume))
        .route("/admin/v1/projections/{name}/wait-for", get(wait_for::wait))
        .route("/admin/v1/replays", post(replays::create))
        .route("/admin/v1/operations", get(operations::list))
        .route("/admin/v1/operations/{id}", get(operations::show))
        .route("/admin/v1/dead-letters", get(dead_letters::list))
        .route("/admin/v1/dead-letters/{id}", get(dead_letters::show))
        .route("/admin/v1/dead-letters/{id}/retry", post(dead_letters::retry))
        .route("/admin/v1/dead-letters/{id}/discard", post(dead_letters::discard))
        .route("/admin/v1/dead-letter-batches", post(dead_letters::batch))
        .route("/admin/v1/unreadable", get(unreadable::list))
        .route("/admin/v1/unreadable/{event}", get(unreadable::show))
        .route("/admin/v1/refused", get(refused::list))
        .route("/admin/v1/aggregates/{id}", get(aggregates::show))
        .route("/admin/v1/audit", get(audit::list))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(admin)
}

impl Admin {
    /// Whoever waits for something is answered when `stop` is cancelled.
    pub fn new(pool: PgPool, catalogue: Catalogue, stop: CancellationToken) -> Self {
        let measurer = Measurer::new(pool.clone(), catalogue.projections().to_vec());
        let waits = Waits::new(pool.clone(), stop);
        Self { pool, catalogue, measurer, waits }
    }
}
