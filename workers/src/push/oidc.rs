//! Is this push request from our subscription? The OIDC token says so, if it is verified.
//!
//! Own verifier, because the one of Google's Rust crate fetches keys for every unknown key id and fails concurrent
//! callers while it does (docs/adr/0005).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode, header};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use tokio::sync::Mutex;

/// Unknown key ids make us look for new keys at most this often.
const REFRESH: Duration = Duration::from_secs(60);

/// Keys are looked up again after this, known or not.
const STALE: Duration = Duration::from_secs(3600);

/// After a failed fetch, how long until the next.
const PAUSE: Duration = Duration::from_secs(10);

/// Google's key set is about 2 kB.
const MAX_KEYS_BYTES: usize = 256 << 10;

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
    #[error("there is no bearer token")]
    Missing,
    #[error("the token is not valid: {0}")]
    Invalid(String),
    #[error("the token is not of the service account that may push")]
    WrongAccount,
    /// Not the caller's fault: it may try again.
    #[error("the issuer's keys cannot be had: {0}")]
    Keys(String),
}

/// All reasons for which a token may be refused.
pub(crate) const REFUSALS: [&str; 4] = ["missing", "invalid", "wrong_account", "keys_unavailable"];

impl Error {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::Invalid(_) => StatusCode::UNAUTHORIZED,
            Self::WrongAccount => StatusCode::FORBIDDEN,
            Self::Keys(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The label in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid(_) => "invalid",
            Self::WrongAccount => "wrong_account",
            Self::Keys(_) => "keys_unavailable",
        }
    }
}

pub struct Verifier {
    config: Config,
    validation: Validation,
    http: reqwest::Client,
    /// Behind a lock that waits: of many callers with a new key id, one fetches and the others find what it fetched.
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    by_id: HashMap<String, DecodingKey>,
    fetched: Option<Instant>,
    /// A fetch failed: callers are not made to wait for another one at once.
    failed: Option<(Instant, String)>,
}

#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(default)]
    email: String,
    #[serde(default)]
    email_verified: bool,
}

impl Verifier {
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn new(config: Config) -> Result<Self, reqwest::Error> {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&[&config.audience]);
        validation.set_issuer(&["https://accounts.google.com", "accounts.google.com"]);
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        validation.leeway = 30;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        Ok(Self { config, validation, http, keys: Mutex::default() })
    }

    pub async fn verify(&self, headers: &HeaderMap) -> Result<(), Error> {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or(Error::Missing)?;
        let invalid = |error: jsonwebtoken::errors::Error| Error::Invalid(error.to_string());
        let header = decode_header(token).map_err(invalid)?;
        let id = header.kid.ok_or_else(|| Error::Invalid("it names no key".to_owned()))?;
        let key = self.key(&id).await?;
        let claims = decode::<Claims>(token, &key, &self.validation).map_err(invalid)?.claims;
        if claims.email_verified && claims.email == self.config.service_account {
            Ok(())
        } else {
            Err(Error::WrongAccount)
        }
    }

    async fn key(&self, id: &str) -> Result<DecodingKey, Error> {
        let mut keys = self.keys.lock().await;
        let age = keys.fetched.map(|fetched| fetched.elapsed());
        let known = keys.by_id.get(id).cloned();
        let due = match (&known, age) {
            (_, None) => true,
            (Some(_), Some(age)) => age >= STALE,
            (None, Some(age)) => age >= REFRESH,
        };
        if !due {
            return known.ok_or_else(|| Error::Invalid("it names a key that the issuer does not have".to_owned()));
        }
        if let Some((at, error)) = &keys.failed
            && at.elapsed() < PAUSE
        {
            return known.ok_or_else(|| Error::Keys(error.clone()));
        }
        match self.fetch().await {
            Ok(by_id) => {
                *keys = Keys { by_id, fetched: Some(Instant::now()), failed: None };
                keys.by_id
                    .get(id)
                    .cloned()
                    .ok_or_else(|| Error::Invalid("it names a key that the issuer does not have".to_owned()))
            }
            // A key that was good an hour ago is better than refusing healthy deliveries.
            Err(error) => {
                keys.failed = Some((Instant::now(), error.clone()));
                known.ok_or(Error::Keys(error))
            }
        }
    }

    async fn fetch(&self) -> Result<HashMap<String, DecodingKey>, String> {
        let response = self.http.get(&self.config.jwks_url).send().await.map_err(|error| error.to_string())?;
        let response = response.error_for_status().map_err(|error| error.to_string())?;
        let body = response.bytes().await.map_err(|error| error.to_string())?;
        if body.len() > MAX_KEYS_BYTES {
            return Err(format!("{} bytes of keys", body.len()));
        }
        let set: JwkSet = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let key = |jwk: &jsonwebtoken::jwk::Jwk| Some((jwk.common.key_id.clone()?, DecodingKey::from_jwk(jwk).ok()?));
        Ok(set.keys.iter().filter_map(key).collect())
    }
}
