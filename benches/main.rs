//! `cargo bench -p projections`: what append, apply and rebuild reach, beside the same work done one piece at a time.
//!
//! A benchmark, not a test: targets that are missed are said, not failed. How it measures and how to read it:
//! docs/performance.md.

mod append;
mod apply;
mod cpu;
mod eta;
mod freshness;
mod isolation;
mod machine;
mod numbers;
#[expect(dead_code, clippy::unwrap_used, reason = "it is that of the tests")]
#[path = "../tests/harness/otlp.rs"]
mod otlp;
mod rebuild;
mod server;
mod traces;

use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result};
use numbers::Gate;
use read_model::Catalogue;
use server::Server;

#[derive(Debug, Clone, Copy)]
struct Options {
    rounds: usize,
    /// How long one design is measured in a round, at most.
    window: Duration,
    /// All, if none is asked for.
    part: Option<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Append,
    Apply,
    Isolation,
    Rebuild,
    Freshness,
    Traces,
    Eta,
}

#[tokio::main]
async fn main() -> Result<()> {
    // `cargo test --all-targets` starts benchmarks, too, without this argument.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("nothing to test; measure with: cargo bench -p projections --bench fleet");
        return Ok(());
    }
    let options = Options {
        rounds: variable("FLEET_BENCH_ROUNDS", 5)?,
        window: Duration::try_from_secs_f64(variable("FLEET_BENCH_SECONDS", 1.0)?).context("FLEET_BENCH_SECONDS")?,
        part: arguments.iter().find_map(|argument| match argument.as_str() {
            "append" => Some(Part::Append),
            "apply" => Some(Part::Apply),
            "isolation" => Some(Part::Isolation),
            "rebuild" => Some(Part::Rebuild),
            "freshness" => Some(Part::Freshness),
            "traces" => Some(Part::Traces),
            "eta" => Some(Part::Eta),
            _ => None,
        }),
    };
    // A task like those of the fleet: what `main` itself awaits runs outside of the runtime's workers.
    tokio::spawn(measure(options)).await?
}

/// The topics and read models of the sample.
fn catalogue() -> &'static Catalogue {
    static CATALOGUE: LazyLock<Catalogue> =
        LazyLock::new(|| projections::program().build().expect("the program has tests").catalogue().clone());
    &CATALOGUE
}

async fn measure(options: Options) -> Result<()> {
    let server = Server::start().await?;
    println!("{}", machine::describe(&server).await?);

    let mut gates: Vec<Gate> = Vec::new();
    if options.part.is_none_or(|part| part == Part::Append) {
        println!("## Append\n");
        gates.extend(append::measure(&server, options).await?);
    }
    if options.part.is_none_or(|part| part == Part::Apply) {
        println!("## Apply\n");
        gates.extend(apply::measure(&server, options).await?);
    }

    if options.part.is_none_or(|part| part == Part::Isolation) {
        println!("## Isolation\n");
        gates.extend(isolation::measure(&server, options).await?);
    }

    if options.part.is_none_or(|part| part == Part::Rebuild) {
        println!("## Rebuild\n");
        gates.extend(rebuild::measure(&server, options).await?);
    }

    if options.part.is_none_or(|part| part == Part::Freshness) {
        println!("## Freshness while a read model is rebuilt\n");
        gates.extend(freshness::measure(&server, options).await?);
    }

    if options.part.is_none_or(|part| part == Part::Traces) {
        println!("## Traces\n");
        gates.extend(traces::measure(&server, options).await?);
    }

    // Takes a quarter of an hour and more, so only if it is asked for.
    if options.part == Some(Part::Eta) {
        println!("## When a rebuild ends\n");
        gates.extend(eta::measure(&server, options).await?);
    }

    println!("## Targets\n");
    println!("| what | target | reached | |\n| --- | --- | --- | --- |");
    for gate in gates {
        println!("{gate}");
    }
    println!("\nLoad average at the end: {}.", machine::load());
    server.stop().await
}

fn variable<T>(name: &str, default: T) -> Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is not a number: {text:?}")),
        Err(_) => Ok(default),
    }
}
