//! How many events a projection has not settled, without looking at all of them at each measurement.
//!
//! A projection of a rare topic that has stopped has the whole store above its settled position and hardly an event in it.
//! So the store is looked at window by window, for a limited time, and what was seen is remembered: events are settled and
//! stay so, which means that a window never holds more than it did when it was looked at. What has not been looked at yet
//! counts in full, so that the answer is never less than the truth.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sqlx::PgPool;

use super::sightings::Sightings;

/// Positions looked at in one statement.
const WINDOW: i64 = 20_000;

/// How long one measurement looks at one projection's backlog.
pub(super) const TIME_BUDGET: Duration = Duration::from_millis(400);

/// Whose backlog it is, and as of when. Whatever changes here but the last two makes what was seen void; so does a
/// position that goes back, which is a failover that lost the tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stand<'a> {
    pub projection: &'a str,
    pub aggregate_types: &'a [&'a str],
    pub generation: i32,
    /// How many holds had ended. What was held counted as settled, and may not be.
    pub releases: i64,
    pub settled: i64,
    pub head: i64,
}

/// What is remembered of a projection.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    generation: i32,
    releases: i64,
    settled: i64,
    head: i64,
    /// Unsettled events of whole windows when they were last looked at, by the window's number.
    windows: BTreeMap<i64, i64>,
    /// By the clock of this process: the database's may have gone back since an event was recorded.
    sightings: Sightings,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Lag {
    pub events: i64,
    pub seconds: f64,
    /// Some of it has never been looked at: so many events and seconds at most.
    pub at_most: bool,
}

impl Backlog {
    /// Forgets what says nothing about `stand`.
    fn keep(&mut self, stand: &Stand<'_>) {
        let known = (self.generation, self.releases) == (stand.generation, stand.releases);
        if !known || stand.settled < self.settled || stand.head < self.head {
            self.windows.clear();
        }
        self.windows = self.windows.split_off(&(stand.settled / WINDOW));
        (self.generation, self.releases) = (stand.generation, stand.releases);
        (self.settled, self.head) = (stand.settled, stand.head);
    }

    /// What lies between the settled position and the head. However short the time, it gets one window further.
    pub async fn measure(&mut self, pool: &PgPool, stand: &Stand<'_>, patience: Duration) -> sqlx::Result<Lag> {
        self.keep(stand);
        let started = Instant::now();
        self.sightings.see(stand.settled, stand.head, started);
        let mut lag = Lag::default();
        let mut oldest_known = false;
        let mut uncertain = None;
        let (mut looked_further, mut looked_again) = (false, false);
        for number in stand.settled / WINDOW..=stand.head / WINDOW {
            let whole = (number + 1) * WINDOW <= stand.head;
            let (after, upto) = (stand.settled.max(number * WINDOW), stand.head.min((number + 1) * WINDOW));
            let seen = self.windows.get(&number).copied();
            if after >= upto || whole && seen == Some(0) {
                continue;
            }
            // The first that holds something is looked at anew, because its oldest event is the projection's age, and so
            // is the last, because it grows.
            let wanted = seen.is_none() || !whole || lag.events == 0;
            let looked = if seen.is_none() { &mut looked_further } else { &mut looked_again };
            if wanted && (started.elapsed() < patience || !*looked) {
                *looked = true;
                let Seen { events, seconds, first } = look(pool, stand, after, upto).await?;
                if whole {
                    self.windows.insert(number, events);
                }
                if events > 0 && lag.events == 0 {
                    lag.seconds = seconds.max(self.sightings.age(first, started));
                    oldest_known = true;
                }
                lag.events += events;
            } else {
                lag.events += seen.unwrap_or(upto - after);
                lag.at_most |= seen.is_none();
                uncertain.get_or_insert(after);
            }
        }
        if let (false, Some(after)) = (oldest_known, uncertain) {
            lag.seconds = age(pool, after).await?.max(self.sightings.age(after + 1, started));
        }
        Ok(lag)
    }
}

/// What a window holds.
struct Seen {
    events: i64,
    /// The age of the oldest.
    seconds: f64,
    /// The position of the first.
    first: i64,
}

async fn look(pool: &PgPool, stand: &Stand<'_>, after: i64, upto: i64) -> sqlx::Result<Seen> {
    let row = sqlx::query_file!(
        "src/lag/unsettled.sql",
        stand.projection,
        stand.generation,
        after,
        upto,
        stand.aggregate_types as &[&str]
    )
    .fetch_one(pool)
    .await?;
    let seconds = row.seconds.unwrap_or_default().max(0.0);
    Ok(Seen { events: row.events, seconds, first: row.first.unwrap_or(upto) })
}

/// The age of the first event after a position.
async fn age(pool: &PgPool, after: i64) -> sqlx::Result<f64> {
    let seconds = sqlx::query_scalar!(
        r#"select extract(epoch from clock_timestamp() - created_at)::float8 as "seconds!"
           from events where position > $1 order by position limit 1"#,
        after
    );
    Ok(seconds.fetch_optional(pool).await?.unwrap_or_default().max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAND: Stand<'_> = Stand {
        projection: "orders",
        aggregate_types: &["Order"],
        generation: 1,
        releases: 0,
        settled: 3 * WINDOW,
        head: 9 * WINDOW,
    };

    fn seen(stand: Stand<'_>) -> usize {
        let mut backlog = Backlog::default();
        backlog.keep(&STAND);
        backlog.windows = (0..9).map(|number| (number, 0)).collect();
        backlog.keep(&stand);
        backlog.windows.len()
    }

    #[test]
    fn what_was_seen_is_kept_as_long_as_it_says_something() {
        assert_eq!(seen(STAND), 6, "what lies below the settled position is forgotten");
        assert_eq!(seen(Stand { settled: 5 * WINDOW, head: 10 * WINDOW, ..STAND }), 4);
        for void in [
            Stand { generation: 2, ..STAND },
            Stand { releases: 1, ..STAND },
            Stand { settled: 2 * WINDOW, ..STAND },
            Stand { head: 8 * WINDOW, ..STAND },
        ] {
            assert_eq!(seen(void), 0, "{void:?}");
        }
    }
}
