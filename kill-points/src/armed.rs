//! The point at which this process is to die, and whether it says which points it passes, from its environment.

use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

struct Armed {
    point: String,
    /// Passes that are still survived.
    left: AtomicU32,
}

static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
    let armed = std::env::var("FLEET_KILL_AT").ok()?;
    let (point, pass) = armed.split_once(':').unwrap_or((&armed, "1"));
    let pass: u32 = pass.parse().expect("FLEET_KILL_AT is a point, or point:pass with a number from 1");
    Some(Armed { point: point.to_owned(), left: AtomicU32::new(pass.checked_sub(1).expect("passes count from 1")) })
});

static SAID: LazyLock<bool> = LazyLock::new(|| std::env::var_os("FLEET_SAY_KILL_POINTS").is_some());

pub(crate) fn pass(point: &str) {
    if *SAID {
        eprintln!(r#"{{"passed":"{point}"}}"#);
    }
    let Some(armed) = &*ARMED else { return };
    let survived = || armed.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    if armed.point == point && survived().is_err() {
        die(point);
    }
}

/// SIGKILL, by way of a program, because the standard library cannot send signals. Whoever got here gets no further.
fn die(point: &str) -> ! {
    eprintln!(r#"{{"killed_at":"{point}"}}"#);
    let kill = Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status();
    panic!("killed at {point}, and still alive: {kill:?}");
}
