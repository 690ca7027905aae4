//! Who used the processors: this process, the server's processes, everybody else. Only Linux says so.

use std::fs;
use std::time::Instant;

/// Linux counts in hundredths of a second, on every architecture that Rust knows (`USER_HZ`).
const TICKS: f64 = 100.0;

pub struct Meter {
    postmaster: Option<u32>,
}

/// Seconds of processor time since some beginning.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    at: Instant,
    client: f64,
    server: f64,
    machine: f64,
}

/// What was used between two readings.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Seconds.
    pub client: f64,
    /// Seconds.
    pub server: f64,
    /// Processors that were busy with something else, on average.
    pub others: f64,
}

impl Meter {
    /// Of the server that `backend` belongs to.
    pub fn of_server_with(backend: i32) -> Self {
        let postmaster = fs::read_to_string(format!("/proc/{backend}/stat")).ok();
        Self { postmaster: postmaster.as_deref().and_then(Process::parse).map(|process| process.parent) }
    }

    pub fn read(&self) -> Option<Reading> {
        let postmaster = self.postmaster?;
        let client = Process::parse(&fs::read_to_string("/proc/self/stat").ok()?)?.own;
        let machine = busy(&fs::read_to_string("/proc/stat").ok()?)?;
        let mut server = 0.0;
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // A process that ends meanwhile is in its parent's count by now.
            let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
            match Process::parse(&stat) {
                Some(process) if id == postmaster => server += process.own + process.ended_children,
                Some(process) if process.parent == postmaster => server += process.own,
                _ => {}
            }
        }
        Some(Reading { at: Instant::now(), client, server, machine })
    }
}

impl Reading {
    pub fn since(self, earlier: Self) -> Usage {
        let client = self.client - earlier.client;
        let server = self.server - earlier.server;
        let others = self.machine - earlier.machine - client - server;
        let elapsed = (self.at - earlier.at).as_secs_f64();
        Usage { client, server, others: (others / elapsed).max(0.0) }
    }
}

struct Process {
    parent: u32,
    own: f64,
    ended_children: f64,
}

impl Process {
    /// `stat` of a process: see proc(5). Its name, in parentheses, may contain anything, even a parenthesis.
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |from: usize| Some(fields.get(from..from + 2)?.iter().filter_map(|t| t.parse::<f64>().ok()).sum());
        let seconds = |from| ticks(from).map(|ticks: f64| ticks / TICKS);
        Some(Self { parent: fields.get(1)?.parse().ok()?, own: seconds(11)?, ended_children: seconds(13)? })
    }
}

/// The first line of `/proc/stat`: all time that is neither idle nor waiting for a disk. Guests are in user time already.
fn busy(stat: &str) -> Option<f64> {
    let ticks: Vec<f64> = stat.lines().next()?.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
    let (idle, iowait) = (ticks.get(3)?, ticks.get(4)?);
    Some((ticks.iter().take(8).sum::<f64>() - idle - iowait) / TICKS)
}
