//! One container's directory on disk.
//!
//! ```text
//!   ROOT/containers/ID/        0700
//!     lock          locked (flock) by the client, then by the monitor, as long as it lives
//!     config.json   the specification; written once
//!     state.json    how it does; replaced as a whole
//!     upper/ work/  the writable diff and its scratch
//!     rootfs/       mount point of the union, in the monitor's mount namespace only
//!     hosts hostname resolv.conf   shown below /etc
//!     monitor.log   standard error of the monitor and the file system process
//! ```

use super::spec::Spec;
use crate::error::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Longest file of ours that is read.
const BOUND: u64 = 16 << 20;

/// How a container does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "status", rename_all = "lowercase")]
pub enum State {
    /// Made, not started.
    Created,
    /// Its command runs.
    Running {
        /// Its first process, in the host's numbers.
        pid: i32,
        /// Seconds since 1970.
        started: u64,
    },
    /// Its command has ended, or could not be started.
    Exited {
        /// As told to the user.
        code: u8,
        /// The OOM killer struck.
        out_of_memory: bool,
        /// Seconds since 1970.
        finished: u64,
    },
}

/// A container's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The directory at `path`; nothing is looked at.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or directory in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory and locks it; the lock goes with the last copy of the descriptor.
    pub fn make(&self) -> Result<OwnedFd> {
        DirBuilder::new()
            .mode(0o700)
            .create(&self.path)
            .map_err(Error::io("make", &self.path))?;
        let lock = self.open_lock(true)?;
        let locked = flock(&lock, FlockOperation::NonBlockingLockExclusive);
        locked
            .map_err(io::Error::from)
            .map_err(Error::io("lock", self.join("lock")))?;
        Ok(lock)
    }

    /// Fills a new directory: the specification, the state, and the union's three directories.
    pub fn fill(&self, spec: &Spec) -> Result<()> {
        for name in ["upper", "work", "rootfs"] {
            let path = self.join(name);
            DirBuilder::new()
                .mode(0o755)
                .create(&path)
                .map_err(Error::io("make", &path))?;
        }
        // The upper's own attributes are those of the container's root directory.
        if let Some(lowest) = spec.lowers.first() {
            let upper = self.join("upper");
            let meta = fs::metadata(lowest).map_err(Error::io("look at", lowest))?;
            let mode = fs::Permissions::from_mode(meta.mode() & 0o7777);
            chown(&upper, Some(meta.uid()), Some(meta.gid()))
                .and_then(|()| fs::set_permissions(&upper, mode))
                .map_err(Error::io("prepare", &upper))?;
        }
        self.write_json("config.json", spec)?;
        self.set_state(&State::Created)
    }

    /// The lock, if nobody holds it.
    pub fn try_lock(&self) -> Result<Option<OwnedFd>> {
        let lock = self.open_lock(false)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(lock)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(Error::io("lock", self.join("lock"))(errno.into())),
        }
    }

    fn open_lock(&self, make: bool) -> Result<OwnedFd> {
        let path = self.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(make)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(Error::io("open", path))?;
        Ok(file.into())
    }

    /// The specification.
    pub fn spec(&self) -> Result<Spec> {
        self.read_json("config.json")
    }

    /// The state as it was last written.
    pub fn state(&self) -> Result<State> {
        self.read_json("state.json")
    }

    /// Writes the state.
    pub fn set_state(&self, state: &State) -> Result<()> {
        self.write_json("state.json", state)
    }

    /// Writes a file that is shown to the container.
    pub fn write_text(&self, name: &str, text: &str) -> Result<()> {
        let path = self.join(name);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)))
            .map_err(Error::io("write", path))
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.join(name);
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let mut bytes = Vec::new();
        file.take(BOUND)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", &path))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Damaged {
            path,
            why: error.to_string(),
        })
    }

    /// Replaces a file as a whole: a reader sees the old or the new, also after a crash of ours.
    /// Not synced: after a crash of the machine no container runs anyway.
    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.join(name);
        let new = self.join(&format!(".{name}.new"));
        let written = serde_json::to_vec(value)
            .map_err(io::Error::from)
            .and_then(|bytes| {
                let mut file = File::create(&new)?;
                file.write_all(&bytes)
            })
            .and_then(|()| fs::rename(&new, &path));
        written.map_err(Error::io("write", path))
    }
}
