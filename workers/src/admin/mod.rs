//! The admin API: `/admin/v1`.
//!
//! What is asked and answered is public and can be read as well as written, so that a client in Rust, as the command line
//! is, needs no names of fields of its own.

mod access;
pub mod aggregates;
pub mod audit;
pub mod dead_letters;
pub mod discarded;
pub mod doctor;
pub mod generations;
pub mod locks;
mod names;
pub mod openapi;
pub mod operations;
pub mod pauses;
mod problem;
mod projections;
pub mod prunes;
pub mod refused;
pub mod replays;
mod request;
pub mod rows;
pub mod unreadable;
pub mod wait_for;

use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::routing::any;
use axum::{Router, middleware};
use chrono::{DateTime, Utc};
use database::Primary;
use identity::Gate;
use read_model::Catalogue;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use access::{ROUTES, Route};
pub use names::{knows, nearest, unknown};
pub use problem::{Kind, LOCKED, Problem};
pub use request::Look;

use crate::Metrics;
use crate::http::guarded;
use crate::lag::Measurer;
use crate::wait_for::Waits;

/// Where the API is.
const PREFIX: &str = "/admin/v1";

const MAX_BODY: usize = 256 << 10;

/// How long one measurement of lag may take, so that a client that waits 3 s is told what could not be measured, and why.
const MEASURING: Duration = Duration::from_millis(2400);

/// What the handlers need. An admin is given the whole catalogue, a worker what listens to its topic.
#[derive(Clone)]
pub struct Admin {
    pool: PgPool,
    catalogue: Catalogue,
    measurer: Measurer,
    waits: Waits,
}

/// Each handler says its method, its path, and everything else that the description has of it: a route that is not described
/// cannot be made here.
fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::with_openapi(openapi::about())
        .routes(routes!(projections::list))
        .routes(routes!(projections::show))
        .routes(routes!(generations::list, generations::rebuild))
        .routes(routes!(generations::build_as_of))
        .routes(routes!(generations::promote))
        .routes(routes!(generations::rollback))
        .routes(routes!(generations::retire))
        .routes(routes!(generations::verify))
        .routes(routes!(generations::differences))
        .routes(routes!(generations::pause))
        .routes(routes!(generations::resume))
        .routes(routes!(generations::cancel))
        .routes(routes!(pauses::pause))
        .routes(routes!(pauses::resume))
        .routes(routes!(wait_for::wait))
        .routes(routes!(doctor::diagnose))
        .routes(routes!(doctor::count))
        .routes(routes!(prunes::create))
        .routes(routes!(replays::create))
        .routes(routes!(operations::list))
        .routes(routes!(operations::show))
        .routes(routes!(operations::set_rate))
        .routes(routes!(operations::stop))
        .routes(routes!(operations::go_on))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::show))
        .routes(routes!(dead_letters::retry))
        .routes(routes!(dead_letters::discard))
        .routes(routes!(dead_letters::batch))
        .routes(routes!(discarded::list))
        .routes(routes!(unreadable::list))
        .routes(routes!(unreadable::show))
        .routes(routes!(refused::list))
        .routes(routes!(aggregates::show))
        .routes(routes!(rows::tables))
        .routes(routes!(rows::list))
        .routes(routes!(locks::locks))
        .routes(routes!(locks::leases))
        .routes(routes!(audit::list))
        .routes(routes!(openapi::show))
}

/// What stands before the API.
#[derive(Debug, Clone)]
pub struct Door {
    /// Asks who it is that comes.
    pub gate: Gate,
    /// While there is none, nothing is answered.
    pub primary: Primary,
    /// Counts what is refused.
    pub metrics: Metrics,
}

/// The API, behind its door.
pub fn router(admin: Admin, door: Door) -> Router {
    let Door { gate, primary, metrics } = door;
    metrics.begin_admin();
    let routes = Router::from(routes())
        .route_layer(middleware::from_fn(request::sound))
        .route_layer(middleware::from_fn_with_state(gate, access::admitted))
        .route_layer(middleware::from_fn(request::traced))
        .fallback(problem::unknown_route)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(problem::said))
        .with_state(admin);
    // What is nested has no such path.
    let api = Router::new().nest(PREFIX, routes).route(&format!("{PREFIX}/"), any(problem::unknown_route));
    guarded(api, primary).layer(middleware::from_fn_with_state(metrics, problem::counted))
}

/// By the database's clock.
async fn now(admin: &Admin) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(&admin.pool).await
}

impl Admin {
    /// Whoever waits for something is answered when `stop` is cancelled.
    pub fn new(pool: PgPool, catalogue: Catalogue, stop: CancellationToken) -> Self {
        let measurer = Measurer::new(pool.clone(), catalogue.projections().to_vec()).within(MEASURING);
        let waits = Waits::new(pool.clone(), stop);
        Self { pool, catalogue, measurer, waits }
    }
}
