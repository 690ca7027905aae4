//! Google's emulator, one for this test process: the one that `PUBSUB_EMULATOR_HOST` names, or one started here.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;
use std::{env, thread};

/// Runs its arguments until its standard input ends, which it does when this process does, however that dies.
const LEASH: &str = r#""$@" </dev/null & read -r _; kill $!"#;

static EMULATOR: LazyLock<Option<Emulator>> = LazyLock::new(|| {
    if let Ok(host) = env::var("PUBSUB_EMULATOR_HOST") {
        return Some(Emulator { host, _leash: None });
    }
    let started = find().and_then(start);
    if started.is_none() {
        eprintln!("\n*** SKIPPED: Google's half of the suite. No Pub/Sub emulator: install Java and the Google Cloud");
        eprintln!("*** SDK's pubsub-emulator component, or set PUBSUB_EMULATOR_HOST.\n");
        assert!(env::var("CI").as_deref() != Ok("true"), "CI runs the whole suite");
    }
    started
});

struct Emulator {
    host: String,
    /// Holds the pipe that keeps the emulator alive.
    _leash: Option<Child>,
}

/// `host:port`, or `None` where there is no emulator.
pub fn host() -> Option<&'static str> {
    EMULATOR.as_ref().map(|emulator| emulator.host.as_str())
}

/// The emulator's jar, in the installation that `gcloud` belongs to or in the usual ones.
fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let gcloud = env::split_paths(&path).find_map(|directory| directory.join("gcloud").canonicalize().ok());
    let beside_gcloud = gcloud.and_then(|gcloud| Some(gcloud.parent()?.parent()?.to_owned()));
    let usual = ["/usr/lib/google-cloud-sdk", "/google-cloud-sdk"].map(PathBuf::from);
    beside_gcloud.into_iter().chain(usual).find_map(|sdk| {
        let files = sdk.join("platform/pubsub-emulator/lib").read_dir().ok()?;
        files.flatten().map(|file| file.path()).find(|file| file.extension().is_some_and(|it| it == "jar"))
    })
}

fn start(jar: PathBuf) -> Option<Emulator> {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port is free").port();
    let mut child = Command::new("sh")
        .args(["-c", LEASH, "sh", "java", "-jar"])
        .arg(jar)
        .args(["--host=127.0.0.1", &format!("--port={port}")])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let output = BufReader::new(child.stderr.take().expect("it is piped"));
    let (ready, started) = mpsc::channel();
    thread::spawn(move || {
        // Reads on for ever, since a full pipe would block the emulator.
        for line in output.lines().map_while(Result::ok) {
            if line.contains("Server started") || line.contains("not found") {
                let _ = ready.send(line.contains("Server started"));
            }
        }
    });
    let started = started.recv_timeout(Duration::from_secs(60)).expect("the emulator starts or says why not");
    started.then(|| Emulator { host: format!("127.0.0.1:{port}"), _leash: Some(child) })
}
