//! Who used the processors: this process, the server's processes, everybody else. And who may use them. Only Linux says so.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

/// Linux counts in hundredths of a second, on every architecture that Rust knows (`USER_HZ`).
const TICKS: f64 = 100.0;

pub struct Meter {
    postmaster: Option<u32>,
    /// Those that this process might use when it began.
    cores: Vec<u32>,
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
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            postmaster: postmaster.as_deref().and_then(Process::parse).map(|process| process.parent),
            cores: allowed(&status).unwrap_or_default(),
        }
    }

    /// Lets this process and the server use so many cores from now on, or all that there were at the beginning. Connections
    /// that are made later are bound by it, too. Where this is not Linux it only says that it cannot.
    pub fn confine(&self, to: Option<usize>) -> Result<()> {
        let Some(postmaster) = self.postmaster.filter(|_| !self.cores.is_empty()) else {
            eprintln!("this is not Linux: all cores are used, whatever is said of them");
            return Ok(());
        };
        let cores = &self.cores[..to.unwrap_or(usize::MAX).min(self.cores.len())];
        let list = cores.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let children = processes().filter(|(_, process)| process.parent == postmaster).map(|(id, _)| id);
        for id in [std::process::id(), postmaster].into_iter().chain(children) {
            let id = id.to_string();
            let bound = Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", &list, &id]).output();
            let bound = bound.context("starting taskset, of util-linux")?;
            // A process of the server may have ended meanwhile.
            ensure!(
                bound.status.success() || !fs::exists(format!("/proc/{id}"))?,
                "taskset: {}",
                String::from_utf8_lossy(&bound.stderr)
            );
        }
        Ok(())
    }

    pub fn read(&self) -> Option<Reading> {
        let postmaster = self.postmaster?;
        let client = Process::parse(&fs::read_to_string("/proc/self/stat").ok()?)?.own;
        let machine = busy(&fs::read_to_string("/proc/stat").ok()?)?;
        let mut server = 0.0;
        for (id, process) in processes() {
            if id == postmaster {
                server += process.own + process.ended_children;
            } else if process.parent == postmaster {
                server += process.own;
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

/// All that run. One that ends meanwhile is missing; it is in its parent's count by now.
fn processes() -> impl Iterator<Item = (u32, Process)> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        Some((id, Process::parse(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
    })
}

/// The cores that a process may use, of its `status`: a list of numbers and ranges.
fn allowed(status: &str) -> Option<Vec<u32>> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut cores = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(cores)
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
