//! `GET /admin/v1/discarded`: what the fleet goes on without, because a person said so.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::request::{Parameters, page, query};
use super::{Admin, Problem};
use crate::dead_letters::discarded::{self, Discarded};

#[derive(Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// The `next` of the page before.
    pub before: Option<Uuid>,
    /// Of a page; at most, and if it is absent, 100.
    #[param(minimum = 1, maximum = 100, default = 100)]
    pub limit: Option<i64>,
}

/// Those that were parked last come first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = DiscardedPage)]
pub struct Page {
    pub discarded: Vec<Discarded>,
    /// `null`: this is the last page.
    pub next: Option<Uuid>,
}

/// What the fleet goes on without.
///
/// Those that were parked last come first.
#[utoipa::path(
    get,
    path = "/discarded",
    operation_id = "listDiscarded",
    tag = "dead letters",
    params(Listing),
    responses((status = 200, description = "A page.", body = Page))
)]
pub(super) async fn list(State(admin): State<Admin>, listing: Parameters<Listing>) -> Result<Json<Page>, Problem> {
    let Listing { before, limit } = query(listing)?;
    let limit = page(limit)?;
    let discarded = discarded::list(&admin.pool, before, limit).await?;
    let next = discarded.last().map(|last| last.id).filter(|_| discarded.len() as i64 == limit);
    Ok(Json(Page { discarded, next }))
}
