//! `postmaster.pid`, in which a server says of its cluster who runs it and how far it is.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Error;
use crate::child::GLANCE;

const LIMIT: Duration = Duration::from_secs(60);
const FILE: &str = "postmaster.pid";
/// Counted from 0, as in Postgres' `pidfile.h`.
const STATUS_LINE: usize = 7;

/// Whether the server of `cluster` takes connections. Better than to connect: another server may have won the port.
pub(crate) fn is_ready(cluster: &Path) -> bool {
    fs::read_to_string(cluster.join(FILE)).is_ok_and(|text| says_ready(&text))
}

fn says_ready(text: &str) -> bool {
    text.lines().nth(STATUS_LINE).is_some_and(|status| status.trim() == "ready")
}

/// Stops the server that a killed fleet left behind in `cluster`. The caller holds the data folder's lock, so no living
/// fleet needs that server: its watchdog is stopping it already, or is dead as well.
///
/// The file of one that is gone is removed: its process number may be somebody else's by now, which Postgres would take
/// for a server and refuse to start.
pub(crate) async fn end_leftover(cluster: &Path) -> Result<(), Error> {
    let file = cluster.join(FILE);
    let Ok(text) = fs::read_to_string(&file) else {
        return Ok(());
    };
    let Some(process) = process(&text) else {
        return remove(&file);
    };
    if serves(process, cluster) {
        tracing::info!("waiting for the last run's Postgres (process {process}) to stop");
        let _gone_already =
            Command::new("kill").args(["-s", "INT", &process.to_string()]).stderr(Stdio::null()).status();
    }
    let deadline = Instant::now() + LIMIT;
    while serves(process, cluster) {
        if Instant::now() > deadline {
            return Err(Error::Stop { program: "the last run's Postgres", process, seconds: LIMIT.as_secs() });
        }
        tokio::time::sleep(GLANCE).await;
    }
    remove(&file)
}

fn remove(file: &Path) -> Result<(), Error> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", file)(error)),
        _ => Ok(()),
    }
}

fn process(text: &str) -> Option<u32> {
    text.lines().next()?.trim().parse().ok()
}

/// Whether `process` is a server of this very cluster. Linux says so in /proc, without which there is `ps`.
fn serves(process: u32, cluster: &Path) -> bool {
    let arguments = fs::read(format!("/proc/{process}/cmdline")).or_else(|error| {
        if Path::new("/proc/self").exists() {
            return Err(error);
        }
        let listing = Command::new("ps").args(["-ww", "-o", "args=", "-p", &process.to_string()]).output()?;
        Ok(listing.stdout)
    });
    let arguments = arguments.unwrap_or_default();
    let arguments = String::from_utf8_lossy(&arguments);
    arguments.contains("postgres") && arguments.contains(&*cluster.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_of_a_dead_server_is_removed_and_a_stranger_with_its_number_is_left_alone() {
        let cluster = tempfile::tempdir().expect("a temporary folder");
        let file = cluster.path().join("postmaster.pid");
        let ourselves = std::process::id();
        fs::write(&file, format!("{ourselves}\n{}\n", cluster.path().display())).expect("the folder is ours");
        end_leftover(cluster.path()).await.expect("there is nothing to wait for");
        assert!(!file.exists());
        assert!(!serves(ourselves, cluster.path()));
    }

    #[test]
    fn a_server_is_ready_when_it_says_so() {
        let file = |status| format!("123\n/data\n1700000000\n5432\n\n127.0.0.1\n  1 2\n{status}\n");
        assert!(says_ready(&file("ready   ")));
        assert!(!says_ready(&file("starting")));
        assert!(!says_ready("123\n/data\n"));
    }
}
