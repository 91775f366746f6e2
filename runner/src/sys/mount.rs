//! The new mount API as few words: a mount is a descriptor until it is attached.
//!
//! A detached mount cannot be reached by any path, so nobody can swap what is below it; targets
//! are descriptors too, so no path is resolved between checking and mounting.

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::CWD;
use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::path::Path;

/// How mounts and unmounts travel between a mount and its copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Not at all.
    Private,
    /// From the original to the copy only.
    Slave,
}

/// Makes a detached mount of a new file system instance. An option without value is a flag.
pub fn new_filesystem(
    kind: &str,
    options: &[(String, Option<String>)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", kind)?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(&context, key, value)?,
            None => fsconfig_set_flag(&context, key)?,
        }
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Makes a detached copy of the mount that shows `path` (symbolic links are followed: this is
/// for paths of the host that the user or we named), with all mounts below it if `recursive`.
pub fn copy_path(path: &Path, recursive: bool) -> Result<OwnedFd> {
    open_tree(CWD, path, copy_flags(recursive))
}

/// Makes a detached copy of the mount at exactly this object.
pub fn copy_object(object: impl AsFd, recursive: bool) -> Result<OwnedFd> {
    let flags = copy_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(object, "", flags)
}

fn copy_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags | OpenTreeFlags::AT_RECURSIVE
    } else {
        flags
    }
}

/// Attaches a detached mount on top of exactly this object.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
}

/// Sets attributes of a mount, and of all mounts below it if `recursive`.
pub fn set_attributes(
    mount: impl AsFd,
    attributes: MountAttrFlags,
    propagation: Option<Propagation>,
    recursive: bool,
) -> Result<()> {
    change(
        mount,
        &libc::mount_attr {
            attr_set: u64::from(attributes.bits()),
            attr_clr: 0,
            propagation: match propagation {
                None => 0,
                Some(Propagation::Private) => libc::MS_PRIVATE,
                Some(Propagation::Slave) => libc::MS_SLAVE,
            },
            userns_fd: 0,
        },
        recursive,
    )
}

/// Takes attributes away from a mount.
pub fn clear_attributes(mount: impl AsFd, attributes: MountAttrFlags) -> Result<()> {
    change(
        mount,
        &libc::mount_attr {
            attr_set: 0,
            attr_clr: u64::from(attributes.bits()),
            propagation: 0,
            userns_fd: 0,
        },
        false,
    )
}

fn change(mount: impl AsFd, change: &libc::mount_attr, recursive: bool) -> Result<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a terminated string, `change` lives over the call and its size is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(change),
            size_of::<libc::mount_attr>(),
        )
    };
    if result == -1 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
    }
    Ok(())
}
