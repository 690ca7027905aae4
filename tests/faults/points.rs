//! The kill points there are, as the source has them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// In the source of the crates that have any.
pub fn all() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut points = BTreeSet::new();
    for folder in ["event-store/src", "workers/src"] {
        let mut folders = vec![root.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path: PathBuf = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let source = std::fs::read_to_string(path).unwrap();
                    for point in source.split("kill_point!(\"").skip(1) {
                        let (point, _) = point.split_once('"').unwrap();
                        assert!(points.insert(point.to_owned()), "{point} is in the source twice");
                    }
                }
            }
        }
    }
    assert!(points.len() > 20, "{points:?}");
    points
}
