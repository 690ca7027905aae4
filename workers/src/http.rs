//! What every role serves: is it alive, is it ready, how is it doing.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use sqlx::PgPool;

use crate::Metrics;
use crate::lag::Measurer;

#[derive(Clone)]
pub struct Health {
    pub pool: PgPool,
    pub registry: Registry,
    /// Whoever serves lag measures it at every scrape.
    pub lag: Option<(Metrics, Measurer)>,
}

pub fn router(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

/// Ready means: the database answers. It does not depend on the bus or on lag, or an outage would stop the very
/// processes that have to catch up.
async fn ready(State(health): State<Health>) -> Response {
    match sqlx::query_scalar!(r#"select 1 as "one!""#).fetch_one(&health.pool).await {
        Ok(_) => "ready\n".into_response(),
        Err(error) => {
            let reason = event_store::database::describe(&error);
            (StatusCode::SERVICE_UNAVAILABLE, format!("the database does not answer: {reason}\n")).into_response()
        }
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    if let Some((metrics, measurer)) = &health.lag {
        let report = measurer.report().await;
        if let Err(error) = &report {
            tracing::warn!(%error, "lag could not be measured");
        }
        metrics.observe_lag(report.ok().as_ref());
    }
    match TextEncoder::new().encode_to_string(&health.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
