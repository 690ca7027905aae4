//! `fleet pause` and `fleet resume`: whether anything is applied to a projection.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use workers::admin::pauses::{Pause, Resume};
use workers::pause::Switched;

use super::actor::Recorded;
use super::out;
use crate::client;

#[derive(Debug, Args)]
pub struct PauseOptions {
    /// The projection to which nothing is to be applied.
    projection: String,
    /// For how long, such as 90s, 30m, 2h or 3d; then it goes on by itself. Without it: until it is resumed.
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    length: Option<u32>,
    /// In place of the pause that there is.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    by: Recorded,
    #[command(flatten)]
    api: client::AdminApi,
}

#[derive(Debug, Args)]
pub struct ResumeOptions {
    /// The projection that is to go on.
    projection: String,
    #[command(flatten)]
    by: Recorded,
    #[command(flatten)]
    api: client::AdminApi,
}

pub async fn pause(options: PauseOptions) -> Result<ExitCode> {
    let PauseOptions { projection, length: seconds, replace, by, api } = options;
    let request = Pause { seconds, replace, actor: by.actor().await?, reason: by.reason };
    switch(&api, &projection, "pause", &request).await
}

pub async fn resume(options: ResumeOptions) -> Result<ExitCode> {
    let ResumeOptions { projection, by, api } = options;
    let request = Resume { actor: by.actor().await?, reason: by.reason };
    switch(&api, &projection, "resume", &request).await
}

async fn switch(
    api: &client::AdminApi,
    projection: &str,
    verb: &str,
    request: &impl serde::Serialize,
) -> Result<ExitCode> {
    let path = client::path(["admin", "v1", "projections", projection, verb]);
    let Switched { projection, paused, .. } = api.post(&path, request).await?;
    match paused {
        Some(pause) => out::line(format!("{projection} is paused {pause}"))?,
        None => out::line(format!("{projection} goes on"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Seconds of a time as people write it.
pub(super) fn seconds(text: &str) -> Result<u32, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => 0,
    };
    let seconds = digits.parse::<u32>().ok().and_then(|count| count.checked_mul(unit)).filter(|seconds| *seconds > 0);
    seconds.ok_or_else(|| "must be a time such as 90s, 30m, 2h or 3d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, expected) in [("90", 90), ("90s", 90), ("30m", 1800), ("5min", 300), ("2h", 7200), ("3d", 259_200)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "h", "2 h", "-1h", "1.5h", "2w", "99999d", "2h30m"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
