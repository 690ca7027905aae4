//! `fleet schema`: a database with every table that the program's SQL names, for whoever checks that SQL.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use local_servers::{Place, Postgres};
use read_model::{Catalogue, Unfit};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use workers::generations;

use super::out;
use crate::host::migrations::migrations;
use crate::roles;

/// How long a command may take to end after Ctrl-C, which its terminal has sent to it too.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub struct Options {
    /// A Postgres to use instead of one that is gone afterwards. It must not have the read models' tables yet: those that a
    /// database has may be of yesterday. The environment is not asked.
    #[arg(long)]
    database_url: Option<String>,
    /// Take the read models' tables from DIR/NAME/schema.sql, for each folder NAME that has one, instead of from this
    /// program. So a program that was built before the last change will do.
    #[arg(long, value_name = "DIR")]
    tables: Option<PathBuf>,
    /// What to run with DATABASE_URL set, for instance: cargo sqlx prepare. Without it the URL is printed, and the database
    /// stays until Ctrl-C.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// The tables of a read model, to be made in the schema that has its name.
struct Tables {
    name: String,
    sql: String,
}

/// # Errors
/// There is no Postgres to be had, a table cannot be made, or the command cannot be started. What the command itself makes
/// of it is the exit code.
pub async fn run(catalogue: &Catalogue, options: Options, stop: CancellationToken) -> Result<ExitCode> {
    let tables = match &options.tables {
        Some(folder) => found_in(folder)?,
        None => of(catalogue),
    };
    let starting = Postgres::resolve(options.database_url.as_deref(), Place::Throwaway);
    let Some(postgres) = stop.run_until_cancelled(starting).await else { return Ok(ExitCode::SUCCESS) };
    let postgres = postgres?;
    out::complain(format_args!("database  {}", postgres.choice()));
    let ended = tokio::select! {
        ended = used(&postgres, &tables, &options.command, &stop) => ended,
        died = postgres.died() => Err(died.into()),
    };
    postgres.stop().await?;
    ended
}

async fn used(
    postgres: &Postgres,
    tables: &[Tables],
    command: &[OsString],
    stop: &CancellationToken,
) -> Result<ExitCode> {
    make(postgres.url(), tables).await?;
    let url = searching(postgres.url(), tables);
    let Some((program, arguments)) = command.split_first() else {
        out::line(format_args!("DATABASE_URL={url}"))?;
        stop.cancelled().await;
        return Ok(ExitCode::SUCCESS);
    };
    let child = Command::new(program)
        .args(arguments)
        .env("DATABASE_URL", url)
        // A project that checks its SQL against descriptions says so in its settings, which this outdoes.
        .env("SQLX_OFFLINE", "false")
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("running {}", program.display()))?;
    Ok(code(ended(child, stop).await?))
}

/// The tables of the event store and of the workers, and those of the read models.
async fn make(url: &str, tables: &[Tables]) -> Result<()> {
    let mut connection = roles::pool(url, 1)?.acquire().await.context("connecting to the database")?.detach();
    let read_models = async |connection: &mut PgConnection| {
        for Tables { name, sql } in tables {
            let mut tx = connection.begin().await?;
            let begin = format!("create schema {name}; set local search_path to {name}, public");
            let begun = sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut *tx).await;
            begun.map_err(|error| anyhow!(generations::misfit(name, "", &error)))?;
            let created = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut *tx).await;
            created.map_err(|error| anyhow!(generations::misfit(name, sql, &error)))?;
            let what = read_model::unfit(&mut tx, name).await?;
            if !what.is_empty() {
                bail!(Unfit { projection: name.to_string(), what });
            }
            sqlx::raw_sql("set local search_path to default").execute(&mut *tx).await?;
            tx.commit().await?;
        }
        for Tables { name, .. } in tables {
            let others: Vec<_> =
                tables.iter().map(|other| other.name.to_string()).filter(|other| *other != **name).collect();
            let found = generations::dependents::rests_on(&mut *connection, name, &others).await?;
            if !found.is_empty() {
                bail!(generations::rests(name, &found));
            }
        }
        anyhow::Ok(Vec::new())
    };
    migrations().run(&mut connection, read_models).await?;
    connection.close().await.context("saying goodbye to the database")
}

fn of(catalogue: &Catalogue) -> Vec<Tables> {
    let tables = catalogue.projections().iter();
    tables.map(|projection| Tables { name: projection.name().into(), sql: projection.tables().into() }).collect()
}

/// In the order of their names.
fn found_in(folder: &Path) -> Result<Vec<Tables>> {
    let reading = || format!("reading {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(reading)? {
        let read_model = entry.with_context(reading)?;
        let file = read_model.path().join("schema.sql");
        if !file.is_file() {
            continue;
        }
        let name = read_model.file_name().to_string_lossy().into_owned();
        if !name.chars().all(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '_')) {
            bail!("{}: a read model's name is that of a schema, of a-z, 0-9 and _", read_model.path().display());
        }
        let sql = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        found.push(Tables { name, sql });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    if found.is_empty() {
        bail!(
            "{}: no folder in it has a schema.sql; without --tables they are those of this program's read models",
            folder.display()
        );
    }
    Ok(found)
}

/// The URL of connections for which the tables of all read models are there by their names alone, as they are for a
/// [`Projection`](read_model::Projection). Of two tables of one name the first is meant.
fn searching(url: &str, tables: &[Tables]) -> String {
    let names: Vec<_> = tables.iter().map(|tables| &*tables.name).chain(["public"]).collect();
    let first = if url.contains('?') { '&' } else { '?' };
    format!("{url}{first}options=-csearch_path%3D{}", names.join("%2C"))
}

/// Waits for the end of the command, and ends it if it goes on after `stop`.
async fn ended(mut child: Child, stop: &CancellationToken) -> Result<ExitStatus> {
    const WAITING: &str = "waiting for the command";
    if let Some(ended) = stop.run_until_cancelled(child.wait()).await {
        return ended.context(WAITING);
    }
    if let Ok(ended) = tokio::time::timeout(DRAIN, child.wait()).await {
        return ended.context(WAITING);
    }
    child.start_kill().context("ending the command")?;
    child.wait().await.context(WAITING)
}

/// As a shell says it: what was ended by a signal has 128 more than its number.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_are_searched_in_their_order_whatever_else_the_url_says() {
        let tables = ["open_orders", "totals"].map(|name| Tables { name: name.into(), sql: String::new() });
        let searching = |url| searching(url, &tables);
        assert_eq!(searching("postgres://h/d"), "postgres://h/d?options=-csearch_path%3Dopen_orders%2Ctotals%2Cpublic");
        assert!(searching("postgres://h/d?sslmode=disable").starts_with("postgres://h/d?sslmode=disable&options="));
    }

    #[test]
    fn an_exit_code_is_passed_on_and_a_signal_is_one() {
        let of = |wait| code(ExitStatus::from_raw(wait));
        assert_eq!((of(0), of(7 << 8), of(9)), (ExitCode::SUCCESS, ExitCode::from(7), ExitCode::from(137)));
    }
}
