//! What is shown is true: the sample environment, the compose file, the alerts and their runbooks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::CommandFactory;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every environment variable that the command line knows.
fn variables() -> BTreeSet<String> {
    let mut command = fleet::cli::Cli::command();
    command.build();
    let mut known = BTreeSet::new();
    let mut commands = vec![&command];
    while let Some(command) = commands.pop() {
        let names = command.get_arguments().filter_map(|arg| arg.get_env());
        known.extend(names.map(|name| name.to_string_lossy().into_owned()));
        commands.extend(command.get_subcommands());
    }
    known
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
fn the_compose_file_speaks_the_binarys_language() {
    let text = read("docker-compose.yml");
    let known = variables();
    let ours = text.lines().map(str::trim).filter_map(|line| line.split_once(':')).map(|(name, _)| name);
    for name in ours.filter(|name| name.starts_with("FLEET_")) {
        assert!(known.contains(name), "{name} is not a variable of the binary");
    }
    for topic in events::TOPICS {
        assert!(text.contains(topic.name), "no worker for {topic}");
    }
}

#[test]
fn every_alert_has_a_runbook() {
    let alerts = read("deploy/prometheus/alerts.yaml");
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let runbook = read(&format!("docs/runbooks/{name}.md"));
        assert!(runbook.contains(name));
    }
}
