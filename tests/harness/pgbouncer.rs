//! A real PgBouncer before a test's database.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::cluster::account;
use super::eventually;

/// Killed when dropped.
pub struct PgBouncer {
    /// The database's URL, through it.
    pub url: String,
    child: Child,
    folder: TempDir,
}

impl PgBouncer {
    /// `None` where it is not installed, which is loud, and forbidden where CI runs.
    pub async fn before(url: &str, pool_mode: &str, pool_size: u32) -> Option<Self> {
        let Some(program) = installed() else {
            assert!(std::env::var_os("CI").is_none(), "this test needs PgBouncer: apt-get install pgbouncer");
            eprintln!("!!!!! SKIPPED: PgBouncer is not installed (apt-get install pgbouncer)");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("fleet-pgbouncer-").tempdir_in("/tmp").unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (user, server) = url.strip_prefix("postgres://").unwrap().rsplit_once('@').unwrap();
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        let (server, database) = server.split_once('/').unwrap();
        let (host, server_port) = server.rsplit_once(':').unwrap();
        let path = folder.path().to_str().unwrap();
        let ini = format!(
            "[databases]\n\
             {database} = host={host} port={server_port} user={user} password='{password}'\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {pool_mode}\ndefault_pool_size = {pool_size}\nlogfile = {path}/log\n"
        );
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, ini).unwrap();
        let mut command = Command::new(program);
        command.arg(&file).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((user, group)) = account() {
            chown(folder.path(), Some(user), Some(group)).unwrap();
            chown(&file, Some(user), Some(group)).unwrap();
            command.uid(user).gid(group);
        }
        let child = command.spawn().unwrap();
        let url = format!("postgres://{user}@127.0.0.1:{port}/{database}");
        let bouncer = Self { url, child, folder };
        eventually("PgBouncer listens", Duration::from_secs(30), async || {
            let connected = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            connected.map(drop).map_err(|error| format!("{error}: {}", bouncer.log()))
        })
        .await;
        Some(bouncer)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/opt/homebrew/bin"].map(PathBuf::from));
    folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file())
}
