//! The folder a fleet keeps its private servers in, held by one process at a time.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::cluster::CLUSTER;
use crate::postmaster::end_leftover;

/// Where that which is started keeps its files.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// Kept from one run to the next.
    DataDir(&'a DataDir),
    /// A temporary folder that goes with the process; Postgres does not wait for the disk. For tests: what is started
    /// here may be kept in a static, which is never dropped.
    Throwaway,
}

/// A locked data folder. The lock is the open file's: it ends with this value or with the process.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the folder if it is missing, as one that git ignores, and locks it.
    ///
    /// # Errors
    /// [`Error::InUse`] names the process that holds it.
    pub fn lock(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            fs::create_dir_all(path).map_err(Error::file("create", path))?;
            // Whoever has the folder in a repository does not want a database committed.
            let ignore = path.join(".gitignore");
            fs::write(&ignore, "*\n").map_err(Error::file("write", &ignore))?;
        }
        let path = path.canonicalize().map_err(Error::file("find the full path of", path))?;
        let lock_path = path.join("lock");
        // Not truncated when opened: until the lock is ours, what it says is the holder's.
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(Error::file("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                lock.read_to_string(&mut holder).map_err(Error::file("read", &lock_path))?;
                return Err(Error::InUse { folder: path, process: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(cause)) => {
                return Err(Error::file("lock", &lock_path)(cause));
            }
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(Error::file("write", &lock_path))?;
        Ok(Self { path, _lock: lock })
    }

    /// Drops the private Postgres with everything in it, and files of these names; whether there was anything. What else is in the
    /// folder stays.
    ///
    /// # Errors
    /// A server is still at work on it and cannot be ended, or something cannot be removed.
    pub async fn clear(&self, files: &[&str]) -> Result<bool, Error> {
        let cluster = self.path.join(CLUSTER);
        let mut cleared = false;
        if cluster.exists() {
            end_leftover(&cluster).await?;
            fs::remove_dir_all(&cluster).map_err(Error::file("remove", &cluster))?;
            cleared = true;
        }
        for name in files {
            let file = self.path.join(name);
            match fs::remove_file(&file) {
                Ok(()) => cleared = true,
                Err(cause) if cause.kind() == ErrorKind::NotFound => {}
                Err(cause) => return Err(Error::file("remove", &file)(cause)),
            }
        }
        Ok(cleared)
    }

    /// Absolute, with symbolic links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_holds_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let held = DataDir::lock(folder.path()).expect("nobody holds it");
        let refused = DataDir::lock(folder.path()).expect_err("it is held");
        let ourselves = format!("(process {})", std::process::id());
        assert!(refused.to_string().contains(&ourselves), "{refused}");
        drop(held);
        DataDir::lock(folder.path()).expect("it was released");
    }
}
