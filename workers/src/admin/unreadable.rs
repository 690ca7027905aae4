//! `/admin/v1/unreadable`: events of the store that no reader can be given, and what can be said of them all the same.

use axum::Json;
use axum::extract::{Path, State};
use database::Lent;
use event_store::unreadable::{self, Contents, Error, Finding, Which};
use events::Position;
use read_model::Catalogue;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Connection;
use utoipa::{IntoParams, ToSchema};

use super::access::Asker;
use super::request::{Look, Parameters, page, query};
use super::{Admin, Kind, Problem};
use crate::audit;

/// Which are looked at.
#[derive(Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// The `next` of the page before.
    pub before: Option<i64>,
    /// Of a page; at most, and if it is absent, 100.
    #[param(minimum = 1, maximum = 100, default = 100)]
    pub limit: Option<i64>,
}

/// `GET /admin/v1/unreadable`: the latest positions first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = UnreadablePage)]
pub struct Page {
    pub unreadable: Vec<Listed>,
    /// `null`: this is the last page.
    pub next: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = UnreadableListed)]
pub struct Listed {
    #[serde(flatten)]
    pub finding: Finding,
    /// `null`: nobody listens to events of this aggregate type.
    pub topic: Option<String>,
}

/// `GET /admin/v1/unreadable/{event}`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = UnreadableShown)]
pub struct Shown {
    #[serde(flatten)]
    pub listed: Listed,
    pub contents: Option<Contents>,
    /// Why there are no contents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Listed {
    fn of(finding: Finding, catalogue: &Catalogue) -> Self {
        let topic = catalogue.topic_of(&finding.aggregate_type).map(|topic| topic.name.to_owned());
        Self { finding, topic }
    }
}

/// Events of the store that no reader can be given.
///
/// The latest positions come first.
#[utoipa::path(
    get,
    path = "/unreadable",
    operation_id = "listUnreadable",
    tag = "events",
    params(Listing),
    responses((status = 200, description = "A page.", body = Page))
)]
pub(super) async fn list(State(admin): State<Admin>, listing: Parameters<Listing>) -> Result<Json<Page>, Problem> {
    let Listing { before, limit } = query(listing)?;
    let limit = page(limit)?;
    let findings = unreadable::list(&admin.pool, before.map(Position), limit).await?;
    let next = findings.last().map(|last| last.position).filter(|_| findings.len() as i64 == limit);
    Ok(Json(Page {
        unreadable: findings.into_iter().map(|finding| Listed::of(finding, &admin.catalogue)).collect(),
        next,
    }))
}

/// One such event, in part.
///
/// With `payload` that somebody looked is recorded, with the reason.
#[utoipa::path(
    get,
    path = "/unreadable/{event}",
    operation_id = "showUnreadable",
    tag = "events",
    params(("event" = String, Path, description = "Its position, or its id."), Look),
    responses((status = 200, description = "The event, in part.", body = Shown)),
    extensions(("x-problems" = json!([Kind::NotFound])))
)]
pub(super) async fn show(
    State(admin): State<Admin>,
    asker: Asker,
    Path(event): Path<String>,
    look: Parameters<Look>,
) -> Result<Json<Shown>, Problem> {
    let which: Which = event.parse().map_err(|unnamed: unreadable::Unnamed| Problem::not_found(unnamed.to_string()))?;
    let by = query(look)?.by(&asker)?;
    let finding = unreadable::find(&admin.pool, which).await?;
    let mut db = Lent::by(&admin.pool).await?;
    let mut tx = db.begin().await?;
    if let Some(by) = &by {
        audit::record(&mut tx, by, "unreadable.reveal", finding.event_id, &Value::Null).await?;
    }
    // In a savepoint, so that the look is recorded also if it fails.
    let mut looking = tx.begin().await?;
    let (contents, problem) = match unreadable::contents(&mut looking, finding.position, by.is_some()).await {
        Ok(contents) => (Some(contents), None),
        Err(error) if unreadable::defies(&error) => (None, Some(database::describe(&error))),
        Err(error) => return Err(error.into()),
    };
    looking.rollback().await?;
    tx.commit().await?;
    db.give_back();
    Ok(Json(Shown { listed: Listed::of(finding, &admin.catalogue), contents, problem }))
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => error.into(),
            unknown @ (Error::Unknown(_) | Error::Readable(_)) => Self::not_found(unknown.to_string()),
        }
    }
}
