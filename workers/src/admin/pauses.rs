//! `POST /admin/v1/projections/{name}/pause` and `/resume`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Asker;
use super::request::{IdempotencyKey, idempotency_key, parse};
use super::{Admin, Kind, Problem};
use crate::pause::{self, LONGEST_SECONDS, NewPause, Refused, Switched};

/// What is asked for.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = PauseRequest)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// How long, by the database's clock, at most 366 days; without it until somebody resumes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 31_622_400)]
    pub seconds: Option<u32>,
    /// In place of the pause that there is.
    #[serde(default)]
    pub replace: bool,
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub actor: String,
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub reason: String,
}

/// What is asked for.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = ResumeRequest)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub actor: String,
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub reason: String,
}

/// Has nothing applied to a projection for now.
#[utoipa::path(
    post,
    path = "/projections/{name}/pause",
    operation_id = "pauseProjection",
    tag = "projections",
    params(("name" = String, Path, description = "Of a projection."), IdempotencyKey),
    request_body = Pause,
    responses((status = 200, description = "As it is now.", body = Switched)),
    extensions(("x-problems" = json!([Kind::NotFound, Kind::PausedAlready])))
)]
pub(super) async fn pause(
    State(admin): State<Admin>,
    asker: Asker,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Switched>, Problem> {
    let projection = admin.projection(&name).map_err(Problem::not_found)?;
    let Pause { seconds, replace, actor, reason } = parse(&body)?;
    let by = asker.signs(actor, reason);
    by.require()?;
    if seconds.is_some_and(|seconds| !(1..=LONGEST_SECONDS).contains(&seconds)) {
        return Err(Problem::invalid("seconds", format!("must be 1 to {LONGEST_SECONDS}; leave it out for no end")));
    }
    let new = NewPause { seconds, replace, by, idempotency_key: idempotency_key(&headers)? };
    Ok(Json(pause::pause(&admin.pool, projection, &new).await?))
}

/// Lets a projection go on that is paused.
#[utoipa::path(
    post,
    path = "/projections/{name}/resume",
    operation_id = "resumeProjection",
    tag = "projections",
    params(("name" = String, Path, description = "Of a projection."), IdempotencyKey),
    request_body = Resume,
    responses((status = 200, description = "As it is now.", body = Switched)),
    extensions(("x-problems" = json!([Kind::NotFound, Kind::NotPaused])))
)]
pub(super) async fn resume(
    State(admin): State<Admin>,
    asker: Asker,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Switched>, Problem> {
    let projection = admin.projection(&name).map_err(Problem::not_found)?;
    let Resume { actor, reason } = parse(&body)?;
    let by = asker.signs(actor, reason);
    by.require()?;
    let key = idempotency_key(&headers)?;
    Ok(Json(pause::resume(&admin.pool, projection, &by, key.as_deref()).await?))
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::Asked(refused) => refused.into(),
            Refused::Missing(_) => Self::not_found(detail),
            Refused::PausedAlready(..) => Self::of(Kind::PausedAlready, detail),
            Refused::NotPaused { .. } => Self::of(Kind::NotPaused, detail),
            Refused::Busy(_) => Self::unavailable(detail),
        }
    }
}
