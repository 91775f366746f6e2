//! Contract R7: a layer is never written. A guard takes every lower's picture and compares it.

use std::path::{Path, PathBuf};

use crate::snapshot::{Snapshot, View};

/// Lowers that must be the same at the end as they were at the start, to the last attribute
/// (access times apart).
#[derive(Debug)]
pub struct Lowers {
    before: Vec<(PathBuf, Snapshot)>,
}

impl Lowers {
    /// Takes the pictures.
    pub fn guard<P: AsRef<Path>>(paths: &[P]) -> Self {
        let before = paths
            .iter()
            .map(|p| (p.as_ref().to_owned(), picture(p.as_ref())))
            .collect();
        Self { before }
    }

    /// Compares now.
    #[track_caller]
    pub fn check(&self) {
        for (path, before) in &self.before {
            let diff = before.diff(&picture(path));
            assert!(
                diff.is_empty(),
                "R7: the lower {} was written:\n{diff}",
                path.display()
            );
        }
    }
}

fn picture(path: &Path) -> Snapshot {
    Snapshot::of(path, &View::everything())
}

impl Drop for Lowers {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        }
    }
}
