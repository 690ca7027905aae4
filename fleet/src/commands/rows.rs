//! `fleet rows`: what is in a read model.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use indicatif::HumanBytes;
use serde_json::value::RawValue;
use workers::admin::rows::{Looking, Of, Page, Tables};

use super::actor::Actor;
use super::out;
use super::table::{self, Table, numbers, or_dash, words};
use super::words::many;
use crate::client;

/// Rows of one request.
const PAGE: i64 = 100;

#[derive(Debug, Args)]
pub struct Options {
    /// The projection.
    projection: String,
    /// Rows of this table. Without it: which tables there are. That you looked, and why, is recorded.
    #[arg(requires = "reason")]
    table: Option<String>,
    /// COLUMN=VALUE: those whose column has this value, written as Postgres writes it. COLUMN alone: those where it has none.
    #[arg(long = "where", value_name = "COLUMN=VALUE", requires = "table")]
    filter: Vec<String>,
    /// What is shown of a row, separated by commas; without it everything.
    #[arg(long, value_delimiter = ',', requires = "table")]
    columns: Vec<String>,
    /// How many rows at most.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=10_000), requires = "table")]
    limit: i64,
    /// The number of a generation, as `fleet generations` has it; without it the one that is read.
    #[arg(long)]
    generation: Option<i32>,
    /// As JSON, for programs; one table or row a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    by: Actor,
    #[command(flatten)]
    api: client::AdminApi,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    match options.table.clone() {
        Some(table) => rows(options, table).await?,
        None => tables(&options).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn tables(Options { projection, generation, json, api, .. }: &Options) -> Result<()> {
    let path = format!("/admin/v1{}", client::path(["projections", projection, "tables"]));
    let shown: Tables = api.get(&path, &Of { generation: *generation }).await?;
    if *json {
        return shown.tables.iter().try_for_each(out::json);
    }
    out::line(format!("generation {} of {projection}, built by version {}", shown.generation, shown.version))?;
    for of in &shown.tables {
        let what = match of.rows {
            _ if of.view => "a view".to_owned(),
            None => "how many rows, Postgres has not counted yet".to_owned(),
            Some(rows) if of.bytes == 0 => format!("about {}", many(rows, "row")),
            Some(rows) => format!("about {}, {}", many(rows, "row"), HumanBytes(of.bytes.unsigned_abs())),
        };
        out::line(format!("\n{}: {what}", of.name))?;
        let mut table = Table::new([words("COLUMN", 24), words("TYPE", 24), numbers("KEY", 3), words("", 0)]);
        for column in &of.columns {
            let key = of.key.iter().position(|name| *name == column.name).map(|at| at + 1);
            let nullable = if column.nullable && !of.view { "may have no value" } else { "" };
            table.row(&[column.name.clone(), column.data_type.clone(), or_dash(key), nullable.to_owned()])?;
        }
    }
    if shown.tables.is_empty() {
        out::line("it has no tables")?;
    }
    Ok(())
}

async fn rows(options: Options, table: String) -> Result<()> {
    let Options { projection, filter, columns, limit, generation, json, by, api, .. } = options;
    let filter = filter.iter().map(|one| match one.split_once('=') {
        Some((column, value)) => (column.to_owned(), Some(value.to_owned())),
        None => (one.clone(), None),
    });
    let mut looking = Looking {
        table,
        filter: filter.collect(),
        columns,
        generation,
        actor: by.actor().await?,
        reason: by.reason,
        ..Looking::default()
    };
    let path = format!("/admin/v1{}", client::path(["projections", &projection, "rows"]));
    let (mut shown, mut most) = (0, limit);
    loop {
        looking.limit = Some(PAGE.min(most));
        let page: Page = api.ask(&path, &looking).await?;
        shown += page.rows.len();
        most -= page.rows.len() as i64;
        if json {
            page.rows.iter().try_for_each(out::json)?;
        } else {
            people(&page)?;
        }
        looking.after = page.next;
        if looking.after.is_none() || most <= 0 {
            if page.more {
                out::complain(format!("there are more than these {shown}: see --where and --limit"));
            } else if shown == 0 && !json {
                let alone = looking.filter.iter().find(|(_, value)| value.is_none());
                let none = alone.map_or(String::new(), |(column, _)| {
                    format!(": {column} alone asks for those that have none; {column}=VALUE for others")
                });
                out::line(format!("generation {} has no such row{none}", page.generation))?;
            }
            return Ok(());
        }
    }
}

/// A row that is too large for an answer is only named.
fn people(page: &Page) -> Result<()> {
    let names: Vec<_> = page.columns.iter().map(String::as_str).collect();
    let mut rows = Vec::new();
    for row in &page.rows {
        let Some(row) = &row.row else {
            let key: Vec<_> = row.key.iter().map(|(column, value)| format!("{column}={value}")).collect();
            let size = HumanBytes(row.bytes.unsigned_abs());
            out::complain(format!("{}: {size}, which is too much for an answer: see --columns", key.join(" ")));
            continue;
        };
        let columns: BTreeMap<&str, &RawValue> = serde_json::from_str(row.get()).context("reading a row")?;
        rows.push(names.iter().map(|name| columns.get(name).map_or_else(String::new, |value| cell(value))).collect());
    }
    if rows.is_empty() { Ok(()) } else { table::show(&names, &rows) }
}

/// A text as it is, but for what could move the cursor; everything else digit for digit; nothing for no value.
fn cell(value: &RawValue) -> String {
    let text = match value.get() {
        "null" => return String::new(),
        json => serde_json::from_str(json).unwrap_or_else(|_| json.to_owned()),
    };
    text.chars()
        .flat_map(|letter| if letter.is_control() { letter.escape_default().collect() } else { vec![letter] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_what_the_row_says_and_moves_no_cursor() {
        for (json, shown) in [
            ("null", ""),
            (r#""""#, ""),
            (r#""two words""#, "two words"),
            ("12345678901234567890.10", "12345678901234567890.10"),
            (r#"{"a": [1]}"#, r#"{"a": [1]}"#),
            (r#""\u001b[2J\nx""#, "\\u{1b}[2J\\nx"),
        ] {
            assert_eq!(cell(serde_json::from_str(json).expect(json)), shown);
        }
    }
}
