//! The transport's system calls that need `unsafe`: fork, and ioctls. (The rings have their own.)
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::unistd::{ForkResult, fork};

use super::ioctl::{SERVER, STATS, STATS_SIZE};

nix::ioctl_read_bad!(server_ioctl, SERVER, [u64; 2]);
nix::ioctl_read_bad!(stats_ioctl, STATS, [u8; STATS_SIZE]);
// FUSE_DEV_IOC_CLONE of linux/fuse.h.
nix::ioctl_read!(clone_ioctl, 229, 0, u32);

/// Forks. The caller must be the process's only thread.
///
/// # Errors
/// What fork(2) fails with; and `EBUSY` if the process has other threads.
pub(super) fn fork_single_threaded() -> io::Result<ForkResult> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    // SAFETY: with one thread no lock is held by a thread that the child would not have.
    Ok(unsafe { fork() }?)
}

/// Process id and pid namespace of the daemon that serves the layerfs mount of the open `file`.
///
/// # Errors
/// `ENOTTY` if it does not say (or is no layerfs), `ENOTCONN` if it is dead.
pub(super) fn ask_server(file: impl AsFd) -> io::Result<[u64; 2]> {
    let mut server = [0; 2];
    // SAFETY: the command is declared as writing two u64, which is what the pointer leads to.
    unsafe { server_ioctl(file.as_fd().as_raw_fd(), &raw mut server) }?;
    Ok(server)
}

/// Makes the fresh fd of `/dev/fuse` one more fd of `connection`.
///
/// # Errors
/// `EINVAL` if either is not what it should be.
pub(super) fn clone_connection(fresh: impl AsFd, connection: impl AsFd) -> io::Result<()> {
    let mut original = connection.as_fd().as_raw_fd().cast_unsigned();
    // SAFETY: the command reads one u32, which is what the pointer leads to.
    unsafe { clone_ioctl(fresh.as_fd().as_raw_fd(), &raw mut original) }?;
    Ok(())
}

/// The statistics of the layerfs mount of the open `file`, as JSON.
///
/// # Errors
/// `ENOTTY` if it has none, `ENOTCONN` if it is dead.
pub(super) fn ask_stats(file: impl AsFd) -> io::Result<Vec<u8>> {
    let mut answer = [0; STATS_SIZE];
    // SAFETY: the command is declared as writing so many bytes, which is what the pointer leads to.
    unsafe { stats_ioctl(file.as_fd().as_raw_fd(), &raw mut answer) }?;
    let end = answer
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(STATS_SIZE);
    Ok(answer[..end].to_vec())
}
