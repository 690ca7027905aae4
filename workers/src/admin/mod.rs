//! The admin API: `/admin/v1`.
//!
//! What is asked and answered is public and can be read as well as written, so that a client in Rust, as the command line
//! is, needs no names of fields of its own.

pub mod audit;
pub mod dead_letters;
pub mod doctor;
mod names;
mod operations;
mod problem;
mod projections;
pub mod prunes;
pub mod refused;
pub mod replays;
mod request;
pub mod unreadable;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use read_model::Catalogue;
use sqlx::PgPool;

pub use problem::Problem;
pub use request::Look;

use crate::lag::Measurer;

const MAX_BODY: usize = 256 << 10;

/// What the handlers need. An admin is given the whole catalogue, a worker what listens to its topic.
#[derive(Clone)]
pub struct Admin {
    pool: PgPool,
    catalogue: Catalogue,
    measurer: Measurer,
}

pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/admin/v1/projections", get(projections::list))
        .route("/admin/v1/projections/{name}", get(projections::show))
        .route("/admin/v1/doctor", get(doctor::diagnose))
        .route("/admin/v1/losses", get(doctor::count))
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
        .route("/admin/v1/prunes", post(prunes::create))
        .route("/admin/v1/audit", get(audit::list))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(admin)
}

impl Admin {
    pub fn new(pool: PgPool, catalogue: Catalogue) -> Self {
        let measurer = Measurer::new(pool.clone(), catalogue.projections().to_vec());
        Self { pool, catalogue, measurer }
    }
}
