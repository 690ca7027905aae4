//! Who may do what: one role for each route. A route that is not here is nobody's.

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use identity::{Caller, Gate, Refusal, Role};

use super::{Kind, PREFIX, Problem};
use crate::audit::Attribution;

/// A method, a path below `/admin/v1`, and who may use them.
pub type Route = (&'static str, &'static str, Role);

/// All routes. Payloads need another role, on routes that show them as well: see [`Look`](super::Look).
pub const ROUTES: &[Route] = &[
    ("GET", "/projections", Role::Viewer),
    ("GET", "/projections/{name}", Role::Viewer),
    ("GET", "/projections/{name}/generations", Role::Viewer),
    ("GET", "/projections/{name}/wait-for", Role::Viewer),
    ("GET", "/projections/{name}/tables", Role::Viewer),
    ("POST", "/projections/{name}/rows", Role::PayloadReader),
    ("GET", "/aggregates/{id}", Role::Viewer),
    ("GET", "/doctor", Role::Viewer),
    ("GET", "/losses", Role::Viewer),
    ("GET", "/operations", Role::Viewer),
    ("GET", "/operations/{id}", Role::Viewer),
    ("GET", "/operations/{id}/differences", Role::Viewer),
    ("GET", "/dead-letters", Role::Viewer),
    ("GET", "/dead-letters/{id}", Role::Viewer),
    ("GET", "/discarded", Role::Viewer),
    ("GET", "/unreadable", Role::Viewer),
    ("GET", "/unreadable/{event}", Role::Viewer),
    ("GET", "/refused", Role::Viewer),
    ("GET", "/locks", Role::Viewer),
    ("GET", "/leases", Role::Viewer),
    ("GET", "/audit", Role::Viewer),
    ("GET", "/openapi.json", Role::Viewer),
    ("POST", "/projections/{name}/pause", Role::Operator),
    ("POST", "/projections/{name}/resume", Role::Operator),
    ("POST", "/projections/{name}/verifications", Role::Operator),
    ("POST", "/projections/{name}/generations", Role::Operator),
    ("POST", "/projections/{name}/as-of", Role::Operator),
    ("POST", "/projections/{name}/generations/{generation}/promote", Role::Operator),
    ("POST", "/projections/{name}/generations/{generation}/rollback", Role::Operator),
    ("POST", "/projections/{name}/generations/{generation}/retire", Role::Operator),
    ("POST", "/operations/{id}/pause", Role::Operator),
    ("POST", "/operations/{id}/resume", Role::Operator),
    ("POST", "/operations/{id}/cancel", Role::Operator),
    ("POST", "/operations/{id}/rate", Role::Operator),
    ("POST", "/operations/stop", Role::Operator),
    ("POST", "/operations/go-on", Role::Operator),
    ("POST", "/replays", Role::Operator),
    ("POST", "/prunes", Role::Operator),
    ("POST", "/dead-letters/{id}/retry", Role::Operator),
    ("POST", "/dead-letters/{id}/discard", Role::Operator),
    ("POST", "/dead-letter-batches", Role::Operator),
];

fn needs(method: &str, path: &str) -> Option<Role> {
    let path = path.strip_prefix(PREFIX)?;
    // What answers GET answers HEAD.
    let method = if method == "HEAD" { "GET" } else { method };
    ROUTES.iter().find(|(of, at, _)| (*of, *at) == (method, path)).map(|(_, _, role)| *role)
}

/// Lets through who has the role of the route, and says to its handler who it is.
pub(super) async fn admitted(
    State(gate): State<Gate>,
    route: MatchedPath,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match gate.admit(request.headers()).await {
        Ok(caller) => caller,
        Err(refusal) => return Problem::from(refusal).into_response(),
    };
    let allowed = match needs(request.method().as_str(), route.as_str()) {
        Some(role) => caller.needs(role).map_err(Problem::from),
        // A method that the route does not have is refused after this.
        None if ROUTES.iter().any(|(_, path, _)| route.as_str().strip_prefix(PREFIX) == Some(path)) => Ok(()),
        None => Err(Problem::of(Kind::Forbidden, format!("nobody may use {}", route.as_str()))),
    };
    if let Err(problem) = allowed {
        return problem.into_response();
    }
    request.extensions_mut().insert(Asker(caller));
    next.run(request).await
}

/// Who asks, as the handlers are told.
#[derive(Debug, Clone)]
pub(super) struct Asker(Caller);

impl Asker {
    /// Who is written down for a deed: the caller, where somebody has asked who it is; else whoever it says that it is.
    pub(super) fn signs(&self, actor: String, reason: String) -> Attribution {
        let actor = self.0.name().map_or(actor, str::to_owned);
        Attribution { actor, reason }
    }

    /// # Errors
    /// It may not see payloads.
    pub(super) fn sees_payloads(&self) -> Result<(), Problem> {
        Ok(self.0.needs(Role::PayloadReader)?)
    }
}

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let asker = parts.extensions.get::<Self>().cloned();
        asker.ok_or_else(|| Problem::of(Kind::Unauthenticated, "nobody has asked who this is"))
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let kind = match &refusal {
            Refusal::Missing | Refusal::Invalid(_) | Refusal::Stripped => Kind::Unauthenticated,
            Refusal::Forbidden { .. } => Kind::Forbidden,
            Refusal::KeysAway(_) => Kind::IdentityUnavailable,
        };
        Self::of(kind, refusal.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::admin::openapi;

    #[test]
    fn each_route_has_its_role_and_whatever_changes_something_needs_an_operator() {
        let document = openapi::document();
        let mut described = BTreeSet::new();
        for (path, item) in &document.paths.paths {
            let methods = [("GET", &item.get), ("POST", &item.post), ("PUT", &item.put), ("PATCH", &item.patch)];
            let methods = methods.into_iter().chain([("DELETE", &item.delete)]);
            described.extend(methods.filter(|(_, is)| is.is_some()).map(|(method, _)| (method, path.as_str())));
        }
        let listed: BTreeSet<_> = ROUTES.iter().map(|(method, path, _)| (*method, *path)).collect();
        assert_eq!(listed, described);
        assert_eq!(listed.len(), ROUTES.len(), "each once");
        for (method, path, role) in ROUTES {
            let reads = *method == "GET" || *role == Role::PayloadReader;
            assert_eq!(*role == Role::Operator, !reads, "{method} {path}");
        }
    }
}
