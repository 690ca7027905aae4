//! Keeping generations that are not live: building a new one, following the store with it and with the ones before.
//!
//! A part is built by whoever has its row, for one transaction: there is no lease, and nothing to wait for after a kill. What
//! is read ahead belongs to nobody; the transaction that applies it checks that the part is still where it was read from.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use event_store::read::{Filter, Share};
use event_store::tail::Head;
use events::{Position, TraceContext};
use kill_points::kill_point;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use traces::{SpanKind, names};

use super::automatic::{self, Hindrances, Raised};
use super::size::Size;
use super::source::Source;
use super::throttle::{Gauge, Resting, Throttle};
use super::{Part, promote, rebuild, retire, verify};
use crate::apply::{self, Applier, Chunk, Condemned, News, Pace};
use crate::operations::State;
use crate::redrive::Beside;
use crate::retry;

/// How often a worker looks for generations to keep, and for operations on them.
const POLL: Duration = Duration::from_secs(1);

/// Ids that are forgotten in one statement.
const FORGOTTEN: i64 = 5000;

/// How often a worker writes down that this version of the code runs.
const SEEN: Duration = Duration::from_secs(5);

/// How long the end of a bulk may take: making indexes, comparing. The server ends each statement of it sooner.
const ENDING: Duration = Duration::from_secs(12 * 60 * 60);

/// Times that an event that is alone may take too long, before it is taken for poison.
const TOO_SLOW_IN_A_ROW: u32 = 3;

/// Keeps the generations of some projections that are not live, and makes operations on generations true.
#[derive(Debug, Clone)]
pub struct Generations {
    /// One for each projection, on any of its topics.
    pub appliers: Vec<Applier>,
    pub head: Head,
    /// For measuring how late the live ones are.
    pub reading: PgPool,
    /// What happens by itself when the version of a projection was raised.
    pub raised: Raised,
    /// Whether building rests for live work. It always does but where one wants to see what that is good for.
    pub throttled: bool,
}

impl Generations {
    pub async fn run(self, stop: CancellationToken) {
        // Beside all else: what is done for one of them may wait for a lock.
        let seen = self.clone();
        tokio::join!(seen.say(&stop), self.keep(stop.clone()));
    }

    /// Says again and again that somebody runs this version of each projection's code, and what fails.
    async fn say(&self, stop: &CancellationToken) {
        loop {
            // If it fails, so will the next look at generations, which says so.
            let said = database::with_deadline("saying what code runs", self.is_seen()).await;
            let again = if said.is_ok() { SEEN } else { POLL };
            if stop.run_until_cancelled(tokio::time::sleep(again)).await.is_none() {
                return;
            }
        }
    }

    async fn keep(self, stop: CancellationToken) {
        let projections = self.appliers.iter().map(|applier| applier.projection).collect();
        let gauge = Gauge::new(self.reading.clone(), projections);
        let throttle = gauge.throttle(self.throttled);
        let mut watched = None;
        let mut kept = BTreeSet::new();
        let mut building: JoinSet<(usize, Part)> = JoinSet::new();
        let hindrances = Hindrances::default();
        let mut redriving = JoinSet::new();
        for applier in self.appliers.iter().cloned() {
            redriving.spawn(kill_points::carried(Beside { applier }.run(stop.clone())));
        }
        while let Some(due) = retry::until_all_done("looking at generations", &stop, || self.look(&hindrances)).await {
            for (index, part) in due {
                if kept.insert((index, part.clone())) {
                    let applier = self.appliers[index].clone();
                    let builder =
                        Builder::new(applier, part.clone(), self.head.clone(), self.reading.clone(), throttle.clone());
                    let stop = stop.clone();
                    building.spawn(kill_points::carried(async move {
                        builder.run(&stop).await;
                        (index, part)
                    }));
                }
            }
            // Only somebody who builds wants to know.
            watched = (!building.is_empty()).then(|| watched.unwrap_or_else(|| gauge.watch()));
            if stop.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                break;
            }
            while let Some(ended) = building.try_join_next() {
                match ended {
                    Ok(key) => {
                        kept.remove(&key);
                    }
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                }
            }
        }
        while building.join_next().await.is_some() {}
        while redriving.join_next().await.is_some() {}
    }

    /// Does what operations ask for, and finds what is to be kept.
    async fn look(&self, hindrances: &Hindrances) -> Result<Vec<(usize, Part)>, apply::Error> {
        use database::with_deadline;
        let versions = automatic::look(&self.reading, &self.appliers, self.raised, hindrances);
        with_deadline("looking at versions", versions).await?;
        for applier in &self.appliers {
            with_deadline("beginning", rebuild::begin(applier, &["rebuild", "verify", "as_of"])).await?;
            with_deadline("exchanging", promote::carry_out(applier, &self.head)).await?;
            with_deadline("retiring", retire::carry_out(applier)).await?;
        }
        Ok(with_deadline("looking at generations", self.due()).await?)
    }

    async fn is_seen(&self) -> sqlx::Result<()> {
        let Some(first) = self.appliers.first() else { return Ok(()) };
        let names: Vec<_> = self.appliers.iter().map(|applier| applier.projection.name()).collect();
        let versions: Vec<_> = self.appliers.iter().map(|applier| applier.projection.version() as i32).collect();
        let news: Vec<_> = self.appliers.iter().map(|applier| applier.failing.take()).collect();
        let mended: Vec<_> = news.iter().map(|news| *news == Some(News::Mended)).collect();
        let failed = |news| if let Some(News::Failed(error)) = news { Some(error) } else { None };
        let failures: Vec<_> = news.into_iter().map(failed).collect();
        let seen = sqlx::query_file!(
            "src/generations/seen.sql",
            &names as &[&str],
            &versions,
            &failures as &[Option<String>],
            &mended
        );
        seen.execute(&first.pool).await.map(drop)
    }

    async fn due(&self) -> sqlx::Result<Vec<(usize, Part)>> {
        let Some(first) = self.appliers.first() else { return Ok(Vec::new()) };
        let names: Vec<_> = self.appliers.iter().map(|applier| applier.projection.name()).collect();
        let versions: Vec<_> = self.appliers.iter().map(|applier| applier.projection.version() as i32).collect();
        let rows = sqlx::query_file!("src/generations/due.sql", &names as &[&str], &versions).fetch_all(&first.pool);
        Ok(rows
            .await?
            .into_iter()
            .filter_map(|row| {
                let index = names.iter().position(|name| *name == row.projection)?;
                Some((index, Part { generation: row.generation, part: row.part, parts: row.parts }))
            })
            .collect())
    }
}

/// Builds one part of a generation, and follows the store with it.
pub(super) struct Builder {
    applier: Applier,
    part: Part,
    head: Head,
    reading: PgPool,
    throttle: Throttle,
    source: Source,
    size: Size,
    condemned: Condemned,
    too_slow: u32,
    /// What the part's row says of its pace, if that is known.
    said: Option<String>,
    /// Until when it rests, and for which rate.
    rests: Option<(Instant, Option<f64>)>,
    /// Since when it has been at its next step; `None`: a person has stopped it, or there was nothing to do.
    step_since: Option<Instant>,
    /// How fast it was to go at its last step.
    rate: Option<f64>,
}

/// What comes after a step.
enum Next {
    Step,
    Wait(Duration),
    /// There was nothing after this position.
    CaughtUp(Position),
    /// The part is not this code's to build any more.
    Gone,
}

/// What there is to do.
enum Due {
    Nothing(Next),
    /// It has everything up to here.
    End(Wanted, Position),
    /// Up to here.
    Build(Wanted, Position),
}

/// What is wanted of a part now.
struct Wanted {
    position: Position,
    state: Option<State>,
    /// Events a second, of all parts together.
    rate: Option<f64>,
    /// Who has stopped all operations, and why.
    stopped_by: Option<String>,
    built: bool,
    /// It goes no further than this.
    upto: Option<Position>,
    /// It is folded to be compared.
    verify: bool,
    /// Of whoever asked for it.
    trace: Option<TraceContext>,
}

impl Builder {
    pub(super) fn new(applier: Applier, part: Part, head: Head, reading: PgPool, throttle: Throttle) -> Self {
        let types = applier.projection.topics().iter().flat_map(|topic| topic.aggregate_types);
        let share = (part.parts > 1).then_some(Share { part: part.part, of: part.parts });
        let filter =
            Filter { aggregate_types: types.map(|&name| name.to_owned()).collect(), share, ..Filter::default() };
        let source = Source::new(applier.pool.clone(), filter);
        Self {
            applier,
            part,
            head,
            reading,
            throttle,
            source,
            size: Size::default(),
            condemned: Condemned::new(),
            too_slow: 0,
            said: None,
            rests: None,
            step_since: None,
            rate: None,
        }
    }

    pub(super) async fn run(mut self, stop: &CancellationToken) {
        let mut failures = 0;
        loop {
            let next = match stop.run_until_cancelled(self.step()).await {
                None => return,
                Some(Ok(next)) => {
                    failures = 0;
                    next
                }
                Some(Err(error)) => {
                    self.source.failed();
                    if failures == retry::TELLING && !database::is_found_away().await {
                        let projection = self.applier.projection.name();
                        let Part { generation, part, .. } = self.part;
                        tracing::warn!(projection, generation, part, %error, "building: failing; tried until it succeeds");
                    }
                    failures += 1;
                    if failures > retry::TELLING {
                        // Where the operation is looked at. If that fails as well, the log has it. What was said last may have
                        // been written over, by a step that says for itself that it takes long.
                        self.said = None;
                        let said = self.say(format!("failing: {error}"));
                        let _ = database::with_deadline("saying why it fails", said).await;
                    }
                    Next::Wait(retry::backoff(failures, rand::random()))
                }
            };
            let wait = async {
                match next {
                    Next::Step | Next::Gone => {}
                    Next::Wait(time) => tokio::time::sleep(time).await,
                    Next::CaughtUp(position) => self.head.past(position).await,
                }
            };
            if matches!(next, Next::Gone) || stop.run_until_cancelled(wait).await.is_none() {
                return;
            }
        }
    }

    /// One transaction, if there is something to do.
    async fn step(&mut self) -> Result<Next, apply::Error> {
        match database::with_deadline("looking at a part", self.look()).await? {
            Due::Nothing(next) => Ok(next),
            Due::End(wanted, head) => database::within(ENDING, "ending the bulk", self.end(&wanted, head)).await,
            Due::Build(wanted, head) => self.build(&wanted, head).await,
        }
    }

    async fn look(&mut self) -> Result<Due, apply::Error> {
        let Some(wanted) = self.wanted().await? else { return Ok(Due::Nothing(Next::Gone)) };
        match wanted.state {
            Some(State::Cancelled | State::Failed) => return Ok(Due::Nothing(Next::Gone)),
            Some(State::Paused) => {
                self.step_since = None;
                self.say("paused".to_owned()).await?;
                return Ok(self.rest(Resting::Paused));
            }
            _ => {}
        }
        if let Some(by) = wanted.stopped_by.as_ref().filter(|_| !wanted.built) {
            (self.rests, self.step_since) = (None, None);
            self.say(format!("stopped with all operations by {by}")).await?;
            return Ok(self.rest(Resting::Stopped));
        }
        // A rest is looked at each second: it is over when another rate is wanted.
        if let Some((until, _)) = self.rests.filter(|(until, rate)| *rate == wanted.rate && *until > Instant::now()) {
            return Ok(Due::Nothing(Next::Wait(until.saturating_duration_since(Instant::now()).min(POLL))));
        }
        self.rests = None;
        let mut head = self.head.look(&self.applier.pool).await?;
        head = wanted.upto.map_or(head, |upto| head.min(upto));
        if wanted.position >= head {
            self.step_since = None;
            self.say(String::new()).await?;
            return Ok(Due::End(wanted, head));
        }
        self.step_since.get_or_insert_with(Instant::now);
        // A generation that is read, or about to be, follows at any price: there is little to do, and it must not fall behind.
        if !wanted.built
            && let Some((why, said)) = self.throttle.stopped()
        {
            self.say(said).await?;
            return Ok(self.rest(why));
        }
        Ok(Due::Build(wanted, head))
    }

    /// Until it is looked at again.
    fn rest(&self, why: Resting) -> Due {
        self.applier.metrics.rests(self.applier.projection.name(), why, POLL);
        Due::Nothing(Next::Wait(POLL))
    }

    /// The part has all that there is. What is long about that ends with whoever wanted it.
    async fn end(&self, wanted: &Wanted, head: Position) -> Result<Next, apply::Error> {
        tokio::select! {
            ended = self.end_of(wanted, head) => ended,
            () = self.is_given_up(), if !wanted.built => Ok(Next::Step),
        }
    }

    /// Ends when a person has cancelled or paused it. The connection on which it was at work is closed, and its statement with it.
    async fn is_given_up(&self) {
        loop {
            tokio::time::sleep(POLL).await;
            match self.wanted().await {
                Ok(None) => return,
                Ok(Some(wanted)) if matches!(wanted.state, Some(State::Paused | State::Cancelled | State::Failed)) => {
                    return;
                }
                // A look that fails says nothing, and hours of work are not given up for it.
                Ok(Some(_)) | Err(_) => {}
            }
        }
    }

    async fn end_of(&self, wanted: &Wanted, head: Position) -> Result<Next, apply::Error> {
        if wanted.verify {
            verify::finish(&self.applier, &self.reading, self.part.generation).await?;
            return Ok(Next::Wait(POLL));
        }
        if wanted.built {
            self.forget_ids().await?;
        } else {
            rebuild::finish(&self.applier, &self.reading, self.part.generation).await?;
        }
        Ok(Next::CaughtUp(head))
    }

    async fn build(&mut self, wanted: &Wanted, head: Position) -> Result<Next, apply::Error> {
        let mut chunk = database::with_deadline("reading", self.source.next(wanted.position, head)).await?;
        kill_point!("rebuild.read");
        if wanted.verify {
            let settled = verify::as_far_as_live(&self.applier, chunk);
            chunk = database::with_deadline("looking how far it is settled", settled).await?;
        }
        let began = Instant::now();
        // As much as goes through in a second, so that the rest after it is short.
        let most = wanted
            .rate
            .filter(|_| !wanted.built)
            .map_or(usize::MAX, |rate| ((rate / f64::from(self.part.parts)) as usize).max(1));
        let (name, generation) = (self.applier.projection.name(), self.part.generation);
        let span = traces::within(wanted.trace.filter(|_| !wanted.built), || names::build(name), SpanKind::Internal);
        let mut span = span.begin();
        span.say(|words| {
            names::of_generation(words, name, generation);
            words.number(names::PART, self.part.part.into());
        });
        let applied = self.apply(chunk, head, (most, wanted.rate)).await;
        match &applied {
            Ok(events) => {
                span.say(|words| words.number(names::BATCH_EVENTS, events.unwrap_or_default() as i64));
            }
            // What it is, its log says: an error may have data of somebody in it.
            Err(_) => span.fail("failed", "it is tried again"),
        }
        drop(span);
        let Some(events) = applied? else { return Ok(Next::Wait(POLL)) };
        if wanted.built {
            return Ok(Next::Step);
        }
        let (rest, why, said) = self.throttle.rest(events, began.elapsed(), wanted.rate, self.part.parts);
        self.applier.metrics.rests(self.applier.projection.name(), why, rest);
        database::with_deadline("saying how fast it goes", self.say(said)).await?;
        self.rests = (!rest.is_zero()).then(|| (Instant::now() + rest, wanted.rate));
        Ok(if rest.is_zero() { Next::Step } else { Next::Wait(rest.min(POLL)) })
    }

    async fn wanted(&self) -> sqlx::Result<Option<Wanted>> {
        let row = sqlx::query_file!(
            "src/generations/look.sql",
            self.applier.projection.name(),
            self.part.generation,
            self.part.part
        );
        let row = row.fetch_optional(&self.applier.pool).await?;
        Ok(row.map(|row| Wanted {
            position: Position(row.position),
            state: row.state,
            rate: row.rate,
            stopped_by: row.stopped_by,
            built: row.built,
            upto: row.upto.map(Position),
            verify: row.verify,
            trace: row.traceparent.as_deref().and_then(TraceContext::parse),
        }))
    }

    /// Applies as much of a chunk as is good for one transaction, at most so many events; the rest of it is for the next steps.
    /// Returns how many they were, for the rate that is wanted. `None`: another is at this part, or it is not to be built any more.
    async fn apply(
        &mut self,
        chunk: Chunk,
        head: Position,
        (most, rate): (usize, Option<f64>),
    ) -> Result<Option<usize>, apply::Error> {
        let (now, rest) = chunk.split(self.size.events().min(most));
        if let Some(rest) = rest {
            self.source.give_back(rest);
        }
        let events = now.events.len();
        let began = Instant::now();
        let since = *self.step_since.get_or_insert(began);
        let building =
            self.applier.build(&self.part, &now, Pace { head, since, changed: self.rate != rate }, &self.condemned);
        match database::with_deadline("building", building).await {
            Ok(Some(_)) => {
                self.applier.metrics.built(self.applier.projection.name(), began.elapsed());
                self.size = self.size.after(events, began.elapsed());
                (self.step_since, self.rate) = (Some(Instant::now()), rate);
                self.condemned.clear();
                self.too_slow = 0;
                return Ok(Some(events));
            }
            Ok(None) => {
                self.source.forget();
                return Ok(None);
            }
            Err(apply::Error::Condemned(event, refusal)) => {
                self.condemned.insert(event, refusal);
            }
            Err(error) if (error.is_poison() || error.is_too_much()) && events > 1 => {
                self.size = self.size.halved(events);
            }
            Err(error) if error.is_poison() || error.is_too_slow() && self.too_slow >= TOO_SLOW_IN_A_ROW => {
                let alone = now.events.iter().map(|event| (event.event_id, (error.reason(), error.to_string())));
                self.condemned.extend(alone);
            }
            Err(error) if error.is_too_slow() => self.too_slow += 1,
            Err(error) => return Err(error),
        }
        self.source.give_back(now);
        Ok(Some(0))
    }

    /// A generation that was live has ids of what it applied from the bus. It needs none any more.
    async fn forget_ids(&self) -> sqlx::Result<()> {
        sqlx::query_file!("src/generations/ids.sql", self.applier.projection.name(), self.part.generation, FORGOTTEN)
            .execute(&self.applier.pool)
            .await
            .map(drop)
    }

    /// Writes down why it is as slow as it is, if that has changed.
    async fn say(&mut self, pace: String) -> sqlx::Result<()> {
        if self.said.as_ref() == Some(&pace) {
            return Ok(());
        }
        sqlx::query!(
            "update generation_parts set pace = $4 where projection = $1 and generation = $2 and part = $3",
            self.applier.projection.name(),
            self.part.generation,
            self.part.part,
            pace
        )
        .execute(&self.applier.pool)
        .await?;
        self.said = Some(pace);
        Ok(())
    }
}
