//! After a kill or a power cut. After the latter, copies whose data may not have reached the disk get the layer's data again
//! (contract F2). What the marks mean is told in [`crate::upper::durability`].
//!
//! ```text
//!   every directory of the upper ─> files that the lost session marked ─> data of the layer, synced
//!                                                                       ─> mark away
//! ```
//!
//! Killed alone, the index may be left with an entry too many or a number too high: that is put right at
//! every open, since the index is small.
//!
//! Runs before anything is served, and may be cut short at any point: a copy keeps its mark until its
//! data is on disk, and the marker on the whole upper stays until all are done.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, OFlags, fsync, unlinkat};

use super::FileSystem;
use super::aliases::shows;
use super::directories::scan;

use crate::error::{Error, Result};
use crate::inode::Node;
use crate::marks::Marks;
use crate::sys::at::At;
use crate::types::NodeId;
use crate::union::copy_up;
use crate::union::numbers::shown_number;
use crate::upper::{Left, Origin, Upper, data};

impl FileSystem {
    /// Puts right what the last session left unsynced in the upper.
    pub(super) fn recover(&self) -> Result<()> {
        let Some(upper) = &self.upper else {
            return Ok(());
        };
        self.recover_index(upper)?;
        match upper.left {
            Left::Nothing => return Ok(()),
            Left::Cached => upper.sync()?,
            Left::Lost(session) => {
                let restored = self.restore_all(upper, session)?;
                tracing::warn!(
                    restored,
                    "copies that a power cut may have spoilt were put back"
                );
            }
        }
        upper.all_settled()
    }

    /// Removes index entries that have outlived their use, and counts the names of those that a kill
    /// left uncounted.
    fn recover_index(&self, upper: &Upper) -> Result<()> {
        let mut entries = Vec::new();
        scan(upper.index(), |name, _, _| {
            entries.push(name.to_owned());
            Ok(())
        })?;
        for name in entries {
            let at = At::Name(upper.index(), &name);
            let record = Marks::read(at)?.origin.as_deref().and_then(Origin::decode);
            let Some(mut origin) = record else { continue };
            if origin.recount {
                origin.recount = false;
                origin.nlink = self.names_left(&origin, at)?.or(origin.nlink);
                copy_up::record(upper, at, &origin)?;
            }
            if matches!(origin.nlink, None | Some(0)) {
                unlinkat(upper.index(), &*name, AtFlags::empty())?;
            }
        }
        Ok(())
    }

    /// How many names an indexed file has: those of the upper, and those that only its layer has and
    /// the merged view shows. `None` if the layer is too large to look for them.
    fn names_left(&self, origin: &Origin, entry: At<'_>) -> Result<Option<u32>> {
        let paths = self.lower_names(origin)?;
        if paths.is_empty() {
            return Ok(None);
        }
        let moved = self.upper_directories()?;
        let mut names = (entry.stat()?.st_nlink as u32).saturating_sub(1);
        for path in paths {
            let shown = match self.walk(origin, path)? {
                None => self.walk_moved(origin, path, &moved)?,
                shown => shown,
            };
            if let Some((parent, name)) = shown {
                let found = self.resolve(&parent, name)?;
                let ino = shown_number(origin);
                names += u32::from(found.is_some_and(|found| found.ino == ino && !found.in_upper));
            }
        }
        self.let_go(moved);
        Ok(Some(names))
    }

    /// As [`Self::walk`], of a path one of whose directories was renamed.
    fn walk_moved<'a>(
        &self,
        origin: &Origin,
        path: &'a [OsString],
        moved: &[Arc<Node>],
    ) -> Result<Option<(Arc<Node>, &'a OsStr)>> {
        let Some((last, directories)) = path.split_last() else {
            return Ok(None);
        };
        for depth in (1..=directories.len()).rev() {
            let (above, below) = directories.split_at(depth);
            let mut layer_path = OsString::new();
            for name in above {
                layer_path.push("/");
                layer_path.push(name);
            }
            for directory in moved {
                if shows(directory, origin.position, &layer_path)?
                    && let Some(found) = self.descend(origin, directory.clone(), above, below)?
                {
                    return Ok(Some((found, last)));
                }
            }
        }
        Ok(None)
    }

    /// All directories in the upper, parents first.
    fn upper_directories(&self) -> Result<Vec<Arc<Node>>> {
        let mut all = vec![self.node(NodeId::ROOT)?];
        let mut visited = BTreeSet::from([NodeId::ROOT]);
        let mut next = 0;
        while let Some(directory) = all.get(next).cloned() {
            for (name, kind) in self.upper_names(&directory)? {
                if kind != FileType::Directory {
                    continue;
                }
                let Ok(Some(found)) = self.resolve(&directory, &name) else {
                    continue;
                };
                let child = self.admit(&directory, &name, found);
                if child.in_upper() && visited.insert(child.id) {
                    all.push(child);
                }
            }
            next += 1;
        }
        Ok(all)
    }

    /// Lets go of directories whose lookups nobody counted, children first.
    fn let_go(&self, directories: Vec<Arc<Node>>) {
        for node in directories.into_iter().rev() {
            let id = node.id;
            drop(node);
            self.table.forget(id, 0);
        }
    }

    /// Puts back what the session lost; gives how many files.
    fn restore_all(&self, upper: &Upper, session: Option<u64>) -> Result<usize> {
        let directories = self.upper_directories()?;
        let mut restored = 0;
        for directory in &directories {
            for (name, kind) in self.upper_names(directory)? {
                if kind != FileType::Directory {
                    restored += usize::from(self.restore(upper, directory, &name, session)?);
                }
            }
        }
        self.let_go(directories);
        Ok(restored)
    }

    /// The directories and regular files of a directory in the upper.
    fn upper_names(&self, directory: &Node) -> Result<Vec<(OsString, FileType)>> {
        let mut names = Vec::new();
        scan(self.upper_dir(directory)?.as_fd(), |name, kind, _| {
            if matches!(
                kind,
                FileType::Directory | FileType::RegularFile | FileType::Unknown
            ) {
                names.push((name.to_owned(), kind));
            }
            Ok(())
        })?;
        Ok(names)
    }

    /// Puts a file's data back if the lost session marked it; whether it did.
    fn restore(
        &self,
        upper: &Upper,
        directory: &Arc<Node>,
        name: &OsStr,
        session: Option<u64>,
    ) -> Result<bool> {
        let dir = self.upper_dir(directory)?;
        let at = At::Name(dir.as_fd(), name);
        let marks = Marks::read(at)?;
        let Some(origin) = unsynced(&marks, session) else {
            return Ok(false);
        };
        // A copy of the metadata alone has no data to lose.
        if !marks.metacopy {
            let around = &directory.as_directory()?.lowers;
            let lower = match self.data_of_copy(&marks, name, around) {
                Ok(lower) => lower,
                Err(Error::Damaged | Error::NotPermitted) => {
                    tracing::error!(
                        ?name,
                        "the layer of a spoilt copy is not there: left as it is"
                    );
                    return Ok(false);
                }
                Err(error) => return Err(error),
            };
            let stat = lower.stat()?;
            let file = at.open(OFlags::RDWR | OFlags::NONBLOCK)?;
            let size = stat.st_size.cast_unsigned();
            rustix::fs::ftruncate(&file, 0)?;
            data::copy(&lower.open()?, file.as_fd(), size, size)?;
            at.set_times(&copy_up::times(&stat))?;
            fsync(&file)?;
        }
        let settled = Origin {
            unsynced: None,
            ..origin
        };
        copy_up::record(upper, at, &settled)?;
        if !marks.metacopy {
            upper.unmark(at, "redirect")?;
        }
        Ok(true)
    }
}

/// The record of a file that the lost session (any, if it is not known) marked.
fn unsynced(marks: &Marks, session: Option<u64>) -> Option<Origin> {
    let origin = marks.origin.as_deref().and_then(Origin::decode)?;
    let marked = origin.unsynced?;
    session
        .is_none_or(|session| session == marked)
        .then_some(origin)
}
