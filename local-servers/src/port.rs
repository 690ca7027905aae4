//! A free port on the loopback address, the same as last time if possible: addresses that stay can be kept in a
//! shell's history or another tool's settings.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::Error;

/// The port remembered in `memory` if it is free, else any free one. Free now: the caller must be ready to lose it to
/// somebody else before its server has it.
pub(crate) fn pick(memory: &Path) -> Result<u16, Error> {
    let remembered = fs::read_to_string(memory).ok().and_then(|text| text.trim().parse().ok());
    remembered
        .and_then(|port| free(port).ok())
        .map_or_else(|| free(0), Ok)
        .map_err(Error::file("find a free port on 127.0.0.1 for", memory))
}

/// Called once the server has the port.
pub(crate) fn remember(memory: &Path, port: u16) -> Result<(), Error> {
    fs::write(memory, format!("{port}\n")).map_err(Error::file("write", memory))
}

fn free(port: u16) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remembered_port_is_taken_again_unless_it_is_busy() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let memory = folder.path().join("port");
        let port = pick(&memory).expect("a free port");
        remember(&memory, port).expect("the folder is writable");
        assert_eq!(pick(&memory).expect("a free port"), port);

        let _busy = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it was free");
        assert_ne!(pick(&memory).expect("a free port"), port);
    }
}
