//! After a power cut: copies whose data may not have reached the disk get the layer's data again
//! (contract F2). What the marks mean is told in [`crate::upper::durability`].
//!
//! ```text
//!   every directory of the upper ─> files that the lost session marked ─> data of the layer, synced
//!                                                                       ─> mark away
//! ```
//!
//! Runs before anything is served, and may be cut short at any point: a copy keeps its mark until its
//! data is on disk, and the marker on the whole upper stays until all are done.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, fsync};

use super::FileSystem;
use super::directories::scan;
use crate::error::{Error, Result};
use crate::inode::Node;
use crate::marks::Marks;
use crate::sys::at::At;
use crate::types::NodeId;
use crate::union::copy_up;
use crate::upper::{Left, Origin, Upper, data};

impl FileSystem {
    /// Puts right what the last session left unsynced in the upper.
    pub(super) fn recover(&self) -> Result<()> {
        let Some(upper) = &self.upper else {
            return Ok(());
        };
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

    /// Walks the upper; gives how many files were put back.
    fn restore_all(&self, upper: &Upper, session: Option<u64>) -> Result<usize> {
        let mut visited = BTreeSet::from([NodeId::ROOT]);
        let mut directories = vec![self.node(NodeId::ROOT)?];
        let mut restored = 0;
        while let Some(directory) = directories.pop() {
            for (name, kind) in self.upper_names(&directory)? {
                match kind {
                    FileType::Directory => {
                        let found = self.resolve(&directory, &name);
                        let Ok(Some(found)) = found else { continue };
                        let child = self.admit(&directory, &name, found);
                        if child.in_upper() && visited.insert(child.id) {
                            directories.push(child);
                        }
                    }
                    _ => restored += usize::from(self.restore(upper, &directory, &name, session)?),
                }
            }
        }
        // Nobody counted a lookup of these: they go, children first.
        for id in visited.into_iter().rev() {
            self.table.forget(id, 0);
        }
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
            data::copy(lower.open()?.as_fd(), file.as_fd(), size, size)?;
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
