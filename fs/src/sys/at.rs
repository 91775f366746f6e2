//! The address of one object below us, and what can be done to it.
//!
//! ```text
//!   At::Name(dirfd, name)   the object of that name; symlinks are never followed
//!   At::Fd(fd)              the object behind an O_PATH fd (unlinked files, roots, index)
//! ```
//!
//! Extended attributes are in [`super::xattr`].

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, Stat, Timestamps, Uid, XattrFlags};
use rustix::io::{Errno, Result};

use super::xattr;

/// The address of an object; see the module.
#[derive(Debug, Clone, Copy)]
pub enum At<'a> {
    /// A name in a directory.
    Name(BorrowedFd<'a>, &'a OsStr),
    /// The object behind a fd (usually `O_PATH`).
    Fd(BorrowedFd<'a>),
}

impl At<'_> {
    /// lstat(2) of the object.
    pub fn stat(self) -> Result<Stat> {
        match self {
            Self::Name(dir, name) => fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW),
            Self::Fd(fd) => fs::statat(fd, c"", AtFlags::EMPTY_PATH),
        }
    }

    /// Opens it; a symlink gives ELOOP unless `flags` hold `PATH`.
    pub fn open(self, flags: OFlags) -> Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        match self {
            Self::Name(dir, name) => fs::openat(dir, name, flags | OFlags::NOFOLLOW, Mode::empty()),
            Self::Fd(fd) => fs::open(proc_path(fd, None).as_c_str(), flags, Mode::empty()),
        }
    }

    /// Opens it for reading, without a change of its access time where we may say so.
    pub fn open_unseen(self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        match self.open(flags | OFlags::NOATIME) {
            Err(Errno::PERM) => self.open(flags),
            other => other,
        }
    }

    /// Holds it by an `O_PATH` fd.
    pub fn pin(self) -> Result<OwnedFd> {
        match self {
            Self::Name(..) => self.open(OFlags::PATH),
            Self::Fd(fd) => rustix::io::fcntl_dupfd_cloexec(fd, 3),
        }
    }

    /// The target of a symlink.
    pub fn readlink(self) -> Result<OsString> {
        let target = match self {
            Self::Name(dir, name) => fs::readlinkat(dir, name, Vec::with_capacity(256))?,
            Self::Fd(fd) => fs::readlinkat(fd, c"", Vec::with_capacity(256))?,
        };
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// Sets the permission bits; never call it for a symlink.
    pub fn chmod(self, mode: u32) -> Result<()> {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        match self {
            Self::Name(dir, name) => fs::chmodat(dir, name, mode, AtFlags::empty()),
            Self::Fd(fd) => fs::chmod(proc_path(fd, None).as_c_str(), mode),
        }
    }

    /// Sets owner and group; `None` leaves one alone.
    pub fn chown(self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            Self::Name(dir, name) => fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
            Self::Fd(fd) => fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH),
        }
    }

    /// Sets access and modification time.
    pub fn set_times(self, times: &Timestamps) -> Result<()> {
        match self {
            Self::Name(dir, name) => fs::utimensat(dir, name, times, AtFlags::SYMLINK_NOFOLLOW),
            Self::Fd(fd) => fs::utimensat(
                fs::CWD,
                proc_path(fd, None).as_c_str(),
                times,
                AtFlags::empty(),
            ),
        }
    }

    /// Gives it one more name.
    pub fn link_to(self, dir: BorrowedFd<'_>, new_name: &OsStr) -> Result<()> {
        match self {
            Self::Name(old, name) => fs::linkat(old, name, dir, new_name, AtFlags::empty()),
            Self::Fd(fd) => fs::linkat(fd, c"", dir, new_name, AtFlags::EMPTY_PATH),
        }
    }

    /// The value of one extended attribute; `None` if it has none of that name, or the file
    /// system knows no attributes.
    pub fn xattr(self, name: &CStr) -> Result<Option<Vec<u8>>> {
        match self.get_xattr(name) {
            Ok(value) => Ok(Some(value)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The value of one extended attribute; ENODATA if it has none of that name.
    pub fn get_xattr(self, name: &CStr) -> Result<Vec<u8>> {
        grow(|buffer| xattr::get(self, name, buffer))
    }

    /// The names of its extended attributes, each closed by a NUL; empty where the file system
    /// knows none.
    pub fn list_xattrs(self) -> Result<Vec<u8>> {
        let names = grow(|buffer| xattr::list(self, buffer));
        match names {
            Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
            other => other,
        }
    }

    /// Sets an extended attribute.
    pub fn set_xattr(self, name: &CStr, value: &[u8], flags: XattrFlags) -> Result<()> {
        xattr::set(self, name, value, flags)
    }

    /// Removes an extended attribute; ENODATA if there is none.
    pub fn remove_xattr(self, name: &CStr) -> Result<()> {
        xattr::remove(self, name)
    }
}

/// The names of a NUL-separated list as `list_xattrs` gives it.
pub fn xattr_names(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
}

/// Calls `get` with a larger buffer until the answer fits (64 KiB is the kernel's limit for a
/// value and for a list, but file systems may hold longer lists).
fn grow(mut get: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut buffer = vec![0; 512];
    loop {
        match get(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 8, 0),
            Err(error) => return Err(error),
        }
    }
}

/// `/proc/self/fd/N` or `/proc/self/fd/N/NAME`.
pub(super) fn proc_path(fd: BorrowedFd<'_>, name: Option<&OsStr>) -> CString {
    let mut path = format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes();
    if let Some(name) = name {
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
    }
    // A name with a NUL inside names nothing; an empty path gives ENOENT as it should.
    CString::new(path).unwrap_or_default()
}
