//! What the fleet's own programs show at the doors of others.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use google_cloud_auth::credentials::idtoken::{Builder, IDTokenCredentials};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use tokio::sync::OnceCell;

use crate::gate::SERVERLESS;

/// A file is read again after this: whoever renews it need not tell us.
const FRESH: Duration = Duration::from_secs(30);

/// How long Google may take to give a token.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a file with a token in it.
const MAX_FILE: u64 = 16 << 10;

/// What is shown at a door. Cheap to clone; clones share what was fetched.
#[derive(Clone, Default)]
pub struct Credentials(Option<Arc<Source>>);

enum Source {
    File { path: PathBuf, read: Mutex<Option<(Instant, HeaderValue)>> },
    Google { audience: String, tokens: OnceCell<IDTokenCredentials> },
}

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum Unpresentable {
    #[error("the token file {path}: {why}")]
    File { path: String, why: String },
    #[error(
        "Google gives no ID token for {audience}: {why}; a person shows that of gcloud auth print-identity-token, by --token-file"
    )]
    Google { audience: String, why: String },
}

impl Credentials {
    /// The token in a file, its first line. The file may be written anew whenever it likes.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Some(Arc::new(Source::File { path: path.into(), read: Mutex::default() })))
    }

    /// ID tokens for an audience, of whoever this process is for Google: the service account of a Cloud Run service, or what
    /// `GOOGLE_APPLICATION_CREDENTIALS` names.
    pub fn google(audience: impl Into<String>) -> Self {
        Self(Some(Arc::new(Source::Google { audience: audience.into(), tokens: OnceCell::new() })))
    }

    /// Adds what is shown to the headers of a request. A signed token is shown twice, because Cloud Run, where it stands before
    /// the fleet, takes the signature of the one that it checks.
    ///
    /// # Errors
    /// There is no token to be had.
    pub async fn show(&self, headers: &mut HeaderMap) -> Result<(), Unpresentable> {
        match self.0.as_deref() {
            None => {}
            Some(Source::File { path, read }) => {
                let value = token_of(path, read)?;
                if value.as_bytes().iter().filter(|byte| **byte == b'.').count() == 2 {
                    headers.insert(SERVERLESS, value.clone());
                }
                headers.insert(AUTHORIZATION, value);
            }
            Some(Source::Google { audience, tokens }) => {
                let fail = |why: String| Unpresentable::Google { audience: audience.clone(), why };
                let build = || async {
                    Builder::new(audience.clone()).with_include_email().build().map_err(|error| fail(error.to_string()))
                };
                let asked = async {
                    let tokens = tokens.get_or_try_init(build).await?;
                    tokens.id_token().await.map_err(|error| fail(error.to_string()))
                };
                let token = tokio::time::timeout(PATIENCE, asked).await;
                let token = token.unwrap_or_else(|_| Err(fail(format!("not within {} s", PATIENCE.as_secs()))))?;
                let value = bearer(&token).ok_or_else(|| fail("it is no text for a header".to_owned()))?;
                headers.insert(SERVERLESS, value.clone());
                headers.insert(AUTHORIZATION, value);
            }
        }
        Ok(())
    }
}

fn token_of(path: &Path, read: &Mutex<Option<(Instant, HeaderValue)>>) -> Result<HeaderValue, Unpresentable> {
    let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((at, value)) = &*read
        && at.elapsed() < FRESH
    {
        return Ok(value.clone());
    }
    let fail = |why: String| Unpresentable::File { path: path.display().to_string(), why };
    let about = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?;
    // A pipe can be read once: what it gave is kept.
    if let (Some((_, value)), false) = (&*read, about.is_file()) {
        return Ok(value.clone());
    }
    if about.is_file() && about.len() > MAX_FILE {
        return Err(fail(format!("it has more than {MAX_FILE} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    let token = text.lines().next().map(str::trim).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| fail("its first line is empty".to_owned()))?;
    let value = bearer(token).ok_or_else(|| fail("its first line is no text for a header".to_owned()))?;
    *read = Some((Instant::now(), value.clone()));
    Ok(value)
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.as_deref() {
            None => "Credentials(none)",
            Some(Source::File { .. }) => "Credentials(file)",
            Some(Source::Google { .. }) => "Credentials(Google)",
        })
    }
}
