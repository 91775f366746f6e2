//! The oracle: the trees that a plain directory on ext4 goes through.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tests::layers::{Layer, flatten, set_time};
use tests::operations::{Answer, Op, apply};
use tests::snapshot::{Snapshot, View};
use tests::stage::START;

/// Trees and answers: `trees[i]` is before operation `i`, `trees[i + 1]` after it.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) trees: Vec<Snapshot>,
    pub(crate) answers: Vec<Answer>,
}

impl History {
    /// Writes the merged tree of `layers` into the new directory `plain`, by code that knows no
    /// union, and does the operations there.
    pub(crate) fn of(layers: &[Layer], ops: &[Op], plain: &Path) -> Self {
        flatten(layers, plain);
        dress_root(plain);
        let mut history = Self {
            trees: vec![tree(plain)],
            answers: Vec::new(),
        };
        for op in ops {
            history.answers.push(apply(plain, op));
            history.trees.push(tree(plain));
        }
        history
    }

    /// Which of the trees before and after operation `at` the directory `root` shows.
    ///
    /// # Errors
    /// It is neither: both differences.
    pub(crate) fn where_is(&self, at: usize, root: &Path) -> Result<usize, String> {
        let found = tree(root);
        let candidates = at..self.trees.len().min(at + 2);
        let differences = candidates
            .clone()
            .map(|i| self.trees[i].diff(&found))
            .collect::<Vec<_>>();
        // An operation that failed, or changes no more than a recent time, leaves both the same.
        let position = differences.iter().rposition(String::is_empty);
        position.map(|i| at + i).ok_or_else(|| {
            format!(
                "the tree is neither the one before nor the one after (- wanted, + found)\nbefore:\n{}after:\n{}",
                differences[0],
                differences.get(1).map_or("", String::as_str)
            )
        })
    }
}

/// Gives a root (a plain one, or the upper's) the attributes that all of them begin with.
pub(crate) fn dress_root(root: &Path) {
    fs::set_permissions(root, PermissionsExt::from_mode(0o755)).unwrap();
    set_time(root, START - 1, 5);
}

/// A tree, comparable with another that was changed at another time.
pub(crate) fn tree(root: &Path) -> Snapshot {
    Snapshot::of(root, &View::since(START))
}
