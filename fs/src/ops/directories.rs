//! Listing directories: opendir, readdir, readdirplus, fsyncdir, releasedir.
//!
//! A handle reads the whole merged directory when it is read from the start, and gives it out from
//! there: offsets are indices, so each name comes once whatever is made or removed meanwhile, and seeking
//! back works (D1). Reading from offset 0 again (rewinddir) looks again.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{FileType, Mode, OFlags, RawDir, fsync, openat};

use super::FileSystem;
use super::place::{kind_of, kind_of_stat};
use crate::error::{Error, Result};
use crate::inode::{Node, OpenDir};
use crate::marks;
use crate::types::{Attr, DirEntry, Entry, Handle, Kind, NodeId};
use crate::union::numbers::number;
use crate::upper::Form;

/// A directory being merged: what was taken, and the names that hide others below.
#[derive(Default)]
struct Merge {
    entries: Vec<DirEntry>,
    seen: HashSet<OsString>,
}

impl Merge {
    /// Takes a name that no layer above had.
    fn add(&mut self, name: &OsStr, kind: Kind, ino: u64) {
        let next = self.entries.len() as u64 + 1;
        self.entries.push(DirEntry {
            name: name.to_owned(),
            kind,
            ino,
            next,
        });
    }
}

impl FileSystem {
    /// Opens a directory.
    pub fn opendir(&self, node: NodeId) -> Result<Handle> {
        let node = self.directory(node)?;
        Ok(self.dirs.insert(OpenDir {
            node,
            listing: Mutex::new(None),
        }))
    }

    /// Closes a directory.
    pub fn releasedir(&self, handle: Handle) {
        self.dirs.remove(handle);
    }

    /// Gives the entries after `offset` (0: from the start) to `take` until it returns false.
    pub fn readdir(
        &self,
        handle: Handle,
        offset: u64,
        take: &mut dyn FnMut(&DirEntry) -> bool,
    ) -> Result<()> {
        let open = self.dirs.get(handle)?;
        let listing = self.listing(&open, offset)?;
        for entry in listing
            .iter()
            .skip(usize::try_from(offset).unwrap_or(usize::MAX))
        {
            if !take(entry) {
                break;
            }
        }
        Ok(())
    }

    /// As [`Self::readdir`], with each entry looked up: one lookup is counted for each taken, but none
    /// for `.` and `..`. A name that is gone by now is left out; one that a rule refuses comes with
    /// nodeid 0, which tells the kernel to look it up itself.
    pub fn readdirplus(
        &self,
        handle: Handle,
        offset: u64,
        take: &mut dyn FnMut(&DirEntry, &Entry) -> bool,
    ) -> Result<()> {
        let open = self.dirs.get(handle)?;
        let listing = self.listing(&open, offset)?;
        let own = self.attr(&open.node)?;
        for entry in listing
            .iter()
            .skip(usize::try_from(offset).unwrap_or(usize::MAX))
        {
            let found = match entry.name.as_bytes() {
                b"." | b".." => Entry {
                    node: NodeId(0),
                    attr: Attr {
                        ino: entry.ino,
                        ..own
                    },
                },
                _ => {
                    let names = open.node.as_directory()?.names.read();
                    let found = self.lookup_in(&open.node, &entry.name);
                    drop(names);
                    match found {
                        Ok(found) => found,
                        Err(Error::NotFound) => continue,
                        Err(_) => Entry {
                            node: NodeId(0),
                            attr: Attr {
                                ino: entry.ino,
                                kind: entry.kind,
                                ..own
                            },
                        },
                    }
                }
            };
            if !take(entry, &found) {
                if found.node != NodeId(0) {
                    self.table.forget(found.node, 1);
                }
                break;
            }
        }
        Ok(())
    }

    /// Brings a directory's names to disk.
    pub fn fsyncdir(&self, handle: Handle, _data_only: bool) -> Result<()> {
        let open = self.dirs.get(handle)?;
        let Some(upper) = &self.upper else {
            return Ok(());
        };
        if upper.volatile || !open.node.in_upper() {
            return Ok(());
        }
        fsync(open_for_reading(self.upper_dir(&open.node)?.as_fd())?)?;
        self.sync_names(&open.node)
    }

    fn listing(&self, open: &OpenDir, offset: u64) -> Result<Arc<Vec<DirEntry>>> {
        let mut listing = open.listing.lock();
        match &*listing {
            Some(listing) if offset > 0 => Ok(listing.clone()),
            _ => {
                let fresh = Arc::new(self.merge(&open.node)?);
                *listing = Some(fresh.clone());
                Ok(fresh)
            }
        }
    }

    /// Everything a directory shows, `.` and `..` first.
    fn merge(&self, node: &Arc<Node>) -> Result<Vec<DirEntry>> {
        let _names = node.as_directory()?.names.read();
        let mut merge = Merge::default();
        let above = node.link().map_or(node.ino, |link| link.parent.ino);
        merge.add(OsStr::new("."), Kind::Directory, node.ino);
        merge.add(OsStr::new(".."), Kind::Directory, above);
        if node.is_removed() {
            return Ok(merge.entries);
        }
        self.merge_upper(node, &mut merge)?;
        self.merge_layers(node, &mut merge)?;
        Ok(merge.entries)
    }

    /// How many subdirectories a directory shows. Its names need not be held: who asks counts again when
    /// one came or went meanwhile.
    pub(super) fn shown_subdirectories(&self, node: &Node) -> Result<u32> {
        let mut merge = Merge::default();
        self.merge_upper(node, &mut merge)?;
        self.merge_layers(node, &mut merge)?;
        let directories = merge
            .entries
            .iter()
            .filter(|entry| entry.kind == Kind::Directory);
        Ok(u32::try_from(directories.count()).unwrap_or(u32::MAX))
    }

    /// Whether a directory shows a name; its names are held.
    pub(super) fn shows_a_name(&self, node: &Arc<Node>) -> Result<bool> {
        let mut merge = Merge::default();
        self.merge_upper(node, &mut merge)?;
        if merge.entries.is_empty() {
            self.merge_layers(node, &mut merge)?;
        }
        Ok(!merge.entries.is_empty())
    }

    fn merge_upper(&self, node: &Node, merge: &mut Merge) -> Result<()> {
        let Some(upper) = self.upper.as_ref().filter(|_| node.in_upper()) else {
            return Ok(());
        };
        let merges = !node.as_directory()?.lowers.is_empty();
        let impure = node.state.read().upper().is_some_and(|place| place.impure);
        let dir = self.upper_dir(node)?;
        scan(dir.as_fd(), |name, kind, ino| {
            if upper.form == Form::Aufs && marks::is_wh_name(name) {
                if let Some(hidden) = marks::hidden_name(name) {
                    merge.seen.insert(hidden.to_owned());
                }
                return Ok(());
            }
            // Whiteouts, and objects that show another number or type than their own.
            let look = match kind {
                FileType::Unknown | FileType::CharacterDevice => true,
                FileType::Directory => merges || impure,
                _ => impure,
            };
            let shown = match look {
                false => kind_of(kind).map(|kind| (kind, number(0, ino, None))),
                true => match self.resolve(node, name) {
                    Ok(found) => found.map(|found| (kind_of_stat(&found.stat), found.ino)),
                    // Broken below us: shown, so that it can be seen and removed.
                    Err(Error::Damaged | Error::NotPermitted) => {
                        kind_of(kind).map(|kind| (kind, number(0, ino, None)))
                    }
                    Err(error) => return Err(error),
                },
            };
            merge.seen.insert(name.to_owned());
            if let Some((kind, ino)) = shown {
                merge.add(name, kind, ino);
            }
            Ok(())
        })
    }

    fn merge_layers(&self, node: &Node, merge: &mut Merge) -> Result<()> {
        let lowers = &node.as_directory()?.lowers;
        let count = lowers.len();
        for (depth, dir) in lowers.iter().enumerate() {
            for listed in dir.entries()? {
                if merge.seen.contains(&*listed.name) {
                    continue;
                }
                if let Some(kind) = listed.kind.and_then(kind_of) {
                    let ino = number(dir.layer().position, listed.ino, None);
                    merge.add(&listed.name, kind, ino);
                }
                if depth + 1 < count {
                    merge.seen.insert(listed.name.into_os_string());
                }
            }
        }
        Ok(())
    }
}

pub(super) fn open_for_reading(dir: BorrowedFd<'_>) -> rustix::io::Result<std::os::fd::OwnedFd> {
    openat(
        dir,
        c".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Calls `take` for every name of a directory of the upper but `.` and `..`.
pub(super) fn scan(
    dir: BorrowedFd<'_>,
    mut take: impl FnMut(&OsStr, FileType, u64) -> Result<()>,
) -> Result<()> {
    let fd = open_for_reading(dir)?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            take(name, entry.file_type(), entry.ino())?;
        }
    }
    Ok(())
}
