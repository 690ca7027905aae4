//! The admin API as its callers see it.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use super::{Process, eventually};

pub struct Admin {
    url: String,
    http: reqwest::Client,
}

impl Admin {
    pub fn of(process: &Process) -> Self {
        Self { url: format!("http://{}/admin/v1", process.http()), http: reqwest::Client::new() }
    }

    pub async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.send(Method::POST, path, Some(body), None).await
    }

    pub async fn post_with_key(&self, path: &str, body: &Value, key: &str) -> (StatusCode, Value) {
        self.send(Method::POST, path, Some(body), Some(key)).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ask(path).await.1
    }

    pub async fn ask(&self, path: &str) -> (StatusCode, Value) {
        self.send(Method::GET, path, None, None).await
    }

    /// The newest operations.
    pub async fn operations(&self) -> Vec<Value> {
        let page = self.get("/operations").await;
        page["operations"].as_array().unwrap_or_else(|| panic!("{page}")).clone()
    }

    /// What is answered to exactly this. Who is refused before all of his request was read may find the connection closed with the
    /// answer on its way, and asks again.
    pub async fn raw(&self, method: Method, path: &str, headers: HeaderMap, body: &str) -> Response {
        let mut tries = 0;
        loop {
            let request = self.http.request(method.clone(), format!("{}{path}", self.url)).headers(headers.clone());
            match request.body(body.to_owned()).send().await {
                Err(error) if error.is_request() && tries < 3 => tries += 1,
                answer => return answer.unwrap(),
            }
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>, key: Option<&str>) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        if !status.is_success() {
            assert_eq!(response.headers()["content-type"], "application/problem+json");
        }
        (status, response.json().await.unwrap())
    }

    pub async fn succeeded(&self, operation: &Value) -> Value {
        self.ended(operation, "succeeded").await
    }

    pub async fn failed(&self, operation: &Value) -> Value {
        self.ended(operation, "failed").await
    }

    async fn ended(&self, operation: &Value, state: &str) -> Value {
        let path = format!("/operations/{}", operation["id"].as_str().unwrap_or_else(|| panic!("{operation}")));
        eventually("the operation ends as it should", Duration::from_secs(120), async || {
            let operation = self.get(&path).await;
            if operation["state"] == state { Ok(operation) } else { Err(operation.to_string()) }
        })
        .await
    }
}
