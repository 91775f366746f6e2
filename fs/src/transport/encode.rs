//! Replies → bytes, straight into the place from which the kernel takes them.
//!
//! ```text
//!   a struct          put(room, &…Out)
//!   bytes of a file   read into the room itself
//!   a listing         Listing: entry by entry until the room or the asked size is full
//! ```
//!
//! Whoever gives the room gives enough of it: the largest reply that has no size of its own is a
//! symlink's target (4095 bytes).

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use zerocopy::{Immutable, IntoBytes};

use super::abi;
use crate::types::{Attr, DirEntry, Entry, Kind, NodeId, StatFs};

/// The room is too small for the reply: never so, unless the kernel asks for more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

/// Puts a struct at the beginning of the room; gives its length.
pub(super) fn put<T: IntoBytes + Immutable>(room: &mut [u8], reply: &T) -> Result<usize, NoRoom> {
    reply.write_to_prefix(room).map_err(|_| NoRoom)?;
    Ok(size_of::<T>())
}

/// Puts bytes at the beginning of the room; gives their length.
pub(super) fn put_bytes(room: &mut [u8], bytes: &[u8]) -> Result<usize, NoRoom> {
    room.get_mut(..bytes.len())
        .ok_or(NoRoom)?
        .copy_from_slice(bytes);
    Ok(bytes.len())
}

/// An entry that holds for `valid`.
pub(super) fn entry(entry: &Entry, valid: Duration) -> abi::EntryOut {
    let (seconds, nanos) = (valid.as_secs(), valid.subsec_nanos());
    abi::EntryOut {
        nodeid: entry.node.0,
        generation: 0,
        entry_valid: seconds,
        attr_valid: seconds,
        entry_valid_nsec: nanos,
        attr_valid_nsec: nanos,
        attr: attr(&entry.attr),
    }
}

/// "There is no such name, and you may remember it": nodeid 0. The kernel looks at nothing else in it.
pub(super) fn no_entry(valid: Duration) -> abi::EntryOut {
    abi::EntryOut {
        entry_valid: valid.as_secs(),
        entry_valid_nsec: valid.subsec_nanos(),
        ..abi::EntryOut::default()
    }
}

/// Attributes that hold for `valid`.
pub(super) fn attributes(attr: &Attr, valid: Duration) -> abi::AttrOut {
    abi::AttrOut {
        attr_valid: valid.as_secs(),
        attr_valid_nsec: valid.subsec_nanos(),
        dummy: 0,
        attr: self::attr(attr),
    }
}

fn attr(attr: &Attr) -> abi::Attr {
    abi::Attr {
        ino: attr.ino,
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.atime.seconds.cast_unsigned(),
        mtime: attr.mtime.seconds.cast_unsigned(),
        ctime: attr.ctime.seconds.cast_unsigned(),
        atimensec: attr.atime.nanos,
        mtimensec: attr.mtime.nanos,
        ctimensec: attr.ctime.nanos,
        mode: file_type(attr.kind) << 12 | attr.mode & 0o7777,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: device_number(attr.rdev),
        blksize: attr.blksize,
        flags: 0,
    }
}

/// Figures of the file system.
pub(super) fn statfs(figures: &StatFs) -> abi::StatfsOut {
    abi::StatfsOut {
        blocks: figures.blocks,
        bfree: figures.free,
        bavail: figures.available,
        files: figures.files,
        ffree: figures.files_free,
        bsize: figures.block_size,
        namelen: figures.name_max,
        frsize: figures.fragment,
        ..abi::StatfsOut::default()
    }
}

/// A type as `d_type` has it, and `st_mode` 12 bits higher.
fn file_type(kind: Kind) -> u32 {
    let mode = match kind {
        Kind::File => libc::S_IFREG,
        Kind::Directory => libc::S_IFDIR,
        Kind::Symlink => libc::S_IFLNK,
        Kind::Fifo => libc::S_IFIFO,
        Kind::Socket => libc::S_IFSOCK,
        Kind::CharDevice => libc::S_IFCHR,
        Kind::BlockDevice => libc::S_IFBLK,
    };
    mode >> 12
}

/// A device number as `st_rdev` has it, in the 32 bits of the wire (the kernel's
/// `new_encode_dev`).
fn device_number(rdev: u64) -> u32 {
    let (major, minor) = (libc::major(rdev), libc::minor(rdev));
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)
}

/// The entries of a directory, one after the other.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    room: &'a mut [u8],
    used: usize,
}

impl<'a> Listing<'a> {
    /// A listing of at most `size` bytes.
    pub(super) fn new(room: &'a mut [u8], size: u32) -> Self {
        let size = room.len().min(size as usize);
        Self {
            room: &mut room[..size],
            used: 0,
        }
    }

    /// Adds an entry; false, and nothing added, if it does not fit.
    pub(super) fn add(&mut self, entry: &DirEntry<'_>) -> bool {
        self.add_after(&[], entry)
    }

    /// Adds an entry with what a lookup of it gave, which holds for `valid`.
    ///
    /// A node 0 tells the kernel of no node. So it is for `.` and `..`, of which it takes the d_ino
    /// alone, and for names that could not be looked up: they show, and nothing of them is kept.
    pub(super) fn add_plus(
        &mut self,
        entry: &DirEntry<'_>,
        found: &Entry,
        valid: Duration,
    ) -> bool {
        let plus = match found.node {
            NodeId(0) => abi::EntryOut::default(),
            _ => self::entry(found, valid),
        };
        self.add_after(plus.as_bytes(), entry)
    }

    fn add_after(&mut self, plus: &[u8], entry: &DirEntry<'_>) -> bool {
        let name = entry.name;
        let dirent = abi::Dirent {
            ino: entry.ino,
            off: entry.next,
            namelen: name.len() as u32,
            kind: file_type(entry.kind),
        };
        let length = plus.len() + size_of::<abi::Dirent>() + name.len();
        let padded = length.next_multiple_of(8);
        let Some(place) = self.room[self.used..].get_mut(..padded) else {
            return false;
        };
        let (plus_place, place) = place.split_at_mut(plus.len());
        let (dirent_place, place) = place.split_at_mut(size_of::<abi::Dirent>());
        let (name_place, padding) = place.split_at_mut(name.len());
        plus_place.copy_from_slice(plus);
        dirent_place.copy_from_slice(dirent.as_bytes());
        name_place.copy_from_slice(name.as_bytes());
        padding.fill(0);
        self.used += padded;
        true
    }

    /// How long it became.
    pub(super) fn len(&self) -> usize {
        self.used
    }
}
