//! The admin API of a running fleet, in the API's own types.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;
use workers::admin::{LOCKED, Problem};

use super::address::{START, base, instead_of_http, refuse_port};
use super::cause::innermost;
use super::found;
use super::shown::{HINT, Shown};
use super::wait::{Patience, Wait};
use crate::commands::out;
use crate::exit::Exit;

/// Where the HTTP of `fleet dev` listens, and so where commands look.
pub const HTTP: &str = "127.0.0.1:8080";

/// Bytes that an answer has at most: twice those of the largest payload that there is, written as base64.
const LONGEST: usize = 64 << 20;

/// Characters of an answer that are shown if it is not the fleet's.
const SHOWN: usize = 1000;

/// How long an answer may take, also of a fleet that is ready all the while.
const LONGEST_TIME: Duration = Duration::from_secs(60);

/// An answer that has not come by then is asked about, and so on.
const LOOK: Duration = Duration::from_millis(300);

/// What a look may take at least: `/readyz` takes up to 1.5 s to say that the database is silent, and a little more than that is
/// within the two seconds that are waited for by default.
const READY: Duration = Duration::from_millis(600);

/// After which time it is said that an answer is still waited for.
const TELL: Duration = Duration::from_secs(5);

/// Of a request that changes something.
const UNKNOWN: &str = "; whether it was done is not known: see `fleet operations list` and `fleet audit`";

#[derive(Debug, Clone, Args)]
pub struct AdminApi {
    /// host:port (or URL) of the admin API. Default: that of the `fleet dev` that runs in this folder, else 127.0.0.1:8080.
    // Not by the name of the option of `fleet dev`, whose default would be taken for what was said.
    #[arg(id = "admin-api", global = true, long = "http", env = "FLEET_HTTP", value_name = "ADDRESS")]
    http: Option<String>,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    wait: Wait,
}

impl AdminApi {
    /// As it is waited for once something has begun.
    #[must_use]
    pub fn begun(&self) -> Self {
        Self { wait: self.wait.begun(), ..self.clone() }
    }

    /// Where it is asked, for people.
    pub fn at(&self) -> String {
        found::http(self.http.as_deref(), HTTP).unwrap_or_else(|nowhere| format!("no address: {nowhere}"))
    }

    async fn place(&self, patience: &mut Patience) -> Result<String> {
        loop {
            match found::http(self.http.as_deref(), HTTP) {
                Ok(at) => return Ok(at),
                Err(nowhere) if patience.wait(&nowhere.to_string()).await => {}
                Err(nowhere) => return Err(Exit::Unreachable.because(format!("{nowhere}; {START} FLEET_HTTP"))),
            }
        }
    }

    /// # Errors
    /// Nobody answers, the fleet refuses, or the answer is not a `T`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T> {
        let path = with_query(path, query)?;
        self.send(&path, "", |client, url| client.get(url)).await
    }

    /// However often it has to be sent until somebody answers, it has one result.
    ///
    /// # Errors
    /// As [`get`](Self::get). Whether it was done is not known if nobody answered any more.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let key = Uuid::now_v7().to_string();
        self.send(path, UNKNOWN, |client, url| client.post(url).json(body).header("Idempotency-Key", &key)).await
    }

    /// Asks with a body what must not stand in a URL. Nothing is changed by it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn ask<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.send(path, "", |client, url| client.post(url).json(body)).await
    }

    /// `unheard` is said of a request that may have arrived.
    async fn send<T: DeserializeOwned>(
        &self,
        path: &str,
        unheard: &str,
        request: impl Fn(&Client, &str) -> RequestBuilder,
    ) -> Result<T> {
        let mut patience = self.wait.start();
        let at = self.place(&mut patience).await?;
        refuse_port(&at)?;
        let url = format!("{}{path}", base(&at));
        let client = Client::builder().timeout(LONGEST_TIME).build().context("building the HTTP client")?;
        // Of a fleet that is ready and cannot answer: from the first request of which it said so.
        let mut refused = None;
        let credentials = self.shown.credentials();
        // Of a try that may have arrived, whatever becomes of the next.
        let mut tried = "";
        loop {
            let began = self.wait.start();
            let mut shown = HeaderMap::new();
            credentials.show(&mut shown).await.map_err(|error| Exit::Refused.because(error))?;
            let asked = async {
                let response = request(&client, &url).headers(shown.clone()).send().await?;
                Ok((response.status(), body(response).await))
            };
            let answered: Result<_, reqwest::Error> = tokio::select! {
                answered = asked => answered,
                (exit, why) = unready(&at, &client, &shown, &mut patience) => {
                    return Err(exit.because(format!("{why}{unheard}")));
                }
            };
            let failed = match answered {
                Ok((StatusCode::SERVICE_UNAVAILABLE, body)) => {
                    let body = body.unwrap_or_default();
                    let before = std::mem::replace(&mut tried, unheard);
                    if let Ok(problem) = serde_json::from_slice::<Problem>(&body) {
                        if problem.detail() == LOCKED {
                            tried = before;
                        }
                        // A fleet is there, and says what it lacks.
                        let why = format!("the fleet at {at} cannot answer now: {}", problem.detail());
                        if refused.get_or_insert(began).wait(&why).await {
                            continue;
                        }
                        return Err(Exit::Unhealthy.because(format!("{why}{tried}")));
                    }
                    beginning(&body)
                }
                Ok((status, body)) => return answer(&url, status, body),
                Err(error) if error.is_builder() => {
                    return Err(Exit::Usage.because(format!("FLEET_HTTP: {at:?} is not host:port")));
                }
                Err(error) if error.is_timeout() && !error.is_connect() => {
                    let limit = LONGEST_TIME.as_secs();
                    let why = format!("the fleet at {at} is ready, and has not answered within {limit} s");
                    return Err(Exit::Unhealthy.because(format!("{why}{unheard}")));
                }
                Err(error) => {
                    if !error.is_connect() {
                        tried = unheard;
                    }
                    innermost(&error)
                }
            };
            let why = format!("no fleet answers at {at} ({failed})");
            if !patience.wait(&why).await {
                let port = instead_of_http(&at).await;
                let hint = if port.is_empty() { format!("; {START} FLEET_HTTP") } else { port.to_owned() };
                return Err(Exit::Unreachable.because(format!("{why}{hint}{tried}")));
            }
        }
    }
}

/// Ends when the fleet has not been ready for as long as it is waited for: an answer may take its time only where somebody
/// is at work on it. As long as it is ready, the patience begins anew.
async fn unready(at: &str, client: &Client, shown: &HeaderMap, patience: &mut Patience) -> (Exit, String) {
    let url = format!("{}/readyz", base(at));
    let (asked, mut told) = (Instant::now(), false);
    let mut last = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let looking = client.get(&url).headers(shown.clone()).send();
        let seen = match patience.answer_within(READY, looking).await {
            // Also of whoever stands before a fleet that is gone.
            Ok(Ok(response)) if response.status().is_server_error() => {
                let body = body(response).await.unwrap_or_default();
                (Exit::Unhealthy, format!("cannot answer now: {}", beginning(&body)))
            }
            Ok(Ok(_)) => {
                patience.again();
                last = None;
                if asked.elapsed() >= TELL && !std::mem::replace(&mut told, true) {
                    out::complain(format!("fleet: the fleet at {at} is ready, and has not answered yet; waiting"));
                }
                continue;
            }
            Ok(Err(error)) => (Exit::Unreachable, format!("does not answer any more ({})", innermost(&error))),
            // It may have said before what it lacks.
            Err(silent) => {
                let (exit, why) = last.unwrap_or_else(|| (Exit::Unreachable, format!("does not answer: {silent}")));
                return (exit, format!("the fleet at {at} {why}"));
            }
        };
        if patience.is_over() {
            return (seen.0, format!("the fleet at {at} {}", seen.1));
        }
        last = Some(seen);
    }
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
fn answer<T: DeserializeOwned>(url: &str, status: StatusCode, body: Result<Vec<u8>>) -> Result<T> {
    let body = body.with_context(|| format!("reading the answer of {url}"))?;
    if status.is_success() {
        return serde_json::from_slice(&body)
            .with_context(|| format!("{url} does not answer as this version does: {}", beginning(&body)));
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => {
            let exit = if status.is_client_error() { Exit::Refused } else { Exit::Failure };
            let hint = match status {
                StatusCode::UNAUTHORIZED => format!("; {HINT}"),
                _ if problem.detail().starts_with("reason: must say") => "; say it with --reason".to_owned(),
                _ => String::new(),
            };
            // What was asked may be long, and is known to whoever has asked.
            let asked = url.split('?').next().unwrap_or(url);
            Err(exit.because(format!("{}{hint} ({status}, {asked})", problem.detail())))
        }
        // Whoever stands before the fleet has refused it.
        Err(_) if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Err(Exit::Refused.because(format!("{url} answered {status}: {}; {HINT}", beginning(&body))))
        }
        Err(_) if body.is_empty() => bail!("{url} answered {status}, and nothing else: is that the admin API?"),
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
