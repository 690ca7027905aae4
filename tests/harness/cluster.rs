//! A Postgres of a test's own, which it may restart in the rudest way, or hold as a standby.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub struct Cluster {
    /// Of its database `fleet`.
    pub url: String,
    bin: PathBuf,
    folder: TempDir,
    account: Option<(u32, u32)>,
    port: u16,
}

impl Cluster {
    /// An installed server's, like everything that needs `pg_ctl`.
    pub fn start() -> Self {
        let cluster = Self::nothing();
        cluster.run(
            "initdb",
            &["--username=fleet", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D", "data"],
        );
        cluster.ctl(&["start"]);
        cluster.run("createdb", &["-h", "127.0.0.1", "-p", &cluster.port.to_string(), "-U", "fleet", "fleet"]);
        cluster
    }

    /// A folder that belongs to whoever may run Postgres, and a free port.
    fn nothing() -> Self {
        let bin = installed().expect("this test needs an installed PostgreSQL server: initdb and pg_ctl");
        let folder = tempfile::Builder::new().prefix("fleet-cluster-").tempdir_in("/tmp").unwrap();
        let account = account();
        if let Some((user, group)) = account {
            chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("postgres://fleet@127.0.0.1:{port}/fleet");
        Self { url, bin, folder, account, port }
    }

    /// A standby that follows it, and without which nothing is committed any more: whatever was acknowledged is in both.
    pub fn followed(&self) -> Self {
        let standby = Self::nothing();
        let port = self.port.to_string();
        standby.run(
            "pg_basebackup",
            &[
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                "fleet",
                "-D",
                "data",
                "-R",
                "-X",
                "stream",
                "-c",
                "fast",
                "--no-sync",
            ],
        );
        standby.ctl(&["start"]);
        self.sql("alter system set synchronous_standby_names = '*'");
        self.sql("select pg_reload_conf()");
        standby
    }

    /// Makes the primary of a standby.
    pub fn promote(&self) {
        self.ctl(&["promote"]);
    }

    /// Refuses to be written, in sessions that are open too, as a primary does that was demoted and goes on.
    pub fn read_only(&self, read_only: bool) {
        self.sql(if read_only {
            "alter system set default_transaction_read_only = on"
        } else {
            "alter system set default_transaction_read_only = off"
        });
        self.sql("select pg_reload_conf()");
    }

    fn sql(&self, sql: &str) {
        let port = self.port.to_string();
        self.run("psql", &["-h", "127.0.0.1", "-p", &port, "-U", "fleet", "-d", "fleet", "-q", "-c", sql]);
    }

    /// As if the power had failed: nobody is told, and recovery replays the log.
    pub fn restart_immediately(&self) {
        self.ctl(&["restart", "-m", "immediate"]);
    }

    /// Makes a standby of it: it can be read, and it refuses to be written.
    pub fn become_standby(&self) {
        self.ctl(&["stop", "-m", "fast"]);
        self.run("sh", &["-c", "touch data/standby.signal"]);
        self.ctl(&["start"]);
    }

    fn ctl(&self, arguments: &[&str]) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200 -c timezone=UTC \
             -c full_page_writes=on -c fsync=off",
            self.port
        );
        let mut all = vec!["-D", "data", "-w", "-t", "120", "-l", "log", "-o", &options];
        all.extend(arguments);
        self.run("pg_ctl", &all);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let path = self.bin.join(program);
        let mut command = Command::new(if path.exists() { path } else { program.into() });
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        // Into files: a server that pg_ctl starts keeps what it inherits, and a pipe would never end.
        let said = self.folder.path().join("said");
        let file = std::fs::File::create(&said).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        let status = command.status().unwrap();
        assert!(status.success(), "{program} {arguments:?}: {}", std::fs::read_to_string(said).unwrap());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.ctl(&["stop", "-m", "immediate"]);
            return;
        }
        // Once more would abort, and hide why.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.ctl(&["stop", "-m", "immediate"])));
    }
}

fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for versions in ["/usr/lib/postgresql", "/opt/homebrew/opt"] {
        let entries = std::fs::read_dir(versions).into_iter().flatten().flatten();
        folders.extend(entries.map(|entry| entry.path().join("bin")));
    }
    folders
        .into_iter()
        .find(|folder| ["initdb", "pg_ctl"].iter().all(|program| Path::new(folder).join(program).exists()))
}

/// Whom to be instead of root, as whom Postgres and PgBouncer refuse to run.
pub fn account() -> Option<(u32, u32)> {
    let account = (id("-u", None) == Some(0)).then(|| (id("-u", Some("postgres")), id("-g", Some("postgres"))));
    account.map(|(user, group)| (user.unwrap(), group.unwrap()))
}

fn id(what: &str, name: Option<&str>) -> Option<u32> {
    let output = Command::new("id").arg(what).args(name).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
