//! A process of the fleet: started, listened to, killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::eventually;

/// Starting includes connecting to a busy machine's Postgres.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Builder {
    command: Command,
}

/// Killed when dropped.
pub struct Process {
    child: Child,
    /// What it logged, a JSON object per line.
    log: Arc<Mutex<Vec<Value>>>,
    started: Value,
}

impl Process {
    pub fn builder(role: &str) -> Builder {
        Self::of(Path::new(env!("CARGO_BIN_EXE_fleet")), role)
    }

    /// Of another program.
    pub fn of(program: &Path, role: &str) -> Builder {
        let mut command = Command::new(program);
        command.arg(role);
        // Nothing that the caller's shell has set may change what is tested.
        for (name, _) in std::env::vars() {
            let ours = ["FLEET_", "GOOGLE_", "OTEL_"].iter().any(|ours| name.starts_with(ours)) || name == "PORT";
            if ours || name == "DATABASE_URL" || name == "PUBSUB_EMULATOR_HOST" {
                command.env_remove(name);
            }
        }
        command.env("FLEET_LOG_FORMAT", "json");
        Builder { command }
    }

    /// host:port of its HTTP.
    pub fn http(&self) -> String {
        self.address("http")
    }

    /// host:port of its gRPC.
    pub fn grpc(&self) -> String {
        self.address("grpc")
    }

    fn address(&self, name: &str) -> String {
        self.started[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.started)).to_owned()
    }

    /// SIGKILL: no goodbye.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn terminate(&self) {
        signal(&self.child, "TERM");
    }

    /// Waits for its end.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let child = Mutex::new(&mut self.child);
        eventually("the process ends", limit, async || {
            child.lock().unwrap().try_wait().unwrap().ok_or_else(|| "still running".to_owned())
        })
        .await
    }

    /// The sum of a counter over all of its labels.
    pub async fn counter(&self, name: &str) -> i64 {
        let text = reqwest::get(format!("http://{}/metrics", self.http())).await.unwrap().text().await.unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<i64>().ok()).sum()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How much memory it has, as Linux counts it.
    pub fn resident_kilobytes(&self) -> u64 {
        self.kilobytes("VmRSS:")
    }

    /// The most that it has ever had.
    pub fn peak_kilobytes(&self) -> u64 {
        self.kilobytes("VmHWM:")
    }

    fn kilobytes(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Messages that it logged.
    pub fn logged(&self) -> Vec<String> {
        self.log.lock().unwrap().iter().map(Value::to_string).collect()
    }
}

/// Sends a signal by its name, without KILL's finality.
pub fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
}

/// A pipe that nobody reads.
fn nobody() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Builder {
    pub fn arg(mut self, arg: &str) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end: status, standard output, standard error.
    pub async fn output(mut self) -> (ExitStatus, String, String) {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.ended().await
    }

    async fn ended(mut self) -> (ExitStatus, String, String) {
        let child = self.command.spawn().unwrap();
        let id = child.id();
        let output = tokio::task::spawn_blocking(move || child.wait_with_output());
        let Ok(output) = tokio::time::timeout(PATIENCE, output).await else {
            let _ = Command::new("sh").args(["-c", &format!("kill -KILL {id}")]).status();
            panic!("{:?} does not end", self.command);
        };
        let output = output.unwrap().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status, text(output.stdout), text(output.stderr))
    }

    /// Runs it to its end, with a standard output whose reader has gone: status, standard error.
    pub async fn unread(mut self) -> (ExitStatus, String) {
        self.command.stdin(Stdio::null()).stdout(nobody()).stderr(Stdio::piped());
        let (status, _, error) = self.ended().await;
        (status, error)
    }

    /// Runs it to its end, with nobody to read anything.
    pub async fn unheard(mut self) -> ExitStatus {
        self.command.stdin(Stdio::null()).stdout(nobody()).stderr(nobody());
        self.ended().await.0
    }

    /// Starts it and waits until it says where it listens.
    pub async fn start(mut self) -> Process {
        let mut child = self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let written = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                written.lock().unwrap().push(value);
            }
        });
        let starting = Mutex::new(&mut child);
        let started = eventually("the process listens", PATIENCE, async || {
            // Looked at first, because one that is to die soon may have listened before.
            let ended = starting.lock().unwrap().try_wait().unwrap();
            let log = log.lock().unwrap();
            match (log.iter().find(|line| line.get("http").is_some()), ended) {
                (Some(line), _) => Ok(line.clone()),
                (None, Some(status)) => panic!("it ended with {status}: {log:?}"),
                (None, None) => Err(format!("{log:?}")),
            }
        })
        .await;
        Process { child, log, started }
    }
}
