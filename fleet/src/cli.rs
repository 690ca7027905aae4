//! The command line: roles, and commands against a running fleet. Every setting is a flag; those of a deployment are environment
//! variables, too, which `.env.sample` lists.

use std::process::ExitCode;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use read_model::Catalogue;

use crate::exit::Exit;
use crate::origin::Origin;
use crate::{called, commands, dev, examples, roles, shutdown, telemetry};

/// A fleet of projection workers: keeps read models equal to the fold of an event store, whatever the bus does.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = Exit::help())]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Without a command: `fleet dev`.
    #[command(flatten)]
    dev: dev::Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs everything in this one process, on a Postgres and a bus that it finds or starts.
    Dev(dev::Options),
    /// Runs the event store: gRPC append and read, and the relay.
    EventStore(roles::event_store::Options),
    /// Runs the worker of one topic.
    Worker(roles::worker::Options),
    /// Builds parts of a rebuild that was asked for, and ends: a task of a job. Exit code 0: its parts are built.
    Build(roles::build::Options),
    /// Runs the admin API of the whole fleet, and measures lag.
    Admin(roles::admin::Options),
    /// Brings the database up to date, and ends.
    Migrate(roles::migrate::Options),
    /// Appends the requests of a file (.ndjson, .ndjson.gz, or - for standard input). May be repeated and resumed:
    /// requests with an idempotency key are appended once.
    Import(commands::import::Options),
    /// Writes the whole store in the format that import reads.
    Export(commands::export::Options),
    /// Asks what whoever is on call asks, in order, and says which runbook to open; exit code 0 healthy, 3 not, 5 nobody answers.
    Doctor(commands::doctor::Options),
    /// Shows how far each projection is.
    Status(commands::status::Options),
    /// Looks at one aggregate: its events, and how far each projection is with it.
    Inspect(commands::inspect::Options),
    /// Shows the tables of a read model, or rows of one of them; that you looked at rows, and why, is recorded.
    Rows(commands::rows::Options),
    /// Asks a role whether it is ready, for container health checks; exit code 0, 3 or 5.
    Healthcheck(commands::healthcheck::Options),
    /// Waits until a read model has what was appended: read your writes; exit code 0 reached, 3 not, 1 never.
    WaitFor(commands::wait_for::Options),
    /// Applies what is unsettled in a selection of the store, and follows it to the end.
    Replay(commands::replay::Options),
    /// Builds a read model anew from the store, beside the one that is read.
    Rebuild(commands::generations::RebuildOptions),
    /// Compares the rows that are read with what the store folds to, row by row; exit code 1 if one differs.
    Verify(commands::generations::Verify),
    /// Puts a generation that was built in the place of the one that is read.
    Promote(commands::generations::Exchange),
    /// Puts the generation back that was read before.
    Rollback(commands::generations::Exchange),
    /// Drops the tables of a generation that is not read. It cannot be taken back.
    Retire(commands::generations::Retire),
    /// The generations of a projection: which is read, which is built, which can be taken back to.
    Generations(commands::generations::Show),
    /// Has nothing applied to a projection for now: its events stay in the store until it goes on.
    Pause(commands::pause::PauseOptions),
    /// Ends the pause of a projection: it goes on where it was.
    Resume(commands::pause::ResumeOptions),
    /// What is parked: look at it, try it again, go on without it.
    DeadLetters(commands::dead_letters::Options),
    /// Events of the store that no reader can be given: which, why, and as much of one as can be said.
    Unreadable(commands::unreadable::Options),
    /// Messages that the bus never took: which, and why.
    Refused(commands::refused::Options),
    /// What was asked for, and how far it is.
    Operations(commands::operations::Options),
    /// What to do about an alert, or what `doctor` has found.
    Runbook(commands::runbook::Options),
    /// Who waits for whom in the database.
    Locks(commands::locks::Options),
    /// Who has taken what on: relays their topics, workers their read models.
    Leases(commands::leases::Options),
    /// Who did what, and why.
    Audit(commands::audit::Options),
    /// Forgets bookkeeping that is old: idempotency keys, operations, discarded events, the audit log. An event store does it each hour.
    Prune(commands::prune::Options),
    /// Makes a token for somebody who has no account with Google.
    Token(commands::token::Options),
    /// The topics that this program needs, with their subscriptions and dead letters.
    Topics(commands::topics::Options),
    /// A database with all tables of the fleet and of this program, for `cargo sqlx prepare` and the like.
    Schema(commands::schema::Options),
    /// The description of the admin API, in OpenAPI 3.1.
    Openapi,
    /// What a shell needs to complete this command line.
    Completion(commands::completion::Options),
    /// Writes the manual: a page for each command.
    Man(commands::man::Options),
}

/// The error of a command line that is not understood, with the usage of its command. What clap would say there names every option
/// that has a value, from a variable or by default, as if it had to be given.
pub fn explained(mut error: clap::Error, mut command: clap::Command) -> clap::Error {
    if error.get(ContextKind::Usage).is_none() {
        return error;
    }
    command.build();
    for word in std::env::args().skip(1) {
        command = command.find_subcommand(&word).cloned().unwrap_or(command);
    }
    if error.kind() == ErrorKind::ArgumentConflict && error.get(ContextKind::InvalidSubcommand).is_some() {
        let tip = "what is said to a command comes after its name".into();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    let usage = command.render_usage();
    error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    error
}

/// The command line, with the names of a program's topics.
pub fn command(catalogue: &Catalogue) -> clap::Command {
    let topics: Vec<_> = catalogue.topics().iter().map(|topic| topic.name).collect();
    let topics = PossibleValuesParser::new(topics);
    let command = Cli::command().long_version(Origin::get().long_version());
    let command =
        command.mut_subcommand("worker", |worker| worker.mut_arg("topic", |topic| topic.value_parser(topics)));
    let program = called::program();
    let command = command.bin_name(&program);
    let topic = catalogue.topics().first().map_or("order-events", |topic| topic.name);
    let projection = catalogue.projections().first().map_or("orders", |projection| projection.name());
    examples::on(command, examples::Named { program: &program, topic, projection })
}

impl Cli {
    /// Runs the command to its end, for a program of these topics and read models; `sample` is the history that `dev` loads.
    ///
    /// # Errors
    /// It did not work; the error is one line that says what to do.
    pub async fn run(self, catalogue: &Catalogue, sample: Option<&'static [u8]>) -> Result<ExitCode> {
        let done = |()| ExitCode::SUCCESS;
        match self.command.unwrap_or(Command::Dev(self.dev)) {
            Command::Dev(options) => dev::run(catalogue, sample, options, shutdown::signal()?).await.map(done),
            Command::EventStore(options) => {
                let _telemetry = telemetry::begin("event-store", &options.telemetry)?;
                roles::event_store::run(catalogue, options, shutdown::signal()?).await.map(done)
            }
            Command::Worker(options) => {
                let _telemetry = telemetry::begin("worker", &options.telemetry)?;
                roles::worker::run(catalogue, options, shutdown::signal()?).await
            }
            Command::Build(options) => {
                let _telemetry = telemetry::begin("build", &options.telemetry)?;
                roles::build::run(catalogue, options, shutdown::signal()?).await
            }
            Command::Admin(options) => {
                let _telemetry = telemetry::begin("admin", &options.telemetry)?;
                roles::admin::run(catalogue, options, shutdown::signal()?).await.map(done)
            }
            Command::Migrate(options) => {
                telemetry::init("migrate", &options.log)?;
                roles::migrate::run(catalogue, &options).await.map(done)
            }
            Command::Import(options) => commands::import::run(catalogue, options).await,
            Command::Export(options) => commands::export::run(options).await,
            Command::Doctor(options) => commands::doctor::run(options).await,
            Command::Status(options) => commands::status::run(options).await,
            Command::Inspect(options) => commands::inspect::run(options).await,
            Command::Rows(options) => commands::rows::run(options).await,
            Command::Healthcheck(options) => commands::healthcheck::run(options).await,
            Command::WaitFor(options) => commands::wait_for::run(options).await,
            Command::Replay(options) => commands::replay::run(options).await,
            Command::Rebuild(options) => commands::generations::rebuild(options).await,
            Command::Verify(options) => commands::generations::verify(options).await,
            Command::Promote(options) => commands::generations::promote(options).await,
            Command::Rollback(options) => commands::generations::rollback(options).await,
            Command::Retire(options) => commands::generations::retire(options).await,
            Command::Generations(options) => commands::generations::show(options).await,
            Command::Pause(options) => commands::pause::pause(options).await,
            Command::Resume(options) => commands::pause::resume(options).await,
            Command::DeadLetters(options) => commands::dead_letters::run(options).await,
            Command::Unreadable(options) => commands::unreadable::run(options).await,
            Command::Refused(options) => commands::refused::run(options).await,
            Command::Operations(options) => commands::operations::run(options).await,
            Command::Runbook(options) => commands::runbook::run(options),
            Command::Locks(options) => commands::locks::run(options).await,
            Command::Leases(options) => commands::leases::run(options).await,
            Command::Audit(options) => commands::audit::run(options).await,
            Command::Prune(options) => commands::prune::run(options).await,
            Command::Token(options) => commands::token::run(&options),
            Command::Topics(options) => commands::topics::run(catalogue, &options),
            Command::Schema(options) => commands::schema::run(catalogue, options, shutdown::signal()?).await,
            Command::Openapi => commands::openapi::run(),
            Command::Completion(options) => commands::completion::run(command(catalogue), &options),
            Command::Man(options) => commands::man::run(command(catalogue), &options),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
