//! What is shown is true: the sample environment, the alerts and their runbooks.

use std::collections::BTreeSet;

use clap::error::ErrorKind;

use crate::harness::container::{command_line, variables};
use crate::harness::terraform::root;

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_sample_environment_lists_every_variable_and_no_other() {
    let text = read(".env.sample");
    let named: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.trim_start_matches(['#', ' ']).split_once('='))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .collect();
    assert_eq!(named, variables());
}

#[test]
fn every_alert_has_a_runbook_and_two_cases_one_of_which_it_does_not_fire_in() {
    let alerts = read("deploy/prometheus/alerts.yaml");
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 20, "{names:?}");
    let cases = read("deploy/prometheus/alerts_test.yaml") + &read("deploy/prometheus/alerts_slow_test.yaml");
    let ranked = read("docs/telemetry.md");
    let severities: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("severity: ")).collect();
    for (name, severity) in names.iter().zip(&severities) {
        assert!(ranked.contains(&format!("| [{name}](runbooks/{name}.md) | {severity} | ")), "{name}, {severity}");
    }
    for name in names {
        let runbook = read(&format!("docs/runbooks/{name}.md"));
        assert!(runbook.starts_with(&format!("# {name}\n")), "{name}");
        for part in ["**Sees.**", "**Means.**", "**Do.**", "**Verify.**"] {
            assert!(runbook.contains(part), "{name} lacks {part}");
        }
        assert!(cases.contains(&format!("alertname: {name}\n")), "{name} fires in no case");
        assert!(cases.contains(&format!("alertname: {name}, exp_alerts: []")), "{name} fires in each case");
    }
}

/// What Terraform has alerts look for in the log is what the code says there.
#[test]
fn the_alerts_on_the_log_look_for_what_is_logged() {
    let terraform = read("terraform/modules/alerts/logs.tf");
    let lists = terraform.lines().filter_map(|line| line.trim().strip_prefix("messages = "));
    let messages: Vec<String> = lists.flat_map(|list| serde_json::from_str::<Vec<String>>(list).unwrap()).collect();
    assert_eq!(messages.len(), 4, "{messages:?}");
    let sources = ["fleet/src/host/worker.rs", "workers/src/dead_letters/park.rs", "workers/src/generations/verify.rs"];
    let sources: String = sources.iter().map(|path| read(path)).collect();
    for message in messages {
        assert!(sources.contains(&format!("\"{message}\"")), "nobody logs {message:?}");
    }
}

/// Commands of the fleet in a runbook: in a line of code, or in a block.
fn commands_in(text: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2).flat_map(str::lines);
    let in_blocks = blocks.filter_map(|line| line.trim().strip_prefix("$ ")).map(str::to_owned);
    let prose: String = text.split("```").step_by(2).collect();
    let quoted = prose.split('`').skip(1).step_by(2).map(|code| code.split_whitespace().collect::<Vec<_>>().join(" "));
    in_blocks.chain(quoted).filter(|command| command.starts_with("fleet ")).collect()
}

/// What a person fills in.
fn filled_in(word: &str) -> &str {
    match word {
        "PROJECTION" => "user_directory",
        "TOPIC" => "integration-events",
        "ID" | "OPERATION" | "EVENT_ID" | "AGGREGATE" => "01900000-0000-7000-8000-000000000000",
        "GENERATION" | "N" | "POSITION" => "2",
        word => word,
    }
}

#[test]
fn the_commands_of_the_runbooks_are_commands() {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("docs/runbooks")).unwrap() {
        let path = entry.unwrap().path();
        for command in commands_in(&std::fs::read_to_string(&path).unwrap()) {
            // Without what is said about it, and without what reads it.
            let command = command.split(" # ").next().unwrap_or_default().replace(" …", " x");
            let command = command.split(" | ").next().unwrap_or_default().to_owned();
            let words = shlex::split(&command).unwrap_or_else(|| panic!("{}: {command}", path.display()));
            let parsed = command_line().try_get_matches_from(words.iter().map(|word| filled_in(word)));
            seen += 1;
            let Err(error) = parsed else { continue };
            // It is spoken of without what it takes.
            let spoken_of = [ErrorKind::MissingRequiredArgument, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand];
            assert!(spoken_of.contains(&error.kind()), "{}: {command}\n{error}", path.display());
        }
    }
    assert!(seen > 60, "{seen}");
}

/// The names of tests in a text: `file::name`, `folder/file::name`, `::name`.
fn tests_named_in(text: &str) -> BTreeSet<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let named =
        quoted.filter(|name| name.contains("::") && name.chars().all(|c| c.is_alphanumeric() || "_/:".contains(c)));
    named.map(|name| name.rsplit("::").next().unwrap().to_owned()).filter(|name| name.contains('_')).collect()
}

#[test]
fn the_tests_that_reliability_rests_on_exist_and_so_do_its_seeded_bugs() {
    let text = read("docs/reliability.md");
    let mut source = String::new();
    let mut folders: Vec<_> =
        ["tests", "workers/src", "event-store/src", "events/src", "bus/src"].iter().map(|it| root().join(it)).collect();
    let mut bugs = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() => folders.push(path),
                Some("rs") => source += &std::fs::read_to_string(path).unwrap(),
                Some("patch") => _ = bugs.insert(path.file_stem().unwrap().to_str().unwrap().to_owned()),
                _ => {}
            }
        }
    }
    let names = tests_named_in(&text);
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        assert!(source.contains(&format!("fn {name}(")) || source.contains(&format!("fn {name}<")), "{name}");
    }
    for row in 1..=42 {
        assert!(text.contains(&format!("\n| {row} | ")), "row {row}");
    }
    assert!(!bugs.is_empty());
    for bug in bugs {
        assert!(text.contains(&format!("\n| `{bug}` | ")), "{bug}");
    }
}

/// The table of limits in SECURITY.md names constants, and each is where it says.
#[test]
fn the_limits_on_what_comes_from_outside_are_where_the_table_says() {
    let text = read("SECURITY.md");
    let (_, table) = text.split_once("\n## Limits").unwrap();
    let rows = table.lines().filter(|line| line.ends_with(".rs` |"));
    let mut constants = 0;
    for row in rows {
        let named = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let (names, file) = named.rsplit_once(" in ").unwrap();
        let code = read(file.trim_matches('`'));
        for name in names.split(", ").map(|name| name.trim_matches('`')) {
            assert!(code.contains(&format!("const {name}: ")), "{file} has no {name}");
            constants += 1;
        }
    }
    assert!(constants >= 30, "{constants}");
}
