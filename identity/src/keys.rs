//! The keys of an issuer, as it publishes them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::Refusal;

/// Keys that are older are looked up again, while the old ones serve.
const FRESH: Duration = Duration::from_secs(3600);

/// Keys that are older serve nobody any more: the issuer may have taken them back.
const LIMIT: Duration = Duration::from_secs(24 * 3600);

/// A key that is not among those we have makes us look for new ones at most this often: it may be invented.
const UNKNOWN: Duration = Duration::from_secs(60);

/// After a look that failed, how long until the next.
const PAUSE: Duration = Duration::from_secs(10);

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of a set of keys. Google's has about 2 kB.
const MAX_BYTES: usize = 256 << 10;

/// What is known, fetched when it was.
#[derive(Default)]
struct Known {
    by_id: HashMap<String, DecodingKey>,
    fetched: Option<Instant>,
}

/// When the last look failed, and how. Whoever holds it is the only one who looks.
type Failed = Option<(Instant, String)>;

/// The keys at one URL. Callers of a known key never wait for a look; of all others one looks, and the rest wait for it.
pub struct Keys {
    url: String,
    http: reqwest::Client,
    known: RwLock<Known>,
    looking: Arc<Mutex<Failed>>,
}

impl Keys {
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn at(url: impl Into<String>) -> Result<Arc<Self>, reqwest::Error> {
        // Only this URL, wherever it would send us.
        let http = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Arc::new(Self { url: url.into(), http, known: RwLock::default(), looking: Arc::default() }))
    }

    pub(crate) async fn key(self: &Arc<Self>, id: &str) -> Result<DecodingKey, Refusal> {
        if let Some(key) = self.serving(id) {
            return Ok(key);
        }
        let looking = self.looking.clone().lock_owned().await;
        // Perhaps it was found while this caller waited for its turn.
        if let Some(key) = self.serving(id) {
            return Ok(key);
        }
        if self.age().is_some_and(|age| age < UNKNOWN) {
            return Err(Refusal::Invalid("it names a key that the issuer does not have".to_owned()));
        }
        if let Some((at, why)) = &*looking
            && at.elapsed() < PAUSE
        {
            return Err(Refusal::KeysAway(why.clone()));
        }
        self.look(looking).await.map_err(Refusal::KeysAway)?;
        self.serving(id).ok_or_else(|| Refusal::Invalid("it names a key that the issuer does not have".to_owned()))
    }

    /// A key that may be used. If it is old, somebody begins to look for new ones, for whom nobody waits.
    fn serving(self: &Arc<Self>, id: &str) -> Option<DecodingKey> {
        let (key, age) = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            (known.by_id.get(id)?.clone(), known.fetched?.elapsed())
        };
        if age >= FRESH
            && let Ok(looking) = self.looking.clone().try_lock_owned()
            && looking.as_ref().is_none_or(|(at, _)| at.elapsed() >= PAUSE)
        {
            let keys = self.clone();
            tokio::spawn(async move {
                if let Err(error) = keys.look(looking).await {
                    tracing::warn!(url = keys.url, error, "the issuer's keys could not be renewed; the old ones serve");
                }
            });
        }
        (age < LIMIT).then_some(key)
    }

    fn age(&self) -> Option<Duration> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).fetched.map(|fetched| fetched.elapsed())
    }

    async fn look(&self, mut looking: OwnedMutexGuard<Failed>) -> Result<(), String> {
        match self.fetch().await {
            Ok(by_id) => {
                *looking = None;
                *self.known.write().unwrap_or_else(PoisonError::into_inner) =
                    Known { by_id, fetched: Some(Instant::now()) };
                Ok(())
            }
            Err(error) => {
                *looking = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn fetch(&self) -> Result<HashMap<String, DecodingKey>, String> {
        let said = |error: reqwest::Error| error.without_url().to_string();
        let mut response = self.http.get(&self.url).send().await.map_err(said)?;
        if !response.status().is_success() {
            return Err(format!("answered {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(said)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(format!("more than {MAX_BYTES} bytes of keys"));
            }
            body.extend_from_slice(&chunk);
        }
        let set: JwkSet = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let key = |jwk: &Jwk| Some((jwk.common.key_id.clone()?, DecodingKey::from_jwk(jwk).ok()?));
        Ok(set.keys.iter().filter_map(key).collect())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("url", &self.url).finish_non_exhaustive()
    }
}
