//! Names that go: unlink, rmdir.
//!
//! What a layer shows under the name decides: then a whiteout takes the name in the same step. Nothing
//! is copied for it, except that a hard-linked file of a layer gets an index entry (its metadata), which
//! remembers how many names are left.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::FileSystem;
use super::counting::Names;
use super::place::kind_of_stat;
use super::raise::Need;
use crate::error::{Error, Result};
use crate::inode::{Anchor, Directory, Node, State};
use crate::sys::lock::RwLockWriteGuard;
use crate::types::{Kind, NodeId};
use crate::union::lower::Lower;
use crate::upper::Upper;

impl FileSystem {
    /// Removes a name of anything but a directory.
    ///
    /// # Errors
    /// ENOENT, EISDIR, EROFS.
    pub fn unlink(&self, parent: NodeId, name: &OsStr) -> Result<()> {
        let upper = self.upper()?;
        let parent = self.directory_to_change(parent, name)?;
        loop {
            let names = parent.as_directory()?.names.write();
            let found = self.resolve(&parent, name)?.ok_or(Error::NotFound)?;
            if kind_of_stat(&found.stat) == Kind::Directory {
                return Err(Error::IsDirectory);
            }
            let linked = found.stat.st_nlink > 1;
            let in_upper = found.in_upper;
            let node = self.admit(&parent, name, found);
            if linked && !node.in_upper() {
                drop(names);
                self.raise(&node, Need::Index)?;
                continue;
            }
            self.before_change(&parent)?;
            self.unlink_held(upper, &parent, name, &node, in_upper)?;
            self.touched(&parent);
            return Ok(());
        }
    }

    fn unlink_held(
        &self,
        upper: &Upper,
        parent: &Arc<Node>,
        name: &OsStr,
        node: &Arc<Node>,
        in_upper: bool,
    ) -> Result<()> {
        let dir = self.upper_dir(parent)?;
        let whiteout = self.layers_show(parent, name)?;
        self.counted(upper, node, Names::Goes, || {
            let mut state = node.state.write();
            self.pin_last(&mut state, parent, name)?;
            match in_upper {
                true => upper.remove_file(dir.as_fd(), name, whiteout)?,
                false => upper.put_whiteout(dir.as_fd(), name)?,
            }
            state.remove_link(parent, name);
            Ok(())
        })?;
        self.note_name(upper, parent, name);
        Ok(())
    }

    /// If `name` is the only way to the object, takes hold of it by a fd: it may be open (I4). The state
    /// is held for writing.
    pub(super) fn pin_last(
        &self,
        state: &mut RwLockWriteGuard<'_, State>,
        parent: &Arc<Node>,
        name: &OsStr,
    ) -> Result<()> {
        if !state.hangs_on(parent, name) {
            return Ok(());
        }
        let Some(place) = state.upper() else {
            return Ok(());
        };
        if !matches!(place.anchor, Anchor::Name) {
            return Ok(());
        }
        let pinned = self.at_anchor(state, place, |at| Ok(at.pin()?))?;
        if let Some(place) = state.upper_mut() {
            place.anchor = Anchor::Pinned(Arc::new(pinned));
        }
        Ok(())
    }

    /// Whether the layers show something under a name of this directory, so that its removal needs a
    /// whiteout.
    pub(super) fn layers_show(&self, parent: &Node, name: &OsStr) -> Result<bool> {
        let lowers = &parent.as_directory()?.lowers;
        Ok(match self.layers.lookup(lowers, name) {
            Ok(found) => !matches!(found, Lower::Absent),
            // Something is there, though it is refused: it must not come out again.
            Err(Error::NotPermitted | Error::Damaged) => true,
            Err(error) => return Err(error),
        })
    }

    /// Removes a directory that shows no names.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, ENOTEMPTY, EROFS.
    pub fn rmdir(&self, parent: NodeId, name: &OsStr) -> Result<()> {
        let upper = self.upper()?;
        let parent = self.directory_to_change(parent, name)?;
        loop {
            let node = {
                let _names = parent.as_directory()?.names.read();
                let found = self.resolve(&parent, name)?.ok_or(Error::NotFound)?;
                if kind_of_stat(&found.stat) != Kind::Directory {
                    return Err(Error::NotDirectory);
                }
                self.admit(&parent, name, found)
            };
            let _names = lock_names(&[&parent, &node])?;
            if !node.state.read().knows(&parent, name) {
                continue;
            }
            self.check_empty(&node)?;
            self.before_change(&parent)?;
            self.remove_directory_held(upper, &parent, name, &node)?;
            parent.as_directory()?.count_subdirectories(-1);
            self.touched(&parent);
            return Ok(());
        }
    }

    /// Removes a directory that was found empty; its names and its parent's are held.
    fn remove_directory_held(
        &self,
        upper: &Upper,
        parent: &Arc<Node>,
        name: &OsStr,
        node: &Arc<Node>,
    ) -> Result<()> {
        let dir = self.upper_dir(parent)?;
        let whiteout = self.layers_show(parent, name)?;
        if node.in_upper() {
            let own = self.upper_dir(node)?;
            let mut state = node.state.write();
            upper.remove_directory(dir.as_fd(), name, whiteout)?;
            if let Some(place) = state.upper_mut() {
                place.anchor = Anchor::Pinned(own);
            }
            state.remove_link(parent, name);
        } else {
            upper.put_whiteout(dir.as_fd(), name)?;
            node.state.write().remove_link(parent, name);
        }
        self.note_name(upper, parent, name);
        Ok(())
    }

    /// ENOTEMPTY if a directory shows a name; its names are held.
    pub(super) fn check_empty(&self, node: &Arc<Node>) -> Result<()> {
        match self.shows_a_name(node)? {
            true => Err(Error::NotEmpty),
            false => Ok(()),
        }
    }
}

/// Locks the names of several directories for changing, each once, in the order of their inode
/// numbers.
pub(super) fn lock_names<'a>(nodes: &[&'a Arc<Node>]) -> Result<Vec<RwLockWriteGuard<'a, ()>>> {
    let mut directories: Vec<(u64, &'a Directory)> = Vec::with_capacity(nodes.len());
    for node in nodes {
        directories.push((node.id.0, node.as_directory()?));
    }
    directories.sort_by_key(|(id, _)| *id);
    directories.dedup_by_key(|(id, _)| *id);
    Ok(directories
        .into_iter()
        .map(|(_, directory)| directory.names.write())
        .collect())
}
