//! Where a fleet is if nobody says it: commands in the folder of a `fleet dev` speak to that one, and to no other once they
//! have begun.

use std::path::Path;
use std::sync::OnceLock;

use serde::Deserialize;

/// Where `fleet dev` keeps what it has, if nobody says otherwise.
pub const FOLDER: &str = ".fleet";

/// What a running `fleet dev` writes into it. It is gone when the fleet has ended.
const DEV: &str = "dev.json";

/// The fleet of this folder is meant, and does not run. At the usual place may be somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the `fleet dev` of this folder, which has a {FOLDER}, does not run")]
pub(super) struct NotRunning;

#[derive(Debug, Deserialize)]
struct DevFile {
    grpc: String,
    http: String,
}

/// What was said; else where the `fleet dev` of this folder serves HTTP; else the usual place. For as long as this process
/// lives it is the same: a fleet that ends is waited for where it was.
pub(super) fn http(said: Option<&str>, usual: &str) -> Result<String, NotRunning> {
    static FOUND: OnceLock<String> = OnceLock::new();
    resolved(said, &FOUND, || look(Path::new(FOLDER), usual, |dev| dev.http))
}

/// The same of its gRPC.
pub(super) fn grpc(said: Option<&str>, usual: &str) -> Result<String, NotRunning> {
    static FOUND: OnceLock<String> = OnceLock::new();
    resolved(said, &FOUND, || look(Path::new(FOLDER), usual, |dev| dev.grpc))
}

fn resolved(
    said: Option<&str>,
    found: &OnceLock<String>,
    look: impl Fn() -> Result<String, NotRunning>,
) -> Result<String, NotRunning> {
    match (said.filter(|said| !said.is_empty()), found.get()) {
        (Some(said), _) => Ok(said.to_owned()),
        (None, Some(found)) => Ok(found.clone()),
        (None, None) => {
            let at = look()?;
            Ok(found.get_or_init(|| at).clone())
        }
    }
}

fn look(folder: &Path, usual: &str, part: fn(DevFile) -> String) -> Result<String, NotRunning> {
    match std::fs::read(folder.join(DEV)).ok().and_then(|text| read(&text)) {
        Some(dev) => Ok(part(dev)),
        None if folder.is_dir() => Err(NotRunning),
        None => Ok(usual.to_owned()),
    }
}

fn read(text: &[u8]) -> Option<DevFile> {
    serde_json::from_slice(text).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_said_goes_before_what_is_written_and_nonsense_is_not_believed() {
        assert!(read(b"{").is_none());
        let dev = read(br#"{"grpc": "127.0.0.1:2", "http": "127.0.0.1:1", "pid": 7}"#);
        assert_eq!(dev.map(|dev| (dev.http, dev.grpc)), Some(("127.0.0.1:1".into(), "127.0.0.1:2".into())));
        assert_eq!(http(Some("example.com:80"), "127.0.0.1:8080"), Ok("example.com:80".into()));
        assert_eq!(http(None, "127.0.0.1:8080"), Ok("127.0.0.1:8080".into()), "there is no such folder here");
    }

    #[test]
    fn a_fleet_that_ends_is_waited_for_where_it_was_and_the_usual_place_is_not_meant_where_one_has_been() {
        let folder = std::env::temp_dir().join(format!("fleet-found-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let found = OnceLock::new();
        let look = || look(&folder, "127.0.0.1:8080", |dev| dev.http);
        assert_eq!(resolved(None, &found, look), Err(NotRunning));
        let dev = folder.join(DEV);
        fs::write(&dev, br#"{"grpc": "127.0.0.1:2", "http": "127.0.0.1:1"}"#).expect("written");
        assert_eq!(resolved(None, &found, look), Ok("127.0.0.1:1".into()));
        fs::remove_dir_all(&folder).expect("removed");
        assert_eq!(resolved(None, &found, look), Ok("127.0.0.1:1".into()));
    }
}
