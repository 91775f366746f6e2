//! Builds at work, and what those leave that are killed.
//!
//! ```text
//!   ROOT/builds/BUILD/           locked by the build, which removes it at its end
//!     CONTAINER                  an empty file for each container that the build has made
//!     context/                   its context, if that came from standard input
//!     cache                      the cache being written
//!     mounts/ memory/            what a RUN has mounted, the second a file system in memory
//!   ROOT/builds/mounts/KEY/      contents (data/) and lock of a cache that RUN mounts
//! ```
//!
//! A directory that nobody locks is of a build that was killed: the next command ends and removes its
//! containers, which are nobody's, then the directory.

use super::Id;
use super::client::Control;
use super::home::Home;
use super::wipe::wipe;
use crate::error::{Error, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// SIGKILL.
const KILL: i32 = 9;

/// A build at work. Dropping it ends it; its containers are gone by then.
#[derive(Debug)]
pub struct Build {
    directory: PathBuf,
    _lock: OwnedFd,
}

impl Build {
    /// Begins one.
    ///
    /// # Errors
    /// Its directory cannot be made or locked.
    pub fn begin(home: &Home) -> Result<Self> {
        loop {
            let directory = builds(home).join(Id::new()?.as_str());
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(&directory);
            made.map_err(Error::io("make", &directory))?;
            // Swept by another command before it was locked, it is made anew.
            if let Some(lock) = lock(&directory)?
                && directory.exists()
            {
                return Ok(Self {
                    directory,
                    _lock: lock,
                });
            }
        }
    }

    /// A container is about to be made for it.
    ///
    /// # Errors
    /// That cannot be written down.
    pub fn add(&self, id: &Id) -> Result<()> {
        let path = self.directory.join(id.as_str());
        fs::write(&path, "").map_err(Error::io("write", &path))
    }

    /// One of its containers is gone.
    pub fn forget(&self, id: &Id) {
        // What stays is a container that is not there.
        let _ = fs::remove_file(self.directory.join(id.as_str()));
    }

    /// Where it writes what goes into the cache.
    pub fn scratch(&self) -> PathBuf {
        self.directory.join("cache")
    }

    /// Something else of its own, by a name; not made yet.
    pub fn place(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where its context goes, if that is to be unpacked; not made yet.
    pub fn context(&self) -> PathBuf {
        self.directory.join("context")
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        // What stays is removed by the next command.
        let _ = wipe(&self.directory);
    }
}

/// Removes what builds left that were killed; gives what could not be.
pub(super) fn sweep(home: &Home) -> Result<Vec<Error>> {
    let path = builds(home);
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io("list", &path))?,
    };
    let mut problems = Vec::new();
    for entry in entries {
        let directory = entry.map_err(Error::io("list", &path))?.path();
        if id_of(&directory).is_some() {
            problems.extend(remove_left(home, &directory).err());
        }
    }
    Ok(problems)
}

fn remove_left(home: &Home, directory: &Path) -> Result<()> {
    let Some(_lock) = lock(directory)? else {
        return Ok(());
    };
    let entries = fs::read_dir(directory).map_err(Error::io("list", directory))?;
    let containers = entries.flatten().filter_map(|entry| id_of(&entry.path()));
    for id in containers.collect::<Vec<_>>() {
        let container = home.directory(id);
        let Some(lock) = home.try_lock(container.id())? else {
            // Still at its RUN: it is told to end, and removed by a later command.
            return Control::connect(&container)?.kill(KILL);
        };
        home.remove(&container, lock, true)?;
    }
    wipe(directory).map_err(Error::io("remove", directory))
}

/// The lock of a build's directory; `None` if the build lives, or it is gone.
fn lock(directory: &Path) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let locked = rustix::fs::open(directory, flags, Mode::empty()).and_then(|fd| {
        flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
        Ok(fd)
    });
    match locked {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::WOULDBLOCK | Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io("lock", directory)(errno.into())),
    }
}

fn builds(home: &Home) -> PathBuf {
    home.root().join("builds")
}

fn id_of(path: &Path) -> Option<Id> {
    let name = path.file_name()?.to_str()?.to_owned();
    Id::try_from(name).ok()
}
