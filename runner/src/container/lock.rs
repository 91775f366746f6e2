//! Who may change a container: the holder of its lock.
//!
//! ```text
//!   ROOT/locks/ID     there while somebody works on the container or watches it, locked by it
//! ```
//!
//! The kernel frees a lock with the last process that holds its descriptor, whatever happens. So a
//! file that is there and free tells of somebody who was killed in the middle of something, and
//! which container to put right; a machine full of stopped containers has no such file, and
//! nothing needs to be looked through. The file is removed by the holder, before the lock is let
//! go; whoever waited for it then finds its own descriptor to be of a removed file and tries anew.

use super::Id;
use crate::error::{Error, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, stat};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};

/// The lock of one container. Dropping it frees the container.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    descriptor: Option<OwnedFd>,
}

/// What to do when somebody else holds the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Busy {
    Wait,
    GiveUp,
}

impl Lock {
    /// Takes the lock when it is free; `None` when somebody holds it.
    pub fn try_take(locks: &Path, id: &Id) -> Result<Option<Self>> {
        take(&locks.join(id.as_str()), Busy::GiveUp)
    }

    /// Waits for the lock.
    pub fn take(locks: &Path, id: &Id) -> Result<Self> {
        let path = locks.join(id.as_str());
        let taken = take(&path, Busy::Wait)?;
        taken.ok_or_else(|| Error::io("lock", path)(Errno::WOULDBLOCK.into()))
    }

    /// The lock that a descriptor from another process holds.
    pub(super) fn adopt(locks: &Path, id: &Id, descriptor: OwnedFd) -> Self {
        Self {
            path: locks.join(id.as_str()),
            descriptor: Some(descriptor),
        }
    }

    /// Gives the descriptor away, for a process that goes on holding the lock.
    pub(super) fn hand_over(mut self) -> Option<OwnedFd> {
        self.descriptor.take()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.descriptor.is_some() {
            // Left behind, it costs the next command a look.
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

fn take(path: &Path, busy: Busy) -> Result<Option<Lock>> {
    let failed = |errno: Errno| Error::io("lock", path)(io::Error::from(errno));
    let operation = match busy {
        Busy::Wait => FlockOperation::LockExclusive,
        Busy::GiveUp => FlockOperation::NonBlockingLockExclusive,
    };
    loop {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        match flock(&descriptor, operation) {
            Err(Errno::INTR) => continue,
            Err(Errno::WOULDBLOCK) if busy == Busy::GiveUp => return Ok(None),
            other => other.map_err(failed)?,
        }
        let own = fstat(&descriptor).map_err(failed)?;
        match stat(path) {
            Ok(named) if (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino) => {
                return Ok(Some(Lock {
                    path: path.to_owned(),
                    descriptor: Some(descriptor),
                }));
            }
            // Removed, and perhaps made anew, since it was opened.
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn one_holder_at_a_time() {
        let locks = tempfile::tempdir().unwrap();
        let id = Id::new().unwrap();
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let lock = Lock::take(locks.path(), &id).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        assert!(Lock::try_take(locks.path(), &id).unwrap().is_none());
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(!locks.path().join(id.as_str()).exists());
    }
}
