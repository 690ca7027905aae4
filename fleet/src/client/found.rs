//! Where a fleet is if nobody says it: commands in the folder of a `fleet dev` speak to that one.

use serde::Deserialize;

/// What a running `fleet dev` writes, with its default folder. It is gone when the fleet has ended.
const DEV: &str = ".fleet/dev.json";

#[derive(Debug, Deserialize)]
struct DevFile {
    grpc: String,
    http: String,
}

/// What was said; else where the `fleet dev` of this folder serves HTTP; else the usual place.
pub(super) fn http(said: Option<&str>, usual: &str) -> String {
    resolved(said, usual, |dev| dev.http)
}

/// The same of its gRPC.
pub(super) fn grpc(said: Option<&str>, usual: &str) -> String {
    resolved(said, usual, |dev| dev.grpc)
}

fn resolved(said: Option<&str>, usual: &str, part: fn(DevFile) -> String) -> String {
    let said = said.filter(|said| !said.is_empty()).map(str::to_owned);
    said.or_else(|| read(&std::fs::read(DEV).ok()?).map(part)).unwrap_or_else(|| usual.to_owned())
}

fn read(text: &[u8]) -> Option<DevFile> {
    serde_json::from_slice(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_goes_before_what_is_written_and_nonsense_is_not_believed() {
        assert!(read(b"{").is_none());
        let dev = read(br#"{"grpc": "127.0.0.1:2", "http": "127.0.0.1:1", "pid": 7}"#);
        assert_eq!(dev.map(|dev| (dev.http, dev.grpc)), Some(("127.0.0.1:1".into(), "127.0.0.1:2".into())));
        assert_eq!(http(Some("example.com:80"), "127.0.0.1:8080"), "example.com:80");
        assert_eq!(http(None, "127.0.0.1:8080"), "127.0.0.1:8080", "there is no such file here");
    }
}
