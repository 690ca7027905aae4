//! `GET /admin/v1/doctor` and `GET /admin/v1/losses`: what is wrong, and whether anything is lost.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::request::{Parameters, query};
use super::{Admin, Kind, Problem, names};
use crate::doctor::{self, Diagnosis};
use crate::losses::{self, Counted, Error};

/// Seconds after which data is late, unless the request says otherwise: the objective.
pub const LATE_AFTER: f64 = 30.0;

/// How long one request counts. With its last statement it ends within 3 s.
const COUNTING: Duration = Duration::from_millis(1000);

/// What is asked for.
#[derive(Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Data is late if an unsettled event is older, in seconds. Absent: 30.
    #[param(minimum = 0, maximum = 86400)]
    pub late_after: Option<f64>,
}

/// What is wrong, in the order in which whoever is on call asks.
#[utoipa::path(
    get,
    path = "/doctor",
    operation_id = "diagnose",
    tag = "projections",
    params(Ask),
    responses((status = 200, description = "What was found out, and what could not be.", body = Diagnosis))
)]
pub(super) async fn diagnose(State(admin): State<Admin>, ask: Parameters<Ask>) -> Result<Json<Diagnosis>, Problem> {
    let late_after = query(ask)?.late_after.unwrap_or(LATE_AFTER);
    if !(0.0..=86_400.0).contains(&late_after) {
        return Err(Problem::invalid("late_after", "must be seconds, from 0 to 86400"));
    }
    Ok(Json(doctor::diagnose(&admin.pool, &admin.catalogue, late_after).await))
}

/// What is to be counted.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Count {
    pub projection: String,
    pub topic: String,
    /// The `next` of the answer before. Absent: from the settled position.
    pub upto: Option<i64>,
}

/// Whether anything is lost: compares events of the store with applied versions, for one second at most.
#[utoipa::path(
    get,
    path = "/losses",
    operation_id = "countLosses",
    tag = "projections",
    params(Count),
    responses((status = 200, description = "What was counted, and where to go on.", body = Counted)),
    extensions(("x-problems" = json!([Kind::NotFound])))
)]
pub(super) async fn count(State(admin): State<Admin>, wanted: Parameters<Count>) -> Result<Json<Counted>, Problem> {
    let Count { projection, topic, upto } = query(wanted)?;
    let projection = admin.projection(&projection).map_err(|problem| Problem::invalid("projection", problem))?;
    names::topic(&admin.catalogue, Some(&topic))?;
    let Some(topic) = projection.topics().iter().find(|it| it.name == topic) else {
        return Err(Problem::invalid("topic", format!("{} does not listen to {topic}", projection.name())));
    };
    Ok(Json(losses::count(&admin.pool, projection, topic, upto, COUNTING).await?))
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => error.into(),
            missing @ Error::Missing(_) => Self::not_found(missing.to_string()),
            replaced @ Error::Replaced(_) => Self::unavailable(replaced.to_string()),
        }
    }
}
