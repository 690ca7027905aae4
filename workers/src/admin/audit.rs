//! `GET /admin/v1/audit`: who did what, and why.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::request::{Parameters, page, query};
use super::{Admin, Problem};
use crate::audit::{self, Entry};

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

/// The newest entries first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditPage)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// `null`: this is the last page.
    pub next: Option<Uuid>,
}

/// Who did what, and why.
///
/// The newest entries come first.
#[utoipa::path(
    get,
    path = "/audit",
    operation_id = "listAudit",
    tag = "audit",
    params(Listing),
    responses((status = 200, description = "A page.", body = Page))
)]
pub(super) async fn list(State(admin): State<Admin>, listing: Parameters<Listing>) -> Result<Json<Page>, Problem> {
    let Listing { before, limit } = query(listing)?;
    let limit = page(limit)?;
    let entries = audit::list(&admin.pool, before, limit).await?;
    let next = entries.last().map(|last| last.id).filter(|_| entries.len() as i64 == limit);
    Ok(Json(Page { entries, next }))
}
