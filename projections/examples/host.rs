//! A web service with a process of its own, in which a worker of the fleet keeps a read model up to date.
//!
//! ```sh
//! DATABASE_URL=… PUBSUB_EMULATOR_HOST=localhost:8085 FLEET_GRPC=localhost:50051 cargo run -p projections --example host
//! ```
//!
//! Its pool, its router, its logs and its end are its own; the parts are given them. `tests/host.rs` runs it.

use anyhow::{Context, Result};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use fleet::host::{Bus, Gate, Google, Parts, Worker};
use projections::topics::VOCABULARY;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_target(false).init();
    let env = |name| std::env::var(name).context(name);
    let service = Service {
        pool: PgPool::connect_lazy(&env("DATABASE_URL")?)?,
        listener: TcpListener::bind("127.0.0.1:8080").await?,
        bus: Bus::Google(Google::new("fleet-dev", env("PUBSUB_EMULATOR_HOST").ok())),
        event_store: env("FLEET_GRPC")?,
    };
    let stop = CancellationToken::new();
    let interrupted = stop.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        interrupted.cancel();
    });
    service.serve(stop).await
}

/// What the service has of its own.
pub struct Service {
    pub pool: PgPool,
    pub listener: TcpListener,
    pub bus: Bus,
    /// host:port of the event store.
    pub event_store: String,
}

impl Service {
    /// Serves until it is told to stop, or until the worker fails.
    pub async fn serve(self, stop: CancellationToken) -> Result<()> {
        let fleet = projections::program().build()?;
        // Only the read models of this topic: others have a worker elsewhere.
        let catalogue = fleet.catalogue().of(&VOCABULARY);
        let mut parts = Parts::builder(&catalogue, &self.pool).connections(6).shutdown(stop.clone()).start().await?;
        parts.migrate().await?;
        parts.worker(Worker::of(&VOCABULARY, self.bus, self.event_store))?;

        let own = Router::new().route("/words/{spelling}", get(word)).with_state(self.pool);
        let app = own.nest("/fleet", parts.router(Gate::open())?);
        // Without its read model this service is of no use: if one of the two ends, the other does too.
        let ending = stop.clone();
        let worked = async move {
            let worked = parts.run().await;
            ending.cancel();
            worked
        };
        let served = axum::serve(self.listener, app).with_graceful_shutdown(stop.cancelled_owned());
        let (worked, served) = tokio::join!(worked, served);
        worked?;
        Ok(served?)
    }
}

/// How many senses a word has.
async fn word(State(pool): State<PgPool>, Path(spelling): Path<String>) -> Result<Json<i32>, StatusCode> {
    let senses = sqlx::query_scalar("select item_count from vocabulary.vocabulary_entries where spelling = $1");
    match senses.bind(spelling).fetch_optional(&pool).await {
        Ok(Some(senses)) => Ok(Json(senses)),
        Ok(None) => Err(StatusCode::NOT_FOUND),
        Err(error) => {
            tracing::error!(%error, "looking for a word");
            Err(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}
