//! What every request has: a body whose faults are named by their place, and perhaps a key.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::Problem;
use super::names::with_hint;
use crate::audit::Attribution;

/// How somebody looks at what may hold personal data.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// Show that as well; needs `actor` and `reason`, which are recorded.
    #[serde(default)]
    pub payload: bool,
    #[serde(default)]
    pub actor: String,
    #[serde(default)]
    pub reason: String,
}

impl Look {
    /// Who looks at personal data; `None`: nobody wants to.
    ///
    /// # Errors
    /// Somebody wants to, and does not say who, or why.
    pub(super) fn by(self) -> Result<Option<Attribution>, Problem> {
        let by = Attribution { actor: self.actor, reason: self.reason };
        if self.payload {
            by.require()?;
        }
        Ok(self.payload.then_some(by))
    }
}

/// Reads the body; what is wrong is named by its path.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
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
        Problem::invalid(field, with_hint(problem))
    })?;
    deserializer.end().map_err(|error| Problem::invalid("body", error.to_string()))?;
    Ok(value)
}

/// What axum made of the query.
pub(super) type Parameters<T> = Result<Query<T>, QueryRejection>;

pub(super) fn query<T>(asked: Parameters<T>) -> Result<T, Problem> {
    match asked {
        Ok(Query(query)) => Ok(query),
        Err(error) => Err(Problem::invalid("query", with_hint(error.body_text()))),
    }
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().map_err(|_| Problem::invalid("Idempotency-Key", "must be printable ASCII"))?;
    if key.is_empty() || key.len() > 200 {
        return Err(Problem::invalid("Idempotency-Key", "must have 1 to 200 characters"));
    }
    Ok(Some(key.to_owned()))
}
