//! Following an operation to its end.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use workers::operations::{Operation, State};

use super::out;
use super::words::{counted, percent};
use crate::client;
use crate::exit::Exit;

/// After which time it is said that nothing of it was done yet.
const TELL: Duration = Duration::from_secs(5);

/// Asks until it is done; failure, or anything parked, is a failing exit code. As JSON it says only what became of it.
/// Ctrl-C ends the asking only.
pub async fn follow(api: &client::AdminApi, operation: Operation, as_json: bool) -> Result<ExitCode> {
    unless_interrupted(&operation.clone(), to_its_end(&api.begun(), operation, as_json)).await
}

/// What a command waits for, of an operation that does not wait for the command.
async fn unless_interrupted<T>(operation: &Operation, waiting: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        ended = waiting => {
            // Whoever has listened once is asked about each.
            tokio::spawn(async {
                if tokio::signal::ctrl_c().await.is_ok() {
                    std::process::exit(Exit::Interrupted.code().into());
                }
            });
            ended
        }
        pressed = tokio::signal::ctrl_c() => {
            pressed.context("listening to Ctrl-C")?;
            let Operation { id, kind, .. } = operation;
            let cancel = match kind.as_str() {
                "rebuild" | "verify" | "as_of" | "repair" | "promote" | "rollback" => format!(", `fleet operations cancel {id}` ends it"),
                _ => String::new(),
            };
            Err(Exit::Interrupted.because(format!(
                "operation {id} ({kind}) goes on without this command: `fleet operations follow {id}` waits for it{cancel}"
            )))
        }
    }
}

async fn to_its_end(api: &client::AdminApi, mut operation: Operation, as_json: bool) -> Result<ExitCode> {
    let id = operation.id;
    if !as_json {
        let counted = counted(&operation).map_or(String::new(), |_| format!(" {}", operation.selected));
        out::line(format!("operation {id}: {}{counted}", operation.kind))?;
    }
    let (mut waits, mut stalled, mut tenths) = (None, None, 0);
    let mut nothing_since = Some((Instant::now(), operation.clone()));
    loop {
        if let Some(percent) = percent(&operation).filter(|percent| percent / 10 > tenths && !as_json) {
            out::line(format!("{percent} % of the positions"))?;
            tenths = percent / 10;
        }
        let still = operation.stalled.as_ref().map(|still| (still.since, still.reason.clone()));
        if stalled != still {
            if let Some((since, reason)) = still.as_ref().filter(|_| !as_json) {
                out::line(format!("stands still since {}: {reason}", since.format("%FT%TZ")))?;
            }
            stalled = still;
        }
        let now = in_its_way(&operation);
        if waits != now {
            match &now {
                Some(why) if !as_json => out::advise(why)?,
                None if !as_json && is_at_work(&operation) => out::line("goes on")?,
                _ => {}
            }
            waits.clone_from(&now);
        }
        // Why it stands still is known after a minute; whoever has just asked for it does not wait so long.
        match &nothing_since {
            Some((_, before)) if has_moved(before, &operation) => nothing_since = None,
            Some((since, _)) if since.elapsed() >= TELL && now.is_none() && is_at_work(&operation) => {
                if !as_json {
                    out::advise(not_done(&operation))?;
                }
                nothing_since = None;
            }
            _ => {}
        }
        match operation.state {
            State::Succeeded => {
                let exit = if operation.parked == 0 { Exit::Good } else { Exit::Failure };
                if as_json {
                    out::json(&operation)?;
                } else {
                    out::line(done(&operation))?;
                }
                return Ok(exit.into());
            }
            State::Failed => {
                if as_json {
                    out::json(&operation)?;
                } else {
                    out::line(format!("failed: {}", operation.error.as_deref().unwrap_or("nobody knows why")))?;
                }
                return Ok(Exit::Failure.into());
            }
            State::Cancelled => {
                if as_json {
                    out::json(&operation)?;
                } else {
                    out::line("cancelled")?;
                }
                return Ok(Exit::Failure.into());
            }
            State::Waiting => {
                if as_json {
                    out::json(&operation)?;
                } else {
                    out::line("built; it follows the store, and waits for you to promote it")?;
                }
                return Ok(Exit::Good.into());
            }
            State::Pending | State::Running | State::Paused => tokio::time::sleep(Duration::from_millis(300)).await,
        }
        operation = api.get(&format!("/admin/v1/operations/{id}"), &()).await?;
    }
}

fn is_at_work(operation: &Operation) -> bool {
    matches!(operation.state, State::Pending | State::Running)
}

/// What may be in its way, as long as nobody knows.
fn not_done(operation: &Operation) -> &'static str {
    match operation.kind.as_str() {
        // That its worker has stopped is known after half a minute.
        "promote" | "rollback" => {
            "not done yet: a program with that version of the read model does it, so start it if it was stopped a moment ago; `fleet \
             doctor` says what else is wrong"
        }
        _ => "not done yet: `fleet locks` says whether it waits for somebody, `fleet doctor` what else is wrong",
    }
}

/// Whether anything of it was done between the two.
fn has_moved(before: &Operation, now: &Operation) -> bool {
    (before.state, before.seen, before.position) != (now.state, now.seen, now.position)
}

/// What somebody has to do before it goes on.
fn in_its_way(operation: &Operation) -> Option<String> {
    if operation.state == State::Paused {
        return Some(format!("paused: `fleet operations resume {}` has it go on", operation.id));
    }
    operation.waits.as_ref().map(|why| format!("waits: {why}"))
}

/// What came of it, in the words of its kind.
fn done(operation: &Operation) -> String {
    let Operation { kind, applied, parked, .. } = operation;
    match kind.as_str() {
        "discard" => {
            format!(
                "done: the read model goes on without it; {applied} that waited behind it are settled, {parked} parked"
            )
        }
        "verify" | "as_of" => "done".to_owned(),
        "promote" | "rollback" | "retire" => "done".to_owned(),
        "repair" if (*applied, *parked) == (0, 0) => "done: nothing was missing".to_owned(),
        _ => format!("done: {applied} applied, {parked} parked"),
    }
}

/// Waits until it has ended, however it did.
///
/// # Errors
/// Nobody answers any more.
pub async fn ended(api: &client::AdminApi, operation: &mut Operation) -> Result<()> {
    let api = api.begun();
    let asked = operation.clone();
    let waiting = async {
        let (mut waits, mut compares) = (None, false);
        while !matches!(operation.state, State::Succeeded | State::Failed | State::Cancelled) {
            let now = in_its_way(operation);
            if let Some(why) = now.as_ref().filter(|why| waits.as_ref() != Some(*why)) {
                // Standard output may be read by a program.
                out::complain(why);
            }
            waits = now;
            if operation.kind == "verify" && !compares && percent(operation) == Some(100) {
                compares = true;
                out::complain("all events are folded; the rows are compared, in one transaction");
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            *operation = api.get(&format!("/admin/v1/operations/{}", operation.id), &()).await?;
        }
        Ok(())
    };
    unless_interrupted(&asked, waiting).await
}
