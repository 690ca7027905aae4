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
    loop {
        match operation.state {
            State::Succeeded => {
                out::line(format!("done: {} applied, {} parked", operation.applied, operation.parked))?;
                return Ok(if operation.parked == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            State::Failed => {
                out::line(format!("failed: {}", operation.error.as_deref().unwrap_or("nobody knows why")))?;
                return Ok(ExitCode::FAILURE);
            }
            State::Cancelled => {
                out::line("cancelled".to_owned())?;
                return Ok(ExitCode::FAILURE);
            }
            State::Waiting => {
                out::line("built; it follows the store, and waits for you to promote it".to_owned())?;
                return Ok(ExitCode::SUCCESS);
            }
            State::Pending | State::Running | State::Paused => tokio::time::sleep(Duration::from_millis(300)).await,
        }
        operation = api.get(&format!("/admin/v1/operations/{id}"), &()).await?;
    }
}

/// Waits until it has ended, however it did.
///
/// # Errors
/// Nobody answers any more.
pub async fn ended(api: &client::AdminApi, operation: &mut Operation) -> Result<ExitCode> {
    loop {
        match operation.state {
            State::Succeeded => return Ok(ExitCode::SUCCESS),
            State::Failed | State::Cancelled => return Ok(ExitCode::FAILURE),
            _ => tokio::time::sleep(Duration::from_millis(300)).await,
        }
        *operation = api.get(&format!("/admin/v1/operations/{}", operation.id), &()).await?;
    }
}
