//! `fleet runbook`: what to do about an alert, for whoever has this program and not its sources.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use workers::admin::unknown;

use super::out;
use super::table::{Table, words};
use crate::called;
use crate::exit::Exit;

#[derive(Debug, Args)]
pub struct Options {
    /// Of an alert, and as `doctor` says it. Without it: all of them.
    name: Option<String>,
}

/// The names of the files, and what they say.
macro_rules! runbooks {
    ($($name:ident)*) => {
        &[$((stringify!($name), include_str!(concat!("../../../docs/runbooks/", stringify!($name), ".md")))),*]
    };
}

const RUNBOOKS: &[(&str, &str)] = runbooks! {
    AckDeadlinesExpire
    AggregatesHeld
    AppendsFail
    BusFreshnessBurnFast
    BusFreshnessBurnSlow
    DatabaseAway
    DatabaseBusy
    DatabaseConnectionsNearLimit
    DatabaseDiskNearLimit
    DeadLettersArrive
    DeadLettersWait
    EventsLost
    EventsUnreadable
    FreshnessBurnFast
    FreshnessBurnSlow
    GameDay
    JobFailed
    LagMetricAbsent
    LagTelemetryStale
    MessagesNearExpiry
    OldSnapshotOpen
    OperationStalled
    OperationsStopped
    ParkedEvents
    ParkedEventsOld
    PoolExhausted
    ProjectionOutdated
    ProjectionPaused
    ProjectionStalled
    PushFailing
    PushTokensRefused
    ReadModelDiffers
    RebuildDoesNotConverge
    RebuildWaits
    RelayFailing
    RelayLeadership
    RelayMessagesRefused
    RelayStalled
    RetryStorm
    SubscriptionStalled
    TransactionIdsRunOut
    UnackedMessageOld
};

/// # Errors
/// There is none of that name.
pub fn run(options: Options) -> Result<ExitCode> {
    let Some(wanted) = options.name else {
        let mut table = Table::new([words("RUNBOOK", 28), words("SEES", 0)]);
        for (name, text) in RUNBOOKS {
            table.row(&[(*name).to_owned(), sees(text)])?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let found = RUNBOOKS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&wanted));
    let Some((_, text)) = found else {
        let names: Vec<_> = RUNBOOKS.iter().map(|(name, _)| *name).collect();
        return Err(Exit::Refused.because(unknown("runbook", &wanted, &names)));
    };
    out::text("", &as_typed(text, &called::program()))?;
    Ok(ExitCode::SUCCESS)
}

/// The first sentence of what is seen.
fn sees(text: &str) -> String {
    let seen = text.split("\n\n").nth(1).unwrap_or_default().replace('\n', " ");
    let seen = seen.trim_start_matches("**Sees.** ");
    seen.split_once(". ").map_or(seen, |(first, _)| first).trim_end_matches('.').to_owned()
}

/// Its commands, with the name that this program has; and its links as they are said.
fn as_typed(text: &str, program: &str) -> String {
    let text = RUNBOOKS.iter().fold(text.to_owned(), |text, (name, _)| {
        text.replace(&format!("[{name}]({name}.md)"), &format!("`{program} runbook {name}`"))
    });
    let text = text.replace(
        "[by hand](../deploy.md#by-hand)",
        "by hand (with psql, as the database's owner; docs/deploy.md says how under By hand)",
    );
    called::of(&text, program)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_runbook_is_in_the_program_and_says_what_is_seen() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbooks")).expect("a folder");
        let files = files.map(|file| file.expect("a file").file_name().to_string_lossy().replace(".md", ""));
        let ours: BTreeSet<_> = RUNBOOKS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(files.collect::<BTreeSet<_>>(), ours);
        for (name, text) in RUNBOOKS {
            assert!(text.starts_with(&format!("# {name}\n")), "{name}");
            assert!(sees(text).len() > 10 && !sees(text).contains("**"), "{name}: {}", sees(text));
        }
    }

    #[test]
    fn commands_are_those_of_the_program_that_says_them() {
        let text = "Ask `fleet status`, of this fleet:\n\n    fleet doctor\n\nSee [AppendsFail](AppendsFail.md).";
        let typed = "Ask `shop status`, of this fleet:\n\n    shop doctor\n\nSee `shop runbook AppendsFail`.";
        assert_eq!(as_typed(text, "shop"), typed);
    }
}
