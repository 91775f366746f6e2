//! All names of the hard-linked files of a layer.
//!
//! A directory tells no link counts, only inode numbers: one walk over the names (no stat) finds the
//! numbers that come more than once. It is made at the first copy-up of a hard-linked file, once per
//! layer, and given up on layers so large that somebody would wait for it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use rustix::fs::FileType;

use super::directory::{LayerDir, Shows};
use crate::error::Result;

/// A layer with more names than this is not walked.
const NAMES_MAX: usize = 1 << 18;

/// The same of a packed one, whose names are in memory.
const PACKED_NAMES_MAX: usize = 1 << 21;

/// A name: the names of its directories from the root, and its own.
pub type Path = Box<[OsString]>;

/// Inode numbers of a layer that have several names, with these.
#[derive(Debug, Default)]
pub struct Aliases(HashMap<u64, Vec<Path>>);

impl Aliases {
    /// Walks a layer from its root.
    pub(super) fn find(root: &Arc<LayerDir>) -> Result<Self> {
        let mut directories: Vec<(Arc<LayerDir>, Option<usize>)> = vec![(root.clone(), None)];
        let mut first: HashMap<u64, (usize, Box<OsStr>)> = HashMap::new();
        let mut several: HashMap<u64, Vec<(usize, Box<OsStr>)>> = HashMap::new();
        let most = match root.layer().is_packed() {
            true => PACKED_NAMES_MAX,
            false => NAMES_MAX,
        };
        let mut next = 0;
        while let Some((directory, _)) = directories.get(next).cloned() {
            for listed in directory.listing()?.iter() {
                match directory.shows(&listed)? {
                    Shows::Nothing | Shows::Whiteout => {}
                    Shows::Object(FileType::Directory) => {
                        directories.push((directory.child(listed.name), Some(next)));
                    }
                    Shows::Object(_) => {
                        let name = (next, Box::from(listed.name));
                        match several.get_mut(&listed.ino) {
                            Some(names) => names.push(name),
                            None => {
                                if let Some(other) = first.insert(listed.ino, name.clone()) {
                                    several.insert(listed.ino, vec![other, name]);
                                }
                            }
                        }
                    }
                }
            }
            if first.len() + directories.len() > most {
                tracing::info!(layer = %root.layer().path.display(), "too large to look for hard links");
                return Ok(Self::default());
            }
            next += 1;
        }
        let path = |(directory, name): (usize, Box<OsStr>)| {
            let mut names = vec![name.into_os_string()];
            let mut here = directory;
            while let (directory, Some(parent)) = &directories[here] {
                names.push(directory.name().to_owned());
                here = *parent;
            }
            names.reverse();
            names.into_boxed_slice()
        };
        let paths = |names: Vec<(usize, Box<OsStr>)>| names.into_iter().map(path).collect();
        Ok(Self(
            several
                .into_iter()
                .map(|(ino, names)| (ino, paths(names)))
                .collect(),
        ))
    }

    /// The names of an inode number; none if it has but one, or nobody knows.
    pub fn of(&self, ino: u64) -> &[Path] {
        self.0.get(&ino).map_or(&[], Vec::as_slice)
    }
}
