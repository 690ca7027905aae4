//! The Pub/Sub emulator of a fleet on one machine: Google's, which the Cloud SDK installs and Java runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::child::{Child, Program};
use crate::home::Home;
use crate::search::{on_path, versions};
use crate::{Error, Place, port};

const START_LIMIT: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(50);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Its place in a Cloud SDK.
const EMULATOR: &str = "platform/pubsub-emulator/bin/cloud-pubsub-emulator";

/// Dropping it lets an emulator we started stop, without waiting for that.
#[derive(Debug)]
pub struct Emulator {
    host: String,
    choice: String,
    process: Option<Child>,
}

impl Emulator {
    /// `emulator_host` (the value of `PUBSUB_EMULATOR_HOST`) as it is, if there is one; else Google's emulator,
    /// started; else `None`, for which the bus within the process is meant.
    ///
    /// # Errors
    /// The emulator is installed and does not start. Its last words are in the text.
    pub async fn resolve(emulator_host: Option<&str>, place: Place<'_>) -> Result<Option<Self>, Error> {
        if let Some(host) = emulator_host {
            return Ok(Some(Self {
                host: host.to_owned(),
                choice: format!("Pub/Sub emulator at {host} (PUBSUB_EMULATOR_HOST)"),
                process: None,
            }));
        }
        let Some(program) = installed() else {
            return Ok(None);
        };
        let home = Home::open(place, None)?;
        let (process, port) = start(&program, &home).await?;
        let choice = format!("Google's Pub/Sub emulator (installed as {}), in memory", program.display());
        home.handed_over();
        Ok(Some(Self { host: format!("127.0.0.1:{port}"), choice, process: Some(process) }))
    }

    /// Host and port, as in `PUBSUB_EMULATOR_HOST`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What was taken, as a sentence without its full stop.
    #[must_use]
    pub fn choice(&self) -> &str {
        &self.choice
    }

    /// Waits for the end of one that we started, which nobody asked for; for ever, if it was given.
    pub async fn died(&self) -> Error {
        match &self.process {
            Some(child) => child.died().await,
            None => std::future::pending().await,
        }
    }

    /// Stops an emulator that we started, and waits for it; one that was given goes on.
    ///
    /// # Errors
    /// It is still there after a minute.
    pub async fn stop(self) -> Result<(), Error> {
        match self.process {
            Some(process) => process.stop().await,
            None => Ok(()),
        }
    }
}

fn installed() -> Option<PathBuf> {
    let found = first_with_emulator(cloud_sdks())?;
    java_runs().then_some(found)
}

fn cloud_sdks() -> Vec<PathBuf> {
    let beside_gcloud = on_path("gcloud").and_then(|gcloud| Some(gcloud.parent()?.parent()?.to_path_buf()));
    let named = std::env::var_os("CLOUDSDK_ROOT_DIR").map(PathBuf::from);
    let usual = ["/usr/lib/google-cloud-sdk", "/google-cloud-sdk"].map(PathBuf::from);
    let own = std::env::home_dir().map(|home| home.join("google-cloud-sdk"));
    // Renamed from google-cloud-sdk to gcloud-cli; either has a folder for each version.
    let homebrew = ["/opt/homebrew/Caskroom", "/usr/local/Caskroom"]
        .into_iter()
        .flat_map(|caskroom| [format!("{caskroom}/gcloud-cli"), format!("{caskroom}/google-cloud-sdk")])
        .flat_map(|cask| versions(&cask, ""))
        .map(|version| version.join("google-cloud-sdk"));
    beside_gcloud.into_iter().chain(named).chain(usual).chain(own).chain(homebrew).collect()
}

fn first_with_emulator(sdks: Vec<PathBuf>) -> Option<PathBuf> {
    sdks.into_iter().map(|sdk| sdk.join(EMULATOR)).find(|program| program.is_file())
}

/// Looking for the file is not enough: macOS has a `java` that only says where to get one. `JAVA_HOME` comes first, as
/// in the emulator's start script.
fn java_runs() -> bool {
    let java = std::env::var_os("JAVA_HOME").map_or_else(|| "java".into(), |home| Path::new(&home).join("bin/java"));
    Command::new(java)
        .arg("-version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

async fn start(program: &Path, home: &Home) -> Result<(Child, u16), Error> {
    let memory = home.file("pubsub.port");
    let port = port::pick(&memory)?;
    let emulator = Program {
        name: "the Pub/Sub emulator",
        command: program,
        arguments: vec!["--host=127.0.0.1".into(), format!("--port={port}").into()],
        stop_signal: "TERM",
        log: home.file("pubsub.log"),
        account: None,
        rubbish: home.rubbish(),
    }
    .start()?;
    let deadline = Instant::now() + START_LIMIT;
    while !answers(port).await {
        if let Some(status) = emulator.exited()? {
            return Err(emulator.failure(format!("ended at once ({status})")));
        }
        if Instant::now() > deadline {
            return Err(emulator.failure(format!("does not answer after {} s", START_LIMIT.as_secs())));
        }
        tokio::time::sleep(RETRY).await;
    }
    port::remember(&memory, port)?;
    Ok((emulator, port))
}

/// It listens some time before it serves; then `GET /` succeeds.
async fn answers(port: u16) -> bool {
    let ask = async {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        connection.write_all(request.as_bytes()).await?;
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    matches!(tokio::time::timeout(ANSWER_LIMIT, ask).await, Ok(Ok(answer)) if answer == *b"HTTP/1.1 200")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloud_sdk_without_the_emulator_is_passed_over() {
        let [bare, full] = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
        let program = full.path().join(EMULATOR);
        std::fs::create_dir_all(program.parent().expect("it is in a folder")).expect("the folder is ours");
        std::fs::write(&program, "").expect("the folder is ours");
        let sdks = vec![bare.path().to_path_buf(), full.path().to_path_buf()];
        assert_eq!(first_with_emulator(sdks), Some(program));
        assert_eq!(first_with_emulator(vec![bare.path().to_path_buf()]), None);
    }
}
