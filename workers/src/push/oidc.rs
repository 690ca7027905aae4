//! Is this push request from our subscription? The OIDC token says so, if it is verified.

use axum::http::{HeaderMap, StatusCode};
use identity::{Keys, Refusal};

#[derive(Debug, Clone)]
pub struct Config {
    /// The audience that the subscription puts into its tokens: exactly this.
    pub audience: String,
    /// The service account that the subscription pushes as: exactly this, and verified.
    pub service_account: String,
    /// Where the issuer publishes its keys.
    pub jwks_url: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Token(#[from] Refusal),
    #[error("the token is not of the service account that may push")]
    WrongAccount,
}

/// All reasons for which a token may be refused.
pub(crate) const REFUSALS: [&str; 5] = ["missing", "invalid", "stripped", "wrong_account", "keys_unavailable"];

impl Error {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Token(Refusal::KeysAway(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::WrongAccount => StatusCode::FORBIDDEN,
        }
    }

    /// The label in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Token(refusal) => refusal.reason(),
            Self::WrongAccount => "wrong_account",
        }
    }
}

pub struct Verifier {
    tokens: identity::Verifier,
    service_account: String,
}

impl Verifier {
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn new(config: Config) -> Result<Self, reqwest::Error> {
        let tokens = identity::Verifier::google(&config.audience, Keys::at(config.jwks_url)?);
        Ok(Self { tokens, service_account: config.service_account.to_lowercase() })
    }

    pub async fn verify(&self, headers: &HeaderMap) -> Result<(), Error> {
        let identity = self.tokens.bearer(headers).await?;
        if identity.name == self.service_account { Ok(()) } else { Err(Error::WrongAccount) }
    }
}
