//! What can go wrong while finding or starting a server, in words that say what to do. A cause is in the text, and
//! not repeated as a `source`.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{} is in use by another fleet (process {process}): stop that one, or choose another data folder with --data-dir",
        folder.display()
    )]
    InUse { folder: PathBuf, process: String },

    #[error("cannot {doing} {}: {cause}", path.display())]
    File { doing: &'static str, path: PathBuf, cause: io::Error },

    #[error(
        "PostgreSQL refuses to run as root, and none of the users {candidates} exists to run it instead: \
         create one, start the fleet as an ordinary user, or set DATABASE_URL"
    )]
    NoAccount { candidates: String },

    #[error(
        "{needed} is not installed, and downloading it failed ({reason}): \
         install it (with its initdb), or set DATABASE_URL"
    )]
    Download { needed: String, reason: String },

    #[error("{program} {happened}; the end of {}:\n{tail}", log.display())]
    Start { program: &'static str, happened: String, log: PathBuf, tail: String },

    #[error("{program} (process {process}) is still running {seconds} s after it was told to stop: end it by hand")]
    Stop { program: &'static str, process: u32, seconds: u64 },

    #[error("Postgres at {server}: cannot {doing}: {cause}")]
    Database { server: String, doing: String, cause: sqlx::Error },
}

impl Error {
    /// For `map_err`: what was being done to which file.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::File { doing, path: path.to_path_buf(), cause }
    }
}
