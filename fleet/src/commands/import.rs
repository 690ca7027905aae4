//! `fleet import`: appends the requests of a file, in its order.
//!
//! One stream carries all requests, so that their positions rise in the file's order. What is not answered when the
//! store goes away is sent again to the one that comes back; idempotency keys make that, and a second import of the
//! same file, append nothing twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use event_store::proto::append_event_stream_response::Outcome;
use event_store::proto::event_store_client::EventStoreClient;
use event_store::proto::{
    AppendEventsRequest, AppendEventsResponse, AppendedEvent, NewEvent, ReadAggregateRequest, RecordedEvent,
};
use event_store::service::timestamp;
use events::AppendLine;
use flate2::read::MultiGzDecoder;
use identity::Channel;
use indicatif::{ProgressBar, ProgressStyle};
use read_model::Catalogue;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::out;
use super::words::many;
use crate::client;
use crate::exit::Exit;

/// Requests sent and not answered yet at most. Their bytes are what an import keeps in memory.
const IN_FLIGHT: usize = 512;

/// Types, and keys that mean nothing, that are named at most.
const SAID: usize = 5;

/// Refusals of one kind that are said, each with its line; of the rest how many.
const REFUSALS: u64 = 20;

/// The first lines of a file, of which each key is looked at: one that is misspelt is so from the beginning.
const LOOKED_AT: u64 = 1000;

/// Types that are remembered at most: a file may have as many as it has lines.
const TYPES: usize = 1000;

/// How long the store may take to show the events of one request.
const LOOKED_UP: Duration = Duration::from_secs(2);

type Client = EventStoreClient<Channel>;

#[derive(Debug, Args)]
pub struct Options {
    /// .ndjson, .ndjson.gz, or - for standard input (compressed or not).
    pub file: PathBuf,
    #[command(flatten)]
    pub store: client::EventStore,
    /// Show no progress.
    #[arg(long)]
    pub quiet: bool,
    /// What came of it as JSON, for programs, on standard output.
    #[arg(long)]
    pub json: bool,
}

/// What came of an import.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub requests: u64,
    /// Events that are in the store now: those that were appended, and those that were there.
    pub events: u64,
    /// Those of them that were there.
    pub known: u64,
    pub refused: u64,
    /// Those of them with a key, or an event, that is in the store already, perhaps as it was sent.
    pub existing: u64,
}

pub async fn run(catalogue: &Catalogue, options: Options) -> Result<ExitCode> {
    let (input, bytes) = open(&options.file)?;
    let progress = if options.quiet { ProgressBar::hidden() } else { bar(bytes) };
    let mut outcomes = Outcomes::default();
    let done = tokio::select! {
        done = append_all(&options.store, input, &progress, &mut outcomes) => done,
        pressed = tokio::signal::ctrl_c() => match pressed {
            Ok(()) => Err(Exit::Interrupted.because(
                "interrupted; what is in the store stays there, and the same import leaves out what is known by an idempotency_key or event \
                 ids",
            )),
            Err(error) => Err(error).context("listening to Ctrl-C"),
        },
    };
    progress.finish_and_clear();
    let Outcomes { summary, types, refusals, twice, unknown } = outcomes;
    if let Err(error) = done {
        // What came of it until then is no less true.
        let again = if twice > 0 { "" } else { "; the same import again leaves out what is there" };
        out::complain(format!("not all of it: {summary}{again}"));
        return Err(error);
    }
    for (code, count) in refusals.iter().filter(|(_, count)| **count > REFUSALS) {
        out::complain(format!("and {} more: {code}", many(count - REFUSALS, "line")));
    }
    out::complain(summary);
    if !unknown.is_empty() {
        let unknown = unknown.into_iter().collect::<Vec<_>>().join(", ");
        out::complain(format!("keys that mean nothing in a line, and were ignored: {unknown}"));
    }
    if let Some(nobodys) = nobodys(catalogue, &types) {
        out::complain(nobodys);
    }
    if twice > 0 {
        let twice = many(twice, "request");
        out::complain(format!(
            "without idempotency_key or event ids: {twice}; a second import appends them a second time"
        ));
    }
    if options.json {
        out::json(&summary)?;
    }
    Ok(if summary.refused > 0 { Exit::Failure } else { Exit::Good }.into())
}

/// Aggregate types and event types, the first thousand that there were, and how many events are of them.
pub type Types = BTreeMap<(String, String), u64>;

/// What no read model of this program makes anything of: it is in the store, and perhaps it was misspelt.
fn nobodys(catalogue: &Catalogue, types: &Types) -> Option<String> {
    let unknown = types.iter().filter_map(|((aggregate_type, event_type), count)| {
        let listening = catalogue.topic_of(aggregate_type).map(|topic| catalogue.listening_to(topic));
        match listening {
            None => {
                let all = catalogue.topics().iter().flat_map(|topic| topic.aggregate_types.iter().copied());
                let meant = workers::admin::nearest(aggregate_type, all);
                let meant = meant.map_or(String::new(), |meant| format!("; did you mean {meant}?"));
                Some(format!("{aggregate_type} {event_type} ({count}, on no topic{meant})"))
            }
            Some(all) if all.iter().any(|projection| workers::admin::knows(*projection, event_type)) => None,
            Some(_) => Some(format!("{aggregate_type} {event_type} ({count})")),
        }
    });
    let unknown: Vec<_> = unknown.collect();
    let more = unknown.len().saturating_sub(SAID);
    let more = if more > 0 { format!(" and {} more", many(more as u64, "type")) } else { String::new() };
    (!unknown.is_empty()).then(|| {
        let said = unknown.iter().take(SAID).map(String::as_str).collect::<Vec<_>>().join(", ");
        format!("no read model of this program makes anything of {said}{more}")
    })
}

/// A line of the file, as the request it asks for. The bytes are those read of the file so far.
struct Line {
    number: u64,
    bytes: u64,
    request: AppendEventsRequest,
}

/// Appends everything that `input` holds. Refusals are printed with their line and do not stop the import.
///
/// # Errors
/// A line cannot be read: everything before it is imported, nothing after it. Or no store answers.
pub async fn import(
    store: &client::EventStore,
    input: impl Read + Send + 'static,
    progress: &ProgressBar,
) -> Result<Summary> {
    let mut outcomes = Outcomes::default();
    append_all(store, input, progress, &mut outcomes).await?;
    Ok(outcomes.summary)
}

/// What came of an import, with what may have been meant in another way.
#[derive(Debug, Default)]
struct Outcomes {
    summary: Summary,
    /// Of what was appended.
    types: Types,
    /// By their code.
    refusals: BTreeMap<String, u64>,
    /// Requests that a second import would append a second time.
    twice: u64,
    /// Keys of lines that mean nothing.
    unknown: BTreeSet<String>,
}

/// The same, with more to say.
async fn append_all(
    store: &client::EventStore,
    input: impl Read + Send + 'static,
    progress: &ProgressBar,
    outcomes: &mut Outcomes,
) -> Result<()> {
    let (line_sender, mut lines) = mpsc::channel(IN_FLIGHT);
    let reading = tokio::task::spawn_blocking(move || read(input, &line_sender));
    let mut unanswered: VecDeque<Line> = VecDeque::new();
    let mut patience = store.patience();
    let mut ended = false;

    while !(ended && unanswered.is_empty()) {
        let mut client = store.connect(&mut patience).await?;
        let (sender, requests) = mpsc::channel(2 * IN_FLIGHT);
        for line in &unanswered {
            sender.try_send(line.request.clone()).context("the channel has room for all that is unanswered")?;
        }
        let mut sender = (!ended).then_some(sender);
        let asked = patience.answer(client.append_event_stream(ReceiverStream::new(requests))).await;
        let mut answers = match store.heard(asked).await? {
            Ok(response) => response.into_inner(),
            Err(status) if client::unavailable(&status) && patience.wait(&store.gone(&status)).await => continue,
            Err(status) => return Err(store.refusal(&status, "the event store refuses the import").await),
        };
        loop {
            tokio::select! {
                line = lines.recv(), if sender.is_some() && unanswered.len() < IN_FLIGHT => match line {
                    Some(line) => {
                        if unanswered.is_empty() {
                            patience.again();
                        }
                        if let Some(sender) = &sender {
                            // A closed stream is noticed by its answers.
                            let _ = sender.try_send(line.request.clone());
                        }
                        unanswered.push_back(line);
                    }
                    None => {
                        patience.again();
                        ended = true;
                        // Ends the stream of requests, so that the answers end, too.
                        sender = None;
                    }
                },
                answer = patience.answer(answers.message()), if !unanswered.is_empty() || sender.is_none() => match store.heard(answer).await? {
                    Ok(Some(answer)) => {
                        let line = unanswered.pop_front().ok_or_else(|| anyhow!("more answers than requests"))?;
                        patience.renew();
                        progress.set_position(line.bytes);
                        let outcome = there(&client, &line.request, answer.outcome).await;
                        outcomes.count(line, outcome);
                        progress.set_message(outcomes.summary.events.to_string());
                    }
                    Ok(None) if ended && unanswered.is_empty() => break,
                    Ok(None) => break,
                    Err(status) if client::unavailable(&status) => {
                        if !patience.wait(&store.gone(&status)).await {
                            return Err(store.refusal(&status, "the event store went away").await);
                        }
                        break;
                    }
                    Err(status) => return Err(store.refusal(&status, "the event store ended the import").await),
                },
            }
        }
    }
    outcomes.unknown = reading.await.context("reading the file")??;
    Ok(())
}

/// A request that is refused because the store has its event ids is one that was appended, if what the store has is what the request
/// says: as when an export is imported where it came from. It is looked up at the version that the request names.
async fn there(client: &Client, request: &AppendEventsRequest, outcome: Option<Outcome>) -> Option<Outcome> {
    if let Some(Outcome::Refused(refusal)) = &outcome
        && Code::from_i32(refusal.code) == Code::AlreadyExists
        && request.events.iter().all(|event| event.event_id.is_some())
        && let Ok(Ok(Some(events))) = tokio::time::timeout(LOOKED_UP, stored(client.clone(), request)).await
    {
        return Some(Outcome::Appended(AppendEventsResponse { events, known: true }));
    }
    outcome
}

/// The events of a request, if all of them are in the store as the request says them.
async fn stored(mut client: Client, request: &AppendEventsRequest) -> Result<Option<Vec<AppendedEvent>>, Status> {
    let Some(expected) = request.expected_version else { return Ok(None) };
    let last = expected.saturating_add(i32::try_from(request.events.len()).unwrap_or(i32::MAX));
    let (aggregate_id, from_version) = (request.aggregate_id.clone(), expected.saturating_add(1));
    let range = ReadAggregateRequest { aggregate_id, from_version, to_version: Some(last) };
    let mut stored = client.read_aggregate(range).await?.into_inner();
    let mut events = Vec::new();
    for sent in &request.events {
        match stored.message().await? {
            Some(event) if event.aggregate_type == request.aggregate_type && same(sent, &event) => {
                let RecordedEvent { event_id, event_version, position, .. } = event;
                events.push(AppendedEvent { event_id, event_version, position });
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(events))
}

/// Letter by letter, as an export has it: JSON that was read as numbers could be equal and say something else.
fn same(sent: &NewEvent, stored: &RecordedEvent) -> bool {
    sent.event_id.as_ref() == Some(&stored.event_id)
        && sent.event_type == stored.event_type
        && stored.unreadable.is_none()
        && sent.event_data == stored.event_data
        && sent.metadata == stored.metadata
        && sent.occurred_at.map(|at| (at.seconds, at.nanos / 1000))
            == stored.occurred_at.map(|at| (at.seconds, at.nanos / 1000))
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, events, known, refused, existing } = self;
        let (imported, new) = (many(requests - refused, "request"), many(events - known, "new event"));
        write!(f, "imported {imported}: {new}, {known} already there")?;
        if *refused > 0 {
            write!(f, "; refused: {}", many(*refused, "request"))?;
        }
        if *existing > 0 {
            write!(f, ", {existing} of them because the store has their events or keys already")?;
        }
        Ok(())
    }
}

impl Outcomes {
    fn count(&mut self, line: Line, outcome: Option<Outcome>) {
        let Line { number, request, .. } = line;
        self.summary.requests += 1;
        match outcome {
            Some(Outcome::Appended(appended)) => {
                let events = appended.events.len() as u64;
                self.summary.events += events;
                self.summary.known += if appended.known { events } else { 0 };
                let made = request.events.iter().any(|event| event.event_id.is_none());
                self.twice += u64::from(request.idempotency_key.is_empty() && made);
                for event in request.events {
                    let of = (request.aggregate_type.clone(), event.event_type);
                    if self.types.len() < TYPES || self.types.contains_key(&of) {
                        *self.types.entry(of).or_default() += 1;
                    }
                }
            }
            Some(Outcome::Refused(refusal)) => {
                let code = Code::from_i32(refusal.code);
                self.summary.refused += 1;
                self.summary.existing += u64::from(code == Code::AlreadyExists);
                self.refused(format!("{code:?}"), number, &refusal.message);
            }
            None => {
                self.summary.refused += 1;
                self.refused("nothing".to_owned(), number, "answered without an outcome");
            }
        }
    }

    fn refused(&mut self, code: String, number: u64, message: &str) {
        let count = self.refusals.entry(code).or_default();
        *count += 1;
        if *count <= REFUSALS {
            out::complain(format!("line {number}: {message}"));
        }
    }
}

/// Opens the file; its size if it has one.
pub fn open(file: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>)> {
    if file == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let open = File::open(file).with_context(|| format!("opening {}", file.display()))?;
    let size = open.metadata().with_context(|| format!("asking for the size of {}", file.display()))?.len();
    Ok((Box::new(open), Some(size)))
}

/// Counts the bytes read, compressed or not: what the progress bar shows of the file.
struct Counted<R> {
    inner: R,
    bytes: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.fetch_add(read as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(read)
    }
}

/// Reads the lines. Returns keys that mean nothing: one that is misspelt would be missed by nobody.
fn read(input: impl Read + Send + 'static, lines: &mpsc::Sender<Line>) -> Result<BTreeSet<String>> {
    let bytes = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut input = BufReader::new(Counted { inner: input, bytes: bytes.clone() });
    // Compressed or not is read off the content: standard input has no name.
    let compressed = input.fill_buf().context("reading the file")?.starts_with(&[0x1f, 0x8b]);
    let mut input: Box<dyn BufRead> =
        if compressed { Box::new(BufReader::new(MultiGzDecoder::new(input))) } else { Box::new(input) };
    let mut text = String::new();
    let mut unknown = BTreeSet::new();
    for number in 1.. {
        text.clear();
        if input.read_line(&mut text).with_context(|| format!("reading line {number}"))? == 0 {
            return Ok(unknown);
        }
        if text.trim().is_empty() {
            continue;
        }
        if text.starts_with('\u{feff}') {
            bail!("line {number} begins with a byte order mark (U+FEFF): save the file without it");
        }
        let line = line(&text).with_context(|| match number {
            1 => "line 1 is not an append request, and nothing is imported".to_owned(),
            _ => format!("line {number} is not an append request; the lines before it were sent, and none from it on"),
        })?;
        if number <= LOOKED_AT && unknown.len() < SAID {
            unknown.extend(unknown_keys(&text).take(SAID).map(|key| key.chars().take(100).collect::<String>()));
        }
        let bytes = bytes.load(std::sync::atomic::Ordering::Relaxed);
        if lines.blocking_send(Line { number, bytes, request: request(line) }).is_err() {
            return Ok(unknown);
        }
    }
    Ok(unknown)
}

/// A line as what it is to be, or where in it what is wrong.
fn line(text: &str) -> Result<AppendLine> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let line: AppendLine = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let (path, error) = (error.path().to_string(), error.into_inner());
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(&*message, |(message, _)| message);
        let at = if error.is_eof() {
            "it ends in the middle; a request is one line".to_owned()
        } else if path == "." {
            format!("column {}: {}", error.column(), said(message))
        } else {
            format!("{path}: {}", said(message))
        };
        anyhow!(at)
    })?;
    reader.end().context("a request is one line, and a line one request")?;
    Ok(line)
}

/// What a parser says, in words that say what is expected.
fn said(message: &str) -> String {
    match message {
        "expected ident" | "expected value" => "no JSON: a line is an object, as README.md has one".to_owned(),
        "premature end of input" | "input contains invalid characters" => {
            "no time: as in 2026-03-01T08:00:00Z, with the offset from UTC".to_owned()
        }
        message => message.to_owned(),
    }
}

fn unknown_keys(text: &str) -> impl Iterator<Item = String> {
    const LINE: [&str; 5] = ["aggregate_id", "aggregate_type", "expected_version", "idempotency_key", "events"];
    const EVENT: [&str; 5] = ["event_id", "event_type", "event_data", "metadata", "occurred_at"];
    type Keys<T> = BTreeMap<String, T>;
    let line: Keys<&RawValue> = serde_json::from_str(text).unwrap_or_default();
    let events = line.get("events").map(|events| serde_json::from_str::<Vec<Keys<IgnoredAny>>>(events.get()));
    let of_events = events.and_then(Result::ok).unwrap_or_default().into_iter().flat_map(Keys::into_keys);
    let of_events = of_events.filter(|key| !EVENT.contains(&&**key)).collect::<Vec<_>>();
    line.into_keys().filter(|key| !LINE.contains(&&**key)).chain(of_events)
}

fn request(line: AppendLine) -> AppendEventsRequest {
    let event = |event: events::EventLine| NewEvent {
        event_id: event.event_id.map(|id| id.to_string()),
        event_type: event.event_type,
        event_data: Box::<str>::from(event.event_data).into(),
        metadata: Box::<str>::from(event.metadata).into(),
        occurred_at: Some(timestamp(event.occurred_at)),
    };
    AppendEventsRequest {
        aggregate_id: line.aggregate_id.to_string(),
        aggregate_type: line.aggregate_type,
        expected_version: line.expected_version.map(|version| version.0),
        idempotency_key: line.idempotency_key.unwrap_or_default(),
        events: line.events.into_iter().map(event).collect(),
    }
}

/// A bar of bytes if the size is known, a spinner if not; nothing if nobody is watching.
pub fn bar(bytes: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{bar:40} {percent:>3} % {msg} events {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg} events {elapsed}"),
    };
    let bar = out::live().add(bar);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}
