//! What every request has: a body whose faults are named by their place, and perhaps a key.

use axum::Json;
use axum::body::HttpBody;
use axum::extract::rejection::QueryRejection;
use axum::extract::{MatchedPath, Query, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use events::TraceContext;
use serde::{Deserialize, Serialize};
use traces::{SpanKind, names};
use utoipa::IntoParams;

use super::Problem;
use super::access::Asker;
use super::names::with_hint;
use crate::audit::Attribution;
use crate::object::Object;
use crate::tag::{Seen, Tag};

/// Of a page at most, and unless the request says otherwise.
const PAGE: i64 = 100;

/// The header of whoever may have to ask again: [`idempotency_key`].
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes")]
pub(super) struct IdempotencyKey {
    /// One key, one result: asked for again with the same key, it is the operation that is there.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 200, pattern = "^[!-~]([ -~]*[!-~])?$")]
    key: Option<String>,
}

/// The header of whoever changes what he has looked at: [`seen`].
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes")]
pub(super) struct IfMatch {
    /// The `ETag` of what was seen: if it is no longer that, nothing is done.
    #[param(rename = "If-Match", pattern = "^[\\t -~]*$")]
    seen: Option<String>,
}

/// The header of whoever has a copy: [`tagged`].
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes")]
pub(super) struct IfNoneMatch {
    /// The `ETag` of a copy: if it is still that, it is not sent again. What is no tag is nobody's copy.
    #[param(rename = "If-None-Match")]
    seen: Option<String>,
}

/// A request has a span, in the trace that it brings or in one of its own, and what it asks for goes on from there.
pub(super) async fn traced(route: MatchedPath, request: Request, next: Next) -> Response {
    if !traces::are_on() {
        return next.run(request).await;
    }
    let (method, route) = (request.method().as_str().to_owned(), route.as_str().to_owned());
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let brought = request.headers().get("traceparent").and_then(|trace| TraceContext::parse(trace.to_str().ok()?));
    let name = names::request(&method, &route);
    let span = match brought {
        Some(trace) => traces::within(Some(trace), || name, SpanKind::Server),
        None => traces::span(name, SpanKind::Server),
    };
    let mut span = span.always(changes).begin();
    span.say(|words| names::of_request(words, &method, &route, changes));
    let answer = traces::scope(span.context().or(brought), next.run(request)).await;
    span.say(|words| words.number(names::HTTP_STATUS, answer.status().as_u16().into()));
    if answer.status().is_server_error() {
        span.fail("server_error", "the answer says why");
    }
    answer
}

/// How somebody looks at what may hold personal data.
#[derive(Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// Show that as well; needs `actor` and `reason`, which are recorded.
    #[serde(default)]
    pub payload: bool,
    #[serde(default)]
    #[param(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub actor: String,
    #[serde(default)]
    #[param(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub reason: String,
}

impl Look {
    /// Who looks at personal data; `None`: nobody wants to.
    ///
    /// # Errors
    /// Somebody wants to, and may not, or does not say who, or why; or what is said can be nobody's.
    pub(super) fn by(self, asker: &Asker) -> Result<Option<Attribution>, Problem> {
        if self.payload {
            asker.sees_payloads()?;
        }
        let by = asker.signs(self.actor, self.reason);
        if self.payload { by.require() } else { by.check() }?;
        Ok(self.payload.then_some(by))
    }
}

/// Reads the body; what is wrong is named by its path.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let Object(value) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
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

/// How much of a page is asked for.
pub(super) fn page(limit: Option<i64>) -> Result<i64, Problem> {
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE).contains(&limit) {
        return Err(Problem::invalid("limit", format!("must be from 1 to {PAGE}")));
    }
    Ok(limit)
}

/// What comes with a body says that it is JSON, as no page of somebody else can have a browser say unasked. A key that cannot
/// be one is refused also where nothing is done that it could name.
pub(super) async fn sound(request: Request, next: Next) -> Response {
    let said = request.headers().get(header::CONTENT_TYPE).and_then(|said| said.to_str().ok());
    let kind = said.and_then(|said| said.split(';').next()).map(str::trim);
    if !request.body().is_end_stream() && !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        return Problem::wrong_content_type().into_response();
    }
    if let (false, Err(problem)) = (request.method().is_safe(), idempotency_key(request.headers())) {
        return problem.into_response();
    }
    next.run(request).await
}

/// The answer that shows a value, with its tag; without the value to whoever has it.
pub(super) fn tagged(headers: &HeaderMap, shown: &impl Serialize) -> Response {
    let tag = Tag::of(shown);
    let seen = headers.get(header::IF_NONE_MATCH).and_then(|seen| seen.to_str().ok()).map(Seen::new);
    let known = seen.is_some_and(|seen| seen.is_like(&tag));
    let tag = [(header::ETAG, tag.to_string())];
    if known { (StatusCode::NOT_MODIFIED, tag).into_response() } else { (tag, Json(shown)).into_response() }
}

/// What whoever wants to change something says that he has seen, in `If-Match`.
pub(super) fn seen(headers: &HeaderMap) -> Result<Option<Seen>, Problem> {
    let Some(seen) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let seen = seen.to_str().map_err(|_| Problem::invalid("If-Match", "must be printable ASCII"))?;
    Ok(Some(Seen::new(seen)))
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let printable = key.to_str().ok().filter(|key| !key.contains('\t'));
    let key = printable.ok_or_else(|| Problem::invalid("Idempotency-Key", "must be printable ASCII"))?;
    if key.is_empty() || key.len() > 200 {
        return Err(Problem::invalid("Idempotency-Key", "must have 1 to 200 characters"));
    }
    Ok(Some(key.to_owned()))
}
