//! The operations of the file system, one file per family. They know nothing of FUSE.
//!
//! ```text
//!   open         layers and upper become a FileSystem
//!   lookup       a name in a directory becomes a node
//!   place        a node's object below, and what is done there
//!   attributes   getattr, setattr, readlink, statfs
//!   raise        copy-up, with the locks it needs
//!   settle       the data of copies reaches the disk
//!   recover      what a power cut spoilt is put back from the layers
//!   aliases      the other names of a hard-linked file that was copied up
//!   counting     how many names an indexed file has
//!   create       mknod, mkdir, symlink, create, link
//!   tmpfile      files without a name
//!   remove       unlink, rmdir
//!   rename       rename with its flags
//!   files        open, read, write, fsync, fallocate, seek, copy_file_range, release
//!   directories  readdir, readdirplus, fsyncdir
//!   xattrs       extended attributes and ACLs
//!   flags        the chattr ioctls
//!   privileges   set-id bits that go when somebody else changes a file
//!   patience     which changes take long
//!   times        the times of directories, which copy-ups do not change
//! ```
//!
//! Locks are taken here, in the order told in [`crate::inode`]. An operation that needs a copy-up does
//! that first and locks names after, then looks again: what it found may have changed.

mod aliases;
mod attributes;
mod counting;
mod create;
mod directories;
mod files;
mod flags;
mod lookup;
mod open;
mod patience;
mod place;
mod privileges;
mod raise;
mod recover;
mod remove;
mod rename;
mod settle;
#[cfg(test)]
mod tests;
mod times;
mod tmpfile;
mod xattrs;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::inode::{Handles, Node, Table, Unopened};
use crate::sys::fdcache::FdCache;
use crate::sys::lock::Mutex;
use crate::types::{Metacopy, NodeId};
use crate::union::lower::Layers;
use crate::upper::Upper;

/// The longest name, in bytes.
pub(crate) const NAME_MAX: usize = 255;

/// A union, opened and ready to serve. All operations take `&self` and may run at once.
#[derive(Debug)]
pub struct FileSystem {
    layers: Layers,
    upper: Option<Upper>,
    table: Table,
    files: Handles,
    unopened: Unopened,
    fds: Arc<FdCache>,
    metacopy: Metacopy,
    noatime: bool,
    waiting: settle::Waiting,
    /// One directory changes its place at a time: no two moves make a loop of each other.
    renames: Mutex<()>,
    /// Copies made from a layer.
    copy_ups: AtomicU64,
}

impl FileSystem {
    /// The upper, or EROFS.
    fn upper(&self) -> Result<&Upper> {
        self.upper.as_ref().ok_or(Error::ReadOnly)
    }

    /// The node of that id, or ESTALE.
    fn node(&self, id: NodeId) -> Result<Arc<Node>> {
        self.table.get(id).ok_or(Error::Stale)
    }

    /// The node of that id, which must be a directory.
    fn directory(&self, id: NodeId) -> Result<Arc<Node>> {
        let node = self.node(id)?;
        node.as_directory()?;
        Ok(node)
    }

    /// How many copies were made from layers since it was opened.
    pub fn copy_ups(&self) -> u64 {
        self.copy_ups.load(Ordering::Relaxed)
    }

    /// How many nodes are known now.
    pub fn nodes(&self) -> usize {
        self.table.len()
    }
}

/// Whether a name can be looked up at all.
fn check_name(name: &OsStr) -> Result<()> {
    if name.len() > NAME_MAX {
        return Err(Error::NameTooLong);
    }
    if matches!(name.as_bytes(), b"" | b"." | b"..") || name.as_bytes().contains(&b'/') {
        return Err(Error::Invalid);
    }
    Ok(())
}
