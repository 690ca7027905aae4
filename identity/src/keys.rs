//! The keys of an issuer, as it publishes them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::Refusal;

/// When keys are looked up.
#[derive(Debug, Clone, Copy)]
struct Times {
    fresh: Duration,
    limit: Duration,
    unknown: Duration,
    pause: Duration,
}

const TIMES: Times = Times { fresh: FRESH, limit: LIMIT, unknown: UNKNOWN, pause: PAUSE };

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
    times: Times,
}

impl Keys {
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn at(url: impl Into<String>) -> Result<Arc<Self>, reqwest::Error> {
        Self::timed(url, TIMES)
    }

    fn timed(url: impl Into<String>, times: Times) -> Result<Arc<Self>, reqwest::Error> {
        // Only this URL, wherever it would send us.
        let http = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Arc::new(Self { url: url.into(), http, known: RwLock::default(), looking: Arc::default(), times }))
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
        if self.age().is_some_and(|age| age < self.times.unknown) {
            return Err(Refusal::Invalid("it names a key that the issuer does not have".to_owned()));
        }
        if let Some((at, why)) = &*looking
            && at.elapsed() < self.times.pause
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
        if age >= self.times.fresh
            && let Ok(looking) = self.looking.clone().try_lock_owned()
            && looking.as_ref().is_none_or(|(at, _)| at.elapsed() >= self.times.pause)
        {
            let keys = self.clone();
            tokio::spawn(async move {
                if let Err(error) = keys.look(looking).await {
                    tracing::warn!(url = keys.url, error, "the issuer's keys could not be renewed; the old ones serve");
                }
            });
        }
        (age < self.times.limit).then_some(key)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    /// An issuer with one key, which can be away.
    struct Issuer {
        url: String,
        asked: Arc<AtomicUsize>,
        away: Arc<AtomicBool>,
    }

    impl Issuer {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
            let (asked, away) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
            let (counted, gone) = (asked.clone(), away.clone());
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let _ = stream.read(&mut [0; 4096]).await;
                    counted.fetch_add(1, Ordering::SeqCst);
                    let keys = r#"{"keys":[{"kid":"one","kty":"RSA","n":"AQAB","e":"AQAB"}]}"#;
                    let status = if gone.load(Ordering::SeqCst) { "503 Gone" } else { "200 OK" };
                    let length = keys.len();
                    let answer =
                        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{keys}");
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
            Self { url, asked, away }
        }

        fn keys(&self, times: Times) -> Arc<Keys> {
            Keys::timed(&*self.url, times).expect("a client")
        }

        async fn asked(&self, times: usize) {
            let asked = async {
                while self.asked.load(Ordering::SeqCst) < times {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), asked).await.expect("it is asked");
        }
    }

    #[tokio::test]
    async fn whoever_asks_at_once_waits_for_one_look_and_an_unknown_key_is_no_reason_for_another() {
        let issuer = Issuer::start().await;
        let keys = issuer.keys(TIMES);
        let all = (0..50).map(|n| {
            let keys = keys.clone();
            tokio::spawn(async move { keys.key(if n % 2 == 0 { "one" } else { "two" }).await.is_ok() })
        });
        let all: Vec<_> = all.collect();
        for (n, found) in all.into_iter().enumerate() {
            assert_eq!(found.await.expect("a task"), n % 2 == 0);
        }
        assert_eq!(issuer.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn an_unknown_key_is_looked_for_when_the_last_look_was_long_ago() {
        let issuer = Issuer::start().await;
        let keys = issuer.keys(Times { unknown: Duration::ZERO, ..TIMES });
        keys.key("one").await.expect("a key");
        assert!(matches!(keys.key("two").await, Err(Refusal::Invalid(_))));
        assert_eq!(issuer.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn old_keys_serve_while_new_ones_are_looked_for_and_also_while_those_cannot_be_had() {
        let issuer = Issuer::start().await;
        let keys = issuer.keys(Times { fresh: Duration::ZERO, pause: Duration::ZERO, ..TIMES });
        keys.key("one").await.expect("a key");
        issuer.away.store(true, Ordering::SeqCst);
        // Nobody waits for the look that this begins.
        keys.key("one").await.expect("the old key");
        issuer.asked(2).await;
        keys.key("one").await.expect("the old key, although the issuer is away");
    }

    #[tokio::test]
    async fn keys_that_are_too_old_serve_nobody_and_an_issuer_that_is_away_is_left_alone_for_a_while() {
        let issuer = Issuer::start().await;
        let keys = issuer.keys(Times { limit: Duration::ZERO, unknown: Duration::ZERO, pause: LONG, ..TIMES });
        issuer.away.store(true, Ordering::SeqCst);
        for _ in 0..20 {
            assert!(matches!(keys.key("one").await, Err(Refusal::KeysAway(_))));
        }
        assert_eq!(issuer.asked.load(Ordering::SeqCst), 1);
    }
}
