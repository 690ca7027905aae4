//! From measurements to what is printed.

use std::fmt;
use std::time::Duration;

/// Median, lowest and highest of the rounds.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    /// # Panics
    /// If there are no values: every design is measured in every round.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self { median: values[values.len() / 2], low: values[0], high: values[values.len() - 1] }
    }

    /// The ratios inside the rounds: what else the machine did in a round, it did to both.
    pub fn of_ratios<T>(ours: &[T], theirs: &[T], value: impl Fn(&T) -> f64) -> Self {
        Self::of(ours.iter().zip(theirs).map(|(ours, theirs)| value(ours) / value(theirs)))
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.median >= 10.0 { 1 } else { 2 };
        write!(f, "{:.digits$} ({:.digits$}-{:.digits$})", self.median, self.low, self.high)
    }
}

/// A ratio and how high it is meant to be.
#[derive(Debug)]
pub struct Gate {
    pub what: String,
    pub at_least: f64,
    pub reached: Spread,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.reached.median >= self.at_least { "met" } else { "**missed**" };
        write!(f, "| {} | ≥ {} x | {} x | {verdict} |", self.what, self.at_least, self.reached)
    }
}

/// Of sorted values that are not none.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// `12345.6` as `12,346`.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let first = digits.len() % 3;
    let (head, rest) = digits.split_at(first);
    let groups = rest.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    [head.to_owned()].into_iter().filter(|head| !head.is_empty()).chain(groups).collect::<Vec<_>>().join(",")
}

/// Microseconds of processor time an event; a dash where the machine does not say.
pub fn microseconds(seconds: Option<f64>, events: u64) -> String {
    seconds.map_or("-".to_owned(), |seconds| format!("{:.1}", seconds * 1e6 / events as f64))
}
