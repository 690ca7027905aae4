//! `POST /admin/v1/replays`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Asker;
use super::request::{IdempotencyKey, idempotency_key, parse};
use super::{Admin, Problem, operations};
use crate::object::object;
use crate::operations::{Operation, Rate};
use crate::replay::{self, NewReplay, Plan, Selection};

/// What is asked for.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Replay)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub projection: String,
    #[serde(default)]
    pub kind: Kind,
    #[serde(default, deserialize_with = "object")]
    pub selection: Selection,
    /// Events a second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.1, maximum = 1_000_000)]
    pub rate: Option<f64>,
    /// How long the rate holds, by the database's clock, at most 7 days; without it an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 604_800)]
    pub rate_seconds: Option<u32>,
    /// Only count; write nothing.
    #[serde(default)]
    pub dry_run: bool,
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub reason: String,
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub actor: String,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
#[schema(as = ReplayKind)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Apply what is unsettled in the selection.
    #[default]
    Repair,
}

/// The answer to a dry run; otherwise it is an operation.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ReplayDryRun)]
pub struct DryRun {
    pub dry_run: bool,
    pub kind: Kind,
    pub projection: String,
    pub selection: Selection,
    #[serde(flatten)]
    pub plan: Plan,
}

/// Applies what is unsettled in a selection of the store, or counts what that would be.
#[utoipa::path(
    post,
    path = "/replays",
    operation_id = "createReplay",
    tag = "operations",
    params(IdempotencyKey),
    request_body = Request,
    responses(
        (status = 200, description = "Of a dry run.", body = DryRun),
        (
            status = 202,
            description = "It is asked for.",
            body = Operation,
            headers(("Location" = String, description = "Where the operation is."))
        )
    )
)]
pub(super) async fn create(
    State(admin): State<Admin>,
    asker: Asker,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let request: Request = parse(&body)?;
    let projection =
        admin.projection(&request.projection).map_err(|problem| Problem::invalid("projection", problem))?;
    request.selection.check()?;
    let rate = Rate::of(request.rate, request.rate_seconds, "rate_seconds")?;
    admin.check_types(projection, request.selection.event_types.iter().flatten()).await?;
    let by = asker.signs(request.actor, request.reason);
    by.check()?;
    let plan = replay::plan(&admin.pool, projection, &request.selection).await?;
    if request.dry_run {
        let (kind, selection, projection) = (request.kind, request.selection, projection.name().to_owned());
        return Ok(Json(DryRun { dry_run: true, kind, projection, selection, plan }).into_response());
    }
    let new = NewReplay { selection: request.selection, rate, by, idempotency_key: idempotency_key(&headers)? };
    let id = replay::create(&admin.pool, projection, plan, &new).await?;
    Ok(operations::accepted(operations::find(&admin, id).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        for (body, field) in [
            ("", "body"),
            ("[]", "body"),
            (r#"["p"]"#, "body"),
            (r#"{"projection":"p","selection":[]}"#, "selection"),
            (r#"{"projection":"p","selection":{"positions":[1]}}"#, "selection.positions"),
            ("{}", "projection"),
            (r#"{"projection":1}"#, "projection"),
            (r#"{"projection":"p","kind":"reset"}"#, "kind"),
            (r#"{"projection":"p","where":1}"#, "where"),
            (r#"{"projection":"p","selection":{"position":1}}"#, "selection.position"),
            (r#"{"projection":"p","selection":{"positions":{"from":"x"}}}"#, "selection.positions.from"),
            (r#"{"projection":"p","selection":{"times":{"from":"yesterday"}}}"#, "selection.times.from"),
            (r#"{"projection":"p","selection":{"aggregates":["x"]}}"#, "selection.aggregates[0]"),
            (r#"{"projection":"p"} {}"#, "body"),
        ] {
            let problem = parse::<Request>(body.as_bytes()).expect_err(body);
            let json = serde_json::to_value(&problem).expect("JSON");
            assert_eq!(json["errors"][0]["field"], field, "{body}: {json}");
        }
    }
}
