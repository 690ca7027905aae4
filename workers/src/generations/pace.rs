//! When a generation will have caught up with a store that goes on. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The parts of a generation, each with its position, its rate in positions a second, and the slow and fast tenths of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    pub positions: Vec<i64>,
    pub rates: Vec<f64>,
    pub deciles: Vec<(f64, f64)>,
}

/// When it will have caught up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Eta {
    CaughtUp,
    /// Seconds from now: what is to be expected, and a range.
    In {
        seconds: f64,
        from_seconds: f64,
        to_seconds: f64,
    },
    /// The store grows as fast as it is followed.
    DoesNotConverge,
    /// Nothing has been built yet that could be measured.
    Unknown,
}

impl Eta {
    /// So many seconds, whatever was measured.
    pub(super) fn at_least(&mut self, least: f64) {
        if let Self::In { seconds, from_seconds, to_seconds } = self {
            for time in [seconds, from_seconds, to_seconds] {
                *time = time.max(least);
            }
        }
    }
}

/// Positions behind the head that count as caught up: a moment of a busy store.
const CAUGHT_UP: i64 = 1000;

/// `append_rate` is that of the store, in events a second.
pub(super) fn eta(parts: &Parts, head: i64, append_rate: f64) -> Eta {
    let time = |rate: f64, position: i64| {
        let gains = rate - append_rate;
        let left = (head - position) as f64;
        if gains > 0.0 { left / gains } else { f64::INFINITY }
    };
    if parts.positions.iter().all(|position| head - position <= CAUGHT_UP) {
        return Eta::CaughtUp;
    }
    if parts.rates.iter().all(|rate| *rate <= 0.0) {
        return Eta::Unknown;
    }
    // The last part to come in is what is waited for.
    let slowest = |rate: &dyn Fn(usize) -> f64| {
        let times = parts.positions.iter().enumerate().map(|(part, position)| time(rate(part), *position));
        times.fold(0.0, f64::max)
    };
    let seconds = slowest(&|part| parts.rates[part]);
    if seconds.is_infinite() {
        return Eta::DoesNotConverge;
    }
    let to_seconds = slowest(&|part| parts.deciles[part].0);
    Eta::In {
        seconds,
        from_seconds: slowest(&|part| parts.deciles[part].1).min(seconds),
        to_seconds: if to_seconds.is_finite() { to_seconds.max(seconds) } else { seconds * 10.0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_not_believed_below_what_a_rate_takes() {
        let mut eta = Eta::In { seconds: 5.0, from_seconds: 4.0, to_seconds: 70.0 };
        eta.at_least(60.0);
        assert_eq!(eta, Eta::In { seconds: 60.0, from_seconds: 60.0, to_seconds: 70.0 });
        let mut done = Eta::CaughtUp;
        done.at_least(60.0);
        assert_eq!(done, Eta::CaughtUp);
    }

    fn parts(of: &[(i64, f64)]) -> Parts {
        Parts {
            positions: of.iter().map(|(position, _)| *position).collect(),
            rates: of.iter().map(|(_, rate)| *rate).collect(),
            deciles: of.iter().map(|(_, rate)| (rate * 0.5, rate * 2.0)).collect(),
        }
    }

    #[test]
    fn the_store_goes_on_while_it_is_followed() {
        let Eta::In { seconds, from_seconds, to_seconds } = eta(&parts(&[(0, 3000.0)]), 100_000, 1000.0) else {
            panic!("it converges")
        };
        assert!((seconds - 50.0).abs() < 0.01 && (from_seconds - 20.0).abs() < 0.01 && to_seconds > seconds);
        assert_eq!(eta(&parts(&[(0, 900.0)]), 100_000, 1000.0), Eta::DoesNotConverge);
        assert_eq!(eta(&parts(&[(0, 0.0)]), 100_000, 0.0), Eta::Unknown);
        assert_eq!(eta(&parts(&[(99_500, 0.0)]), 100_000, 0.0), Eta::CaughtUp);
    }

    #[test]
    fn the_last_part_is_waited_for() {
        let Eta::In { seconds, .. } = eta(&parts(&[(90_000, 1000.0), (50_000, 1000.0)]), 100_000, 0.0) else {
            panic!("it converges")
        };
        assert!((seconds - 50.0).abs() < 0.01);
    }
}
