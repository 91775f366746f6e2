//! A container's files, as its own processes see them, for commands outside of it.
//!
//! ```text
//!   runs        /proc/PID/root of its first process: volumes included
//!   does not    its union, mounted for this command alone in a mount namespace of its own
//!
//!   caller ──fork──> helper: chroot there; everything it names is inside, wherever links lead
//!          <──pipe── what it reads, packed  |  ──pipe──> what it is to write
//! ```
//!
//! The helper is this program and loads nothing of the container's (CVE-2019-14271).

use super::directory::Directory;
use super::home::{Home, Settled};
use super::lock::Lock;
use super::plan;
use crate::error::{Error, Result};
use crate::mounts::union::Served;
use crate::sys::process::{Forked, exit_now, fork};
use nix::sched::{CloneFlags, unshare};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, chroot, fchdir, waitid};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// The root of a container's files.
#[derive(Debug)]
pub struct Files {
    root: OwnedFd,
    /// Of a container that does not run: its mount, and the lock that keeps it from running.
    mounted: Option<(Served, Lock)>,
}

/// Which way the pipe to the helper goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The helper writes.
    Out,
    /// The helper reads.
    In,
}

/// The helper at work.
#[derive(Debug)]
pub struct Helper {
    pid: i32,
    /// Our end of the pipe.
    pub pipe: File,
    complaints: File,
}

/// Sees to it that this process, which is single-threaded, has a mount namespace of its own. One for all that
/// it mounts: the process behind an earlier mount would keep that in the namespace that is left.
pub fn own_mounts() -> Result<()> {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.load(Ordering::Relaxed) {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS).map_err(Error::system("make a mount namespace"))?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags).map_err(Error::system("keep mounts from the host"))?;
    DONE.store(true, Ordering::Relaxed);
    Ok(())
}

impl Files {
    /// Opens a container's files. The caller is single-threaded, and afterwards maybe in a mount
    /// namespace of its own.
    pub fn open(home: &Home, directory: &Directory) -> Result<Self> {
        let (path, mounted) = match home.settle(directory)? {
            Settled::Alive(state) if state.pid > 0 => {
                (PathBuf::from(format!("/proc/{}/root", state.pid)), None)
            }
            Settled::Alive(_) => {
                let why = "is about to be started again: wait until it runs";
                let short = directory.id().short();
                return Err(Error::Refused(format!("container {short} {why}")));
            }
            Settled::Free(lock) => {
                own_mounts()?;
                let served = plan::union(&directory.spec()?, directory).serve()?;
                (directory.join("rootfs"), Some((served, lock)))
            }
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(CWD, &path, flags, Mode::empty()) {
            Ok(root) => Ok(Self { root, mounted }),
            Err(errno) => {
                Self::undo(mounted)?;
                Err(Error::io("open", path)(errno.into()))
            }
        }
    }

    /// The root directory.
    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Takes down what was mounted.
    pub fn close(self) -> Result<()> {
        drop(self.root);
        Self::undo(self.mounted)
    }

    fn undo(mounted: Option<(Served, Lock)>) -> Result<()> {
        match mounted {
            Some((served, _lock)) => Ok(served.unmount()?),
            None => Ok(()),
        }
    }

    /// Forks a helper whose root directory is the container's; it does `act` with its end of the
    /// pipe, and what that fails with is told by [`Helper::finish`].
    pub fn helper(&self, way: Way, act: impl FnOnce(File) -> Result<(), String>) -> Result<Helper> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(Error::system("make a pipe"));
        let ((data_read, data_write), (said, say)) = (pipe()?, pipe()?);
        let (ours, theirs) = match way {
            Way::Out => (data_read, data_write),
            Way::In => (data_write, data_read),
        };
        match fork().map_err(Error::system("start a helper"))? {
            Forked::Parent(pid) => {
                drop((theirs, say));
                Ok(Helper {
                    pid,
                    pipe: ours.into(),
                    complaints: said.into(),
                })
            }
            Forked::Child => {
                drop((ours, said));
                let inside = || -> io::Result<()> {
                    fchdir(&self.root)?;
                    chroot(".")?;
                    Ok(fchdir(&self.root)?)
                };
                let done = inside().map_err(|error| format!("chroot: {error}"));
                let code = match done.and_then(|()| act(theirs.into())) {
                    Ok(()) => 0,
                    Err(why) => {
                        // Whoever reads it may be gone.
                        let _ = File::from(say).write_all(why.as_bytes());
                        1
                    }
                };
                exit_now(code)
            }
        }
    }
}

impl Helper {
    /// Waits for its end, with our end of the pipe closed; what it could not do.
    pub fn finish(self) -> Result<Result<(), String>> {
        drop(self.pipe);
        let mut why = String::new();
        let read = (&self.complaints).read_to_string(&mut why);
        read.map_err(Error::system("listen to the helper"))?;
        let pid = rustix::process::Pid::from_raw(self.pid);
        let ended = pid.map(|pid| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED));
        let good = matches!(ended, Some(Ok(Some(status))) if status.exit_status() == Some(0));
        Ok(match good {
            true => Ok(()),
            false if why.is_empty() => Err("the helper was killed".to_owned()),
            false => Err(why),
        })
    }
}
