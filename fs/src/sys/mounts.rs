//! A private, read-only clone of the mount a layer lies on.
//!
//! Reading a layer through the clone never meets another mount (our own, above all, when the mount
//! point lies in a lower), never writes, not even an access time, and goes on when the original is
//! unmounted. The kernel's overlayfs does the same (`clone_private_mount`).
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::mount::{OpenTreeFlags, open_tree};

/// `struct mount_attr` (linux/mount.h).
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

const MOUNT_ATTR_RDONLY: u64 = 0x1;
const MOUNT_ATTR_NOATIME: u64 = 0x10;
const MOUNT_ATTR_ATIME: u64 = 0x70;

/// An `O_PATH` fd of directory `path` in a clone of its mount, read-only and without submounts.
/// ENOTDIR if it is no directory; EPERM without CAP_SYS_ADMIN.
pub fn clone_read_only(path: &Path) -> Result<OwnedFd> {
    let origin = rustix::fs::open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let clone = open_tree(
        &origin,
        c"",
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH,
    )?;
    let attr = MountAttr {
        set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME,
        clear: MOUNT_ATTR_ATIME,
        propagation: 0,
        userns: 0,
    };
    // SAFETY: the path is a NUL-terminated constant, the struct lives through the call, its size is
    // given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            clone.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result < 0 {
        let raw = std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO);
        return Err(Errno::from_raw_os_error(raw));
    }
    Ok(clone)
}

/// An `O_PATH` fd of directory `path` itself, for what we write (renames need one mount) and where
/// cloning is not allowed.
pub fn open_directory(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(
        CWD,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Whether `inner` is `outer` or lies below it, by walking up from `inner` (bind mounts and
/// symlinks do not deceive it within one mount namespace).
pub fn lies_in(inner: &OwnedFd, outer: &OwnedFd) -> Result<bool> {
    let identity = |fd: &OwnedFd| -> Result<(u64, u64)> {
        let stat = rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH)?;
        Ok((stat.st_dev, stat.st_ino))
    };
    let target = identity(outer)?;
    let mut current = rustix::io::fcntl_dupfd_cloexec(inner, 3)?;
    let mut here = identity(&current)?;
    loop {
        if here == target {
            return Ok(true);
        }
        let parent = rustix::fs::openat(
            &current,
            c"..",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let above = identity(&parent)?;
        if above == here {
            return Ok(false);
        }
        (current, here) = (parent, above);
    }
}

/// Whether a directory is the top of all that can be seen: `/`.
pub fn is_top(dir: &OwnedFd) -> Result<bool> {
    lies_in(&open_directory(Path::new("/"))?, dir)
}
