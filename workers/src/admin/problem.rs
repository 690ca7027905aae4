//! Errors as `application/problem+json` (RFC 9457): the only way from an error to an HTTP answer here.

use std::borrow::Cow;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use event_store::read;
use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;
use crate::operations;

/// Why there is no answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    title: Cow<'static, str>,
    status: u16,
    detail: String,
    /// What is wrong with which field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FieldError {
    field: String,
    detail: String,
}

impl Problem {
    /// What it says to a person.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    pub fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        const KIND: &str = "urn:fleet:invalid-request";
        let (field, detail) = (field.into(), problem.into());
        let problem =
            Self::new(KIND, "The request is not valid", StatusCode::BAD_REQUEST, format!("{field}: {detail}"));
        Self { errors: vec![FieldError { field, detail }], ..problem }
    }

    pub fn not_found(detail: String) -> Self {
        Self::new("urn:fleet:not-found", "There is no such thing", StatusCode::NOT_FOUND, detail)
    }

    pub fn key_reused(detail: String) -> Self {
        const KIND: &str = "urn:fleet:idempotency-key-reuse";
        Self::new(KIND, "One key, one request", StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    pub fn conflict(detail: String) -> Self {
        Self::new("urn:fleet:operation-conflict", "It is decided already", StatusCode::CONFLICT, detail)
    }

    /// It stands otherwise than whoever asks takes it to.
    pub fn standing(kind: &'static str, title: &'static str, detail: String) -> Self {
        Self::new(kind, title, StatusCode::CONFLICT, detail)
    }

    pub fn stale(kind: &'static str, title: &'static str, detail: String) -> Self {
        Self::new(kind, title, StatusCode::PRECONDITION_FAILED, detail)
    }

    pub fn plan_required() -> Self {
        let detail = "ask with dry_run true first, and again with the plan_token of its answer";
        Self::new("urn:fleet:plan-required", "Plan first", StatusCode::PRECONDITION_REQUIRED, detail.to_owned())
    }

    pub(crate) fn unavailable(detail: String) -> Self {
        const TITLE: &str = "The database does not answer; try again";
        Self::new("urn:fleet:store-unavailable", TITLE, StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    fn internal(detail: String) -> Self {
        tracing::error!(detail, "admin API: internal error");
        Self::new("urn:fleet:internal", "Something is wrong on our side", StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    fn new(kind: &'static str, title: &'static str, status: StatusCode, detail: String) -> Self {
        Self { kind: kind.into(), title: title.into(), status: status.as_u16(), detail, errors: Vec::new() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("a problem holds only strings and a number");
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let detail = database::describe(&error);
        if database::is_transient(&error) { Self::unavailable(detail) } else { Self::internal(detail) }
    }
}

impl From<read::Error> for Problem {
    fn from(error: read::Error) -> Self {
        match error {
            read::Error::Database(error) => error.into(),
            gap @ read::Error::Gap { .. } => Self::internal(gap.to_string()),
        }
    }
}

impl From<operations::Refused> for Problem {
    fn from(refused: operations::Refused) -> Self {
        match refused {
            operations::Refused::Database(error) => error.into(),
            reused @ operations::Refused::KeyReused(_) => Self::key_reused(reused.to_string()),
        }
    }
}

impl From<Invalid> for Problem {
    fn from(Invalid { field, problem }: Invalid) -> Self {
        Self::invalid(field, problem)
    }
}
