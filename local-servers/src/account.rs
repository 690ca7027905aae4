//! The user a server runs as. Postgres refuses root, so root starts it as somebody else.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;

/// In the order they are tried. The first comes with a packaged PostgreSQL, the others with nearly every system.
const CANDIDATES: [&str; 3] = ["postgres", "nobody", "daemon"];

#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub name: &'static str,
    uid: u32,
    gid: u32,
}

impl Account {
    /// `None` when we are not root: a server then runs as ourselves.
    pub fn for_servers() -> Result<Option<Self>, Error> {
        if id(&["-u"]) != Some(0) {
            return Ok(None);
        }
        let found = CANDIDATES
            .into_iter()
            .find_map(|name| Some(Self { name, uid: id(&["-u", name])?, gid: id(&["-g", name])? }));
        found.map(Some).ok_or_else(|| Error::NoAccount { candidates: CANDIDATES.join(", ") })
    }

    /// Lets `command` run as this user; the standard library drops root's supplementary groups with it.
    pub fn assume(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    pub fn own(&self, path: &Path) -> Result<(), Error> {
        chown(path, Some(self.uid), Some(self.gid)).map_err(Error::file("change the owner of", path))
    }

    pub fn is(&self, uid: u32) -> bool {
        self.uid == uid
    }

    /// Asked by trying, as this user: mode bits alone do not tell (access lists, mounts).
    pub fn can_enter(&self, folder: &Path) -> bool {
        let mut probe = Command::new("sh");
        probe.args(["-c", "cd -- \"$1\"", "sh"]).arg(folder);
        self.assume(&mut probe);
        probe.current_dir("/").stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    let printed = String::from_utf8(output.stdout).ok()?;
    printed.trim().parse().ok()
}
