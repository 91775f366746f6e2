//! The chattr ioctls: `FS_IOC_GETFLAGS`, `FS_IOC_SETFLAGS` and the fsxattr pair (linux/fs.h).
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};

use crate::types::ProjectAttr;

/// `struct fsxattr`.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct FsXattr {
    xflags: u32,
    extsize: u32,
    nextents: u32,
    projid: u32,
    cowextsize: u32,
    pad: [u8; 8],
}

const FS_IOC_FSGETXATTR: libc::Ioctl = 0x801c_581f_u32 as libc::Ioctl;
const FS_IOC_FSSETXATTR: libc::Ioctl = 0x401c_5820_u32 as libc::Ioctl;

/// The inode flags (`FS_IMMUTABLE_FL`, ...).
pub fn inode_flags(fd: BorrowedFd<'_>) -> Result<u32> {
    // The ioctl's number says `long`, file systems read and write an `int`.
    let mut flags: libc::c_long = 0;
    // SAFETY: the kernel writes at most a long to the pointer, which is valid for the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FS_IOC_GETFLAGS, &mut flags) })?;
    Ok((flags & 0xffff_ffff) as u32)
}

/// Sets the inode flags.
pub fn set_inode_flags(fd: BorrowedFd<'_>, flags: u32) -> Result<()> {
    let flags = libc::c_long::from(flags);
    // SAFETY: the kernel reads at most a long from the pointer, which is valid for the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FS_IOC_SETFLAGS, &flags) })
}

/// The extended flags and the project id.
pub fn project_attr(fd: BorrowedFd<'_>) -> Result<ProjectAttr> {
    let mut raw = FsXattr::default();
    // SAFETY: the kernel writes one struct fsxattr, which `FsXattr` mirrors.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_FSGETXATTR, &mut raw) })?;
    Ok(ProjectAttr {
        xflags: raw.xflags,
        extsize: raw.extsize,
        nextents: raw.nextents,
        projid: raw.projid,
        cowextsize: raw.cowextsize,
    })
}

/// Sets the extended flags and the project id.
pub fn set_project_attr(fd: BorrowedFd<'_>, attr: &ProjectAttr) -> Result<()> {
    let raw = FsXattr {
        xflags: attr.xflags,
        extsize: attr.extsize,
        nextents: attr.nextents,
        projid: attr.projid,
        cowextsize: attr.cowextsize,
        pad: [0; 8],
    };
    // SAFETY: the kernel reads one struct fsxattr, which `FsXattr` mirrors.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_FSSETXATTR, &raw) })
}

fn check(result: libc::c_int) -> Result<()> {
    if result < 0 {
        let raw = std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO);
        return Err(Errno::from_raw_os_error(raw));
    }
    Ok(())
}
