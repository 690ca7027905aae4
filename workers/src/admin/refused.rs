//! `GET /admin/v1/refused`: messages that the bus never took.

use axum::Json;
use axum::extract::State;
use event_store::relay::refused::{self, RefusedMessage};
use events::Position;
use serde::{Deserialize, Serialize};

use super::request::{Parameters, query};
use super::{Admin, Problem, names};

/// Messages of a page at most, and unless the request says otherwise.
const PAGE: i64 = 100;

/// Which are looked at.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Absent: of all.
    pub topic: Option<String>,
    /// The `next` of the page before.
    pub before: Option<i64>,
    /// Of a page; at most, and if it is absent, 100.
    pub limit: Option<i64>,
}

/// The latest positions first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Page {
    pub refused: Vec<RefusedMessage>,
    /// `null`: this is the last page.
    pub next: Option<i64>,
}

pub(super) async fn list(State(admin): State<Admin>, listing: Parameters<Listing>) -> Result<Json<Page>, Problem> {
    let Listing { topic, before, limit } = query(listing)?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE).contains(&limit) {
        return Err(Problem::invalid("limit", format!("must be from 1 to {PAGE}")));
    }
    names::topic(&admin.catalogue, topic.as_deref())?;
    let refused = refused::list(&admin.pool, topic.as_deref(), before.map(Position), limit).await?;
    let next = refused.last().map(|last| last.position).filter(|_| refused.len() as i64 >= limit);
    Ok(Json(Page { refused, next }))
}
