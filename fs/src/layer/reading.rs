//! What can be read of an object of a layer, wherever it lies.
//!
//! ```text
//!   Reading::Disk(At)              an object in a directory layer, or in the upper
//!   Reading::Packed(Pack, node)    an object in a packed layer
//! ```

use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::Stat;
use rustix::io::Errno;

use super::packed::Pack;
use super::packed::format::NONE;
use crate::error::{Error, Result};
use crate::marks::{Attributes, Marks};
use crate::sys::at::At;

/// The address of something that is read; see the module.
#[derive(Debug, Clone, Copy)]
pub enum Reading<'a> {
    /// On disk.
    Disk(At<'a>),
    /// The node of a packed layer; the stat of its file gives what a node does not have.
    Packed(&'a Pack, u32, &'a Stat),
}

impl Reading<'_> {
    /// lstat(2).
    pub fn stat(self) -> Result<Stat> {
        match self {
            Self::Disk(at) => Ok(at.stat()?),
            Self::Packed(pack, node, template) => packed_stat(pack, node, template),
        }
    }

    /// The target of a symlink.
    pub fn readlink(self) -> Result<OsString> {
        match self {
            Self::Disk(at) => Ok(at.readlink()?),
            Self::Packed(pack, node, _) => {
                let target = pack.target(pack.node(node)?)?;
                Ok(OsString::from_vec(target.to_vec()))
            }
        }
    }

    /// The value of an extended attribute; ENODATA if it has none of that name.
    pub fn get_xattr(self, name: &CStr) -> Result<Vec<u8>> {
        match self {
            Self::Disk(at) => Ok(at.get_xattr(name)?),
            Self::Packed(pack, node, _) => {
                let mut all = pack.xattrs(pack.node(node)?)?.into_iter();
                let found = all.find(|(known, _)| *known == name.to_bytes());
                found
                    .map(|(_, value)| value.to_vec())
                    .ok_or(Error::NoAttribute)
            }
        }
    }

    /// The address on disk, for what only a disk's object can answer.
    ///
    /// # Errors
    /// ENOTTY: it is in a packed layer.
    pub fn on_disk(&self) -> Result<At<'_>> {
        match self {
            Self::Disk(at) => Ok(*at),
            Self::Packed(..) => Err(Error::UnknownIoctl),
        }
    }
}

impl Attributes for Reading<'_> {
    fn list_xattrs(self) -> Result<Vec<u8>> {
        match self {
            Self::Disk(at) => Ok(at.list_xattrs()?),
            Self::Packed(pack, node, _) => {
                let mut names = Vec::new();
                for (name, _) in pack.xattrs(pack.node(node)?)? {
                    names.extend_from_slice(name);
                    names.push(0);
                }
                Ok(names)
            }
        }
    }

    fn xattr(self, name: &CStr) -> Result<Option<Vec<u8>>> {
        match self.get_xattr(name) {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoAttribute | Error::Sys(Errno::OPNOTSUPP)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The attributes of a packed node. Its number is its inode number but for 1: none is 0. Access and
/// change times are not in an archive: both are the modification time.
fn packed_stat(pack: &Pack, number: u32, template: &Stat) -> Result<Stat> {
    let node = pack.node(number)?;
    let mut stat = *template;
    let kind = node.mode.get() & libc::S_IFMT;
    let device = matches!(kind, libc::S_IFCHR | libc::S_IFBLK);
    stat.st_ino = pack.inode(number)?;
    stat.st_mode = node.mode.get();
    stat.st_nlink = node.nlink.get().into();
    stat.st_uid = node.uid.get();
    stat.st_gid = node.gid.get();
    stat.st_rdev = if device { node.data.get() } else { 0 };
    let size = if kind == libc::S_IFDIR {
        4096
    } else {
        node.size.get()
    };
    stat.st_size = i64::try_from(size).map_err(|_| Error::Damaged)?;
    stat.st_blksize = 4096;
    stat.st_blocks = match kind {
        libc::S_IFREG => size.div_ceil(512).cast_signed(),
        _ => 0,
    };
    let (seconds, nanos) = (node.mtime.get(), node.nanos.get() % 1_000_000_000);
    (stat.st_atime, stat.st_mtime, stat.st_ctime) = (seconds, seconds, seconds);
    stat.st_atime_nsec = nanos.into();
    stat.st_mtime_nsec = nanos.into();
    stat.st_ctime_nsec = nanos.into();
    Ok(stat)
}

/// The marks of a packed node.
pub(super) fn packed_marks(pack: &Pack, number: u32, template: &Stat) -> Result<Marks> {
    let node = pack.node(number)?;
    let mut marks = match node.xattrs.get() {
        NONE => Marks::default(),
        _ => Marks::read(Reading::Packed(pack, number, template))?,
    };
    let outside = pack.outside(node)?;
    marks.outside = outside.map(|path| OsStr::from_bytes(path).to_owned());
    Ok(marks)
}
