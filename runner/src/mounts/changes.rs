//! What a container has changed of its layers: told in docker's three letters A, C, D; and as the pieces
//! of a layer that makes the same changes.

use super::union::Union;
use crate::types::Piece;
use layerfs::inspect::diff::{Change, Name, changes};
use layerfs::inspect::tree::{Places, Tree};
use layerfs::layer::Trust;
use rustix::fs::FileType;
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
        Ok(letters(&self.all_changes()?))
    }

    /// The pieces of a layer that makes of the layers what the union shows: each path, without a leading
    /// `/`, those on the way included, directories first.
    ///
    /// # Errors
    /// As [`Union::changes`]; and a change whose path nobody knows.
    pub fn pieces(&self) -> Result<BTreeMap<PathBuf, Piece>, String> {
        pieces(&self.all_changes()?)
    }

    fn all_changes(&self) -> Result<Vec<Change>, String> {
        let places = Places {
            upper: Some(self.upper.clone()),
            work: Some(self.work.clone()),
            lowers: self.lowers.clone(),
            trust: Trust::ALL,
        };
        let tree = Tree::open(&places).map_err(|error| error.to_string())?;
        changes(&tree).map_err(|error| error.to_string())
    }
}

/// A piece for each path.
fn pieces(changes: &[Change]) -> Result<BTreeMap<PathBuf, Piece>, String> {
    let (mut pieces, mut gone) = (BTreeMap::new(), Vec::new());
    for change in changes {
        let path = change.path.as_deref().ok_or(
            "a file of a layer with several names was changed, and the layer is too large to look for them",
        )?;
        if path == Path::new(".") || OURS.iter().any(|ours| path == Path::new(ours)) {
            continue;
        }
        let directory = change.kind == Some(FileType::Directory);
        let piece = match &change.name {
            Name::Deleted => {
                gone.push(path.to_owned());
                continue;
            }
            Name::Renamed(from) => {
                gone.push(from.clone());
                if directory {
                    Piece::Tree
                } else {
                    Piece::Object
                }
            }
            Name::Replaced => Piece::Fresh,
            _ => Piece::Object,
        };
        pieces.insert(path.to_owned(), piece);
    }
    let ways: Vec<PathBuf> = pieces.keys().chain(&gone).cloned().collect();
    for way in ways.iter().flat_map(|path| path.ancestors().skip(1)) {
        if !way.as_os_str().is_empty() && !gone.iter().any(|gone| gone == way) {
            pieces.entry(way.to_owned()).or_insert(Piece::Object);
        }
    }
    // A whole tree brings all that is in it.
    let trees: Vec<PathBuf> = pieces
        .iter()
        .filter(|(_, piece)| **piece == Piece::Tree)
        .map(|(path, _)| path.clone())
        .collect();
    let inside = |path: &Path| {
        path.ancestors()
            .skip(1)
            .any(|above| trees.iter().any(|t| t == above))
    };
    pieces.retain(|path, _| !inside(path));
    // What is gone with its directory needs no mark of its own; nor does what something else stands for.
    gone.sort();
    for path in gone {
        let covered = path
            .ancestors()
            .skip(1)
            .any(|above| match pieces.get(above) {
                Some(Piece::Gone | Piece::Tree | Piece::Fresh) => true,
                Some(Piece::Object) | None => false,
            });
        if !covered {
            pieces.entry(path).or_insert(Piece::Gone);
        }
    }
    Ok(pieces)
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
    fn pieces_of_a_layer() {
        let directory = |path: &str, name| Change {
            kind: Some(FileType::Directory),
            ..change(path, name)
        };
        let changes = [
            change("a/b/new", Name::Added),
            directory("moved", Name::Renamed("old/place".into())),
            change("old/place/x", Name::Deleted),
            change("moved/in", Name::Kept),
            directory("var/new", Name::Replaced),
            change("var/new/x", Name::Deleted),
            change("gone", Name::Deleted),
            change("gone/too", Name::Deleted),
            change("etc/hosts", Name::Added),
            change("back", Name::Added),
            change("else", Name::Renamed("back".into())),
        ];
        let seen = pieces(&changes).unwrap();
        let seen: Vec<_> = seen
            .iter()
            .map(|(path, piece)| format!("{piece:?} {}", path.display()))
            .collect();
        let wanted = [
            "Object a",
            "Object a/b",
            "Object a/b/new",
            "Object back",
            "Object else",
            "Gone gone",
            "Tree moved",
            "Object old",
            "Gone old/place",
            "Object var",
            "Fresh var/new",
        ];
        assert_eq!(seen, wanted);
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
