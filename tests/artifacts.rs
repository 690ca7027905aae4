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
