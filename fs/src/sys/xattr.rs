//! Extended attributes of an object, by its directory and name.
//!
//! The `*at` calls came with Linux 6.13; before, the way is through `/proc/self/fd`, which leads to the
//! object itself but costs a walk. An `O_PATH` fd of a directory is asked by the name `.`, one of
//! anything else (which the calls refuse) through `/proc` again.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::fs::{self, XattrFlags};
use rustix::io::{Errno, Result};
use smallvec::SmallVec;

use super::at::{At, proc_path};

/// The same on every architecture (include/uapi/asm-generic/unistd.h).
const SYS_SETXATTRAT: libc::c_long = 463;
const SYS_GETXATTRAT: libc::c_long = 464;
const SYS_LISTXATTRAT: libc::c_long = 465;
const SYS_REMOVEXATTRAT: libc::c_long = 466;

/// `struct xattr_args` (include/uapi/linux/xattr.h).
#[repr(C)]
struct XattrArgs {
    value: u64,
    size: u32,
    flags: u32,
}

/// Whether the calls can be made: one of the three below.
static CALLS: AtomicU8 = AtomicU8::new(UNTRIED);
const UNTRIED: u8 = 0;
const GOOD: u8 = 1;
const REFUSED: u8 = 2;

/// Puts the value of `name` into `buffer`; gives its length. ENODATA, ERANGE.
pub(super) fn get(at: At<'_>, name: &CStr, buffer: &mut [u8]) -> Result<usize> {
    let args = XattrArgs {
        value: buffer.as_mut_ptr() as u64,
        size: buffer.len() as u32,
        flags: 0,
    };
    let direct = by_name(at, |dir, path| {
        // SAFETY: path and name end with NUL, the struct and the buffer it names live through the call,
        // and the kernel writes no more than `size` bytes.
        let result = unsafe {
            libc::syscall(
                SYS_GETXATTRAT,
                dir.as_raw_fd(),
                path.as_ptr(),
                libc::AT_SYMLINK_NOFOLLOW,
                name.as_ptr(),
                &raw const args,
                size_of::<XattrArgs>(),
            )
        };
        check(result)
    });
    match (direct, at) {
        (Some(result), _) => result,
        (None, At::Name(dir, file)) => fs::lgetxattr(proc_path(dir, Some(file)), name, buffer),
        (None, At::Fd(fd)) => fs::getxattr(proc_path(fd, None), name, buffer),
    }
}

/// Puts the names, each closed by NUL, into `buffer`; gives their length. ERANGE, EOPNOTSUPP.
pub(super) fn list(at: At<'_>, buffer: &mut [u8]) -> Result<usize> {
    let direct = by_name(at, |dir, path| {
        // SAFETY: the path ends with NUL, the buffer lives through the call and has the length told.
        let result = unsafe {
            libc::syscall(
                SYS_LISTXATTRAT,
                dir.as_raw_fd(),
                path.as_ptr(),
                libc::AT_SYMLINK_NOFOLLOW,
                buffer.as_mut_ptr(),
                buffer.len(),
            )
        };
        check(result)
    });
    match (direct, at) {
        (Some(result), _) => result,
        (None, At::Name(dir, file)) => fs::llistxattr(proc_path(dir, Some(file)), buffer),
        (None, At::Fd(fd)) => fs::listxattr(proc_path(fd, None), buffer),
    }
}

/// Sets `name` to `value`. EEXIST or ENODATA as `flags` say.
pub(super) fn set(at: At<'_>, name: &CStr, value: &[u8], flags: XattrFlags) -> Result<()> {
    let args = XattrArgs {
        value: value.as_ptr() as u64,
        size: value.len() as u32,
        flags: flags.bits(),
    };
    let direct = by_name(at, |dir, path| {
        // SAFETY: path and name end with NUL, the struct and the value it names live through the call.
        let result = unsafe {
            libc::syscall(
                SYS_SETXATTRAT,
                dir.as_raw_fd(),
                path.as_ptr(),
                libc::AT_SYMLINK_NOFOLLOW,
                name.as_ptr(),
                &raw const args,
                size_of::<XattrArgs>(),
            )
        };
        check(result)
    });
    match (direct, at) {
        (Some(result), _) => result.map(drop),
        (None, At::Name(dir, file)) => {
            fs::lsetxattr(proc_path(dir, Some(file)), name, value, flags)
        }
        (None, At::Fd(fd)) => fs::setxattr(proc_path(fd, None), name, value, flags),
    }
}

/// Removes `name`. ENODATA.
pub(super) fn remove(at: At<'_>, name: &CStr) -> Result<()> {
    let direct = by_name(at, |dir, path| {
        // SAFETY: path and name end with NUL and live through the call.
        let result = unsafe {
            libc::syscall(
                SYS_REMOVEXATTRAT,
                dir.as_raw_fd(),
                path.as_ptr(),
                libc::AT_SYMLINK_NOFOLLOW,
                name.as_ptr(),
            )
        };
        check(result)
    });
    match (direct, at) {
        (Some(result), _) => result.map(drop),
        (None, At::Name(dir, file)) => fs::lremovexattr(proc_path(dir, Some(file)), name),
        (None, At::Fd(fd)) => fs::removexattr(proc_path(fd, None), name),
    }
}

/// Makes the call with a directory and a name in it; `None` if it must be done through `/proc`.
fn by_name(
    at: At<'_>,
    call: impl FnOnce(BorrowedFd<'_>, &CStr) -> Result<usize>,
) -> Option<Result<usize>> {
    if !can_call() {
        return None;
    }
    let result = match at {
        At::Fd(fd) => call(fd, c"."),
        At::Name(dir, name) => with_nul(name, |path| call(dir, path))?,
    };
    match (result, at) {
        (Err(Errno::NOTDIR), At::Fd(_)) => None,
        (result, _) => Some(result),
    }
}

/// Tries once: an older kernel says ENOSYS, a seccomp filter that does not know the call EPERM.
fn can_call() -> bool {
    match CALLS.load(Ordering::Relaxed) {
        GOOD => true,
        REFUSED => false,
        _ => {
            let nowhere = std::ptr::null_mut::<u8>();
            // SAFETY: the path ends with NUL; nothing is written to a buffer of no bytes.
            let result = unsafe {
                libc::syscall(
                    SYS_LISTXATTRAT,
                    libc::AT_FDCWD,
                    c"/".as_ptr(),
                    0,
                    nowhere,
                    0,
                )
            };
            let good = !matches!(check(result), Err(Errno::NOSYS | Errno::PERM));
            CALLS.store(if good { GOOD } else { REFUSED }, Ordering::Relaxed);
            good
        }
    }
}

/// Calls `then` with the name and a NUL behind it; `None` if it has one inside.
fn with_nul<R>(name: &OsStr, then: impl FnOnce(&CStr) -> R) -> Option<R> {
    let mut bytes: SmallVec<[u8; 256]> = SmallVec::from_slice(name.as_bytes());
    bytes.push(0);
    CStr::from_bytes_with_nul(&bytes).ok().map(then)
}

fn check(result: libc::c_long) -> Result<usize> {
    usize::try_from(result).map_err(|_| {
        let raw = std::io::Error::last_os_error().raw_os_error();
        Errno::from_raw_os_error(raw.unwrap_or(libc::EIO))
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn all(at: At<'_>) -> (Vec<u8>, Vec<u8>, Errno) {
        let mut buffer = [0; 256];
        set(at, c"user.test", b"value", XattrFlags::CREATE).unwrap();
        let value = get(at, c"user.test", &mut buffer).unwrap();
        let value = buffer[..value].to_vec();
        let names = list(at, &mut buffer).unwrap();
        let names = buffer[..names].to_vec();
        assert_eq!(get(at, c"user.test", &mut [0; 2]), Err(Errno::RANGE));
        remove(at, c"user.test").unwrap();
        (value, names, remove(at, c"user.test").unwrap_err())
    }

    #[test]
    fn a3_every_way_to_an_object_gives_the_same() {
        let built = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir_in(built.parent().unwrap()).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let path = |path| {
            let flags = fs::OFlags::PATH | fs::OFlags::CLOEXEC;
            fs::open(path, flags, fs::Mode::empty()).unwrap()
        };
        let (parent, file) = (path(dir.path().to_owned()), path(dir.path().join("file")));
        let wanted = (b"value".to_vec(), b"user.test\0".to_vec(), Errno::NODATA);
        for calls in [UNTRIED, REFUSED] {
            CALLS.store(calls, Ordering::Relaxed);
            for at in [
                At::Name(parent.as_fd(), OsStr::new("file")),
                At::Fd(file.as_fd()),
                At::Fd(parent.as_fd()),
            ] {
                assert_eq!(all(at), wanted, "{at:?}");
            }
            assert_eq!(
                get(
                    At::Name(parent.as_fd(), OsStr::new("none")),
                    c"user.x",
                    &mut []
                ),
                Err(Errno::NOENT)
            );
        }
        CALLS.store(UNTRIED, Ordering::Relaxed);
    }
}
