//! Looking for installed programs: on `PATH`, and in folders that carry a version in their name.

use std::fs;
use std::path::{Path, PathBuf};

/// The first `program` on `PATH`, with symbolic links resolved: its neighbours are the installation.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())?.canonicalize().ok()
}

/// The folders in `parent` whose name starts with `prefix`, highest version first.
pub(crate) fn versions(parent: impl AsRef<Path>, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| name(path).starts_with(prefix))
        .collect();
    found.sort_by_key(|path| std::cmp::Reverse(numbers(name(path))));
    found
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// `postgresql@9.6` is before `postgresql@16`: compared as numbers.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|character: char| !character.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        for name in ["postgresql@9.6", "postgresql@16", "postgresql@15", "redis"] {
            fs::create_dir(parent.path().join(name)).expect("the folder is ours");
        }
        let found = versions(&parent, "postgresql");
        let names: Vec<&str> = found.iter().map(|path| name(path)).collect();
        assert_eq!(names, ["postgresql@16", "postgresql@15", "postgresql@9.6"]);
    }
}
