//! How fast a new generation may be built beside live work. Live lag is a budget: when it is used up nothing is built, and
//! while it is being used up the builder rests. A rate that a person sets comes on top. It always says why.

use std::time::{Duration, Instant};

use read_model::AnyProjection;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::lag::{Measurer, Report, State};

/// Live lag at which nothing is built.
const BUDGET: Duration = Duration::from_secs(5);

/// The share of the budget at which the builder begins to rest, and below which one that was stopped goes on.
const EASE: f64 = 0.3;

/// How many times what a transaction took the builder rests after it when the budget is all but used up.
const LONGEST_REST: f64 = 4.0;

/// Without a measurement for so long nothing is built.
const UNKNOWN_AFTER: Duration = Duration::from_secs(15);

const MEASURE: Duration = Duration::from_secs(1);

/// Why a builder rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resting {
    /// Live work is late.
    LiveLag,
    /// Whether it is, nobody knows.
    NotMeasured,
    /// A person has set a rate.
    Rate,
    /// A person has stopped all operations.
    Stopped,
    /// A person has paused the operation.
    Paused,
}

impl Resting {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::LiveLag, Self::NotMeasured, Self::Rate, Self::Stopped, Self::Paused];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::LiveLag => "live_lag",
            Self::NotMeasured => "not_measured",
            Self::Rate => "rate",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
        }
    }
}

/// The live lag as it was measured last. Shared by the builders of a process.
#[derive(Debug, Clone)]
pub(super) struct Throttle {
    seen: watch::Receiver<Seen>,
    /// It heeds nothing but the rate that a person sets.
    off: bool,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    lag: Duration,
    at: Instant,
    /// It was over the budget, and has not fallen far enough since.
    stopped: bool,
}

impl Seen {
    fn first() -> Self {
        Self { lag: Duration::ZERO, at: Instant::now(), stopped: false }
    }

    fn then(self, lag: Duration) -> Self {
        let stopped = lag >= BUDGET || self.stopped && lag >= BUDGET.mul_f64(EASE);
        Self { lag, at: Instant::now(), stopped }
    }

    fn stop(self, now: Instant) -> Option<(Resting, String)> {
        let age = now.saturating_duration_since(self.at);
        if age > UNKNOWN_AFTER {
            let said = format!("stopped: live lag has not been measured for {} s", age.as_secs());
            return Some((Resting::NotMeasured, said));
        }
        self.stopped.then(|| {
            let (lag, below) = (self.lag.as_secs_f64(), BUDGET.mul_f64(EASE).as_secs_f64());
            let said =
                if self.lag >= BUDGET { self.of_budget() } else { format!("{lag:.1} s, goes on below {below} s") };
            (Resting::LiveLag, format!("stopped: live lag {said}"))
        })
    }

    /// How many times what a transaction took the builder rests after it.
    fn rest(self) -> f64 {
        let used = self.lag.as_secs_f64() / BUDGET.as_secs_f64();
        ((used - EASE) / (1.0 - EASE)).clamp(0.0, 1.0) * LONGEST_REST
    }

    fn of_budget(self) -> String {
        format!("{:.1} s of {} s", self.lag.as_secs_f64(), BUDGET.as_secs())
    }
}

/// Measures what a [`Throttle`] goes by.
#[derive(Debug)]
pub(super) struct Gauge {
    measurer: Measurer,
    seen: watch::Sender<Seen>,
}

impl Gauge {
    pub fn new(pool: PgPool, projections: Vec<&'static dyn AnyProjection>) -> Self {
        let measurer = Measurer::new(pool, projections).within(Duration::from_secs(5));
        Self { measurer, seen: watch::Sender::new(Seen::first()) }
    }

    pub fn throttle(&self, throttled: bool) -> Throttle {
        Throttle { seen: self.seen.subscribe(), off: !throttled }
    }

    /// Measures once a second until what is returned is dropped. In a task, because it holds connections, which whoever would
    /// have to poll it may be waiting for.
    #[must_use = "it ends when it is dropped"]
    pub fn watch(&self) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(self.measuring()))
    }

    fn measuring(&self) -> impl Future<Output = ()> + use<> {
        let (measurer, seen) = (self.measurer.clone(), self.seen.clone());
        async move {
            loop {
                if let Ok(report) = measurer.report().await
                    && let Some(lag) = lag(&report)
                {
                    seen.send_modify(|seen| *seen = seen.then(lag));
                }
                tokio::time::sleep(MEASURE).await;
            }
        }
    }
}

/// The lag of what is being kept. What nobody keeps is late for another reason, and resting does not help it. `None`: it is not
/// known, because something could not be measured, or has not been looked through and may be late or not.
fn lag(report: &Report) -> Option<Duration> {
    if report.unmeasured.iter().any(|it| it.topic.is_some()) {
        return None;
    }
    let running = report.projections.iter().filter(|status| status.state == State::Running);
    let longest = running.max_by(|one, other| one.lag_seconds.total_cmp(&other.lag_seconds));
    let Some(longest) = longest else { return Some(Duration::ZERO) };
    let lag = Duration::try_from_secs_f64(longest.lag_seconds).unwrap_or(Duration::MAX);
    (!longest.lag_at_most || lag < BUDGET.mul_f64(EASE)).then_some(lag)
}

impl Throttle {
    /// Why nothing is to be built now.
    pub fn stopped(&self) -> Option<(Resting, String)> {
        if self.off { None } else { self.seen.borrow().stop(Instant::now()) }
    }

    /// How long to rest after a transaction of so many events that took so long, and why. `rate` is in events a second, of
    /// all `parts` together.
    pub fn rest(&self, events: usize, took: Duration, rate: Option<f64>, parts: i32) -> (Duration, Resting, String) {
        let seen = *self.seen.borrow();
        let for_live = if self.off { Duration::ZERO } else { took.mul_f64(seen.rest()) };
        let for_rate = rate.map_or(Duration::ZERO, |rate| {
            let due = events as f64 * f64::from(parts.max(1)) / rate.max(0.001);
            Duration::try_from_secs_f64(due).unwrap_or(Duration::MAX).saturating_sub(took)
        });
        if for_rate.is_zero() && for_live.is_zero() {
            return (Duration::ZERO, Resting::LiveLag, format!("full speed: live lag {}", seen.of_budget()));
        }
        let (why, said) = if for_rate >= for_live {
            (
                Resting::Rate,
                format!("slowed: at most {} of its events a second were asked for", rate.unwrap_or_default()),
            )
        } else {
            (Resting::LiveLag, format!("slowed: live lag {}", seen.of_budget()))
        };
        (for_rate.max(for_live).min(Duration::from_secs(60)), why, said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::{Status, Store, Unmeasured};

    fn seen(lag: f64) -> Seen {
        Seen::first().then(Duration::from_secs_f64(lag))
    }

    #[test]
    fn it_rests_as_the_budget_is_used_up_and_stops_when_it_is() {
        let now = Instant::now();
        assert_eq!((seen(0.5).rest(), seen(0.5).stop(now)), (0.0, None));
        assert!(seen(2.0).rest() > 0.0 && seen(4.0).rest() > seen(2.0).rest());
        assert_eq!(seen(6.0).stop(now), Some((Resting::LiveLag, "stopped: live lag 6.0 s of 5 s".to_owned())));
        let recovering = seen(6.0).then(Duration::from_secs(3));
        assert!(recovering.stop(now).is_some(), "not before it has fallen far");
        assert_eq!(recovering.then(Duration::from_secs(1)).stop(now), None);
    }

    fn report(of: &[(State, f64, bool)], unmeasured: bool) -> Report {
        let status = |&(state, lag_seconds, lag_at_most): &(State, f64, bool)| Status {
            state,
            lag_events: 1,
            lag_seconds,
            lag_at_most,
            ..Status::idle()
        };
        let gone =
            Unmeasured { name: "bills".to_owned(), topic: Some("bill-events".to_owned()), problem: String::new() };
        Report {
            store: Store { head_position: 1, oldest_snapshot: None },
            projections: of.iter().map(status).collect(),
            unmeasured: unmeasured.then_some(gone).into_iter().collect(),
            operations_stopped: None,
            unled: Vec::new(),
            observed_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_could_not_be_measured_is_not_no_lag() {
        let seconds = |of: &[_], unmeasured| lag(&report(of, unmeasured)).map(|lag| lag.as_secs_f64());
        let kept = (State::Running, 2.0, false);
        assert_eq!(seconds(&[kept, (State::Running, 1.0, false), (State::Stopped, 900.0, false)], false), Some(2.0));
        assert_eq!(seconds(&[kept], true), None);
        assert_eq!(seconds(&[kept, (State::Running, 10.0, true)], false), None, "it may be late or not");
        assert_eq!(seconds(&[(State::Running, 1.0, true)], false), Some(1.0), "it is less than matters");
        assert_eq!(seconds(&[], false), Some(0.0));
    }

    #[test]
    fn without_a_measurement_nothing_is_built() {
        let later = Instant::now() + Duration::from_secs(20);
        let (why, said) = seen(0.0).stop(later).expect("it stops");
        assert!(why == Resting::NotMeasured && said.contains("not been measured"), "{said}");
    }

    #[test]
    fn a_rate_is_that_of_all_parts_together() {
        let (_sender, receiver) = watch::channel(seen(0.0));
        let throttle = Throttle { seen: receiver, off: false };
        let (rest, why, said) = throttle.rest(100, Duration::from_millis(500), Some(100.0), 2);
        assert_eq!((rest, why), (Duration::from_millis(1500), Resting::Rate));
        assert_eq!(said, "slowed: at most 100 of its events a second were asked for");
        assert_eq!(throttle.rest(100, Duration::from_secs(1), None, 1).0, Duration::ZERO);
    }
}
