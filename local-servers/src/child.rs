//! A program that does not outlive us: started under `watchdog.sh`, which holds the other end of a pipe of ours.
//!
//! It has a process group of its own, so that Ctrl-C reaches the fleet only: what the fleet drains still needs its
//! servers. Nothing here is tied to an async runtime; a test process may keep a child longer than any one runtime.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;
use crate::account::Account;

const WATCHDOG: &str = include_str!("watchdog.sh");
/// How often a child is looked at while something waits for it.
pub(crate) const GLANCE: Duration = Duration::from_millis(20);
/// How often one is looked at that is not expected to end.
const LOOK: Duration = Duration::from_millis(500);
/// Above the watchdog's own limit, after which it kills.
const STOP_LIMIT: Duration = Duration::from_secs(65);
const TAIL_LINES: usize = 15;

pub(crate) struct Program<'a> {
    /// What it is called when something goes wrong.
    pub name: &'static str,
    pub command: &'a Path,
    pub arguments: Vec<OsString>,
    /// The signal that ends it gracefully, without its `SIG`.
    pub stop_signal: &'static str,
    /// Written anew, with both its outputs.
    pub log: PathBuf,
    pub account: Option<&'a Account>,
    /// A folder to remove once we are gone and the program has ended.
    pub rubbish: Option<PathBuf>,
}

/// Dropping it lets the program end without waiting for that.
#[derive(Debug)]
pub(crate) struct Child {
    name: &'static str,
    watchdog: Mutex<process::Child>,
    log: PathBuf,
}

impl Program<'_> {
    pub fn start(self) -> Result<Child, Error> {
        let log = File::create(&self.log).map_err(Error::file("create", &self.log))?;
        let log_too = log.try_clone().map_err(Error::file("open", &self.log))?;
        let mut command = Command::new("sh");
        command
            .args(["-c", WATCHDOG, "watchdog", self.stop_signal])
            .arg(self.rubbish.unwrap_or_default())
            .arg(self.command)
            .args(self.arguments)
            // Ours may be closed to the account.
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(log_too)
            .process_group(0);
        if let Some(account) = self.account {
            account.assume(&mut command);
        }
        let watchdog = command.spawn().map_err(Error::file("start", self.command))?;
        Ok(Child { name: self.name, watchdog: Mutex::new(watchdog), log: self.log })
    }
}

impl Child {
    pub fn exited(&self) -> Result<Option<ExitStatus>, Error> {
        self.watchdog().try_wait().map_err(Error::file("wait for the program that writes", &self.log))
    }

    /// `None`: it is still running after `limit`.
    pub async fn exit(&self, limit: Duration) -> Result<Option<ExitStatus>, Error> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.exited()?;
            if status.is_some() || Instant::now() > deadline {
                return Ok(status);
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    pub async fn stop(self) -> Result<(), Error> {
        drop(self.watchdog().stdin.take());
        match self.exit(STOP_LIMIT).await? {
            Some(_) => Ok(()),
            None => {
                Err(Error::Stop { program: self.name, process: self.watchdog().id(), seconds: STOP_LIMIT.as_secs() })
            }
        }
    }

    /// Waits for its end, which nobody asked for, and says how it came.
    pub async fn died(&self) -> Error {
        loop {
            match self.exited() {
                Ok(None) => tokio::time::sleep(LOOK).await,
                Ok(Some(status)) => return self.failure(format!("has ended ({status})")),
                Err(error) => return error,
            }
        }
    }

    fn watchdog(&self) -> MutexGuard<'_, process::Child> {
        self.watchdog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error for a program that did not do its job, with the end of what it printed.
    pub fn failure(&self, happened: String) -> Error {
        let printed = fs::read(&self.log).unwrap_or_default();
        Error::Start {
            program: self.name,
            happened,
            log: self.log.clone(),
            tail: tail(&String::from_utf8_lossy(&printed)),
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, log: &Path, rubbish: Option<&Path>) -> Child {
        let program = Program {
            name: "sh",
            command: Path::new("sh"),
            arguments: vec!["-c".into(), script.into()],
            stop_signal: "TERM",
            log: log.to_path_buf(),
            account: None,
            rubbish: rubbish.map(Path::to_path_buf),
        };
        program.start().expect("there is a shell")
    }

    #[tokio::test]
    async fn a_program_that_ends_is_seen_and_its_last_words_are_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rubbish = folder.path().join("rubbish");
        fs::create_dir(&rubbish).expect("the folder is ours");
        let child = shell("echo no disk; exit 3", &folder.path().join("log"), Some(&rubbish));
        let status = child.exit(Duration::from_secs(10)).await.expect("it can be waited for");
        assert_eq!(status.and_then(|status| status.code()), Some(3));
        assert!(child.failure("gave up".into()).to_string().ends_with("no disk"));
        assert!(rubbish.exists(), "we are still here to look into it");
    }

    #[tokio::test]
    async fn closing_the_pipe_ends_the_program_and_then_removes_the_rubbish() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rubbish = folder.path().join("rubbish");
        fs::create_dir(&rubbish).expect("the folder is ours");
        let child = shell("exec sleep 600", &folder.path().join("log"), Some(&rubbish));
        child.stop().await.expect("SIGTERM ends it");
        assert!(!rubbish.exists());
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        let text: String = (0..100).map(|line| format!("{line}\n")).collect();
        assert_eq!(tail(&text).lines().count(), TAIL_LINES);
        assert!(tail(&text).ends_with("99"));
        assert_eq!(tail("one"), "one");
    }
}
