//! The engine knows nothing of the program that is built on it. That it also compiles and passes without one, `.ci/engine` sees.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::harness::catalogue;
use crate::harness::client::SAMPLE;
use crate::harness::terraform::root;

/// The packages of the workspace that are not the program, by their folders.
fn packages() -> Vec<String> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = [")).unwrap();
    let members = members.split('"').skip(1).step_by(2).filter(|member| *member != "projections");
    members.map(str::to_owned).collect()
}

/// All files of a folder, with what they say.
fn read(folder: &Path) -> Vec<(PathBuf, String)> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    files
}

/// Whatever the sample has a name for: topics, aggregates, events, read models, tables.
fn names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for topic in catalogue().topics() {
        names.extend([topic.name.to_owned(), topic.subscription.to_owned()]);
        names.extend(topic.aggregate_types.iter().map(|&kind| kind.to_owned()));
    }
    for projection in catalogue().projections() {
        names.insert(projection.name().to_owned());
        let statements = projection.tables().split("create ").skip(1);
        let made = statements.filter_map(|made| made.strip_prefix("table ").or_else(|| made.strip_prefix("view ")));
        names.extend(made.filter_map(|made| made.split_whitespace().next()).map(str::to_owned));
    }
    let mut history = String::new();
    MultiGzDecoder::new(SAMPLE).read_to_string(&mut history).unwrap();
    for request in history.lines() {
        let events = request.split(r#""event_type":""#).skip(1);
        names.extend(events.filter_map(|event| event.split('"').next()).map(str::to_owned));
    }
    names
}

#[test]
fn no_package_of_the_engine_names_anything_of_the_sample() {
    let names = names();
    for name in ["vocabulary-events", "progress-projection", "User", "ItemCreated", "learner_journeys", "users"] {
        assert!(names.contains(name), "{name} is not found in the sample any more: is it looked for elsewhere?");
    }
    let mut found = Vec::new();
    for (file, text) in packages().iter().flat_map(|package| read(&root().join(package))) {
        for (number, line) in (1..).zip(text.lines()) {
            let words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != '-');
            for word in words.filter(|word| names.contains(*word)) {
                // `users` and `entries` are words of everybody, and names where they are quoted.
                let ordinary = word.chars().all(char::is_lowercase) && word != "vocabulary";
                if !ordinary || line.contains(&format!("\"{word}\"")) {
                    found.push(format!("{}:{number}: {word}", file.display()));
                }
            }
        }
    }
    assert_eq!(found, [""; 0], "the engine has a domain of its own, orders");
}

/// What a program with a process of its own has of its own: environment, subscriber of traces, panic hook, signals.
#[test]
fn what_belongs_to_the_process_is_left_to_it_by_the_parts() {
    const PROCESS: [&str; 8] = [
        "env::var",
        "env::args",
        "env::set_var",
        "set_global_default",
        "tracing_subscriber",
        "set_hook",
        "tokio::signal",
        "process::exit",
    ];
    let parts = ["events", "bus", "database", "event-store", "read-model", "workers"].map(|it| format!("{it}/src"));
    let parts = parts.iter().map(String::as_str).chain(["fleet/src/host"]);
    let mut files: Vec<_> = parts.flat_map(|folder| read(&root().join(folder))).collect();
    let bus = "fleet/src/bus_choice.rs";
    files.push((bus.into(), std::fs::read_to_string(root().join(bus)).unwrap()));
    for (file, text) in files {
        for word in PROCESS {
            assert!(!text.contains(word), "{}: {word}", file.display());
        }
    }
}
