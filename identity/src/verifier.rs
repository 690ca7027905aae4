//! Tokens of an issuer: are they what they say they are?

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;

use crate::{Keys, Refusal};

/// Where Google publishes the keys of its ID tokens.
pub const GOOGLE_KEYS: &str = "https://www.googleapis.com/oauth2/v3/certs";

/// Where Identity-Aware Proxy publishes those of its assertions.
pub const IAP_KEYS: &str = "https://www.gstatic.com/iap/verify/public_key-jwk";

/// What Cloud Run puts in the place of a signature that it has checked.
pub(crate) const STRIPPED: &str = "SIGNATURE_REMOVED_BY_GOOGLE";

/// Seconds by which clocks may differ.
const SKEW: u64 = 30;

/// Bytes of a token. Google's have about 1 kB.
const MAX_TOKEN: usize = 8 << 10;

/// Who a caller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What people know it by: an email, the name of a token, or `subject:…` where there is neither.
    pub name: String,
    /// What the issuer knows it by; empty for a token of a file.
    pub subject: String,
    /// The groups that the issuer says it is in.
    pub groups: HashSet<String>,
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    email: Option<String>,
    #[serde(default)]
    email_verified: bool,
    iat: Option<u64>,
    exp: u64,
    #[serde(default)]
    groups: HashSet<String>,
}

impl Claims {
    fn identity(self, every_email: bool) -> Identity {
        let email = self.email.filter(|email| (every_email || self.email_verified) && !email.is_empty());
        let name = email.map_or_else(|| format!("subject:{}", self.sub), |email| email.to_lowercase());
        Identity { name, subject: self.sub, groups: self.groups }
    }
}

/// Checks tokens of one issuer for one audience.
pub struct Verifier {
    keys: Arc<Keys>,
    validation: Validation,
    /// The issuer says no email that it has not verified.
    every_email: bool,
}

impl Verifier {
    /// Of Google's ID tokens: RS256, and an email only counts if Google has verified it.
    pub fn google(audience: &str, keys: Arc<Keys>) -> Self {
        let issuers = ["https://accounts.google.com", "accounts.google.com"];
        Self { keys, validation: validation(Algorithm::RS256, audience, &issuers), every_email: false }
    }

    /// Of the assertions that Identity-Aware Proxy adds to what it lets through: ES256.
    pub fn iap(audience: &str, keys: Arc<Keys>) -> Self {
        let issuers = ["https://cloud.google.com/iap"];
        Self { keys, validation: validation(Algorithm::ES256, audience, &issuers), every_email: true }
    }

    /// # Errors
    /// The token is not one of this issuer for this audience and this time, or the issuer's keys cannot be had.
    pub async fn verify(&self, token: &str) -> Result<Identity, Refusal> {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::Invalid(format!("it has more than {MAX_TOKEN} bytes")));
        }
        let header = decode_header(token).map_err(invalid)?;
        // Before its key is looked for: what cannot be valid makes us ask nobody.
        if !self.validation.algorithms.contains(&header.alg) {
            return Err(Refusal::Invalid(format!("its algorithm is {:?}", header.alg)));
        }
        let id = header.kid.ok_or_else(|| Refusal::Invalid("it names no key".to_owned()))?;
        let key = self.keys.key(&id).await?;
        let claims = decode::<Claims>(token, &key, &self.validation).map_err(invalid)?.claims;
        if claims.iat.is_some_and(|issued| issued > now() + SKEW) {
            return Err(Refusal::Invalid("it was issued in the future".to_owned()));
        }
        Ok(claims.identity(self.every_email))
    }
}

/// What is wrong with a token, without what it says.
fn invalid(error: jsonwebtoken::errors::Error) -> Refusal {
    Refusal::Invalid(match error.kind() {
        ErrorKind::Json(_) | ErrorKind::Utf8(_) | ErrorKind::Base64(_) => {
            "it does not say what a token says".to_owned()
        }
        other => format!("{other:?}"),
    })
}

fn validation(algorithm: Algorithm, audience: &str, issuers: &[&str]) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&[audience]);
    validation.set_issuer(issuers);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    validation.validate_nbf = true;
    validation.leeway = SKEW;
    validation
}

/// What a token says whose signature Cloud Run has checked and taken away. Whoever is reached by others than Cloud Run must not
/// ask this.
pub(crate) fn platform_checked(token: &str) -> Result<Identity, Refusal> {
    let invalid = |why: &str| Refusal::Invalid(why.to_owned());
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(STRIPPED), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(invalid("it still has its signature: Cloud Run has not checked it"));
    };
    if token.len() > MAX_TOKEN {
        return Err(Refusal::Invalid(format!("it has more than {MAX_TOKEN} bytes")));
    }
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).map_err(|_| invalid("its claims are not base64url"))?;
    let claims: Claims =
        serde_json::from_slice(&claims).map_err(|_| invalid("its claims do not say what a token says"))?;
    if claims.exp + SKEW < now() {
        return Err(invalid("ExpiredSignature"));
    }
    Ok(claims.identity(false))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("keys", &self.keys)
            .field("audience", &self.validation.aud)
            .finish_non_exhaustive()
    }
}
