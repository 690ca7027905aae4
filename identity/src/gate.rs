//! The gate before a door.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use crate::verifier::{STRIPPED, platform_checked};
use crate::{Identity, Members, Role, Roles, Tokens, Verifier};

/// Where Cloud Run looks first for the token that it checks. If it finds one, it leaves that of `Authorization` as it came.
pub(crate) const SERVERLESS: HeaderName = HeaderName::from_static("x-serverless-authorization");

/// Where Identity-Aware Proxy says who it let through.
const ASSERTION: HeaderName = HeaderName::from_static("x-goog-iap-jwt-assertion");

/// How a caller may show who it is.
#[derive(Debug)]
pub enum Way {
    /// By the assertion of Identity-Aware Proxy, which stands before this process.
    Iap(Verifier),
    /// By an ID token of Google as bearer.
    Google(Verifier),
    /// By an ID token whose signature Cloud Run has checked and taken away. Anybody else who reaches this process could write
    /// one: only where Cloud Run asks for a token before it lets anybody through.
    CloudRun,
    /// By a token of a file as bearer.
    Tokens(Tokens),
}

/// Asks whoever comes who it is. Cheap to clone; clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(Option<Arc<Asking>>);

#[derive(Debug)]
struct Asking {
    ways: Vec<Way>,
    members: Members,
}

/// Who was let through, and what it may do.
#[derive(Debug, Clone)]
pub struct Caller {
    identity: Option<Identity>,
    roles: Roles,
}

/// Why nobody was let through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no token: show one as `Authorization: Bearer …`")]
    Missing,
    #[error("the token is not valid: {0}")]
    Invalid(String),
    /// Cloud Run has taken the signature away, and this gate wants to see it.
    #[error(
        "the token came without its signature: show it as X-Serverless-Authorization too, which Cloud Run checks instead"
    )]
    Stripped,
    #[error("{name} may not do this: it needs the role {}", needs.as_str())]
    Forbidden { name: String, needs: Role },
    /// Not the caller's fault: it may try again.
    #[error("the issuer's keys cannot be had: {0}")]
    KeysAway(String),
}

impl Refusal {
    /// All reasons, as metrics have them.
    pub const REASONS: [&str; 5] = ["missing", "invalid", "stripped", "forbidden", "keys_unavailable"];

    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid(_) => "invalid",
            Self::Stripped => "stripped",
            Self::Forbidden { .. } => "forbidden",
            Self::KeysAway(_) => "keys_unavailable",
        }
    }
}

impl Gate {
    /// Lets everybody through, as whoever it says that it is: only where nobody else can come.
    pub const fn open() -> Self {
        Self(None)
    }

    /// Lets those through who show in one of the ways that they have a role.
    pub fn new(ways: Vec<Way>, members: Members) -> Self {
        Self(Some(Arc::new(Asking { ways, members })))
    }

    /// Whether it lets everybody through.
    pub const fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// # Errors
    /// The caller does not show who it is in any way that this gate knows, or the issuer's keys cannot be had.
    pub async fn admit(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let Some(asking) = &self.0 else { return Ok(Caller { identity: None, roles: Roles::ALL }) };
        let identity = asking.identity(headers).await?;
        Ok(Caller { roles: asking.members.roles(&identity), identity: Some(identity) })
    }
}

impl Asking {
    async fn identity(&self, headers: &HeaderMap) -> Result<Identity, Refusal> {
        for way in &self.ways {
            if let (Way::Iap(verifier), Some(assertion)) = (way, headers.get(ASSERTION)) {
                let assertion = assertion.to_str().map_err(|_| Refusal::Invalid("it is not text".to_owned()))?;
                return verifier.verify(assertion).await;
            }
        }
        // What Cloud Run has checked is this one, if there is one: then another may be written by anybody.
        let checked = match shown(headers, &SERVERLESS) {
            Err(Refusal::Missing) => None,
            other => Some(other?),
        };
        let trusting = self.ways.iter().any(|way| matches!(way, Way::CloudRun));
        if let Some(token) = checked.filter(|token| trusting && is_stripped(token)) {
            return platform_checked(token);
        }
        let token = bearer(headers)?;
        let is_signed = token.split('.').count() == 3;
        let is_stripped = is_stripped(token);
        for way in &self.ways {
            match way {
                Way::CloudRun if is_stripped && checked.is_none() => return platform_checked(token),
                Way::Google(verifier) if is_signed && !is_stripped => return verifier.verify(token).await,
                Way::Tokens(tokens) if !is_signed => {
                    return tokens.find(token).ok_or_else(|| Refusal::Invalid("nobody has it".to_owned()));
                }
                _ => {}
            }
        }
        Err(if is_stripped {
            Refusal::Stripped
        } else {
            Refusal::Invalid("no token of its kind is taken here".to_owned())
        })
    }
}

fn is_stripped(token: &str) -> bool {
    token.split('.').count() == 3 && token.ends_with(STRIPPED)
}

/// The one bearer token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    shown(headers, &AUTHORIZATION)
}

fn shown<'a>(headers: &'a HeaderMap, header: &HeaderName) -> Result<&'a str, Refusal> {
    let mut shown = headers.get_all(header).iter();
    let value = shown.next().ok_or(Refusal::Missing)?;
    if shown.next().is_some() {
        return Err(Refusal::Invalid("there is more than one".to_owned()));
    }
    let value = value.to_str().map_err(|_| Refusal::Invalid("it is not text".to_owned()))?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(Refusal::Missing),
    }
}

impl Verifier {
    /// Who shows a token of this issuer as bearer.
    ///
    /// # Errors
    /// There is none, or not a valid one, or the issuer's keys cannot be had.
    pub async fn bearer(&self, headers: &HeaderMap) -> Result<Identity, Refusal> {
        self.verify(bearer(headers)?).await
    }
}

impl Caller {
    /// Whoever comes through an open gate.
    pub const ANYBODY: Self = Self { identity: None, roles: Roles::ALL };

    /// Who it is, where somebody has asked.
    pub fn name(&self) -> Option<&str> {
        self.identity.as_ref().map(|identity| identity.name.as_str())
    }

    /// # Errors
    /// It does not have the role.
    pub fn needs(&self, role: Role) -> Result<(), Refusal> {
        if self.roles.has(role) {
            return Ok(());
        }
        let name = self.name().unwrap_or_default().to_owned();
        Err(Refusal::Forbidden { name, needs: role })
    }
}
