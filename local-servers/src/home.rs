//! The folder in which a server's files are: the data folder, or one the server's user can reach, or a temporary one.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::account::Account;
use crate::{Error, Place};

#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    account: Option<Account>,
    /// Why the path is not the data folder, for the choice's sentence.
    note: Option<String>,
    /// Deletes the folder if the start fails. After [`Home::handed_over`] the watchdog does that.
    temporary: Option<TempDir>,
}

impl Home {
    /// `account`: the user the server will run as, if not ourselves.
    pub fn open(place: Place<'_>, account: Option<Account>) -> Result<Self, Error> {
        match place {
            Place::DataDir(folder) => Self::lasting(folder.path(), account),
            Place::Throwaway => Self::temporary(account),
        }
    }

    fn lasting(data_dir: &Path, account: Option<Account>) -> Result<Self, Error> {
        let open = |path: PathBuf, note| Self { path, account: account.clone(), note, temporary: None };
        let Some(account) = &account else {
            return Ok(open(data_dir.to_path_buf(), None));
        };
        if account.can_enter(data_dir) {
            return Ok(open(data_dir.to_path_buf(), None));
        }
        let note = format!("the user {} cannot enter {}", account.name, data_dir.display());
        let [first, second] = fallbacks(data_dir);
        match private(&first, account) {
            Ok(()) => Ok(open(first, Some(note))),
            Err(_) => private(&second, account).map(|()| open(second, Some(note))),
        }
    }

    fn temporary(account: Option<Account>) -> Result<Self, Error> {
        let create = |parent: &Path| {
            let folder = tempfile::Builder::new()
                .prefix("fleet-")
                .tempdir_in(parent)
                .map_err(Error::file("create a temporary folder in", parent))?;
            if let Some(account) = &account {
                account.own(folder.path())?;
            }
            Ok(folder)
        };
        let mut folder = create(&std::env::temp_dir())?;
        if account.as_ref().is_some_and(|account| !account.can_enter(folder.path())) {
            folder = create(Path::new("/var/tmp"))?;
        }
        Ok(Self { path: folder.path().to_path_buf(), account, note: None, temporary: Some(folder) })
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `private cluster in .../postgres, run by the user postgres`
    pub fn describe(&self, what: &str, file: &str) -> String {
        let kind = if self.is_temporary() { "throwaway" } else { "private" };
        let mut sentence = format!("{kind} {what} in {}", self.file(file).display());
        if let Some(account) = &self.account {
            sentence += &format!(", run by the user {}", account.name);
        }
        if let Some(note) = &self.note {
            sentence += &format!(" ({note})");
        }
        sentence
    }

    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    pub fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// What a watchdog is to remove when we are gone.
    pub fn rubbish(&self) -> Option<PathBuf> {
        self.is_temporary().then(|| self.path.clone())
    }

    /// From now on a watchdog removes a temporary folder, after the server in it has stopped.
    pub fn handed_over(self) {
        if let Some(folder) = self.temporary {
            let _kept = folder.keep();
        }
    }

    /// Gives `path` to the user the server runs as.
    pub fn own(&self, path: &Path) -> Result<(), Error> {
        self.account.as_ref().map_or(Ok(()), |account| account.own(path))
    }
}

/// Where the server's files go when its user cannot reach `data_dir`: the same two for the same folder, in order.
fn fallbacks(data_dir: &Path) -> [PathBuf; 2] {
    let digest = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    ["/var/lib", "/var/tmp"].map(|parent| Path::new(parent).join(format!("fleet-{hash}")))
}

/// Makes `folder` the account's and nobody else's. One that somebody else made before us (anyone can, in /var/tmp) is
/// refused: its maker could read the password.
fn private(folder: &Path, account: &Account) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => account.own(folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let metadata = fs::symlink_metadata(folder).map_err(Error::file("look at", folder))?;
            if !metadata.is_dir() || !account.is(metadata.uid()) {
                return Err(Error::file("use", folder)(io::Error::other("it belongs to somebody else")));
            }
            fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(Error::file("protect", folder))
        }
        Err(error) => Err(Error::file("create", folder)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_has_its_own_lasting_fallback() {
        let [one, other] = ["/root/a/.fleet", "/root/b/.fleet"].map(|path| fallbacks(Path::new(path)));
        assert_ne!(one, other);
        assert_eq!(one, fallbacks(Path::new("/root/a/.fleet")));
        assert!(one[0].starts_with("/var/lib") && one[1].starts_with("/var/tmp"));
    }
}
