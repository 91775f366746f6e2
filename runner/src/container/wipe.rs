//! Removing a whole directory, whatever a container has left in it.
//!
//! ```text
//!   remove_dir_all ──EPERM──> take away "immutable" and "append only" below it, once more
//! ```
//!
//! A container with CAP_LINUX_IMMUTABLE may set these flags (`chattr +i`), and root itself cannot remove
//! what has them. Nothing is followed: paths are resolved below the directory, without symlinks.

use rustix::fs::{Dir, FileType, IFlags, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Removes a directory and all below; fine when it is gone.
///
/// # Errors
/// What cannot be removed.
pub fn wipe(path: &Path) -> io::Result<()> {
    let first = fs::remove_dir_all(path);
    let last = match first {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            // What is still locked afterwards is told by the removal.
            let _ = unlock_all(path);
            fs::remove_dir_all(path)
        }
        other => other,
    };
    match last {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Takes the flags away from all directories and files below a directory, and from itself.
fn unlock_all(path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::open(path, flags, Mode::empty())?;
    unlock(&top)?;
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        let here = match directory.as_os_str().is_empty() {
            true => top.try_clone()?,
            false => open_below(&top, &directory, OFlags::DIRECTORY)?,
        };
        for entry in Dir::read_from(&here)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let path = directory.join(name);
            match entry.file_type() {
                FileType::Directory => {
                    unlock(&open_below(&top, &path, OFlags::DIRECTORY)?)?;
                    directories.push(path);
                }
                FileType::RegularFile => unlock(&open_below(&top, &path, OFlags::empty())?)?,
                _ => {}
            }
        }
    }
    Ok(())
}

fn open_below(top: &OwnedFd, path: &Path, more: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(top, path, flags, Mode::empty(), resolve)
}

fn unlock(file: &OwnedFd) -> rustix::io::Result<()> {
    let flags = match rustix::fs::ioctl_getflags(file) {
        // A file system without flags.
        Err(Errno::NOTTY | Errno::OPNOTSUPP) => return Ok(()),
        other => other?,
    };
    let locks = IFlags::IMMUTABLE | IFlags::APPEND;
    match flags.intersects(locks) {
        true => rustix::fs::ioctl_setflags(file, flags - locks),
        false => Ok(()),
    }
}
