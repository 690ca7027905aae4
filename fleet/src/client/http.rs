//! The admin API of a running fleet.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Wait;

#[derive(Debug, Clone, Args)]
pub struct AdminApi {
    /// host:port (or URL) of the admin API.
    #[arg(long, env = "FLEET_HTTP", default_value = super::HTTP)]
    http: String,
    #[command(flatten)]
    wait: Wait,
}

impl AdminApi {
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T> {
        let path = with_query(path, query)?;
        let answer = self.send(Method::GET, &path, None, None).await?;
        serde_json::from_value(answer).with_context(|| format!("{path} does not answer as this version does"))
    }

    /// `key` makes a repeated request, also one repeated here, have one result.
    pub async fn post(&self, path: &str, body: &Value, key: &str) -> Result<Value> {
        self.send(Method::POST, path, Some(body), Some(key)).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>, key: Option<&str>) -> Result<Value> {
        let base = if self.http.contains("://") { self.http.clone() } else { format!("http://{}", self.http) };
        let url = format!("{}{path}", base.trim_end_matches('/'));
        let client =
            reqwest::Client::builder().timeout(Duration::from_secs(60)).build().context("building the HTTP client")?;
        let patience = self.wait.start();
        loop {
            let mut request = client.request(method.clone(), &url);
            if let Some(body) = body {
                request = request.json(body);
            }
            if let Some(key) = key {
                request = request.header("Idempotency-Key", key);
            }
            let failed = match request.send().await {
                Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE => {
                    let body = response.text().await.unwrap_or_default();
                    if let Some(detail) = detail(&body) {
                        // A fleet is there, and says what it lacks.
                        if patience.wait().await {
                            continue;
                        }
                        bail!("the fleet at {} cannot answer now: {detail}", self.http);
                    }
                    body
                }
                Ok(response) => return answer(&url, response).await,
                Err(error) if error.is_builder() => {
                    bail!("FLEET_HTTP: {:?} is not host:port", self.http);
                }
                Err(error) => error.to_string(),
            };
            if !patience.wait().await {
                bail!("no fleet answers at {} ({failed}); start one, or set FLEET_HTTP", self.http);
            }
        }
    }
}

/// The path with its query, escaped.
fn with_query(path: &str, query: &[(&str, String)]) -> Result<String> {
    let url = Url::parse_with_params(&format!("http://fleet{path}"), query).context("building the query")?;
    Ok(match url.query() {
        Some(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path.to_owned(),
    })
}

/// What a problem says of itself.
fn detail(body: &str) -> Option<String> {
    let problem: Value = serde_json::from_str(body).ok()?;
    problem["detail"].as_str().map(str::to_owned)
}

async fn answer(url: &str, response: reqwest::Response) -> Result<Value> {
    let status = response.status();
    let body = response.text().await.with_context(|| format!("reading the answer of {url}"))?;
    let json: Option<Value> = serde_json::from_str(&body).ok();
    if status.is_success() {
        return json.with_context(|| format!("{url} did not answer with JSON"));
    }
    let detail = detail(&body).unwrap_or(body);
    bail!("{url} answered {status}: {detail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_query_cannot_hold_is_escaped() {
        let query = [("reason", "a & b".to_owned())];
        assert_eq!(with_query("/x", &query).expect("a path"), "/x?reason=a+%26+b");
        assert_eq!(with_query("/x", &[]).expect("a path"), "/x");
    }
}
