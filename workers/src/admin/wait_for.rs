//! `GET /admin/v1/projections/{name}/wait-for`: read your writes.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use event_store::read;
use events::{AggregateId, Position, Version};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use uuid::Uuid;

use super::request::{Parameters, query};
use super::{Admin, Kind, Problem};
use crate::wait_for::{Answer, Error, Wanted};

/// Seconds waited for unless the request says otherwise.
pub const TIMEOUT_SECONDS: f64 = 1.0;

/// Seconds waited for at most: whoever wants to wait longer asks again.
pub const LONGEST_SECONDS: f64 = 30.0;

/// What is waited for, as the append's answer named it: the event (`aggregate_id` and `version`, with its `position` if that
/// is known), or everything up to a `position`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Of the event; needs `version`.
    pub aggregate_id: Option<Uuid>,
    /// Of the event; needs `aggregate_id`.
    #[param(minimum = 1)]
    pub version: Option<i32>,
    /// Everything up to it; with an event: it must lie there, or it is another than the one that was appended.
    #[param(minimum = 1)]
    pub position: Option<i64>,
    /// Seconds to wait; 1 if absent, 30 at most, 0 to look once.
    #[param(minimum = 0, maximum = 30, default = 1)]
    pub timeout: Option<f64>,
}

/// Waits until a read model has what was appended.
///
/// Ask with what the append's answer says: the event (`aggregate_id` and `version`, and `position` if it is known), or a
/// `position` alone.
#[utoipa::path(
    get,
    path = "/projections/{name}/wait-for",
    operation_id = "waitFor",
    tag = "projections",
    params(("name" = String, Path, description = "Of a projection."), Token),
    responses((status = 200, description = "How far it is: reached, held, paused, behind, unknown.", body = Answer)),
    extensions(("x-problems" = json!([Kind::NotFound])))
)]
pub(super) async fn wait(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    token: Parameters<Token>,
) -> Result<Json<Answer>, Problem> {
    let token = query(token)?;
    let projection = admin.projection(&name).map_err(Problem::not_found)?;
    let timeout = token.timeout.unwrap_or(TIMEOUT_SECONDS);
    if !(0.0..=LONGEST_SECONDS).contains(&timeout) {
        return Err(Problem::invalid("timeout", format!("must be 0 to {LONGEST_SECONDS} seconds")));
    }
    for (field, least) in [("version", token.version.map(i64::from)), ("position", token.position)] {
        if least.is_some_and(|number| number < 1) {
            return Err(Problem::invalid(field, "must be 1 or more"));
        }
    }
    let name = projection.name();
    let wanted = match (token.aggregate_id, token.version, token.position) {
        (Some(aggregate_id), Some(version), position) => {
            let event = match find(&admin, aggregate_id, version, position).await? {
                Ok(event) => event,
                Err(detail) => return Ok(Json(Answer::unknown(name, detail))),
            };
            let Some(topic) = projection.topics().iter().find(|topic| topic.carries(&event.aggregate_type)) else {
                let problem = format!("{name} does not listen to events of {}", event.aggregate_type);
                return Err(Problem::invalid("aggregate_id", problem));
            };
            let of = Some((AggregateId(aggregate_id), Version(version)));
            Wanted { projection: name, topic: Some(topic.name), event: of, position: event.position }
        }
        (None, None, Some(position)) => {
            let head = read::head(&admin.pool).await?;
            if position > head.0 {
                let detail = format!("the store has no position {position}; its last is {head}");
                return Ok(Json(Answer::unknown(name, detail)));
            }
            Wanted { projection: name, topic: None, event: None, position: Position(position) }
        }
        (Some(_), None, _) => return Err(Problem::invalid("version", "belongs to aggregate_id")),
        (None, Some(_), _) => return Err(Problem::invalid("aggregate_id", "belongs to version")),
        (None, None, None) => {
            return Err(Problem::invalid("query", "name aggregate_id and version, or position"));
        }
    };
    Ok(Json(admin.waits.wait(wanted, Duration::from_secs_f64(timeout)).await?))
}

struct Event {
    aggregate_type: String,
    position: Position,
}

/// The event that was appended; the inner error says what the store has instead.
async fn find(
    admin: &Admin,
    aggregate_id: Uuid,
    version: i32,
    position: Option<i64>,
) -> sqlx::Result<Result<Event, String>> {
    let row = sqlx::query!(
        "select event_version, position, aggregate_type
         from events
         where aggregate_id = $1 and event_version <= $2
         order by event_version desc
         limit 1",
        aggregate_id,
        version
    );
    Ok(match row.fetch_optional(&admin.pool).await? {
        None => Err(format!("the store has no event of aggregate {aggregate_id}")),
        Some(row) if row.event_version < version => {
            Err(format!("the last version of aggregate {aggregate_id} in the store is {}", row.event_version))
        }
        Some(row) if position.is_some_and(|position| position != row.position) => Err(format!(
            "version {version} of aggregate {aggregate_id} lies at position {}: it is not the event of this token",
            row.position
        )),
        Some(row) => Ok(Event { aggregate_type: row.aggregate_type, position: Position(row.position) }),
    })
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => error.into(),
            Error::Missing(_) => Self::not_found(error.to_string()),
            Error::TooMany | Error::Ending => Self::unavailable(error.to_string()),
        }
    }
}
