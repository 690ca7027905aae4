//! A store that moves: export into an empty one gives the same events and the same read models.

use std::io::Cursor;
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

use event_store::read::Filter;
use fleet::client;
use fleet::commands::{export, import};
use indicatif::ProgressBar;

use crate::harness::client::{SAMPLE_EVENTS, load_sample};
use crate::harness::{Fleet, Process, expected};
use crate::sample::all;

#[tokio::test]
async fn an_export_imported_into_an_empty_store_gives_the_same_events_and_read_models() {
    let (here, there) = (Fleet::new().await, Fleet::apart().await);
    let from = here.event_store().await;
    load_sample(&from).await;
    load_sample(&from).await;
    assert_eq!(here.database.head().await.0, SAMPLE_EVENTS, "a second import of the same file appends nothing");

    // The pipe itself: two processes, as a person would type it.
    let to = there.event_store().await;
    let fleet = env!("CARGO_BIN_EXE_fleet");
    let pipe = format!("FLEET_GRPC={} '{fleet}' export | FLEET_GRPC={} '{fleet}' import -", from.grpc(), to.grpc());
    let status = tokio::task::spawn_blocking(move || std::process::Command::new("sh").args(["-c", &pipe]).status())
        .await
        .unwrap()
        .unwrap();
    assert!(status.success());

    // And once more into the store that it came from: nothing is new, and nothing is refused, whatever the keys of before were.
    let mut export = Vec::new();
    export::export(&client::EventStore::at(&from.grpc()), &mut export).await.unwrap();
    let (count, export) =
        (export.split_inclusive(|byte| *byte == b'\n').count() as u64, String::from_utf8(export).unwrap());
    let some = export.lines().take(500).collect::<Vec<_>>().join("\n");
    let back = async |lines: String| {
        import::import(&client::EventStore::at(&from.grpc()), Cursor::new(lines), &ProgressBar::hidden()).await.unwrap()
    };
    let summary = back(some.clone()).await;
    assert_eq!((count as i64, summary.requests, summary.known, summary.refused), (SAMPLE_EVENTS, 500, 500, 0));
    // What says something else of an event that is there is refused.
    let other = some.replacen("\"event_data\":{", "\"event_data\":{\"other\":1,", 1);
    let summary = back(other).await;
    assert_eq!((summary.known, summary.refused, summary.existing), (499, 1, 1));
    assert_eq!(here.database.head().await.0, SAMPLE_EVENTS);

    let one = all(&here, &Filter::default()).await;
    let other = all(&there, &Filter::default()).await;
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(&other) {
        assert_eq!(one.position, other.position);
        assert_eq!(one.event_id, other.event_id);
        assert_eq!((one.aggregate_id, one.version), (other.aggregate_id, other.version));
        assert_eq!(one.data.aggregate_type, other.data.aggregate_type);
        assert_eq!(one.data.event_type, other.data.event_type);
        assert_eq!(one.data.event_data.get(), other.data.event_data.get());
        assert_eq!(one.data.metadata, other.data.metadata);
        assert_eq!(one.occurred_at, other.occurred_at);
    }
    let _workers = there.workers(&to).await;
    there.database.settled(SAMPLE_EVENTS, Duration::from_secs(240)).await;
    expected::assert_sample(&there.database.pool).await;
}

#[tokio::test]
async fn an_import_waits_out_a_restart_of_the_store_and_appends_nothing_twice() {
    let fleet = Fleet::new().await;
    let mut store = fleet.event_store().await;
    let grpc = store.grpc();
    let at = client::EventStore::at(&grpc);
    let importing = tokio::spawn(async move {
        import::import(&at, Cursor::new(crate::harness::client::SAMPLE), &ProgressBar::hidden()).await
    });
    for part in [2_000, 8_000] {
        crate::harness::eventually("the import is under way", Duration::from_secs(120), async || {
            let head = fleet.database.head().await.0;
            if head >= part { Ok(()) } else { Err(format!("{head}")) }
        })
        .await;
        store.kill();
        store = fleet.event_store_at(&grpc).await;
    }
    let summary = importing.await.unwrap().unwrap();
    assert_eq!(summary.refused, 0);
    assert_eq!(fleet.database.head().await.0, SAMPLE_EVENTS);
}

#[tokio::test]
async fn a_line_that_cannot_be_read_stops_the_import_by_its_number() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut first = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(flate2::read::GzDecoder::new(crate::harness::client::SAMPLE)),
        &mut first,
    )
    .unwrap();
    let at = client::EventStore::at(&store.grpc());
    let input = Cursor::new(format!("{first}\n{{\"no\":1}}\n"));
    let error = import::import(&at, input, &ProgressBar::hidden()).await.unwrap_err();
    assert!(format!("{error:#}").contains("line 3 is not an append request"), "{error:#}");
    assert_eq!(fleet.database.head().await.0, 1, "what came before it is imported");
}

#[tokio::test]
async fn a_command_that_finds_no_fleet_says_where_it_looked() {
    for (command, variable) in [("status", "FLEET_HTTP"), ("export", "FLEET_GRPC")] {
        let builder = Process::builder(command).arg("--wait").arg("0").env(variable, "127.0.0.1:1");
        let (status, _, error) = builder.output().await;
        assert_eq!(status.code(), Some(5));
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains("127.0.0.1:1") && error.contains(variable), "{error}");
    }
}

#[tokio::test]
async fn an_export_of_an_empty_store_is_empty() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut output = Vec::new();
    let summary = export::export(&client::EventStore::at(&store.grpc()), &mut output).await.unwrap();
    assert_eq!((summary, output.len()), (export::Summary::default(), 0));
}

#[tokio::test]
async fn an_export_that_fails_leaves_what_was_there_and_takes_the_place_of_files_alone() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let dir = tempfile::tempdir().unwrap();
    let (file, pipe, link) = (dir.path().join("all.ndjson"), dir.path().join("pipe"), dir.path().join("link"));
    std::fs::write(&file, "of yesterday").unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut reader = std::process::Command::new("cat").arg(&pipe).spawn().unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let export = async |to: &std::path::Path, grpc: &str| {
        let builder = fleet.process("export").await.env("FLEET_GRPC", grpc).env("FLEET_WAIT", "1");
        builder.arg(to.to_str().unwrap()).output().await.0.success()
    };
    assert!(!export(&file, "127.0.0.1:1").await);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "of yesterday");
    assert!(!dir.path().join("all.ndjson.part").exists());
    assert!(export(&pipe, &store.grpc()).await);
    assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo(), "it is still what it was");
    assert!(reader.wait().unwrap().success());
    assert!(export(&link, &store.grpc()).await);
    assert!(link.is_symlink() && std::fs::read_to_string(&file).unwrap().is_empty(), "the store has nothing");
}
