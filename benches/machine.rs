//! What the numbers were measured on.

use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::numbers::percentile;
use crate::server::Server;

/// What decides how fast a commit is, and what a reader must know before comparing.
const SETTINGS: [&str; 6] =
    ["fsync", "synchronous_commit", "full_page_writes", "wal_compression", "shared_buffers", "max_wal_size"];

pub async fn describe(server: &Server) -> Result<String> {
    let load = load();
    let folder = server.folder().join("fdatasync");
    let flushes = tokio::task::spawn_blocking(move || flushes(&folder)).await?.context("timing fdatasync")?;
    let mut db = server.connect().await?;
    let version: String = sqlx::query_scalar("show server_version").fetch_one(&mut db).await?;
    let mut settings = Vec::new();
    for name in SETTINGS {
        let value: String = sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(&mut db).await?;
        settings.push(format!("{name} {value}"));
    }
    let mut text = String::from("## The machine\n\n");
    let cores = std::thread::available_parallelism().map_or("an unknown number of".into(), |n| n.to_string());
    writeln!(text, "- {cores} cores ({}), {}", processor(), memory())?;
    writeln!(text, "- PostgreSQL {version}, on the same machine over the loopback address: {}", settings.join(", "))?;
    let [p50, p99] = [50, 99].map(|p| percentile(&flushes, p).as_secs_f64() * 1e3);
    writeln!(text, "- fdatasync of 8 kB: p50 {p50:.2} ms, p99 {p99:.2} ms")?;
    writeln!(text, "- load average at the start: {load}")?;
    Ok(text)
}

/// The averages of 1, 5 and 15 minutes.
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = load.split_whitespace().take(3).collect();
    if averages.is_empty() { "unknown".to_owned() } else { averages.join(" ") }
}

fn processor() -> String {
    named("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn memory() -> String {
    let kibibytes = named("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    kibibytes.map_or("memory unknown".to_owned(), |kibibytes| format!("{:.0} GiB", kibibytes / 1024.0 / 1024.0))
}

/// The first `name: value` of a file of such lines.
fn named(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let (_, value) = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}

/// How long writes of 8 kB into a file that has its size already take to reach the disk, as the log's writes do; sorted.
fn flushes(path: &std::path::Path) -> std::io::Result<Vec<Duration>> {
    const PAGE: [u8; 8192] = [0x5a; 8192];
    const PAGES: u64 = 2048;
    let file = File::create(path)?;
    for page in 0..PAGES {
        file.write_all_at(&PAGE, page * PAGE.len() as u64)?;
    }
    file.sync_all()?;
    let mut times = Vec::new();
    let started = Instant::now();
    for page in (0..PAGES).cycle() {
        let start = Instant::now();
        file.write_all_at(&PAGE, page * PAGE.len() as u64)?;
        file.sync_data()?;
        times.push(start.elapsed());
        if started.elapsed() > Duration::from_secs(1) {
            break;
        }
    }
    fs::remove_file(path)?;
    times.sort_unstable();
    Ok(times)
}
