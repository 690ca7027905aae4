//! `GET /admin/v1/refused`: messages that the bus never took.

use axum::Json;
use axum::extract::State;
use event_store::relay::refused::{self, RefusedMessage};
use events::Position;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::request::{Parameters, page, query};
use super::{Admin, Problem, names};

/// Which are looked at.
#[derive(Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Absent: of all.
    pub topic: Option<String>,
    /// The `next` of the page before.
    pub before: Option<i64>,
    /// Of a page; at most, and if it is absent, 100.
    #[param(minimum = 1, maximum = 100, default = 100)]
    pub limit: Option<i64>,
}

/// The latest positions first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = RefusedPage)]
pub struct Page {
    pub refused: Vec<RefusedMessage>,
    /// `null`: this is the last page.
    pub next: Option<i64>,
}

/// Messages that the bus never took.
///
/// The latest positions come first.
#[utoipa::path(
    get,
    path = "/refused",
    operation_id = "listRefused",
    tag = "events",
    params(Listing),
    responses((status = 200, description = "A page.", body = Page))
)]
pub(super) async fn list(State(admin): State<Admin>, listing: Parameters<Listing>) -> Result<Json<Page>, Problem> {
    let Listing { topic, before, limit } = query(listing)?;
    let limit = page(limit)?;
    names::topic(&admin.catalogue, topic.as_deref())?;
    let refused = refused::list(&admin.pool, topic.as_deref(), before.map(Position), limit).await?;
    let next = refused.last().map(|last| last.position).filter(|_| refused.len() as i64 >= limit);
    Ok(Json(Page { refused, next }))
}
