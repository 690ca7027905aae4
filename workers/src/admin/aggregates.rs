//! `GET /admin/v1/aggregates/{id}`: one aggregate, and how far each projection is with it.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::request::{Parameters, page, query};
use super::{Admin, Kind, Problem};
use crate::inspect::{self, Event, Progress};

/// Which of its events are looked at.
#[derive(Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Looking {
    /// The `next` of the page before; or any version: those behind it are wanted.
    #[param(minimum = 0)]
    pub after: Option<i32>,
    /// Of a page; at most, and if it is absent, 100.
    #[param(minimum = 1, maximum = 100, default = 100)]
    pub limit: Option<i64>,
}

/// One aggregate, and how far each projection is with it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = InspectedAggregate)]
pub struct Inspected {
    pub aggregate_id: Uuid,
    pub aggregate_type: String,
    /// `null`: nobody here listens to events of its type.
    pub topic: Option<String>,
    pub last_version: i32,
    /// Those that listen to it.
    pub projections: Vec<Progress>,
    /// In the order of their versions, without what they carry.
    pub events: Vec<Event>,
    /// `null`: this is the last page.
    pub next: Option<i32>,
}

/// One aggregate: its events, and how far each projection is with it.
///
/// What the events carry is not shown.
#[utoipa::path(
    get,
    path = "/aggregates/{id}",
    operation_id = "inspectAggregate",
    tag = "aggregates",
    params(("id" = Uuid, Path, description = "Of an aggregate."), Looking),
    responses((status = 200, description = "The aggregate, with a page of its events.", body = Inspected)),
    extensions(("x-problems" = json!([Kind::NotFound])))
)]
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    looking: Parameters<Looking>,
) -> Result<Json<Inspected>, Problem> {
    let Looking { after, limit } = query(looking)?;
    let aggregate_id =
        Uuid::try_parse(&id).map_err(|_| Problem::not_found(format!("{id:?} is not the id of an aggregate")))?;
    let limit = page(limit)?;
    let after = after.unwrap_or_default();
    if after < 0 {
        return Err(Problem::invalid("after", "must be 0 or more"));
    }
    let last = sqlx::query!(
        "select event_version, aggregate_type
         from events
         where aggregate_id = $1
         order by event_version desc
         limit 1",
        aggregate_id
    );
    let Some(last) = last.fetch_optional(&admin.pool).await? else {
        return Err(Problem::not_found(format!("the store has no event of aggregate {aggregate_id}")));
    };
    let topic = admin.catalogue.topic_of(&last.aggregate_type);
    let listening = topic.map(|topic| admin.catalogue.listening_to(topic)).unwrap_or_default();
    let names: Vec<_> = listening.iter().map(|projection| projection.name()).collect();
    let projections = inspect::progress(&admin.pool, aggregate_id, &names).await?;
    let events = inspect::events(&admin.pool, aggregate_id, after, limit).await?;
    let end = events.last().map(|event| event.version);
    Ok(Json(Inspected {
        aggregate_id,
        aggregate_type: last.aggregate_type,
        topic: topic.map(|topic| topic.name.to_owned()),
        last_version: last.event_version,
        projections,
        next: end.filter(|end| *end < last.event_version),
        events,
    }))
}
