//! A process of the fleet: started, listened to, killed.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::{pty, termios};
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
        // The machine is busy.
        command.env("FLEET_WAIT", "30");
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
        self.signal("TERM");
    }

    /// STOP has it be there and do nothing, until CONT.
    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
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

/// The two sides of a terminal.
fn terminal(columns: u16) -> (File, File) {
    let master = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY).unwrap();
    pty::grantpt(&master).unwrap();
    pty::unlockpt(&master).unwrap();
    let name = pty::ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = File::options().read(true).write(true).open(name).unwrap();
    let size = termios::Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    termios::tcsetwinsize(&slave, size).unwrap();
    (master.into(), slave)
}

fn ended_in_time(mut child: Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("a command does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
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

/// A command on a terminal. Killed when dropped.
pub struct Watched {
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    reading: Option<std::thread::JoinHandle<()>>,
}

impl Watched {
    /// What is on the screen as soon as it `is` so: since the screen was cleared last.
    pub async fn frame(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        eventually(what, PATIENCE, async || {
            let shown = self.shown();
            let frame = shown.rsplit("\x1b[H\x1b[J").next().unwrap_or_default().to_owned();
            if is(&frame) { Ok(frame) } else { Err(frame) }
        })
        .await
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        signal(&self.child, "INT");
    }

    /// Its exit code, and all that was shown.
    pub async fn ended(mut self) -> (Option<i32>, String) {
        let child = Mutex::new(&mut self.child);
        let status = eventually("the command ends", PATIENCE, async || {
            child.lock().unwrap().try_wait().unwrap().ok_or_else(|| "still running".to_owned())
        })
        .await;
        self.reading.take().unwrap().join().unwrap();
        (status.code(), self.shown())
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).replace("\r\n", "\n")
    }
}

impl Drop for Watched {
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

    /// In this folder.
    pub fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
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

    /// Runs it to its end on a terminal of so many columns: status, and what the terminal was given.
    pub async fn on_terminal(mut self, columns: u16) -> (ExitStatus, String) {
        let (mut master, slave) = terminal(columns);
        let handle = || Stdio::from(slave.try_clone().unwrap());
        self.command.stdin(handle()).stdout(handle()).stderr(handle());
        let shown = std::thread::spawn(move || {
            let mut shown = Vec::new();
            // Ends with an error when the last handle of the other side is closed.
            let _ = master.read_to_end(&mut shown);
            String::from_utf8_lossy(&shown).replace("\r\n", "\n")
        });
        let child = self.command.spawn().unwrap();
        drop((slave, self.command));
        let ended = tokio::task::spawn_blocking(move || ended_in_time(child)).await.unwrap();
        (ended, shown.join().unwrap())
    }

    /// Starts it on a terminal of so many columns, to be looked at.
    pub fn watch(mut self, columns: u16) -> Watched {
        let (mut master, slave) = terminal(columns);
        let handle = || Stdio::from(slave.try_clone().unwrap());
        let child = self.command.stdin(handle()).stdout(handle()).stderr(handle()).spawn().unwrap();
        drop((slave, self.command));
        let shown = Arc::new(Mutex::new(Vec::new()));
        let showing = shown.clone();
        let reading = std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(read @ 1..) = master.read(&mut part) {
                showing.lock().unwrap().extend_from_slice(&part[..read]);
            }
        });
        Watched { child, shown, reading: Some(reading) }
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
