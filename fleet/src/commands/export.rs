//! `fleet export`: writes the whole store in the format that import reads, one event a line, in position order.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use clap::Args;
use event_store::proto::{ReadAllRequest, RecordedEvent, read_all_request};
use events::{AppendLine, EventLine, Version};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::value::RawValue;

use super::out;
use crate::client;
use crate::exit::Exit;

#[derive(Debug, Args)]
pub struct Options {
    /// Where to write: .ndjson, .ndjson.gz, or - for standard output. Until all of it is there it is called FILE.part, which an
    /// export that was interrupted leaves behind, and which may be deleted.
    #[arg(default_value = "-")]
    pub file: PathBuf,
    #[command(flatten)]
    pub store: client::EventStore,
}

/// What became of the events of the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub events: u64,
    /// In the store, and left out: the store cannot give them to anybody.
    pub unreadable: u64,
}

/// Fails, with a whole file, if events had to be left out.
pub async fn run(options: Options) -> Result<ExitCode> {
    let summary = if options.file == Path::new("-") {
        export(&options.store, &mut BufWriter::new(io::stdout())).await?
    } else {
        to_file(&options).await?
    };
    if summary.unreadable > 0 {
        let Summary { events, unreadable } = summary;
        out::complain(format!("{events} events exported, {unreadable} left out because they cannot be read"));
        return Ok(Exit::Failure.into());
    }
    Ok(ExitCode::SUCCESS)
}

/// What was in the file stays there until the new one is whole.
async fn to_file(options: &Options) -> Result<Summary> {
    let file = fs::canonicalize(&options.file).unwrap_or_else(|_| options.file.clone());
    let part = part_of(&file);
    let exported = written(options, &part).await;
    if part == file {
        return exported;
    }
    if exported.is_err() {
        let _ = fs::remove_file(&part);
        return exported;
    }
    let synced = File::open(&part).and_then(|written| written.sync_all());
    synced.and_then(|()| fs::rename(&part, &file)).with_context(|| format!("putting {} in place", file.display()))?;
    exported
}

/// Beside it; a pipe or a device, which nothing may take the place of, is written to as it is.
fn part_of(file: &Path) -> PathBuf {
    if fs::metadata(file).is_ok_and(|there| !there.is_file()) {
        return file.to_owned();
    }
    let mut part = file.to_owned().into_os_string();
    part.push(".part");
    part.into()
}

async fn written(options: &Options, part: &Path) -> Result<Summary> {
    let mut output = BufWriter::new(File::create(part).with_context(|| format!("creating {}", part.display()))?);
    if options.file.extension().is_none_or(|extension| extension != "gz") {
        return export(&options.store, &mut output).await;
    }
    let mut output = GzEncoder::new(output, Compression::default());
    let summary = export(&options.store, &mut output).await?;
    out::said(output.finish().and_then(|mut file| file.flush()))?;
    Ok(summary)
}

/// Writes everything that can be read. What cannot is said on standard error: a file with its place but without its data
/// would be imported as something that never happened.
pub async fn export(store: &client::EventStore, output: &mut impl Write) -> Result<Summary> {
    let mut patience = store.patience();
    let mut last = 0;
    let mut summary = Summary::default();
    'connect: loop {
        let mut client = store.connect(&mut patience).await?;
        let request =
            ReadAllRequest { from: Some(read_all_request::From::FromPosition(last + 1)), ..ReadAllRequest::default() };
        let asked = patience.answer(client.read_all(request)).await;
        let mut events = match store.heard(asked).await? {
            Ok(response) => response.into_inner(),
            Err(status) if client::unavailable(&status) && patience.wait(&store.gone(&status)).await => continue,
            Err(status) => return Err(store.refusal(&status, "the event store refuses the export").await),
        };
        loop {
            match store.heard(patience.answer(events.message()).await).await? {
                Ok(Some(event)) => {
                    last = event.position;
                    if let Some(reason) = &event.unreadable {
                        summary.unreadable += 1;
                        out::complain(format!(
                            "position {}: {} {} (version {} of {} {}) is left out: {reason}",
                            event.position,
                            event.event_type,
                            event.event_id,
                            event.event_version,
                            event.aggregate_type,
                            event.aggregate_id
                        ));
                        patience.renew();
                        continue;
                    }
                    summary.events += 1;
                    let mut line = serde_json::to_vec(&line(event)?).context("writing an event")?;
                    line.push(b'\n');
                    out::said(output.write_all(&line))?;
                    // Whoever reads what is written may take their time.
                    patience.renew();
                }
                Ok(None) => break 'connect,
                Err(status) if client::unavailable(&status) && patience.wait(&store.gone(&status)).await => {
                    continue 'connect;
                }
                Err(status) => return Err(store.refusal(&status, "the event store ended the export").await),
            }
        }
    }
    out::said(output.flush())?;
    Ok(summary)
}

fn line(event: RecordedEvent) -> Result<AppendLine> {
    let position = event.position;
    let unreadable = || format!("the event at position {position} cannot be read");
    let raw = |json: String| RawValue::from_string(json).with_context(unreadable);
    let time = event.occurred_at.and_then(|time| DateTime::<Utc>::from_timestamp(time.seconds, time.nanos as u32));
    Ok(AppendLine {
        aggregate_id: uuid(&event.aggregate_id).with_context(unreadable)?.into(),
        aggregate_type: event.aggregate_type,
        expected_version: Some(Version(event.event_version - 1)),
        idempotency_key: Some(format!("export:{}", event.event_id)),
        events: vec![EventLine {
            event_id: Some(uuid(&event.event_id).with_context(unreadable)?.into()),
            event_type: event.event_type,
            event_data: raw(event.event_data)?,
            metadata: raw(event.metadata)?,
            occurred_at: time.with_context(unreadable)?,
        }],
    })
}

fn uuid(text: &str) -> Result<uuid::Uuid> {
    text.parse().context("not a UUID")
}
