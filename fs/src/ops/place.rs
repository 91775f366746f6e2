//! A node's object below: how it is reached, and its attributes.
//!
//! An address in the upper is good only while the node's state is held: a rename waits for it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, Stat};

use super::FileSystem;
use crate::error::{Error, Result};
use crate::inode::{Anchor, Directory, Node, Place, State, UpperPlace};
use crate::layer::Reading;
use crate::sys::at::At;
use crate::types::{Attr, Kind, NodeId, Time};
use crate::upper::Origin;

impl FileSystem {
    /// The `O_PATH` fd of a directory in the upper.
    pub(super) fn upper_dir(&self, node: &Node) -> Result<Arc<OwnedFd>> {
        let key = node.as_directory()?.key;
        let mut pinned = None;
        let fd = self.fds.get(key, || {
            let state = node.state.read();
            let place = state.upper().ok_or(Error::Damaged)?;
            if let Anchor::Pinned(fd) = &place.anchor {
                pinned = Some(fd.clone());
                return Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?);
            }
            self.at_anchor(&state, place, |at| {
                Ok(at.open(OFlags::PATH | OFlags::DIRECTORY)?)
            })
        })?;
        Ok(pinned.unwrap_or(fd))
    }

    /// Does something at the address of the node's object in the upper, with the state held.
    pub(super) fn with_upper<R>(
        &self,
        node: &Node,
        act: impl FnOnce(At<'_>) -> Result<R>,
    ) -> Result<R> {
        if node.kind == Kind::Directory {
            return act(At::Fd(self.upper_dir(node)?.as_fd()));
        }
        let state = node.state.read();
        let place = state.upper().ok_or(Error::Damaged)?;
        self.at_anchor(&state, place, act)
    }

    /// Reads something of the node's object, wherever it is.
    pub(super) fn with_object<R>(
        &self,
        node: &Node,
        act: impl FnOnce(Reading<'_>) -> Result<R>,
    ) -> Result<R> {
        let state = node.state.read();
        match &state.place {
            Place::Lower(Some(file)) => file.with(act),
            Place::Lower(None) => lowest_first(node)?.reading_itself(act),
            Place::Upper(_) if node.kind == Kind::Directory => {
                drop(state);
                act(Reading::Disk(At::Fd(self.upper_dir(node)?.as_fd())))
            }
            Place::Upper(place) => self.at_anchor(&state, place, |at| act(Reading::Disk(at))),
        }
    }

    /// The address of an object in the upper, by its anchor.
    pub(super) fn at_anchor<R>(
        &self,
        state: &State,
        place: &UpperPlace,
        act: impl FnOnce(At<'_>) -> Result<R>,
    ) -> Result<R> {
        match &place.anchor {
            Anchor::Pinned(fd) => act(At::Fd(fd.as_fd())),
            Anchor::Index => {
                let origin = place.origin.ok_or(Error::Damaged)?;
                let name = Origin::index_name(origin.position, origin.ino);
                act(At::Name(self.upper()?.index(), name.as_ref()))
            }
            Anchor::Name => {
                let link = state.links.first().ok_or(Error::Stale)?;
                let dir = self.upper_dir(&link.parent)?;
                act(At::Name(dir.as_fd(), &link.name))
            }
        }
    }

    /// The attributes of a node, asked below.
    pub(super) fn attr(&self, node: &Node) -> Result<Attr> {
        let stat = match &node.state.read().place {
            Place::Lower(Some(file)) => Some(file.stat()?),
            _ => None,
        };
        let stat = match stat {
            Some(stat) => stat,
            None => self.with_object(node, |at| at.stat())?,
        };
        self.attr_from(node, &stat)
    }

    /// The attributes of a node whose object below was just found to have `stat`.
    pub(super) fn attr_from(&self, node: &Node, stat: &Stat) -> Result<Attr> {
        let mut attr = attr_of(stat, node.ino);
        let state = node.state.read();
        let removed = node.id != NodeId::ROOT && state.links.is_empty();
        if let Some(place) = state.upper() {
            if place.char00 {
                (attr.kind, attr.rdev) = (Kind::CharDevice, 0);
            }
            if let Some(nlink) = place.origin.and_then(|origin| origin.nlink) {
                attr.nlink = nlink;
            }
            if let Some(data) = &place.data {
                attr.blocks = data.stat()?.st_blocks.cast_unsigned();
            }
            if let Some(kept) = place.kept {
                (attr.mtime, attr.ctime) = (kept.mtime, kept.ctime);
            }
        } else if removed {
            attr.nlink = 0;
        }
        drop(state);
        if let Some(directory) = &node.directory {
            attr.nlink = if removed {
                0
            } else {
                self.directory_links(node, directory, stat)?
            };
        }
        Ok(attr)
    }

    /// The link count of a directory: 2 + subdirectories. Where one directory below is all there is, its
    /// file system has counted already (a count of 1 says that it did not).
    fn directory_links(&self, node: &Node, directory: &Directory, stat: &Stat) -> Result<u32> {
        let alone = match directory.lowers.len() {
            0 => true,
            1 => !node.in_upper(),
            _ => false,
        };
        if alone && stat.st_nlink >= 2 {
            return Ok(stat.st_nlink as u32);
        }
        let before = {
            let count = directory.subdirectories.lock();
            if let Some(known) = count.known {
                return Ok(known.saturating_add(2));
            }
            count.changes
        };
        let counted = self.shown_subdirectories(node)?;
        let mut count = directory.subdirectories.lock();
        if count.changes == before {
            count.known = Some(counted);
        }
        Ok(counted.saturating_add(2))
    }
}

/// The topmost directory of a node that is only in layers.
fn lowest_first(node: &Node) -> Result<&crate::layer::LayerDir> {
    Ok(node.as_directory()?.lowers.first().ok_or(Error::Damaged)?)
}

/// What a file type is called here; `None` for what no file system has.
pub(super) fn kind_of(kind: FileType) -> Option<Kind> {
    Some(match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Unknown => return None,
    })
}

/// The kind of an object by its stat; ENXIO-like oddities are taken as files.
pub(super) fn kind_of_stat(stat: &Stat) -> Kind {
    kind_of(FileType::from_raw_mode(stat.st_mode)).unwrap_or(Kind::File)
}

fn attr_of(stat: &Stat, ino: u64) -> Attr {
    Attr {
        ino,
        kind: kind_of_stat(stat),
        mode: stat.st_mode & 0o7777,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev,
        size: stat.st_size.cast_unsigned(),
        blocks: stat.st_blocks.cast_unsigned(),
        blksize: stat.st_blksize as u32,
        atime: Time {
            seconds: stat.st_atime,
            nanos: stat.st_atime_nsec as u32,
        },
        mtime: Time {
            seconds: stat.st_mtime,
            nanos: stat.st_mtime_nsec as u32,
        },
        ctime: Time {
            seconds: stat.st_ctime,
            nanos: stat.st_ctime_nsec as u32,
        },
    }
}
