//! `fleet doctor`: what whoever is on call asks, in order, and which runbook to open.

mod text;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use workers::admin::doctor::{Ask, Count, LATE_AFTER};
use workers::doctor::{Diagnosis, ProjectionLateness, Symptom, Unknown, of_losses};
use workers::losses::Counted;

use super::out;
use crate::called;
use crate::client::AdminApi;
use crate::exit::Exit;

#[derive(Debug, Args)]
pub struct Options {
    /// Data is late if an event has not been applied for so many seconds.
    #[arg(long, default_value_t = LATE_AFTER, value_name = "SECONDS")]
    late_after: f64,
    /// Seconds to compare the store with what is applied, the latest events first.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS", value_parser = seconds)]
    count_for: f64,
    /// Compare all of the store, however long that takes.
    #[arg(long, conflicts_with = "count_for")]
    whole: bool,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: AdminApi,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be seconds, from 0 to 86400".to_owned()),
    }
}

/// All that is said.
#[derive(Debug, Serialize)]
struct Said {
    healthy: bool,
    /// The first to open; `null`: nothing is wrong that has one.
    runbook: Option<String>,
    /// What to do something about first.
    symptoms: Vec<Symptom>,
    unknown: Vec<Unknown>,
    diagnosis: Option<Diagnosis>,
    losses: Vec<Counted>,
}

/// # Errors
/// The fleet refuses to answer.
pub async fn run(options: Options) -> Result<ExitCode> {
    let ask = Ask { late_after: Some(options.late_after) };
    let said = match options.api.get::<Diagnosis>("/admin/v1/doctor", &ask).await {
        Ok(diagnosis) => {
            let (losses, unknown) = losses(&options, &diagnosis).await?;
            Said::of(diagnosis, losses, unknown)
        }
        Err(error) if Exit::of(&error) == Exit::Unhealthy => Said::without_database(&error.to_string()),
        Err(error) if Exit::of(&error) == Exit::Unreachable => {
            let other =
                "if only the admin is gone, the rest may be well: FLEET_HTTP may be the address of a worker, too";
            let program = called::program();
            return Err(Exit::Unreachable.because(format!("{error:#}\n{other}; {program} runbook LagMetricAbsent")));
        }
        Err(error) => return Err(error),
    };
    if options.json {
        out::json(&said)?;
    } else {
        out::text("", &format!("fleet at {}\n{}", options.api.at(), text::text(&said)))?;
    }
    Ok(if said.healthy { Exit::Good.into() } else { Exit::Unhealthy.into() })
}

/// Counts what was found to be there, a part of each in turn, so that there is something of each when the time is over.
async fn losses(options: &Options, diagnosis: &Diagnosis) -> Result<(Vec<Counted>, Vec<Unknown>)> {
    let limit = (!options.whole).then(|| Duration::from_secs_f64(options.count_for));
    let started = Instant::now();
    let mut unknown = Vec::new();
    let mut counted: Vec<Counted> = Vec::new();
    let projections = diagnosis.lateness.iter().flat_map(|lateness| &lateness.projections);
    let mut turns: VecDeque<_> = projections
        .map(|projection| Count {
            projection: projection.status.name.clone(),
            topic: projection.status.topic.clone(),
            upto: None,
        })
        .collect();
    while let Some(turn) = turns.pop_front() {
        let over = limit.is_some_and(|limit| started.elapsed() >= limit);
        if over && turn.upto.is_some() {
            continue;
        }
        match options.api.get::<Counted>("/admin/v1/losses", &turn).await {
            Ok(more) => {
                if let Some(next) = more.next {
                    turns.push_back(Count { upto: Some(next), ..turn });
                }
                match counted.iter_mut().find(|it| (&it.projection, &it.topic) == (&more.projection, &more.topic)) {
                    Some(so_far) => so_far.and(more),
                    None => counted.push(more),
                }
            }
            // What was counted before says what it says.
            Err(error) => unknown.push(Unknown {
                what: format!("whether {} has lost anything of {}", turn.projection, turn.topic),
                problem: format!("{error:#}"),
            }),
        }
    }
    Ok((counted, unknown))
}

impl Said {
    fn of(diagnosis: Diagnosis, losses: Vec<Counted>, mut unknown: Vec<Unknown>) -> Self {
        let mut symptoms = of_losses(&losses);
        symptoms.extend_from_slice(&diagnosis.symptoms);
        unknown.splice(0..0, diagnosis.unknown.iter().cloned());
        let stored = diagnosis.lateness.as_ref().map(|lateness| lateness.head_position);
        // Nothing compared is not nothing lost, unless there is nothing.
        for it in losses.iter().filter(|it| it.events == 0) {
            let of_one = |projection: &&ProjectionLateness| {
                (&projection.status.name, &projection.status.topic) == (&it.projection, &it.topic)
            };
            let projection = diagnosis.lateness.iter().flat_map(|lateness| &lateness.projections).find(of_one);
            if projection.is_some_and(|projection| projection.status.lag_events > 0) {
                let what = format!("whether {} has lost anything of {}", it.projection, it.topic);
                unknown.push(Unknown { what, problem: "no event was compared: none is settled yet".to_owned() });
            }
        }
        if stored != Some(0) && losses.iter().all(|it| it.events == 0) {
            let problem = "no event was compared".to_owned();
            unknown.push(Unknown { what: "whether anything is lost".to_owned(), problem });
        }
        Self {
            healthy: symptoms.is_empty() && unknown.is_empty(),
            runbook: symptoms.first().map(|symptom| symptom.runbook.clone()),
            symptoms,
            unknown,
            diagnosis: Some(diagnosis),
            losses,
        }
    }

    /// The fleet is there, and its database is not.
    fn without_database(problem: &str) -> Self {
        let full = problem.contains(database::FULL);
        let runbook = if full { "DatabaseConnectionsNearLimit" } else { "DatabaseAway" };
        let what = if full { "and is given no new connections" } else { "and cannot work with its database" };
        let symptom = Symptom::new(runbook, format!("the fleet answers, {what}: {problem}"));
        let nothing = Unknown { what: "everything else".to_owned(), problem: problem.to_owned() };
        Self {
            healthy: false,
            runbook: Some(symptom.runbook.clone()),
            symptoms: vec![symptom],
            unknown: vec![nothing],
            diagnosis: None,
            losses: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_full_is_not_called_away() {
        let runbook = |problem| Said::without_database(problem).runbook.expect("there is one for each");
        assert_eq!(runbook("sorry, too many clients already (SQLSTATE 53300)"), "DatabaseConnectionsNearLimit");
        assert_eq!(runbook("connection refused"), "DatabaseAway");
    }
}
