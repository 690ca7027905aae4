//! Following an operation to its end.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use workers::operations::{Operation, State};

use super::out;
use crate::client;

/// Asks until it is done; failure, or anything parked, is a failing exit code.
pub async fn follow(api: &client::AdminApi, mut operation: Operation) -> Result<ExitCode> {
    let id = operation.id;
    out::line(format!("operation {id}: {} {}", operation.kind, operation.selected))?;
    let mut waits = None;
    loop {
        if waits != operation.waits {
            match &operation.waits {
                Some(why) => out::line(format!("waits: {why}"))?,
                None => out::line("goes on")?,
            }
            waits.clone_from(&operation.waits);
        }
        match operation.state {
            State::Succeeded => {
                out::line(format!("done: {} applied, {} parked", operation.applied, operation.parked))?;
                return Ok(if operation.parked == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            State::Failed => {
                out::line(format!("failed: {}", operation.error.as_deref().unwrap_or("nobody knows why")))?;
                return Ok(ExitCode::FAILURE);
            }
            State::Pending | State::Running => tokio::time::sleep(Duration::from_millis(300)).await,
        }
        operation = api.get(&format!("/admin/v1/operations/{id}"), &()).await?;
    }
}
