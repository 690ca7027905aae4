//! `fleet rebuild`, `promote`, `rollback`, `retire`, `generations`, `operation`: read models built anew, put in place, taken
//! back. Each says first what it would do, and then does that and nothing else.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tokio::time::timeout;
use uuid::Uuid;
use workers::admin::generations::{AsOfRequest, Change, Rebuild, Steering};
use workers::generations::as_of::{self, AsOf};
use workers::generations::gate::Gate;
use workers::generations::rebuild::Plan;
use workers::generations::retire::Retirement;
use workers::generations::verify::{Difference, Findings};
use workers::generations::{Eta, Generation, Standing};
use workers::operations::{Operation, RATE_SECONDS, State};

use super::actor::{Recorded, Tried};
use super::pause::seconds;
use super::table::{Table, numbers, words};
use super::words::{duration, many};
use super::{operation, out};
use crate::called;
use crate::client;
use crate::exit::Exit;

/// How often it is looked whether anybody still runs the code that is waited for.
const LOOK: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub struct Show {
    /// The projection.
    projection: String,
    /// As the API says it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: client::AdminApi,
}

#[derive(Debug, Args)]
pub struct RebuildOptions {
    /// The projection to build anew, beside the one that is read.
    projection: String,
    /// Parts that are built side by side, 1 to 16.
    #[arg(long, default_value_t = 1)]
    parts: i32,
    /// Events per second at most, of all parts together.
    #[arg(long)]
    rate: Option<f64>,
    /// For how long the rate holds, such as 90s, 30m, 2h or 3d, at most 7d. Without it: 1h.
    #[arg(long, value_name = "TIME", value_parser = seconds, requires = "rate")]
    rate_for: Option<u32>,
    /// As of this position, or of what was recorded at this time (RFC 3339) or before: to be looked at, in a schema of its own. It
    /// does not follow the store, is never promoted, and goes with `fleet retire`.
    #[arg(long, value_name = "POSITION|TIME", value_parser = as_of)]
    as_of: Option<AsOf>,
    #[command(flatten)]
    changing: Changing,
}

#[derive(Debug, Args)]
pub struct Verify {
    /// The projection whose rows are compared.
    projection: String,
    /// As JSON, for programs: the operation, with what was found.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    by: Recorded,
    #[command(flatten)]
    api: client::AdminApi,
}

#[derive(Debug, Args)]
pub struct Exchange {
    /// The projection.
    projection: String,
    /// The generation; without it, the newest that could be meant.
    #[arg(long)]
    generation: Option<i32>,
    #[command(flatten)]
    changing: Changing,
}

#[derive(Debug, Args)]
pub struct Retire {
    /// The projection.
    projection: String,
    /// The generation whose tables are dropped.
    #[arg(long)]
    generation: i32,
    #[command(flatten)]
    changing: Changing,
}

#[derive(Debug, Args)]
struct Changing {
    /// As JSON, for programs: the plan of a dry run, or the operation when it has ended.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    by: Tried,
    #[command(flatten)]
    api: client::AdminApi,
}

impl Changing {
    fn planning(&self) -> Change {
        Change { dry_run: true, ..Change::default() }
    }

    async fn doing(&self, plan_token: String) -> Result<Change> {
        let (actor, reason) = (self.by.actor().await?, self.by.reason());
        Ok(Change { dry_run: false, plan_token: Some(plan_token), reason, actor })
    }
}

fn path(projection: &str) -> String {
    format!("/admin/v1/projections/{projection}/generations")
}

pub async fn show(options: Show) -> Result<ExitCode> {
    let generations: Vec<Generation> = options.api.get(&path(&options.projection), &()).await?;
    if options.json {
        out::json(&generations)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new([
        numbers("GENERATION", 10),
        numbers("VERSION", 7),
        words("STANDING", 9),
        numbers("BEHIND", 8),
        numbers("PARKED", 6),
        words("REMARKS", 0),
    ]);
    for generation in generations {
        let behind = generation.position.map_or_else(|| "-".to_owned(), |at| (generation.head - at).max(0).to_string());
        table.row(&[
            generation.generation.to_string(),
            generation.version.to_string(),
            generation.standing.as_str().to_owned(),
            behind,
            generation.parked.to_string(),
            remarks(&generation),
        ])?;
    }
    Ok(ExitCode::SUCCESS)
}

fn remarks(generation: &Generation) -> String {
    let mut remarks = generation.pace.clone();
    let stopped = remarks.iter().any(|pace| pace == "paused" || pace.starts_with("stopped"));
    match (generation.standing, &generation.eta) {
        (Standing::Building, Some(Eta::In { .. })) if stopped => {}
        (Standing::Building, Some(Eta::In { from_seconds, to_seconds, .. })) => {
            let least = Some(duration(*from_seconds)).filter(|_| *from_seconds >= 1.0);
            let least = least.map_or(String::new(), |least| format!("{least} to "));
            remarks.push(format!("caught up in {least}{}", duration(*to_seconds)));
        }
        (Standing::Building, Some(Eta::DoesNotConverge)) => {
            remarks.push("does not converge: the store grows faster than it is built".to_owned());
        }
        (Standing::AsOf, _) => remarks.push(format!(
            "as of position {}, in {}, until it is retired",
            generation.as_of.unwrap_or_default(),
            generation.schema_name
        )),
        (Standing::Ready, _) if generation.parked > 0 => remarks.push(format!(
            "waits for you: {} parked in it, and `fleet promote {} --dry-run` says whether that is in its way",
            generation.parked, generation.projection
        )),
        (Standing::Ready, _) => remarks.push("waits for you to promote it".to_owned()),
        (Standing::Abandoned, _) => {
            remarks.push("its operation was cancelled or has failed: a worker takes its tables away".to_owned());
        }
        _ => {}
    }
    match generation.differences {
        Some(0) => remarks.push("its last verification found it equal".to_owned()),
        Some(found) => remarks.push(format!("its last verification found {}", many(found, "difference"))),
        None => {}
    }
    if let Some(until) = generation.kept_until.filter(|_| generation.standing == Standing::Previous) {
        remarks.push(format!("back possible until {}", until.format("%Y-%m-%d %H:%M UTC")));
    }
    called::named(&remarks.join("; "))
}

pub async fn rebuild(options: RebuildOptions) -> Result<ExitCode> {
    let RebuildOptions { projection, parts, rate, rate_for, as_of, changing } = options;
    if let Some(as_of) = as_of {
        return build_as_of(&projection, as_of, (parts, rate, rate_for), changing).await;
    }
    let (api, path) = (&changing.api, path(&projection));
    let request = |change: Change| {
        let Change { dry_run, plan_token, reason, actor } = change;
        Rebuild { parts, rate, rate_seconds: rate_for, dry_run, plan_token, reason, actor }
    };
    let plan: Plan = api.post(&path, &request(changing.planning())).await?;
    if changing.json && changing.by.dry_run {
        out::json(&plan)?;
        return Ok(permitted(&plan.conflicts));
    }
    let Plan { generation, version, live_generation, live_version, positions, .. } = &plan;
    if !changing.json {
        out::line(format!(
            "generation {generation} of {projection}, by version {version} of its code, beside generation {live_generation} \
         of version {live_version}"
        ))?;
    }
    let bytes: i64 = plan.tables.iter().map(|table| table.bytes).sum();
    let rows: i64 = plan.tables.iter().map(|table| table.rows).sum();
    let estimated = plan.estimated_seconds.map(|seconds| format!(", in about {seconds:.0} s"));
    let estimated = estimated.unwrap_or_default();
    if !changing.json {
        out::line(format!(
            "{positions} positions of the store{estimated}; what is read has {} MB in {}, with {rows} rows when Postgres counted last",
            bytes.div_euclid(1 << 20),
            many(plan.tables.len() as u64, "table")
        ))?;
    }
    if let Some(rate) = rate.filter(|_| !changing.json) {
        let holds = duration(f64::from(rate_for.unwrap_or(RATE_SECONDS)));
        out::line(format!(
            "at most {rate} of its events a second for {holds}, then as fast as it can: --rate-for says for how long"
        ))?;
    }
    if changing.by.dry_run {
        for conflict in &plan.conflicts {
            out::line(format!("would be refused: {conflict}"))?;
        }
        return Ok(permitted(&plan.conflicts));
    }
    let operation: Operation = api.post(&path, &request(changing.doing(plan.plan_token).await?)).await?;
    operation::follow(api, operation, changing.json).await
}

fn as_of(text: &str) -> Result<AsOf, String> {
    if let Ok(position) = text.parse() {
        return Ok(AsOf::Position(position));
    }
    let time = text.parse().map(AsOf::Time);
    time.map_err(|_| "must be a position, or a time such as 2026-01-31T08:00:00Z".to_owned())
}

async fn build_as_of(
    projection: &str,
    as_of: AsOf,
    (parts, rate, rate_seconds): (i32, Option<f64>, Option<u32>),
    changing: Changing,
) -> Result<ExitCode> {
    let (api, path) = (&changing.api, format!("/admin/v1/projections/{projection}/as-of"));
    let (position, time) = match as_of {
        AsOf::Position(position) => (Some(position), None),
        AsOf::Time(time) => (None, Some(time)),
    };
    let request = |change: Change| {
        let Change { dry_run, plan_token, reason, actor } = change;
        AsOfRequest { position, time, parts, rate, rate_seconds, dry_run, plan_token, reason, actor }
    };
    let plan: as_of::Plan = api.post(&path, &request(changing.planning())).await?;
    if changing.json && changing.by.dry_run {
        out::json(&plan)?;
        return Ok(permitted(&plan.conflicts));
    }
    if !changing.json {
        let (position, recorded) = (plan.position, plan.recorded_at.format("%FT%TZ"));
        out::line(format!(
            "{projection} as of position {position}, recorded at {recorded}, by version {} of its code",
            plan.version
        ))?;
    }
    if changing.by.dry_run {
        for conflict in &plan.conflicts {
            out::line(format!("would be refused: {conflict}"))?;
        }
        return Ok(permitted(&plan.conflicts));
    }
    let mut operation: Operation = api.post(&path, &request(changing.doing(plan.plan_token).await?)).await?;
    operation::ended(api, &mut operation).await?;
    if let (State::Succeeded, Some(generation), false) = (operation.state, operation.generation, changing.json) {
        let all: Vec<Generation> = api.get(&self::path(projection), &()).await?;
        if let Some(built) = all.iter().find(|it| it.generation == generation) {
            out::line(format!(
                "it is in the schema {}, and goes with `fleet retire {projection} --generation {generation}`",
                built.schema_name
            ))?;
        }
    }
    operation::follow(api, operation, changing.json).await
}

pub async fn verify(options: Verify) -> Result<ExitCode> {
    let Verify { projection, json, by, api } = options;
    let asking = Steering { actor: by.actor().await?, reason: by.reason };
    let path = format!("/admin/v1{}", client::path(["projections", &projection, "verifications"]));
    let mut verification: Operation = api.post(&path, &asking).await?;
    let id = verification.id;
    if !json {
        out::line(format!("operation {id}: verify {projection}"))?;
    }
    operation::ended(&api, &mut verification).await?;
    let Some(result) = &verification.result else {
        return operation::follow(&api, verification, json).await;
    };
    let findings: Findings = serde_json::from_value(result.0.clone()).context("what was found")?;
    let Findings { equal, aggregates, events, ledger_differences, refused, .. } = findings;
    let exit = if equal { Exit::Good } else { Exit::Failure };
    if json {
        out::json(&verification)?;
        return Ok(exit.into());
    }
    out::line(format!("compared what is read: {} of {}", many(events, "event"), many(aggregates, "aggregate")))?;
    let mut table = Table::new([words("TABLE", 24), numbers("ROWS", 10), numbers("DIFFERENCES", 11)]);
    for compared in &findings.tables {
        table.row(&[compared.name.clone(), compared.rows.to_string(), compared.differences.to_string()])?;
    }
    if equal {
        out::line("equal")?;
        return Ok(exit.into());
    }
    if ledger_differences > 0 {
        out::line(format!(
            "{ledger_differences} aggregates are applied to another version than the store has of them"
        ))?;
    }
    if let Some(error) = &findings.refused_for {
        let refused = many(refused, "event");
        out::line(format!("{refused} of those that are in the rows cannot be taken by this code any more: {error}"))?;
    }
    differences(&api, id, false).await?;
    out::advise("if the fold has changed, raise its VERSION; if it has not: fleet runbook ReadModelDiffers")?;
    Ok(exit.into())
}

/// What a verification has found, by key.
pub async fn differences(api: &client::AdminApi, id: Uuid, as_json: bool) -> Result<()> {
    let found: Vec<Difference> = api.get(&format!("/admin/v1/operations/{id}/differences"), &()).await?;
    if as_json {
        return found.iter().try_for_each(out::json);
    }
    for Difference { table_name, key, kind, columns } in &found {
        out::line(format!("{table_name} {key} {kind} {}", columns.join(", ")).trim_end())?;
    }
    if found.is_empty() { out::line("no row differs") } else { Ok(()) }
}

pub async fn promote(options: Exchange) -> Result<ExitCode> {
    exchange(options, "promote", Standing::Ready).await
}

pub async fn rollback(options: Exchange) -> Result<ExitCode> {
    exchange(options, "rollback", Standing::Previous).await
}

async fn exchange(options: Exchange, verb: &str, meant: Standing) -> Result<ExitCode> {
    let Exchange { projection, generation, changing } = options;
    let (api, path) = (&changing.api, path(&projection));
    let named = generation.is_some();
    let generation = match generation {
        Some(generation) => generation,
        None => {
            let all: Vec<Generation> = api.get(&path, &()).await?;
            // Of those that were live, the one that was read last; else the newest.
            let meanable = all.iter().filter(|generation| generation.standing == meant);
            let newest = meanable.max_by_key(|generation| (generation.replaced_at, generation.generation));
            let Some(newest) = newest else {
                let previous = all.iter().filter(|it| it.standing == Standing::Previous).max_by_key(|it| it.generation);
                let instead = previous.filter(|_| meant == Standing::Ready).map_or(String::new(), |previous| {
                    let previous = previous.generation;
                    format!(
                        "; generation {previous} was read before, and `fleet rollback {projection} --generation {previous}` has it \
                         read again"
                    )
                });
                let meant = meant.as_str();
                return Err(Exit::Refused.because(format!(
                    "{projection} has no generation that is {meant}{instead}: see `fleet generations {projection}`"
                )));
            };
            newest.generation
        }
    };
    let path = format!("{path}/{generation}/{verb}");
    let mut gate: Gate = api.post(&path, &changing.planning()).await?;
    if let Some(before) = &gate.rolled_back
        && meant == Standing::Previous
        && !named
    {
        // Of two people who do the same, the second would take back what the first has done.
        gate.refusals.push(format!(
            "it was rolled back already, by {before}: this would take that back. If you mean that, name it: --generation {generation}"
        ));
    }
    if changing.json && (changing.by.dry_run || !gate.refusals.is_empty()) {
        out::json(&gate)?;
        return Ok(permitted(&gate.refusals));
    }
    let (live, version, behind) = (gate.live_generation, gate.version, gate.behind);
    if !changing.json {
        out::line(format!(
            "{verb} {projection} from generation {live} to {generation}, of version {version} of its code; {behind} positions behind \
         the store"
        ))?;
    }
    for warning in gate.warnings.iter().filter(|_| !changing.json) {
        out::line(format!("note: {warning}"))?;
    }
    if !gate.refusals.is_empty() {
        for refusal in &gate.refusals {
            out::advise(&format!("refused: {refusal}"))?;
        }
        return Ok(Exit::Refused.into());
    }
    if changing.by.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let operation: Operation = api.post(&path, &changing.doing(gate.plan_token).await?).await?;
    let id = operation.id;
    if !gate.awaits_worker {
        let mut following = pin!(operation::follow(api, operation.clone(), changing.json));
        // Whoever has run until now may have been stopped a moment ago, which is known after half a minute.
        while !gate.awaits_worker {
            match timeout(LOOK, &mut following).await {
                Ok(ended) => return ended,
                Err(_) => {
                    // Whether anybody answers at all is found out by following.
                    if let Ok(looked) = api.post(&path, &changing.planning()).await {
                        gate = looked;
                    }
                }
            }
        }
    }
    if changing.json {
        out::json(&operation)?;
    } else {
        out::line(format!("operation {id}: {verb}, not done yet"))?;
        out::advise(&format!(
            "Start the program with version {version} of {projection}, and it is done, unless that code parks what the live one has \
             applied, as for an event for which `decode` was mended since; a `fleet dev` with another version is to be stopped first. \
             `fleet operations follow {id}` waits for it, `fleet operations cancel {id}` gives it up."
        ))?;
    }
    Ok(Exit::Failure.into())
}

pub async fn retire(options: Retire) -> Result<ExitCode> {
    let Retire { projection, generation, changing } = options;
    let (api, path) = (&changing.api, format!("{}/{generation}/retire", path(&projection)));
    let plan: Retirement = api.post(&path, &changing.planning()).await?;
    if changing.json && (changing.by.dry_run || !plan.refusals.is_empty()) {
        out::json(&plan)?;
        return Ok(permitted(&plan.refusals));
    }
    let megabytes = plan.bytes.div_euclid(1 << 20);
    if !changing.json {
        out::line(format!(
            "drops the schema {} of generation {generation}, {megabytes} MB, for good",
            plan.schema_name
        ))?;
    }
    for warning in plan.warnings.iter().filter(|_| !changing.json) {
        out::line(format!("note: {warning}"))?;
    }
    if !plan.refusals.is_empty() {
        for refusal in &plan.refusals {
            out::line(format!("refused: {refusal}"))?;
        }
        return Ok(Exit::Refused.into());
    }
    if changing.by.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let operation: Operation = api.post(&path, &changing.doing(plan.plan_token).await?).await?;
    operation::follow(api, operation, changing.json).await
}

/// How a plan ends that says what stands against it.
fn permitted(refusals: &[String]) -> ExitCode {
    if refusals.is_empty() { Exit::Good.into() } else { Exit::Refused.into() }
}
