//! Errors as `application/problem+json` (RFC 9457): the only way from an error to an HTTP answer here.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use event_store::read;
use serde::Serialize;

use crate::replay::Invalid;
use crate::{audit, dead_letters, operations};

#[derive(Debug, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    #[serde(serialize_with = "code")]
    status: StatusCode,
    detail: String,
    /// What is wrong with which field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

#[derive(Debug, Serialize)]
struct FieldError {
    field: String,
    detail: String,
}

impl Problem {
    pub fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        let (field, detail) = (field.into(), problem.into());
        Self {
            kind: "urn:fleet:invalid-request",
            title: "The request is not valid",
            status: StatusCode::BAD_REQUEST,
            detail: format!("{field}: {detail}"),
            errors: vec![FieldError { field, detail }],
        }
    }

    pub fn not_found(detail: String) -> Self {
        Self {
            kind: "urn:fleet:not-found",
            title: "There is no such thing",
            status: StatusCode::NOT_FOUND,
            detail,
            errors: Vec::new(),
        }
    }

    pub fn key_reused(detail: String) -> Self {
        Self {
            kind: "urn:fleet:idempotency-key-reuse",
            title: "One key, one request",
            status: StatusCode::UNPROCESSABLE_ENTITY,
            detail,
            errors: Vec::new(),
        }
    }

    pub fn conflict(detail: String) -> Self {
        Self {
            kind: "urn:fleet:operation-conflict",
            title: "It is decided already",
            status: StatusCode::CONFLICT,
            detail,
            errors: Vec::new(),
        }
    }

    pub fn stale(kind: &'static str, title: &'static str, detail: String) -> Self {
        Self { kind, title, status: StatusCode::PRECONDITION_FAILED, detail, errors: Vec::new() }
    }

    pub fn plan_required() -> Self {
        Self {
            kind: "urn:fleet:plan-required",
            title: "Plan first",
            status: StatusCode::PRECONDITION_REQUIRED,
            detail: "ask with dry_run true first, and again with the plan_token of its answer".to_owned(),
            errors: Vec::new(),
        }
    }

    pub(crate) fn unavailable(detail: String) -> Self {
        Self {
            kind: "urn:fleet:store-unavailable",
            title: "The database does not answer; try again",
            status: StatusCode::SERVICE_UNAVAILABLE,
            detail,
            errors: Vec::new(),
        }
    }

    fn internal(detail: String) -> Self {
        tracing::error!(detail, "admin API: internal error");
        Self {
            kind: "urn:fleet:internal",
            title: "Something is wrong on our side",
            status: StatusCode::INTERNAL_SERVER_ERROR,
            detail,
            errors: Vec::new(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
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

impl From<audit::Invalid> for Problem {
    fn from(audit::Invalid { field, problem }: audit::Invalid) -> Self {
        Self::invalid(field, problem)
    }
}

impl From<dead_letters::Invalid> for Problem {
    fn from(dead_letters::Invalid { field, problem }: dead_letters::Invalid) -> Self {
        Self::invalid(field, problem)
    }
}

fn code<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}
