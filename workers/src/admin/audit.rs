//! `GET /admin/v1/audit`: who did what, and why.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::request::{Parameters, query};
use super::{Admin, Problem};
use crate::audit::{self, Entry};

/// Entries of a page.
const PAGE: i64 = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    /// The `next` of the page before.
    before: Option<Uuid>,
}

/// The newest entries first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// `null`: this is the last page.
    pub next: Option<Uuid>,
}

pub(super) async fn list(State(admin): State<Admin>, listing: Parameters<Listing>) -> Result<Json<Page>, Problem> {
    let listing = query(listing)?;
    let entries = audit::list(&admin.pool, listing.before, PAGE).await?;
    let next = entries.last().map(|last| last.id).filter(|_| entries.len() as i64 == PAGE);
    Ok(Json(Page { entries, next }))
}
