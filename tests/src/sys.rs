//! System calls that std, rustix and nix do not offer safely: the only `unsafe` of the tests.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lremovexattr, lsetxattr};
use rustix::io::Errno;

/// Names and values of all xattrs of an object (never followed), sorted.
pub fn xattrs(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut all = Vec::new();
    for name in xattr_names(path)? {
        if let Some(value) = xattr(path, &name)? {
            all.push((name, value));
        }
    }
    all.sort();
    Ok(all)
}

/// Names of all xattrs.
pub fn xattr_names(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut buffer = vec![0_u8; 65_536];
    let length = match llistxattr(path, &mut buffer[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(e) => return Err(e.into()),
    };
    Ok(buffer[..length]
        .split(|b| *b == 0)
        .filter(|n| !n.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

/// One xattr, `None` if it is not there.
pub fn xattr(path: &Path, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0_u8; 65_536];
    match lgetxattr(path, name, &mut buffer[..]) {
        Ok(length) => Ok(Some(buffer[..length].to_vec())),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Sets one xattr.
pub fn set_xattr(path: &Path, name: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(lsetxattr(path, name, value, XattrFlags::empty())?)
}

/// Removes one xattr.
pub fn remove_xattr(path: &Path, name: &[u8]) -> io::Result<()> {
    Ok(lremovexattr(path, name)?)
}

/// A mapping of a whole file.
#[derive(Debug)]
pub struct Mapping {
    at: *mut u8,
    length: usize,
}

impl Mapping {
    /// Maps `length` bytes of `fd`, writable, shared or private.
    pub fn new(fd: BorrowedFd<'_>, length: usize, shared: bool) -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let flags = if shared {
            MapFlags::SHARED
        } else {
            MapFlags::PRIVATE
        };
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address the kernel picks aliases nothing of ours.
        let at = unsafe { mmap(std::ptr::null_mut(), length, prot, flags, fd, 0) }?;
        Ok(Self {
            at: at.cast(),
            length,
        })
    }

    /// The bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `at` maps `length` bytes until drop; the file is not truncated while mapped.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.length) }
    }

    /// msync(MS_SYNC).
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: the range is exactly our mapping.
        unsafe { rustix::mm::msync(self.at.cast(), self.length, rustix::mm::MsyncFlags::SYNC) }?;
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is exactly our mapping and no slice of it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.at.cast(), self.length) };
    }
}

/// `FS_IOC_GETFLAGS`.
pub fn inode_flags(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut flags: libc::c_long = 0;
    // SAFETY: the kernel writes at most a long through the pointer.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FS_IOC_GETFLAGS as _, &raw mut flags) };
    check(result)?;
    Ok(flags as u32)
}

/// `FS_IOC_SETFLAGS`.
pub fn set_inode_flags(fd: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    let flags = libc::c_long::from(flags);
    // SAFETY: the kernel reads at most a long through the pointer.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FS_IOC_SETFLAGS as _, &raw const flags) })
}

/// `FS_IOC_FSGETXATTR`: the 28 bytes of `struct fsxattr`.
pub fn project_attr(fd: BorrowedFd<'_>) -> io::Result<[u32; 7]> {
    const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
    let mut attr = [0_u32; 7];
    // SAFETY: the kernel writes sizeof(struct fsxattr) = 28 bytes, as many as `attr` holds.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_FSGETXATTR as _, attr.as_mut_ptr()) };
    check(result)?;
    Ok(attr)
}

/// An ioctl with a number and no argument.
pub fn bare_ioctl(fd: BorrowedFd<'_>, number: u32) -> io::Result<()> {
    // SAFETY: the number carries no size, so the kernel touches no memory.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), number as _, 0) })
}

/// Gives `length` bytes aligned for O_DIRECT.
pub fn aligned(length: usize, fill: u8) -> Aligned {
    let mut bytes = vec![fill; length + 4096];
    let start = bytes.as_ptr().align_offset(4096);
    bytes.truncate(start + length);
    Aligned { bytes, start }
}

/// See [`aligned`].
#[derive(Debug)]
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// The aligned part.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }
}

/// Creates a file by a raw name of any bytes.
pub fn path_of(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// Lets the thread that will spawn `command` trace the process from its exec on (ptrace(2)).
pub fn let_parent_trace(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec one system call is made, and nothing is allocated or locked.
    unsafe { command.pre_exec(|| Ok(nix::sys::ptrace::traceme()?)) };
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Makes the system call of that number fail with EPERM in the program that `command` runs.
pub fn forbid(command: &mut std::process::Command, call: libc::c_long) {
    use std::os::unix::process::CommandExt;
    let (load, equal, give) = (
        (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        (libc::BPF_RET | libc::BPF_K) as u16,
    );
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // `struct seccomp_data` begins with the number.
    let mut filter = [
        step(load, 0, 0, 0),
        step(equal, 0, 1, call as u32),
        step(give, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(give, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_mut_ptr(),
        };
        // SAFETY: the program and its filter live during the call; root needs no `no_new_privs`.
        let result = unsafe {
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: only a system call, with memory made before the fork.
    unsafe { command.pre_exec(install) };
}

/// How a file system is cut off from its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Changes of metadata up to now are in the journal, data that was not written is lost.
    JournalWritten = 1,
    /// What is in memory is lost.
    AtOnce = 2,
}

/// `EXT4_IOC_SHUTDOWN`, `XFS_IOC_GOINGDOWN`: the file system of `fd` writes nothing any more.
pub fn cut_off(fd: BorrowedFd<'_>, cut: Cut) -> io::Result<()> {
    const SHUTDOWN: u32 = 0x8004_587d;
    let flags = cut as u32;
    // SAFETY: the kernel reads the 32 bits of flags through the pointer.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), SHUTDOWN as _, &raw const flags) })
}
