//! What several answers and commands say, in the same words.

use std::fmt::Display;

/// `1 event`, `2 events`.
pub fn many<T: Display + From<u8> + PartialEq>(count: T, one: &str) -> String {
    let plural = if count == T::from(1) { "" } else { "s" };
    format!("{count} {one}{plural}")
}

/// Seconds as people say them.
pub fn duration(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        ..120.0 => format!("{seconds:.0} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_as_people_say_them() {
        for (seconds, said) in [(0.0, "0.0 s"), (45.2, "45 s"), (600.0, "10 min"), (10_000.0, "2.8 h")] {
            assert_eq!(duration(seconds), said);
        }
    }
}
