//! `dev.json`: where a running `fleet dev` is, for other programs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};
use local_servers::DataDir;
use serde::Serialize;

use crate::client;

pub const NAME: &str = "dev.json";

#[derive(Debug, Serialize)]
pub struct DevFile<'a> {
    pub database_url: &'a str,
    pub grpc: &'a str,
    pub http: &'a str,
    pub pubsub: PubSub<'a>,
    pub pid: u32,
}

#[derive(Debug, Serialize)]
pub struct PubSub<'a> {
    /// `emulator` or `embedded`.
    pub kind: &'a str,
    /// host:port of the emulator.
    pub host: Option<&'a str>,
    pub project: &'a str,
}

impl DevFile<'_> {
    /// What other terminals have to set for commands to find this fleet; `None`: nothing. `hidden`: it is written where nobody
    /// looks, and they may find the place of another.
    pub fn variables(&self, hidden: bool) -> Option<String> {
        let different = [("FLEET_HTTP", self.http, client::HTTP), ("FLEET_GRPC", self.grpc, client::GRPC)];
        let set =
            different.iter().filter(|(_, is, usual)| hidden || is != usual).map(|(name, is, _)| format!("{name}={is}"));
        let set: Vec<_> = set.collect();
        (!set.is_empty()).then(|| format!("export {}", set.join(" ")))
    }
}

/// Writes the file in one step, so that nobody reads half of it. It holds the database's password: for the owner only.
pub fn write(data_dir: &DataDir, file: &DevFile<'_>) -> Result<()> {
    let path = data_dir.path().join(NAME);
    let unfinished = data_dir.path().join("dev.json.new");
    let json = serde_json::to_vec_pretty(file).context("writing dev.json")?;
    let _ = fs::remove_file(&unfinished);
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(&json))
        .and_then(|()| fs::rename(&unfinished, &path))
        .with_context(|| format!("writing {}", path.display()))
}

/// A fleet that has ended is nowhere.
pub fn remove(data_dir: &DataDir) {
    let _ = fs::remove_file(data_dir.path().join(NAME));
}
