//! The admin API of a running fleet, in the API's own types.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;
use workers::admin::Problem;

use super::shown::{HINT, Shown};
use super::wait::Wait;
use crate::exit::Exit;

/// Where the HTTP of `fleet dev` listens, and so where commands look.
pub const HTTP: &str = "127.0.0.1:8080";

/// Bytes that an answer has at most: twice those of the largest payload that there is, written as base64.
const LONGEST: usize = 64 << 20;

/// Characters of an answer that are shown if it is not the fleet's.
const SHOWN: usize = 1000;

#[derive(Debug, Clone, Args)]
pub struct AdminApi {
    /// host:port (or URL) of the admin API.
    #[arg(long, env = "FLEET_HTTP", default_value = HTTP)]
    http: String,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    wait: Wait,
}

impl AdminApi {
    /// # Errors
    /// Nobody answers, the fleet refuses, or the answer is not a `T`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T> {
        let path = with_query(path, query)?;
        self.send(&path, |client, url| client.get(url)).await
    }

    /// However often it has to be sent until somebody answers, it has one result.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let key = Uuid::now_v7().to_string();
        self.send(path, |client, url| client.post(url).json(body).header("Idempotency-Key", &key)).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        path: &str,
        request: impl Fn(&Client, &str) -> RequestBuilder,
    ) -> Result<T> {
        let url = format!("{}{path}", base(&self.http));
        let client = Client::builder().timeout(Duration::from_secs(60)).build().context("building the HTTP client")?;
        let patience = self.wait.start();
        let credentials = self.shown.credentials();
        loop {
            let mut shown = HeaderMap::new();
            credentials.show(&mut shown).await.map_err(|error| Exit::Refused.because(error))?;
            let failed = match request(&client, &url).headers(shown).send().await {
                Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE => {
                    let body = body(response).await.unwrap_or_default();
                    if let Ok(problem) = serde_json::from_slice::<Problem>(&body) {
                        // A fleet is there, and says what it lacks.
                        if patience.wait().await {
                            continue;
                        }
                        let why = format!("the fleet at {} cannot answer now: {}", self.http, problem.detail());
                        return Err(Exit::Unhealthy.because(why));
                    }
                    beginning(&body)
                }
                Ok(response) => return answer(&url, response).await,
                Err(error) if error.is_builder() => {
                    return Err(Exit::Usage.because(format!("FLEET_HTTP: {:?} is not host:port", self.http)));
                }
                Err(error) => error.to_string(),
            };
            if !patience.wait().await {
                let why = format!("no fleet answers at {} ({failed}); start one, or set FLEET_HTTP", self.http);
                return Err(Exit::Unreachable.because(why));
            }
        }
    }
}

/// The URL of what is given as host:port, or as a URL.
pub fn base(address: &str) -> String {
    let base = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    base.trim_end_matches('/').to_owned()
}

/// The path of these names, in which whatever else could mean something is escaped.
pub fn path<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut path = String::new();
    for name in names {
        path.push('/');
        for byte in name.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => path.push(byte.into()),
                byte => path.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    path
}

/// The path with its query, escaped.
fn with_query(path: &str, query: &impl Serialize) -> Result<String> {
    let query = serde_urlencoded::to_string(query).context("building the query")?;
    Ok(if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") })
}

/// What was asked for, read from the text of the answer: what lies between must not round its numbers.
async fn answer<T: DeserializeOwned>(url: &str, response: Response) -> Result<T> {
    let status = response.status();
    let body = body(response).await.with_context(|| format!("reading the answer of {url}"))?;
    if status.is_success() {
        return serde_json::from_slice(&body)
            .with_context(|| format!("{url} does not answer as this version does: {}", beginning(&body)));
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => {
            let exit = if status.is_client_error() { Exit::Refused } else { Exit::Failure };
            let hint = if status == StatusCode::UNAUTHORIZED { format!("; {HINT}") } else { String::new() };
            Err(exit.because(format!("{url} answered {status}: {}{hint}", problem.detail())))
        }
        // Whoever stands before the fleet has refused it.
        Err(_) if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Err(Exit::Refused.because(format!("{url} answered {status}: {}; {HINT}", beginning(&body))))
        }
        Err(_) => bail!("{url} answered {status}: {}", beginning(&body)),
    }
}

/// The whole answer.
///
/// # Errors
/// It is cut off, or longer than any that the fleet gives.
pub async fn body(mut response: Response) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.context("the answer ends before its end")? {
        if body.len() + chunk.len() > LONGEST {
            bail!("the answer has more than {LONGEST} bytes");
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN)]);
    text.trim().chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_name_of_its_path() {
        assert_eq!(path(["admin", "some_orders", "../a b?"]), "/admin/some_orders/%2E%2E%2Fa%20b%3F");
    }

    #[test]
    fn what_a_query_cannot_hold_is_escaped_and_what_is_absent_is_left_out() {
        let query = [("reason", Some("a & b")), ("after", None)];
        assert_eq!(with_query("/x", &query).expect("a path"), "/x?reason=a+%26+b");
        assert_eq!(with_query("/x", &()).expect("a path"), "/x");
    }
}
