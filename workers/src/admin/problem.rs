//! Errors as `application/problem+json` (RFC 9457): the only way from an error to an HTTP answer here.

use std::borrow::Cow;

use axum::body;
use axum::extract::{OriginalUri, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use event_store::read;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::MAX_BODY;
use crate::Metrics;
use crate::invalid::Invalid;
use crate::operations;

/// What the body of a problem is.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// Bytes of what axum says that are passed on.
const MAX_REASON: usize = 1 << 10;

/// Why there is no answer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Which kind of problem it is. A program decides by this.
    #[serde(rename = "type")]
    #[schema(value_type = Kind)]
    kind: Cow<'static, str>,
    title: Cow<'static, str>,
    /// That of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What a person needs to know.
    detail: String,
    /// What is wrong with which field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct FieldError {
    /// Its path within the request.
    field: String,
    detail: String,
}

/// Declares the kinds of problems, each in one place: its name in Rust and in the API, its status, title, and when it is met.
/// The name is taken as a token: as a literal, it would not be seen by what describes the API.
macro_rules! kinds {
    ($($name:ident = $urn:tt, $status:ident, $title:literal, $when:literal;)*) => {
        /// The kinds of problems: there are no others.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
        pub enum Kind {
            $(#[serde(rename = $urn)] $name,)*
        }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What metrics call it.
            pub(crate) fn reason(self) -> &'static str {
                self.urn().trim_start_matches("urn:fleet:")
            }

            /// The name that is answered as `type`.
            pub const fn urn(self) -> &'static str {
                match self { $(Self::$name => $urn,)* }
            }

            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// The kind that is answered under this name.
            fn named(urn: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.urn() == urn)
            }

            /// When it is answered.
            pub const fn when(self) -> &'static str {
                match self { $(Self::$name => $when,)* }
            }
        }
    };
}

kinds! {
    Invalid = "urn:fleet:invalid-request", BAD_REQUEST, "The request is not valid",
        "The body, the query, a header, or the path says something that cannot be meant. `errors` names the field.";
    Unauthenticated = "urn:fleet:unauthenticated", UNAUTHORIZED, "Say who you are",
        "There is no token, or not a valid one.";
    Forbidden = "urn:fleet:forbidden", FORBIDDEN, "You may not do this",
        "It is known who asks, and the role that this needs is not among its roles.";
    NotFound = "urn:fleet:not-found", NOT_FOUND, "There is no such thing",
        "What the path names is not there.";
    UnknownRoute = "urn:fleet:unknown-route", NOT_FOUND, "There is no such route",
        "The API has nothing at this path.";
    WrongMethod = "urn:fleet:method-not-allowed", METHOD_NOT_ALLOWED, "The route has no such method",
        "The path is one of the API, and the method is not. `Allow` names those that are.";
    Conflict = "urn:fleet:operation-conflict", CONFLICT, "It is decided already",
        "Somebody else has asked for something that excludes this.";
    Refused = "urn:fleet:refused", CONFLICT, "It cannot be done now",
        "As things are, this is not possible; the detail says why.";
    PausedAlready = "urn:fleet:paused-already", CONFLICT, "It is paused already",
        "A projection is to be paused that is paused; `replace` puts the new pause in its place.";
    NotPaused = "urn:fleet:not-paused", CONFLICT, "It is not paused",
        "A projection is to go on that is not paused.";
    StalePlan = "urn:fleet:stale-plan", PRECONDITION_FAILED, "The plan does not fit",
        "The plan token is of another selection: plan again.";
    Changed = "urn:fleet:changed", PRECONDITION_FAILED, "It has changed since you looked",
        "What you have seen, as the body or `If-Match` says it, is not what is there: look again.";
    TooLarge = "urn:fleet:too-large", PAYLOAD_TOO_LARGE, "The request is too large",
        "The body has more bytes than any request needs.";
    WrongContentType = "urn:fleet:wrong-content-type", UNSUPPORTED_MEDIA_TYPE, "The body is not JSON",
        "A body came without `Content-Type: application/json`.";
    KeyReused = "urn:fleet:idempotency-key-reuse", UNPROCESSABLE_ENTITY, "One key, one request",
        "The `Idempotency-Key` was used for another request.";
    PlanRequired = "urn:fleet:plan-required", PRECONDITION_REQUIRED, "Plan first",
        "This needs the token of a plan: ask with `dry_run` first.";
    Internal = "urn:fleet:internal", INTERNAL_SERVER_ERROR, "Something is wrong on our side",
        "A fault of the fleet, which is logged.";
    IdentityUnavailable = "urn:fleet:identity-unavailable", SERVICE_UNAVAILABLE, "Who you are cannot be checked now; try again",
        "The keys of whoever has issued the token cannot be had.";
    Unavailable = "urn:fleet:store-unavailable", SERVICE_UNAVAILABLE, "The database does not answer; try again",
        "The database cannot be reached, is not the primary, takes too long, or lacks tables of this version.";
}

/// What is answered where somebody waits for a lock. Postgres has undone what was begun.
pub const LOCKED: &str = "somebody holds a lock that this waits for: `fleet locks` says who; nothing was done";

impl Problem {
    pub fn of(kind: Kind, detail: impl Into<String>) -> Self {
        let (urn, title, status) = (kind.urn().into(), kind.title().into(), kind.status().as_u16());
        Self { kind: urn, title, status, detail: detail.into(), errors: Vec::new() }
    }

    /// What it says to a person.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    pub fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        let (field, detail) = (field.into(), problem.into());
        let problem = Self::of(Kind::Invalid, format!("{field}: {detail}"));
        Self { errors: vec![FieldError { field, detail }], ..problem }
    }

    pub fn not_found(detail: String) -> Self {
        Self::of(Kind::NotFound, detail)
    }

    pub fn key_reused(detail: String) -> Self {
        Self::of(Kind::KeyReused, detail)
    }

    pub fn conflict(detail: String) -> Self {
        Self::of(Kind::Conflict, detail)
    }

    /// It cannot be done as things are.
    pub fn refused(detail: String) -> Self {
        Self::of(Kind::Refused, detail)
    }

    pub fn plan_required() -> Self {
        Self::of(Kind::PlanRequired, "ask with dry_run true first, and again with the plan_token of its answer")
    }

    pub(super) fn wrong_content_type() -> Self {
        Self::of(Kind::WrongContentType, "a body is JSON, and says so: Content-Type: application/json")
    }

    pub(crate) fn unavailable(detail: String) -> Self {
        Self::of(Kind::Unavailable, detail)
    }

    fn internal(detail: String) -> Self {
        tracing::error!(detail, "admin API: internal error");
        Self::of(Kind::Internal, detail)
    }
}

/// Nothing is at this path.
pub(super) async fn unknown_route(OriginalUri(uri): OriginalUri) -> Problem {
    Problem::of(Kind::UnknownRoute, format!("there is nothing at {}", uri.path()))
}

/// Says what axum itself refuses, before or in place of a handler, as everything else is said.
pub(super) async fn said(request: Request, next: Next) -> Response {
    // Within the API its prefix is taken off.
    let uri = request.extensions().get::<OriginalUri>().map_or(request.uri(), |uri| &uri.0);
    let asked = format!("{} {}", request.method(), uri.path());
    let answer = next.run(request).await;
    let (status, headers) = (answer.status(), answer.headers());
    let is_problem = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == CONTENT_TYPE);
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return answer;
    }
    let problem = match status {
        StatusCode::METHOD_NOT_ALLOWED => Problem::of(Kind::WrongMethod, format!("{asked} is not of the API")),
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::of(Kind::TooLarge, format!("the body has more than {MAX_BODY} bytes"))
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::wrong_content_type(),
        status if status.is_client_error() => {
            let why = body::to_bytes(answer.into_body(), MAX_REASON).await.unwrap_or_default();
            Problem::invalid("request", String::from_utf8_lossy(&why))
        }
        status => Problem::internal(format!("{asked} was answered {status}")),
    };
    problem.into_response()
}

/// Counts what is refused.
pub(super) async fn counted(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let changes = !request.method().is_safe();
    let answer = next.run(request).await;
    if let Some(kind) = answer.extensions().get::<Kind>() {
        metrics.refused_request(changes, *kind);
    }
    answer
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("a problem holds only strings and a number");
        let mut response = (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(kind) = Kind::named(&self.kind) {
            response.extensions_mut().insert(kind);
        }
        response
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let detail = if database::is_lock_timeout(&error) { LOCKED.to_owned() } else { database::describe(&error) };
        // Where nobody has run the migrations, nothing is broken: it works as soon as somebody has.
        let passes = database::is_transient(&error) || database::lacks_migrations(&error);
        if passes { Self::unavailable(detail) } else { Self::internal(detail) }
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
