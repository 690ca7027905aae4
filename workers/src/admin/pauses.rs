//! `POST /admin/v1/projections/{name}/pause` and `/resume`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::request::{idempotency_key, parse};
use super::{Admin, Problem};
use crate::audit::Attribution;
use crate::pause::{self, LONGEST_SECONDS, NewPause, Refused, Switched};

/// What is asked for.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// How long, by the database's clock, at most 366 days; without it until somebody resumes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    /// In place of the pause that there is.
    #[serde(default)]
    pub replace: bool,
    pub actor: String,
    pub reason: String,
}

/// What is asked for.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    pub actor: String,
    pub reason: String,
}

pub(super) async fn pause(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Switched>, Problem> {
    let projection = admin.projection(&name).map_err(Problem::not_found)?;
    let Pause { seconds, replace, actor, reason } = parse(&body)?;
    let by = Attribution { actor, reason };
    by.require()?;
    if seconds.is_some_and(|seconds| !(1..=LONGEST_SECONDS).contains(&seconds)) {
        return Err(Problem::invalid("seconds", format!("must be 1 to {LONGEST_SECONDS}; leave it out for no end")));
    }
    let new = NewPause { seconds, replace, by, idempotency_key: idempotency_key(&headers)? };
    Ok(Json(pause::pause(&admin.pool, projection, &new).await?))
}

pub(super) async fn resume(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Switched>, Problem> {
    let projection = admin.projection(&name).map_err(Problem::not_found)?;
    let Resume { actor, reason } = parse(&body)?;
    let by = Attribution { actor, reason };
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
            Refused::PausedAlready(..) => Self::standing("urn:fleet:paused-already", "It is paused already", detail),
            Refused::NotPaused { .. } => Self::standing("urn:fleet:not-paused", "It is not paused", detail),
            Refused::Busy(_) => Self::unavailable(detail),
        }
    }
}
