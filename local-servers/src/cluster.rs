//! A private cluster: made once, started on the loopback address with a password of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::distr::Alphanumeric;

use crate::child::{Child, GLANCE, Program};
use crate::home::Home;
use crate::installed::Installed;
use crate::{Error, port, postgres, postmaster, search};

/// The folder of the cluster.
pub(crate) const CLUSTER: &str = "postgres";

const UNFINISHED: &str = "postgres.new-";
const INITDB_LIMIT: Duration = Duration::from_secs(120);
/// Long enough to replay the write-ahead log of a server that was killed.
const START_LIMIT: Duration = Duration::from_secs(120);
const RETRY: Duration = Duration::from_millis(50);
/// Failures to start that are worth a retry: the port was taken after we chose it, or the last processes of a killed
/// server have not ended yet.
const PASSING: [&str; 2] = ["could not bind", "pre-existing shared memory block"];

/// The major version that made the cluster in `home`, if there is one.
pub(crate) fn version(home: &Home) -> Option<u32> {
    let version = fs::read_to_string(home.file(CLUSTER).join("PG_VERSION")).ok()?;
    version.trim().parse().ok()
}

/// The running server and the URL of its database `fleet`.
pub(crate) async fn start(installed: &Installed, home: &Home) -> Result<(Child, String), Error> {
    let folder = home.file(CLUSTER);
    if version(home).is_none() {
        initialize(installed, home, &folder).await?;
    }
    postmaster::end_leftover(&folder).await?;
    let password_file = home.file("postgres.password");
    let password = fs::read_to_string(&password_file).map_err(Error::file("read", &password_file))?;

    let compression = has_lz4(installed, home, &folder).then_some("wal_compression=lz4");
    let memory = home.file("postgres.port");
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let port = port::pick(&memory)?;
        let url = format!("postgres://fleet:{password}@127.0.0.1:{port}/fleet");
        let server = Program {
            name: "postgres",
            command: &installed.program("postgres"),
            arguments: arguments(&folder, port, home.is_temporary(), compression),
            stop_signal: "INT", // Postgres' fast shutdown: sessions are ended, not waited for.
            log: home.file("postgres.log"),
            account: home.account(),
            rubbish: home.rubbish(),
        }
        .start()?;
        match ready(&server, &folder, deadline).await {
            Ok(()) => {
                port::remember(&memory, port)?;
                postgres::ensure_database(&url).await?;
                return Ok((server, url));
            }
            Err(Error::Start { tail, .. })
                if PASSING.iter().any(|line| tail.contains(line)) && Instant::now() < deadline =>
            {
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Into a folder beside `folder`, renamed when complete: an interrupted initdb leaves no half cluster behind. A new
/// name each time, for the watchdog of an interrupted one may still be at work on the last.
async fn initialize(installed: &Installed, home: &Home, folder: &Path) -> Result<(), Error> {
    for abandoned in search::versions(home.path(), UNFINISHED) {
        // Its watchdog may be faster, in part or in whole.
        let _removed = fs::remove_dir_all(abandoned);
    }
    let unfinished = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(home.path())
        .map_err(Error::file("create a folder in", home.path()))?;
    home.own(unfinished.path())?;
    let password = write_password(home)?;

    // Over a throwaway's URL the password itself may go: a client without optimisation needs a long time for SCRAM.
    let auth = if home.is_temporary() { "password" } else { "scram-sha-256" };
    let mut arguments: Vec<OsString> = ["--username=fleet", "--encoding=UTF8", "--locale=C"].map(Into::into).into();
    arguments.extend(["--auth".into(), auth.into()]);
    arguments.extend(["--pwfile".into(), password.into()]);
    arguments.extend(["--pgdata".into(), unfinished.path().into()]);
    arguments.extend(home.is_temporary().then(|| "--no-sync".into()));
    let initdb = Program {
        name: "initdb",
        command: &installed.program("initdb"),
        arguments,
        stop_signal: "TERM",
        log: home.file("postgres.log"),
        account: home.account(),
        rubbish: home.rubbish().or_else(|| Some(unfinished.path().to_path_buf())),
    }
    .start()?;
    match initdb.exit(INITDB_LIMIT).await? {
        Some(status) if status.success() => {
            fs::rename(&unfinished, folder).map_err(Error::file("rename to its final place", unfinished.path()))
        }
        Some(status) => Err(initdb.failure(format!("failed ({status})"))),
        None => Err(initdb.failure(format!("is not done after {} s", INITDB_LIMIT.as_secs()))),
    }
}

fn write_password(home: &Home) -> Result<PathBuf, Error> {
    let path = home.file("postgres.password");
    let password: String = rand::rng().sample_iter(Alphanumeric).take(32).map(char::from).collect();
    let write = |path: &Path| -> std::io::Result<()> {
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(password.as_bytes())
    };
    write(&path).map_err(Error::file("write", &path))?;
    home.own(&path)?;
    Ok(path)
}

fn arguments(folder: &Path, port: u16, throwaway: bool, compression: Option<&str>) -> Vec<OsString> {
    let mut settings = vec![
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=200",
        "shared_buffers=256MB",
        "max_wal_size=4GB",
        "timezone=UTC",
        "log_timezone=UTC",
    ];
    settings.extend(compression);
    if throwaway {
        // Nobody needs it after a crash of the machine. synchronous_commit stays on: it decides what a client may
        // believe, which is what tests are about.
        settings.extend(["fsync=off", "full_page_writes=off"]);
    }
    let mut arguments: Vec<OsString> = vec!["-D".into(), folder.into(), "-p".into(), port.to_string().into()];
    for setting in settings {
        arguments.extend(["-c".into(), setting.into()]);
    }
    arguments
}

/// Whether this build of Postgres was made with lz4: it refuses the setting otherwise.
fn has_lz4(installed: &Installed, home: &Home, folder: &Path) -> bool {
    let mut command = std::process::Command::new(installed.program("postgres"));
    command.args(["-C", "wal_compression", "-c", "wal_compression=lz4", "-D"]);
    command.arg(folder).current_dir("/");
    if let Some(account) = home.account() {
        account.assume(&mut command);
    }
    command.output().is_ok_and(|output| output.status.success())
}

async fn ready(server: &Child, folder: &Path, deadline: Instant) -> Result<(), Error> {
    while !postmaster::is_ready(folder) {
        if let Some(status) = server.exited()? {
            return Err(server.failure(format!("ended at once ({status})")));
        }
        if Instant::now() > deadline {
            return Err(server.failure(format!("is not ready after {} s", START_LIMIT.as_secs())));
        }
        tokio::time::sleep(GLANCE).await;
    }
    Ok(())
}
