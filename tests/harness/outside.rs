//! The project of somebody else, in `tests/outside/`: copied out of the workspace, changed as its next release changes it, built
//! there; and a fleet of its processes, each of the release that is said.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use events::Topic;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::process::{Builder, Process};
use super::{Database, Project, terraform};

/// A file, what stands in it once, and what stands there instead.
pub type Change = (&'static str, &'static str, &'static str);

/// With these and in the workspace's target folder, cargo finds most of what the project depends on built already.
const PROFILES: &str = "profiles.toml";

/// What is copied, and where to. The copy stays, so that the next run builds only what has changed.
pub struct Source {
    files: Vec<(PathBuf, String)>,
    folder: PathBuf,
    target: PathBuf,
}

impl Source {
    pub fn copied() -> Self {
        let source = Self::read("");
        source.write();
        source
    }

    /// A release of it, whose program has a name of its own: all of them are built into one target folder, side by side.
    pub fn release(name: &'static str, changes: &[Change]) -> Self {
        let mut source = Self::read(&format!("-{name}"));
        for (file, from, to) in changes {
            source.change(file, from, to);
        }
        source.change("Cargo.toml", "name = \"orders\"", &format!("name = \"{name}\""));
        source.write();
        source
    }

    fn read(suffix: &str) -> Self {
        let root = terraform::root();
        let mut files = Vec::new();
        collect(&root.join("tests/outside"), &mut files);
        // One for each working copy: the name of a folder is part of what cargo tells builds apart by.
        let digest = Sha256::digest(root.to_string_lossy().as_bytes());
        let ours: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = std::env::temp_dir().join(format!("fleet-outside-{ours}{suffix}"));
        let executable = std::env::current_exe().unwrap();
        let target = executable.ancestors().nth(3).expect("target/debug/deps").to_owned();
        Self { files, folder, target }
    }

    fn change(&mut self, file: &str, from: &str, to: &str) {
        let (_, text) = self.files.iter_mut().find(|(name, _)| name == Path::new(file)).expect(file);
        assert_eq!(text.matches(from).count(), 1, "{from:?} in {file}");
        *text = text.replace(from, to);
    }

    fn write(&self) {
        let root = terraform::root();
        let fleet = format!("{:?}", root.join("fleet"));
        for (name, text) in &self.files {
            let text =
                if name == Path::new("Cargo.toml") { text.replace("\"../../fleet\"", &fleet) } else { text.clone() };
            put(&self.folder.join(name), &text);
        }
        // The versions of the workspace, which are there already. Cargo leaves out what is not needed.
        if !self.folder.join("Cargo.lock").exists() {
            put(&self.folder.join("Cargo.lock"), &fs::read_to_string(root.join("Cargo.lock")).unwrap());
        }
        let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let profiles = manifest.find("[profile").expect("the workspace's profiles come last");
        put(&self.folder.join(PROFILES), &manifest[profiles..]);
    }

    pub fn lines(&self) -> Vec<(String, usize)> {
        self.files.iter().map(|(name, text)| (name.display().to_string(), text.lines().count())).collect()
    }

    /// Cargo as somebody types it there, without anything that this shell has set.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in std::env::vars() {
            let ours = name.starts_with("FLEET_") || name.starts_with("GOOGLE_") || name.starts_with("CARGO_PKG_");
            if ours || ["DATABASE_URL", "PUBSUB_EMULATOR_HOST", "SQLX_OFFLINE", "PORT"].contains(&&*name) {
                command.env_remove(name);
            }
        }
        command.args(["--config", PROFILES]).args(arguments).current_dir(&self.folder);
        command.env("CARGO_TARGET_DIR", &self.target).env("CARGO_NET_OFFLINE", "true");
        // Smaller and sooner.
        command.env("CARGO_INCREMENTAL", "0");
        command
    }
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
    let root = terraform::root().join("tests/outside");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(&root).unwrap().to_owned();
        if path.is_dir() && name != Path::new("target") {
            collect(&path, files);
        } else if path.is_file() && name != Path::new("Cargo.lock") {
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    files.sort();
}

/// What is the same already is not touched, or cargo would build it again.
fn put(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return;
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub async fn output(mut command: Command) -> Output {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
    output
}

/// A release that is built.
#[derive(Debug, Clone)]
pub struct Program(PathBuf);

impl Program {
    pub async fn built(name: &'static str, changes: &[Change]) -> Self {
        let source = Source::release(name, changes);
        output(source.cargo(&["build", "--quiet"])).await;
        Self(source.target.join("debug").join(name))
    }

    fn run(&self, command: &str) -> Builder {
        Process::of(&self.0, command)
    }
}

/// A database and a Pub/Sub project with what the program needs of it.
pub struct Outside {
    pub database: Database,
    pub project: Project,
    topics: Vec<&'static Topic>,
}

/// All roles, of one release.
pub struct Running {
    pub store: Process,
    pub admin: Process,
    pub workers: Vec<Process>,
}

impl Outside {
    /// With the topics and the tables of this release.
    pub async fn of(program: &Program) -> Self {
        let (status, topics, error) = program.run("topics").arg("--json").output().await;
        assert!(status.success(), "{error}");
        let topics: Vec<Value> = serde_json::from_str(&topics).unwrap();
        let topics = topics.iter().map(topic).collect();
        let outside = Self { database: Database::empty().await, project: Project::bare().await, topics };
        outside.project.bus().ensure(&outside.topics).await.unwrap();
        outside.migrate(program).await;
        outside
    }

    pub fn process(&self, program: &Program, role: &str) -> Builder {
        program
            .run(role)
            .env("DATABASE_URL", &self.database.url)
            .env("PUBSUB_EMULATOR_HOST", &self.project.emulator)
            .env("GOOGLE_CLOUD_PROJECT", &self.project.name)
            .env("FLEET_HTTP_LISTEN", "127.0.0.1:0")
    }

    pub async fn migrate(&self, program: &Program) {
        let (status, _, error) = self.process(program, "migrate").output().await;
        assert!(status.success(), "{error}");
    }

    /// All roles, as an apply of Terraform has them begin.
    pub async fn start(&self, program: &Program) -> Running {
        let store = self.process(program, "event-store").env("FLEET_GRPC_LISTEN", "127.0.0.1:0").start().await;
        let admin = self.process(program, "admin").start().await;
        let workers = self.workers(program, &store).await;
        Running { store, admin, workers }
    }

    pub async fn workers(&self, program: &Program, store: &Process) -> Vec<Process> {
        let mut workers = Vec::new();
        for topic in &self.topics {
            let worker =
                self.process(program, "worker").arg("--topic").arg(topic.name).env("FLEET_GRPC", &store.grpc());
            workers.push(worker.env("FLEET_STREAMS", "2").env("FLEET_SWEEP_GRACE", "2").start().await);
        }
        workers
    }
}

impl Running {
    /// Runs a command against these, as whoever is on call does: its end, what it printed, what it complained of.
    pub async fn command(&self, program: &Program, words: &[&str]) -> (ExitStatus, String, String) {
        let builder = program
            .run(words[0])
            .env("FLEET_HTTP", &self.admin.http())
            .env("FLEET_GRPC", &self.store.grpc())
            .env("FLEET_ACTOR", "ada");
        words[1..].iter().fold(builder, |builder, word| builder.arg(word)).output().await
    }

    /// As Cloud Run does it with the instances of a revision that was replaced.
    pub async fn stop(mut self) {
        for process in self.workers.iter_mut().chain([&mut self.store, &mut self.admin]) {
            process.terminate();
        }
        for process in self.workers.iter_mut().chain([&mut self.store, &mut self.admin]) {
            process.ended(Duration::from_secs(30)).await;
        }
    }
}

fn topic(printed: &Value) -> &'static Topic {
    let text = |name: &str| -> &'static str { printed[name].as_str().unwrap().to_owned().leak() };
    Box::leak(Box::new(Topic {
        name: text("name"),
        // Nothing here routes by it.
        aggregate_types: &[],
        subscription: text("subscription"),
        retention_days: printed["retention_days"].as_u64().unwrap() as u32,
        adopts_foreign_events: printed["adopts_foreign_events"].as_bool().unwrap(),
    }))
}
