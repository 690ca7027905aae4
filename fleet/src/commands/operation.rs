//! Following an operation to its end.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::client;

/// Asks until it is done; failure, or anything parked, is a failing exit code.
pub async fn follow(api: &client::AdminApi, mut operation: Value) -> Result<ExitCode> {
    let id = operation["id"].as_str().context("the answer has no operation id")?.to_owned();
    println!("operation {id}: {} {}", operation["kind"].as_str().unwrap_or("?"), operation["selected"]);
    loop {
        match operation["state"].as_str() {
            Some("succeeded") => {
                println!("done: {} applied, {} parked", operation["applied"], operation["parked"]);
                return Ok(if operation["parked"] == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            Some("failed") => {
                println!("failed: {}", operation["error"]);
                return Ok(ExitCode::FAILURE);
            }
            _ => tokio::time::sleep(Duration::from_millis(300)).await,
        }
        operation = api.get(&format!("/admin/v1/operations/{id}"), &[]).await?;
    }
}
