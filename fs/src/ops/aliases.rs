//! The other names of a hard-linked file that was copied up.
//!
//! The index alone would do for us: every name of the file is answered through it. But the upper is to
//! say the same to an overlayfs, and when it becomes a layer itself (R3), so each name that the merged
//! view shows becomes a hard link in the upper too, as far as the names are known.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use rustix::fs::{AtFlags, unlinkat};

use super::FileSystem;
use super::place::kind_of_stat;
use super::raise::METACOPY_MIN;
use crate::error::{Error, Result};
use crate::inode::{Anchor, Node};
use crate::layer::LayerDir;
use crate::layer::aliases::Path;
use crate::types::{Kind, NodeId};
use crate::union::copy_up;
use crate::upper::{Origin, Upper};

impl FileSystem {
    /// Whether a node is hard-linked in its layer and its names are not all in the upper yet.
    pub(super) fn names_are_missing(&self, node: &Node) -> bool {
        node.state
            .read()
            .upper()
            .is_some_and(|place| matches!(place.anchor, Anchor::Index) && !place.spread)
    }

    /// Puts every name of an indexed node into the upper. If all names are known and were reached, the
    /// index is done with it: the file system below counts its names from here on. No locks are held by
    /// the caller.
    pub(super) fn spread(&self, upper: &Upper, node: &Arc<Node>) -> Result<()> {
        let (origin, known) = {
            let state = node.state.read();
            let Some(origin) = state.upper().and_then(|place| place.origin) else {
                return Ok(());
            };
            (origin, state.links.clone())
        };
        for link in known {
            self.spread_to(upper, node, &link.parent, &link.name)?;
        }
        let paths = self.lower_names(&origin)?;
        let mut all_reached = !paths.is_empty();
        for path in paths {
            match self.walk(&origin, path)? {
                Some((parent, name)) => self.spread_to(upper, node, &parent, name)?,
                None => all_reached = false,
            }
        }
        match all_reached {
            true => self.leave_index(upper, node),
            false => {
                if let Some(place) = node.state.write().upper_mut() {
                    place.spread = true;
                }
                Ok(())
            }
        }
    }

    /// Every name of the node is in the upper: its index entry goes. The record changes first: without
    /// it the entry is never looked at. One that a kill leaves is removed at the next open.
    fn leave_index(&self, upper: &Upper, node: &Arc<Node>) -> Result<()> {
        let mut state = node.state.write();
        if state.links.is_empty() {
            return Ok(());
        }
        // Another may have brought the names up at the same time, and been here before.
        let Some(place) = state
            .upper()
            .filter(|place| matches!(place.anchor, Anchor::Index))
        else {
            return Ok(());
        };
        let Some(origin) = place.origin else {
            return Ok(());
        };
        let plain = Origin {
            nlink: None,
            ..origin
        };
        self.at_anchor(&state, place, |at| copy_up::record(upper, at, &plain))?;
        let entry = Origin::index_name(origin.position, origin.ino);
        unlinkat(upper.index(), entry.as_str(), AtFlags::empty())?;
        if let Some(place) = state.upper_mut() {
            place.anchor = Anchor::Name;
            place.origin = Some(plain);
        }
        Ok(())
    }

    /// The names of the object in its layer; none if they are not all known.
    pub(super) fn lower_names(&self, origin: &Origin) -> Result<&[Path]> {
        let layer = |root: &&Arc<LayerDir>| root.layer().covers(origin.position);
        let Some(root) = self.layers.0.iter().find(layer) else {
            return Ok(&[]);
        };
        let ino = root.layer().inode(origin.position, origin.ino);
        Ok(root.aliases()?.of(ino))
    }

    /// The merged directory that shows a path of a layer, and the last name; `None` if something else
    /// is there now: the directory may be shown elsewhere, or nowhere.
    pub(super) fn walk<'a>(
        &self,
        origin: &Origin,
        path: &'a [OsString],
    ) -> Result<Option<(Arc<Node>, &'a OsStr)>> {
        let Some((last, directories)) = path.split_last() else {
            return Ok(None);
        };
        let root = self.node(NodeId::ROOT)?;
        let shown = self.descend(origin, root, &[], directories)?;
        Ok(shown.map(|directory| (directory, last.as_os_str())))
    }

    /// The merged directory that shows the layer's directory `above/below`, from the one that shows
    /// `above`; `None` as for [`Self::walk`].
    pub(super) fn descend(
        &self,
        origin: &Origin,
        start: Arc<Node>,
        above: &[OsString],
        below: &[OsString],
    ) -> Result<Option<Arc<Node>>> {
        let mut here = start;
        for name in below {
            let next = {
                let _names = here.as_directory()?.names.read();
                match self.resolve(&here, name) {
                    Ok(Some(found)) if kind_of_stat(&found.stat) == Kind::Directory => {
                        self.admit(&here, name, found)
                    }
                    Ok(_) | Err(Error::NotPermitted | Error::Damaged) => return Ok(None),
                    Err(error) => return Err(error),
                }
            };
            here = next;
        }
        let mut path = OsString::new();
        for name in above.iter().chain(below) {
            path.push("/");
            path.push(name);
        }
        Ok(shows(&here, origin.position, &path)?.then_some(here))
    }

    /// Gives the node one of its names in the upper, if the merged view shows it there and only a layer
    /// has it.
    fn spread_to(
        &self,
        upper: &Upper,
        node: &Arc<Node>,
        parent: &Arc<Node>,
        name: &OsStr,
    ) -> Result<()> {
        let missing = |parent: &Arc<Node>| -> Result<bool> {
            let found = self.resolve(parent, name)?;
            Ok(found.is_some_and(|found| found.ino == node.ino && !found.in_upper))
        };
        {
            let _names = parent.as_directory()?.names.read();
            if parent.is_removed() || !missing(parent)? {
                return Ok(());
            }
        }
        self.raise_directory(parent)?;
        let _names = parent.as_directory()?.names.write();
        if parent.is_removed() || !missing(parent)? {
            return Ok(());
        }
        self.publish_quietly(upper, parent, name, |dir| {
            self.with_upper(node, |at| Ok(at.link_to(dir, name)?))
        })
    }

    /// Whether a metadata-only copy is of a file so small that it is to be copied whole once its name is
    /// in the upper (see [`METACOPY_MIN`]).
    pub(super) fn is_small_copy(&self, node: &Node) -> Result<bool> {
        let state = node.state.read();
        let Some(place) = state.upper().filter(|place| place.data.is_some()) else {
            return Ok(false);
        };
        self.at_anchor(&state, place, |at| Ok(at.stat()?.st_size < METACOPY_MIN))
    }
}

/// Whether a merged directory shows the directory of that path (empty for the root) of a layer.
pub(super) fn shows(directory: &Node, position: u16, path: &OsStr) -> Result<bool> {
    let path = if path.is_empty() {
        OsStr::new("/")
    } else {
        path
    };
    let mut lowers = directory.as_directory()?.lowers.iter();
    Ok(lowers.any(|lower| lower.layer().covers(position) && lower.path() == path))
}
