//! getattr, setattr, readlink, statfs.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{OFlags, Timespec, Timestamps, fstatvfs, ftruncate};

use super::FileSystem;
use super::raise::Need;
use crate::error::{Error, Result};
use crate::inode::Node;
use crate::sys::at::At;
use crate::types::{Attr, Handle, Kind, NodeId, SetAttr, SetTime, StatFs};

impl FileSystem {
    /// The attributes of a node. The handle is not needed: an unlinked file keeps its node.
    pub fn getattr(&self, node: NodeId, _handle: Option<Handle>) -> Result<Attr> {
        self.attr(&*self.node(node)?)
    }

    /// Changes attributes; gives the new ones. Size first, since it can fail for want of room, then
    /// owner, mode (the owner's change clears set-id bits, the caller says which to keep), times.
    ///
    /// # Errors
    /// EROFS, EISDIR (size of a directory), EOPNOTSUPP (mode of a symlink), and what the upper's file
    /// system says.
    pub fn setattr(&self, node: NodeId, _handle: Option<Handle>, change: &SetAttr) -> Result<Attr> {
        let node = self.node(node)?;
        self.upper()?;
        if change.size.is_some() && node.kind != Kind::File {
            return Err(if node.kind == Kind::Directory {
                Error::IsDirectory
            } else {
                Error::Invalid
            });
        }
        if change.mode.is_some() && node.kind == Kind::Symlink {
            return Err(Error::Unsupported);
        }
        self.raise(&node, change.size.map_or(Need::Metadata, Need::Truncated))?;
        self.before_change(&node)?;
        self.with_upper(&node, |at| apply(at, change))?;
        self.touched(&node);
        self.attr(&node)
    }

    /// The target of a symlink; EINVAL for anything else.
    pub fn readlink(&self, node: NodeId) -> Result<OsString> {
        let node = self.node(node)?;
        if node.kind != Kind::Symlink {
            return Err(Error::Invalid);
        }
        self.with_object(&node, |at| at.readlink())
    }

    /// The figures of the upper's file system, of the topmost layer's without one (A5).
    pub fn statfs(&self) -> Result<StatFs> {
        let top: Arc<_> = match &self.upper {
            Some(upper) => upper.root.clone(),
            None => self
                .layers
                .0
                .first()
                .ok_or(Error::Damaged)?
                .layer()
                .on()
                .clone(),
        };
        let found = fstatvfs(top.as_fd())?;
        Ok(StatFs {
            blocks: found.f_blocks,
            free: found.f_bfree,
            available: found.f_bavail,
            files: found.f_files,
            files_free: found.f_ffree,
            block_size: found.f_bsize as u32,
            fragment: found.f_frsize as u32,
            name_max: (found.f_namemax as u32).min(super::NAME_MAX as u32),
        })
    }

    /// Whether the node's data lies in a layer still.
    pub(super) fn data_in_layer(&self, node: &Node) -> bool {
        node.state.read().data_in_layer().is_some()
    }
}

fn apply(at: At<'_>, change: &SetAttr) -> Result<()> {
    if let Some(size) = change.size {
        ftruncate(at.open(OFlags::WRONLY | OFlags::NONBLOCK)?, size)?;
    }
    if change.uid.is_some() || change.gid.is_some() {
        at.chown(change.uid, change.gid)?;
    }
    if let Some(mode) = change.mode {
        at.chmod(mode)?;
    }
    if change.atime.is_some() || change.mtime.is_some() {
        at.set_times(&Timestamps {
            last_access: timespec(change.atime),
            last_modification: timespec(change.mtime),
        })?;
    }
    Ok(())
}

fn timespec(time: Option<SetTime>) -> Timespec {
    match time {
        None => Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
        Some(SetTime::Now) => Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_NOW,
        },
        Some(SetTime::At(time)) => Timespec {
            tv_sec: time.seconds,
            tv_nsec: i64::from(time.nanos),
        },
    }
}
