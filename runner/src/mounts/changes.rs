//! What a container has changed of its layers, told in docker's three letters: A, C, D.

use super::union::Union;
use layerfs::inspect::diff::{Change, Name, changes};
use layerfs::inspect::tree::{Places, Tree};
use layerfs::layer::Trust;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Places that our own files are shown at; an image that lacks them gets empty ones.
const OURS: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];

impl Union {
    /// Each path, without a leading `/`, and its letter; mounted or not.
    ///
    /// # Errors
    /// What of the diff or the layers cannot be read, in one line.
    pub fn changes(&self) -> Result<BTreeMap<PathBuf, u8>, String> {
        let places = Places {
            upper: Some(self.upper.clone()),
            work: Some(self.work.clone()),
            lowers: self.lowers.clone(),
            trust: Trust::ALL,
        };
        let tree = Tree::open(&places).map_err(|error| error.to_string())?;
        let changes = changes(&tree).map_err(|error| error.to_string())?;
        Ok(letters(&changes))
    }
}

/// A letter for each path, those on the way to a change included.
fn letters(changes: &[Change]) -> BTreeMap<PathBuf, u8> {
    let mut letters = BTreeMap::new();
    for change in changes {
        let Some(path) = change.path.as_deref() else {
            continue;
        };
        if path == Path::new(".") || OURS.iter().any(|ours| path == Path::new(ours)) {
            continue;
        }
        let letter = match &change.name {
            Name::Added => b'A',
            Name::Deleted => b'D',
            Name::Renamed(from) => {
                // Something else may be there now, and says so itself.
                letters.entry(from.clone()).or_insert(b'D');
                mark_way(&mut letters, from);
                b'A'
            }
            _ => b'C',
        };
        letters.insert(path.to_owned(), letter);
        mark_way(&mut letters, path);
    }
    letters
}

fn mark_way(letters: &mut BTreeMap<PathBuf, u8>, path: &Path) {
    for above in path.ancestors().skip(1) {
        if !above.as_os_str().is_empty() {
            letters.entry(above.to_owned()).or_insert(b'C');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use layerfs::inspect::diff::Touched;

    fn change(path: &str, name: Name) -> Change {
        Change {
            path: Some(PathBuf::from(path)),
            name,
            kind: None,
            touched: Touched::No,
            differences: Vec::new(),
            link_of: None,
        }
    }

    #[test]
    fn the_way_to_a_change_is_changed_and_a_rename_is_two() {
        let changes = [
            change("a/b/new", Name::Added),
            change("moved", Name::Renamed("old/place".into())),
            change("gone", Name::Deleted),
            change(".", Name::Kept),
        ];
        let lines: Vec<_> = letters(&changes)
            .into_iter()
            .map(|(path, letter)| format!("{} {}", letter as char, path.display()))
            .collect();
        let wanted = [
            "C a",
            "C a/b",
            "A a/b/new",
            "D gone",
            "A moved",
            "C old",
            "D old/place",
        ];
        assert_eq!(lines, wanted);
    }
}
