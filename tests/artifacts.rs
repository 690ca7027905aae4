//! What is shown is true: the sample environment, the alerts and their runbooks.

use std::collections::BTreeSet;

use crate::harness::container::variables;
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
fn every_alert_has_a_runbook() {
    let alerts = read("deploy/prometheus/alerts.yaml");
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let runbook = read(&format!("docs/runbooks/{name}.md"));
        assert!(runbook.contains(name));
    }
}
