//! The layers of a mount, opened as one stack.
//!
//! ```text
//!   sources, topmost first ─> Layers: root of layer n, .., root of layer 1     (positions from the bottom)
//!                               │                       a merged index: one root for several positions
//!                               ├─ fingerprint   which layers these are, for what an upper remembers of them
//!                               └─ merged root   the roots down to an opaque one
//! ```

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lower::{Layers, Stack};
use super::numbers::LAYERS_MAX;
use crate::error::{OpenError, PackError, Result};
use crate::layer::packed::{Pack, expand};
use crate::layer::{Layer, LayerDir, Trust};
use crate::marks::Opaque;
use crate::sys::fdcache::FdCache;
use crate::sys::mounts::{is_top, lies_in, open_directory};

/// A layer that is to be opened.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// Where it lies.
    pub path: &'a Path,
    /// Whether it is believed.
    pub trust: Trust,
    /// (device, inode) of directories in it that are not of the layer.
    pub hidden: Vec<(u64, u64)>,
}

impl Layers {
    /// Opens the layers, topmost first; a merged index takes the positions of all layers it is of.
    pub fn open(sources: Vec<Source<'_>>, fds: &Arc<FdCache>) -> Result<Self, OpenError> {
        let mut below = 0;
        let mut roots = Vec::with_capacity(sources.len());
        for source in sources.into_iter().rev() {
            let path = source.path;
            // One more than there can be, of which the next is one too many.
            let position = u16::try_from(below + 1).unwrap_or(u16::MAX);
            let root = open_layer(source, position, fds)?;
            below += root.layer().identities().len();
            if below > LAYERS_MAX {
                let why = io::Error::other(format!("more than {LAYERS_MAX} layers"));
                return Err(lower_error(path, why));
            }
            roots.push(root);
        }
        roots.reverse();
        Ok(Self(roots.into()))
    }

    /// What the index of an upper depends on: the layers' roots, from the lowest up, so that it is known
    /// again when it is the same stack.
    pub fn fingerprint(&self) -> Result<String, OpenError> {
        let mut lines = String::from("1\n");
        for root in self.0.iter().rev() {
            let layer = root.layer();
            for (position, identity) in (layer.position..).zip(layer.identities()) {
                lines.push_str(&format!("{position} {identity:x}\n"));
            }
        }
        Ok(lines)
    }

    /// The roots of the layers down to an opaque one.
    pub fn merged_root(&self) -> Result<Stack> {
        let mut merged: Vec<Arc<LayerDir>> = Vec::new();
        for root in self.0.iter() {
            merged.push(root.clone());
            if root.marks()?.opaque == Opaque::Yes {
                break;
            }
        }
        Ok(merged.into())
    }
}

/// A directory is a layer as it stands; a file must be a packed one.
fn open_layer(
    source: Source<'_>,
    position: u16,
    fds: &Arc<FdCache>,
) -> Result<Arc<LayerDir>, OpenError> {
    let Source {
        path,
        trust,
        hidden,
    } = source;
    let wrong = |error: rustix::io::Errno| lower_error(path, error.into());
    if !path.is_file() {
        return Layer::open(path, position, trust, hidden, fds.clone()).map_err(wrong);
    }
    let pack = Pack::open(path).map_err(|error| match error {
        PackError::NoLayer { .. } => {
            let why = "neither a directory nor a packed layer (or one that was cut short)";
            lower_error(path, io::Error::other(why))
        }
        PackError::Io { source, .. } => lower_error(path, source),
        other => OpenError::Packed(other),
    })?;
    Layer::packed(pack, position, trust, fds.clone()).map_err(wrong)
}

/// What is wrong with a lower.
pub fn lower_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Path {
        role: "lower",
        path: path.to_owned(),
        source,
    }
}

/// The directory that a file lies in.
fn directory_of(file: &Path) -> &Path {
    let parent = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// What we write (`ours`: role and path) must not lie in a lower, nor a lower in it: it would change below
/// us. Only with `/` as a lower that cannot be helped: then the trees are hidden from the layer. Gives the
/// (device, inode) of the trees to hide.
pub fn check_apart(
    lowers: &[PathBuf],
    ours: &[(&'static str, &Path)],
) -> Result<Vec<(u64, u64)>, OpenError> {
    let open = |role, path: &Path| {
        open_directory(path).map_err(|error| OpenError::Path {
            role,
            path: path.to_owned(),
            source: error.into(),
        })
    };
    let overlap = |(inner_role, inner): (_, &Path), (outer_role, outer): (_, &Path)| {
        Err(OpenError::Overlap {
            inner_role,
            inner: inner.to_owned(),
            outer_role,
            outer: outer.to_owned(),
        })
    };
    let mut hidden = Vec::new();
    // The data of a merged index lies elsewhere.
    let lowers = match ours {
        [] => Vec::new(),
        _ => expand(lowers).map_err(OpenError::Packed)?,
    };
    for &(role, path) in ours {
        let fd: OwnedFd = open(role, path)?;
        for lower_path in &lowers {
            // A packed layer is one file: what counts is where it lies.
            let packed = lower_path.is_file();
            let place = match packed {
                true => directory_of(lower_path),
                false => lower_path,
            };
            let lower = open("lower", place)?;
            let error = |error: rustix::io::Errno| lower_error(lower_path, error.into());
            if lies_in(&lower, &fd).map_err(error)? {
                return overlap(("lower", lower_path), (role, path));
            }
            if !packed && lies_in(&fd, &lower).map_err(error)? && !is_top(&lower).map_err(error)? {
                return overlap((role, path), ("lower", lower_path));
            }
        }
        let stat = rustix::fs::fstat(&fd).map_err(|error| lower_error(path, error.into()))?;
        hidden.push((stat.st_dev, stat.st_ino));
    }
    Ok(hidden)
}
