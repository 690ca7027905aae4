//! The one task that writes: take what is queued, decide, write, answer.
//!
//! Fast path: versions from memory, one statement. It is safe because the statement writes nothing unless the head row
//! is as we left it, so that nobody else can have appended since we learned those versions, and because the constraints
//! stand behind it. Whatever the fast path cannot be sure of (a conflict, a repeated key, a head that was moved, a broken
//! connection) goes the careful way: take the epoch and with it the head row's lock, look everything up, decide again,
//! write.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use database::{Primary, Session};
use events::{EventId, Position, Version};
use kill_points::kill_point;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::mpsc;

use super::decide::{Decision, Known, decide};
use super::heads::{AggregateHead, Heads};
use super::parts::{Parts, TooMuch};
use super::spans;
use super::statements::{self, HeadRow, Rows, Taken};
use super::{Append, Appended, Error, Queued};
use crate::Metrics;
use crate::tail::Head;

#[derive(Debug, Clone)]
pub struct Config {
    pub database: PgConnectOptions,
    /// What is connected to a primary that has been replaced is void.
    pub primary: Primary,
    /// Requests that may wait; more wait in their callers.
    pub queue: usize,
    /// Requests written in one commit at most.
    pub batch: usize,
    /// Bytes of events after which a batch takes no further request.
    pub batch_bytes: usize,
    /// How long a batch waits to become as large as the one before it. 100 to 150 µs were measured best.
    pub gather: Duration,
    /// Aggregates whose version and type are kept in memory.
    pub heads: NonZeroUsize,
    /// How long one attempt may take before its connection is given up.
    pub attempt: Duration,
    /// How long a batch is tried again while the database is away, before its callers are told.
    pub patience: Duration,
}

impl Config {
    pub fn new(database: PgConnectOptions) -> Self {
        Self {
            database,
            primary: Primary::default(),
            queue: 4096,
            batch: 512,
            batch_bytes: 16 << 20,
            gather: Duration::from_micros(120),
            heads: NonZeroUsize::new(200_000).expect("a positive number"),
            attempt: Duration::from_secs(15),
            patience: Duration::from_secs(5),
        }
    }

    /// What the writer's session is set to.
    pub fn session(&self) -> Session {
        Session::Writing(self.attempt)
    }
}

pub(super) async fn run(config: Config, mut requests: mpsc::Receiver<Queued>, head: Head, metrics: Metrics) {
    let mut writer = Writer {
        heads: Heads::new(config.heads),
        db: None,
        changes: 0,
        ours: None,
        repeating: false,
        most: config.batch,
        away_since: None,
        head,
        metrics,
        config,
    };
    let mut last = 0;
    while let Some(first) = requests.recv().await {
        let batch = gather(&writer.config, first, &mut requests, last).await;
        last = batch.len();
        kill_point!("append.gathered");
        writer.write(batch).await;
    }
}

/// Takes what is queued. Under load it waits a little for the callers of the last batch to come back, or they would
/// split into two cohorts that take turns; the wait is a yield loop, because tokio's timer cannot express 100 µs.
async fn gather(config: &Config, first: Queued, requests: &mut mpsc::Receiver<Queued>, last: usize) -> Vec<Queued> {
    let started = Instant::now();
    let mut bytes = first.append.bytes();
    let mut batch = vec![first];
    loop {
        while batch.len() < config.batch && bytes < config.batch_bytes {
            let Ok(next) = requests.try_recv() else { break };
            bytes += next.append.bytes();
            batch.push(next);
        }
        let full = batch.len() >= last.min(config.batch) || bytes >= config.batch_bytes;
        if full || last <= 1 || started.elapsed() >= config.gather {
            return batch;
        }
        tokio::task::yield_now().await;
    }
}

struct Writer {
    config: Config,
    db: Option<PgConnection>,
    /// At which count of the primary's changes it was connected.
    changes: u64,
    /// The head row as we left it, while the cached heads are exact.
    ours: Option<HeadRow>,
    /// The last batch with keys held used ones: somebody is sending again what was sent before.
    repeating: bool,
    /// Requests written in one commit at most, for now: less than may be, if that was too much.
    most: usize,
    heads: Heads,
    away_since: Option<Instant>,
    head: Head,
    metrics: Metrics,
}

impl Writer {
    /// Answers every request of the batch.
    async fn write(&mut self, batch: Vec<Queued>) {
        let started = Instant::now();
        self.metrics.append_batch_requests.observe(batch.len() as f64);
        for queued in &batch {
            self.metrics.append_wait_seconds.observe(started.duration_since(queued.came).as_secs_f64());
        }
        let span = spans::batch(batch.iter().map(|queued| &queued.append));
        let mut parts = Parts::of(batch);
        while let Some(mut part) = parts.next(self.most) {
            let tried = part.len();
            match self.attempt(&mut part).await {
                Ok(()) => {
                    self.away_since = None;
                    if tried >= self.most {
                        self.most = (self.most * 2).min(self.config.batch);
                    }
                    parts.went_through(part);
                }
                // Somebody's data is refused: find out whose, so that the neighbours are not.
                Err(error) if database::blames_data(&error) && !database::is_unique_violation(&error) => {
                    self.refuse_all(parts.is_refused(part), &Error::Refused(database::describe(&error)));
                }
                Err(error) if database::lacks_migrations(&error) => {
                    self.disconnect();
                    self.refuse_all(part, &Error::NotMigrated);
                }
                Err(error) => self.failed(part, &mut parts, &error).await,
            }
        }
        self.metrics.append_duration_seconds.observe(started.elapsed().as_secs_f64());
        drop(span);
    }

    /// The database is away, or the part was too much for it. Whether it was committed all the same is not known.
    async fn failed(&mut self, mut part: Vec<Queued>, parts: &mut Parts<Queued>, error: &sqlx::Error) {
        // Who could not even be connected to was not asked for too much.
        let too_much = database::is_too_much(error) && self.db.is_some();
        let requests = part.len();
        let away_since = *self.away_since.get_or_insert_with(|| {
            tokio::spawn(tell(too_much, requests, database::describe(error)));
            Instant::now()
        });
        self.disconnect();
        for queued in &mut part {
            queued.attempted = true;
        }
        let unavailable = || Error::Unavailable(database::describe(error));
        let failed =
            if too_much { parts.is_too_much(part, |queued| queued.append.bytes()) } else { TooMuch::Unwell(part) };
        match failed {
            TooMuch::Cut => self.most = requests.div_ceil(2),
            TooMuch::Alone(part) => self.refuse_all(part, &unavailable()),
            TooMuch::Unwell(part) if away_since.elapsed() >= self.config.patience => {
                self.refuse_all(part, &unavailable())
            }
            TooMuch::Unwell(part) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                parts.again(part);
            }
        }
    }

    /// One try; requests that are answered leave the batch.
    async fn attempt(&mut self, batch: &mut Vec<Queued>) -> sqlx::Result<()> {
        let limit = self.config.attempt;
        let primary = self.config.primary.clone();
        if self.changes != primary.changes() {
            self.disconnect();
            self.changes = primary.changes();
        }
        let doubtful = batch.iter().any(|queued| queued.attempted);
        let attempt = async {
            match self.ours.clone() {
                Some(ours) if !doubtful => self.fast(ours, batch).await,
                _ => self.careful(batch).await,
            }
        };
        match tokio::time::timeout(limit, primary.unless_changed(attempt)).await {
            Ok(result) => result,
            Err(_) => Err(database::timed_out("append")),
        }
    }

    async fn fast(&mut self, ours: HeadRow, batch: &mut Vec<Queued>) -> sqlx::Result<()> {
        let (mut heads, unknown) = self.heads.known(batch.iter().map(|queued| queued.append.aggregate_id));
        let db = connected(&mut self.db, &self.config).await?;
        if !unknown.is_empty() {
            heads.extend(statements::heads(db, &unknown).await?);
        }
        let mut known = Known { heads, ..Known::default() };
        if self.repeating {
            // Writing would fail at the first used key, batch after batch. What a used key answers is true without a lock.
            let keys = keys(batch);
            if !keys.is_empty() {
                known.keys = statements::used_keys(db, &keys).await?;
                self.repeating = !known.keys.is_empty();
            }
        }
        let mut decisions = decide(requests(batch), &known);
        for (queued, decision) in batch.iter().zip(&mut decisions) {
            let used = queued.append.idempotency_key.as_ref().is_some_and(|key| known.keys.contains_key(key));
            // Conflicts and repetitions as far as memory goes; only the store can tell.
            if matches!(decision, Decision::Answer(_)) && !used {
                *decision = Decision::Later;
            }
        }
        let rows = rows(batch, &decisions);
        if !rows.is_empty() {
            let written = match statements::write(db, &rows, &ours).await {
                // A key or an event id that the store has. Nothing is written, and only a look tells whose it is.
                Err(error) if database::is_unique_violation(&error) => None,
                written => written?,
            };
            let Some(written) = written else {
                return self.careful(batch).await;
            };
            kill_point!("append.committed_at_once");
            self.ours = Some(written);
        }
        drop(rows);
        self.settle(batch, decisions, ours.position);
        kill_point!("append.answered");
        if batch.is_empty() { Ok(()) } else { self.careful(batch).await }
    }

    async fn careful(&mut self, batch: &mut Vec<Queued>) -> sqlx::Result<()> {
        let mut aggregates: Vec<_> = batch.iter().map(|queued| queued.append.aggregate_id).collect();
        aggregates.sort_unstable();
        aggregates.dedup();
        let keys = keys(batch);
        let event_ids: Vec<_> =
            batch.iter().flat_map(|queued| &queued.append.events).map(|event| event.event_id.0).collect();

        let db = connected(&mut self.db, &self.config).await?;
        let mut tx = db.begin().await?;
        let Taken { head, before } = statements::take_epoch(&mut tx).await?;
        kill_point!("append.epoch_taken");
        let known = Known {
            heads: statements::heads(&mut tx, &aggregates).await?,
            keys: statements::used_keys(&mut tx, &keys).await?,
            events: statements::stored_events(&mut tx, &event_ids).await?,
        };
        if !keys.is_empty() {
            self.repeating = !known.keys.is_empty();
        }
        let decisions = decide(requests(batch), &known);
        let rows = rows(batch, &decisions);
        // The position, too: a failover that loses the tail of the store may leave the epoch as it was.
        let undisturbed = self.ours.as_ref().is_some_and(|ours| ours.epoch == before && ours.position == head.position);
        let base = head.position;
        if !rows.is_empty() || !undisturbed {
            let mut ours = head;
            if !rows.is_empty() {
                ours = statements::write(&mut tx, &rows, &ours).await?.ok_or(sqlx::Error::RowNotFound)?;
            }
            kill_point!("append.written");
            tx.commit().await?;
            kill_point!("append.committed");
            if !undisturbed {
                self.heads.forget_all();
            }
            self.ours = Some(ours);
        } else {
            tx.rollback().await?;
        }
        drop(rows);
        self.settle(batch, decisions, base);
        Ok(())
    }

    /// Answers the requests that are decided, those written being the events after `base`, and keeps the others.
    fn settle(&mut self, batch: &mut Vec<Queued>, decisions: Vec<Decision>, base: Position) {
        let mut position = base;
        for (queued, decision) in std::mem::take(batch).into_iter().zip(decisions) {
            let answer = match decision {
                Decision::Later => {
                    batch.push(queued);
                    continue;
                }
                Decision::Answer(answer) => answer,
                Decision::Write(first) => {
                    let answer = appended(&queued.append, first, &mut position);
                    if let Some(last) = answer.last() {
                        let (version, aggregate_type) = (last.version, queued.append.aggregate_type.clone());
                        self.heads.learn(queued.append.aggregate_id, AggregateHead { version, aggregate_type });
                    }
                    Ok(answer)
                }
            };
            self.count(&answer);
            // A caller that went away does not want its answer; its events are in the store all the same.
            let _ = queued.answer.send(answer);
        }
        self.head.appended(position);
    }

    fn refuse_all(&self, part: Vec<Queued>, error: &Error) {
        for queued in part {
            let answer = Err(error.clone());
            self.count(&answer);
            let _ = queued.answer.send(answer);
        }
    }

    fn count(&self, answer: &Result<Vec<Appended>, Error>) {
        match answer {
            Ok(events) => self.metrics.appended_events.inc_by(events.len() as u64),
            Err(error) => self.metrics.refused_appends.with_label_values(&[error.reason()]).inc(),
        }
    }

    fn disconnect(&mut self) {
        self.db = None;
        self.ours = None;
    }
}

/// Beside the writer, because the callers wait for its next try.
async fn tell(too_much: bool, requests: usize, error: String) {
    if too_much {
        tracing::warn!(
            error,
            requests,
            "append: too much for one statement, or nobody answers; fewer requests at a time"
        );
    } else if !database::is_found_away().await {
        tracing::warn!(error, "append: the database is away, or cannot write");
    }
}

/// The writer has a connection of its own, so that no reader can keep it waiting.
async fn connected<'a>(db: &'a mut Option<PgConnection>, config: &Config) -> sqlx::Result<&'a mut PgConnection> {
    match db {
        Some(db) => Ok(db),
        None => {
            let (connection, answer) = config.session().connect(&config.database).await?;
            config.primary.admit(&answer).await?;
            Ok(db.insert(connection))
        }
    }
}

fn keys(batch: &[Queued]) -> Vec<&str> {
    batch.iter().filter_map(|queued| queued.append.idempotency_key.as_deref()).collect()
}

fn requests(batch: &[Queued]) -> impl Iterator<Item = (&Append, bool)> {
    batch.iter().map(|queued| (&queued.append, queued.attempted))
}

fn rows<'a>(batch: &'a [Queued], decisions: &[Decision]) -> Rows<'a> {
    let mut rows = Rows::default();
    for (queued, decision) in batch.iter().zip(decisions) {
        if let Decision::Write(first) = decision {
            rows.push(&queued.append, *first);
        }
    }
    rows
}

fn appended(append: &Append, first: Version, position: &mut Position) -> Vec<Appended> {
    let ids = append.events.iter().map(|event| event.event_id);
    (first.0..)
        .zip(ids)
        .map(|(version, event_id): (i32, EventId)| {
            *position = position.next();
            Appended { event_id, version: Version(version), position: *position, known: false }
        })
        .collect()
}
