//! Processes: clone3 into namespaces, fork, and what a child puts in order before exec.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

/// `clone3`: the child is born in the control group of v2 whose descriptor is given.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// A child made by [`clone_into`], seen from the parent.
#[derive(Debug)]
pub struct Child {
    /// Its process id in the parent's pid namespace.
    pub pid: i32,
    /// A handle that stays true when the number is reused.
    pub pidfd: OwnedFd,
}

/// The two returns of a fork.
#[derive(Debug)]
pub enum Forked<T> {
    /// In the parent.
    Parent(T),
    /// In the child.
    Child,
}

/// Forks the calling process into the new namespaces named by `flags` (`CLONE_NEW*`), and into a
/// control group of v2, if one is given.
///
/// The caller must be single-threaded: the child goes on running Rust code, so a lock held by
/// another thread at this moment would stay locked for ever. Refused with `EBUSY` if it is not.
pub fn clone_into(flags: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked<Child>> {
    single_threaded()?;
    clone3(flags, libc::SIGCHLD, cgroup)
}

/// Forks as [`clone_into`] does, but the child is the caller's brother: its parent is the caller's.
/// The caller must be single-threaded; that is not checked, since its /proc may not show it.
pub fn clone_sibling() -> io::Result<Forked<Child>> {
    // It has the end signal of the caller.
    clone3(libc::CLONE_PARENT, 0, None)
}

fn clone3(
    flags: libc::c_int,
    exit_signal: libc::c_int,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Forked<Child>> {
    let mut pidfd: RawFd = -1;
    // SAFETY: an all-zero `clone_args` is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (flags | libc::CLONE_PIDFD) as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = exit_signal as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM this is fork: the child gets a copy of all memory; `args` lives
    // over the call and its size is told; no other thread exists (callers see to that), so no
    // lock of the allocator can be held.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => {
            // SAFETY: the kernel wrote a new descriptor there, which nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Forked::Parent(Child {
                pid: pid as i32,
                pidfd,
            }))
        }
    }
}

/// Forks the calling, single-threaded process; the parent gets the child's process id.
pub fn fork() -> io::Result<Forked<i32>> {
    single_threaded()?;
    // SAFETY: single-threaded (checked above), so the child may go on running any code.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// Waits for a child that ends at once, and whose end is of no other interest.
pub fn reap(child: i32) {
    use rustix::process::{Pid, WaitOptions, waitpid};
    let child = Pid::from_raw(child);
    while matches!(
        waitpid(child, WaitOptions::empty()),
        Err(rustix::io::Errno::INTR)
    ) {}
}

fn single_threaded() -> io::Result<()> {
    // Links of the directory: two of its own, and one per thread.
    let links = std::fs::metadata("/proc/self/task")?.nlink();
    if links > 3 {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    Ok(())
}

/// Ends the process at once: no destructor, no exit handler.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor from `first` up.
pub fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: no memory is touched; whoever owned a closed descriptor must not use it again,
    // which holds because callers exec or exit next.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Closes every descriptor from 3 up but `kept`.
pub fn close_others(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let mut kept: Vec<_> = kept.iter().map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            // SAFETY: as for `close_from`.
            let result = unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) };
            if result == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        first = first.max(fd + 1);
    }
    close_from(first)
}

/// Puts a copy of `fd` at the number `at` (closing what was there), marked close-on-exec.
pub fn duplicate_to(fd: &OwnedFd, at: RawFd) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: no memory is touched; see `close_from` about what was open at `at`.
    let result = unsafe { libc::dup3(fd.as_raw_fd(), at, libc::O_CLOEXEC) };
    if result == -1 && fd.as_raw_fd() != at {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Takes ownership of the descriptor number `fd`, which [`duplicate_to`] put there.
pub fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: by contract the number was made by `duplicate_to` and has no other owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Sets every signal to its default action; Rust's start ignores SIGPIPE, for one, and glibc's
/// way to start a program ignores two that its own `signal` then refuses to touch.
pub fn default_signals() {
    /// The kernel's own form of the structure: handler, flags, restorer, mask.
    const DEFAULT: [u64; 4] = [libc::SIG_DFL as u64, 0, 0, 0];
    const SET_SIZE: usize = size_of::<u64>();
    for signal in 1..=64 {
        // SAFETY: the structure lives over the call, its mask has the told size, and SIG_DFL is
        // a valid action; KILL and STOP refuse, harmlessly.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                std::ptr::null::<u64>(),
                SET_SIZE,
            );
        }
    }
}

/// Leaves the caller's session keyring for a new, empty one; kernels without keyrings refuse.
pub fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name is allowed and means an anonymous keyring.
    let result = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
