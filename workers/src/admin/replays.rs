//! `POST /admin/v1/replays` and the operations that come of it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Admin, Problem};
use crate::replay::{self, NewReplay, Operation, Plan, Selection};

/// Operations shown at most.
const LISTED: i64 = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    projection: String,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    selection: Selection,
    /// Only count; write nothing.
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    actor: String,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Apply what is unsettled in the selection.
    #[default]
    Repair,
}

#[derive(Debug, Serialize)]
struct DryRun {
    dry_run: bool,
    kind: Kind,
    projection: &'static str,
    selection: Selection,
    #[serde(flatten)]
    plan: Plan,
}

pub(super) async fn create(State(admin): State<Admin>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let request: Request = parse(&body)?;
    let projection = admin.projection(&request.projection).ok_or_else(|| {
        let problem = format!("there is no projection {:?} here, only {}", request.projection, admin.names());
        Problem::invalid("projection", problem)
    })?;
    request.selection.check()?;
    for (field, text) in [("reason", &request.reason), ("actor", &request.actor)] {
        if text.len() > 1000 || text.contains('\0') {
            return Err(Problem::invalid(field, "at most 1000 bytes, and no NUL"));
        }
    }
    let plan = replay::plan(&admin.pool, projection, &request.selection).await?;
    if request.dry_run {
        let Request { kind, selection, .. } = request;
        return Ok(Json(DryRun { dry_run: true, kind, projection: projection.name(), selection, plan }).into_response());
    }
    let new = NewReplay {
        selection: request.selection,
        reason: request.reason,
        actor: request.actor,
        idempotency_key: idempotency_key(&headers)?,
    };
    let id = replay::create(&admin.pool, projection, plan, &new).await?;
    let location = format!("/admin/v1/operations/{id}");
    let operation = find(&admin, id).await?;
    if operation.projection != projection.name() || operation.selection.0 != new.selection {
        return Err(Problem::key_reused(format!("the Idempotency-Key was used for another request: operation {id}")));
    }
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(operation)).into_response())
}

pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<Vec<Operation>>, Problem> {
    Ok(Json(replay::list(&admin.pool, LISTED).await?))
}

pub(super) async fn show(State(admin): State<Admin>, Path(id): Path<String>) -> Result<Json<Operation>, Problem> {
    let id = Uuid::try_parse(&id).map_err(|_| Problem::not_found(format!("{id:?} is not the id of an operation")))?;
    Ok(Json(find(&admin, id).await?))
}

async fn find(admin: &Admin, id: Uuid) -> Result<Operation, Problem> {
    replay::get(&admin.pool, id).await?.ok_or_else(|| Problem::not_found(format!("there is no operation {id}")))
}

/// Reads the body; what is wrong is named by its path.
fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let problem = error.into_inner().to_string();
        // For a missing or unknown field the path ends at the object; the message has the name.
        let named = problem.split('`').nth(1).filter(|_| problem.contains(" field `"));
        let field = match (path.as_str(), named) {
            (".", Some(name)) => name.to_owned(),
            (path, Some(name)) if !path.ends_with(name) => format!("{path}.{name}"),
            (".", None) => "body".to_owned(),
            (path, _) => path.to_owned(),
        };
        Problem::invalid(field, problem)
    })?;
    deserializer.end().map_err(|error| Problem::invalid("body", error.to_string()))?;
    Ok(value)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().map_err(|_| Problem::invalid("Idempotency-Key", "must be printable ASCII"))?;
    if key.is_empty() || key.len() > 200 {
        return Err(Problem::invalid("Idempotency-Key", "must have 1 to 200 characters"));
    }
    Ok(Some(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        for (body, field) in [
            ("", "body"),
            ("[]", "body"),
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
