//! The server binaries of a PostgreSQL, wherever they are installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::search::{on_path, versions};

/// What the fleet is tested with; older ones are passed over.
pub(crate) const OLDEST: u32 = 15;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Installed {
    pub bin: PathBuf,
    /// As the server states it: `15.18`.
    pub version: String,
}

impl Installed {
    /// The first usable one: of version `major` where a cluster asks for that, else of any that is not too old.
    pub fn find(major: Option<u32>) -> Option<Self> {
        candidates()
            .into_iter()
            .filter(|bin| is_complete(bin))
            .filter_map(|bin| Self::at(bin).ok())
            .find(|installed| installed.suits(major))
    }

    pub fn at(bin: PathBuf) -> Result<Self, Error> {
        let server = bin.join("postgres");
        let output = Command::new(&server).arg("--version").output().map_err(Error::file("run", &server))?;
        let version = version(&String::from_utf8_lossy(&output.stdout));
        Ok(Self { bin, version })
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    fn suits(&self, major: Option<u32>) -> bool {
        let digits = self.version.split(|character: char| !character.is_ascii_digit()).next();
        let own: u32 = digits.and_then(|digits| digits.parse().ok()).unwrap_or_default();
        major.map_or(own >= OLDEST, |major| own == major)
    }
}

/// Folders in which server binaries may be, in the order of preference.
fn candidates() -> Vec<PathBuf> {
    let path = on_path("postgres").and_then(|server| Some(server.parent()?.to_path_buf()));
    let families = [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql"),
        ("/usr/local/opt", "postgresql"),
        ("/Applications/Postgres.app/Contents/Versions", ""),
    ];
    let installed =
        families.into_iter().flat_map(|(parent, prefix)| versions(parent, prefix)).map(|version| version.join("bin"));
    path.into_iter().chain(installed).collect()
}

/// A package of the client alone has neither, one of the libraries may have one.
fn is_complete(bin: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|program| bin.join(program).is_file())
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` is version `15.18`.
fn version(printed: &str) -> String {
    printed.split_whitespace().nth(2).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_counts_only_with_both_programs() {
        let bin = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(bin.path().join("postgres"), "").expect("the folder is ours");
        assert!(!is_complete(bin.path()));
        std::fs::write(bin.path().join("initdb"), "").expect("the folder is ours");
        assert!(is_complete(bin.path()));
    }

    #[test]
    fn a_cluster_is_served_by_its_own_version_only() {
        let of = |printed| Installed { bin: PathBuf::new(), version: version(printed) };
        let fifteen = of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)");
        assert_eq!(fifteen.version, "15.18");
        assert!(fifteen.suits(None) && fifteen.suits(Some(15)) && !fifteen.suits(Some(16)));
        assert!(of("postgres (PostgreSQL) 19beta1").suits(Some(19)));
        assert!(!of("postgres (PostgreSQL) 9.6.24").suits(None));
        assert!(!of("").suits(None));
    }
}
