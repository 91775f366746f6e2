//! One container's directory on disk.
//!
//! ```text
//!   ROOT/containers/ID/        0700
//!     config.json      the specification
//!     state.json       how it does; replaced as a whole
//!     name             the name it was last given; names/ has the truth
//!     upper/ work/     the writable diff and its scratch
//!     rootfs/          mount point of the union, in the monitor's mount namespace only
//!     hosts hostname resolv.conf   shown below /etc
//!     control.sock     the monitor's, while it lives; 0600
//!     container.log*   what the container said
//!     monitor.log      standard error of the monitor and the file system process
//! ```

use super::Id;
use super::spec::Spec;
use super::state::State;
use crate::error::{Error, Result};
use crate::image::root_of;
use crate::publish::{Reach, publish};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Longest file of ours that is read.
const BOUND: u64 = 16 << 20;

/// A container's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    id: Id,
    path: PathBuf,
}

impl Directory {
    /// The directory of a container below `containers`; nothing is looked at.
    pub fn new(containers: &Path, id: Id) -> Self {
        let path = containers.join(id.as_str());
        Self { id, path }
    }

    /// The directory at `path`, whose last component must be an id; nothing is looked at.
    pub fn at(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_owned();
        let id = Id::try_from(name).ok()?;
        Some(Self { id, path })
    }

    /// Whose it is.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or directory in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The root directory of all that belongs to this runner.
    pub fn root(&self) -> &Path {
        let containers = self.path.parent();
        containers.and_then(Path::parent).unwrap_or(&self.path)
    }

    /// Makes the directory.
    pub fn make(&self) -> Result<()> {
        DirBuilder::new()
            .mode(0o700)
            .create(&self.path)
            .map_err(Error::io("make", &self.path))
    }

    /// Fills a new directory: the union's three directories, the state, the specification. The
    /// last comes last: a directory without it never was a container.
    pub fn fill(&self, spec: &Spec) -> Result<()> {
        for name in ["upper", "work", "rootfs"] {
            let path = self.join(name);
            DirBuilder::new()
                .mode(0o755)
                .create(&path)
                .map_err(Error::io("make", &path))?;
        }
        // The upper's own attributes are those of the container's root directory.
        if let Some(topmost) = spec.lowers.first() {
            let upper = self.join("upper");
            let (mode, uid, gid) = root_of(topmost)?;
            let mode = fs::Permissions::from_mode(mode);
            chown(&upper, Some(uid), Some(gid))
                .and_then(|()| fs::set_permissions(&upper, mode))
                .map_err(Error::io("prepare", &upper))?;
        }
        self.set_state(&State::default())?;
        self.set_spec(spec)
    }

    /// The specification.
    pub fn spec(&self) -> Result<Spec> {
        self.read_json("config.json")
    }

    /// Writes the specification. One that is to be kept reaches the disk, so that a power cut
    /// does not take what is in the container with it.
    pub fn set_spec(&self, spec: &Spec) -> Result<()> {
        self.write_json("config.json", spec, spec.reach())
    }

    /// The state as it was last written.
    pub fn state(&self) -> Result<State> {
        self.read_json("state.json")
    }

    /// Writes the state.
    pub fn set_state(&self, state: &State) -> Result<()> {
        self.write_json("state.json", state, Reach::Readers)
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
    /// The state need not reach the disk: after a crash of the machine no container runs anyway.
    fn write_json<T: Serialize>(&self, name: &str, value: &T, reach: Reach) -> Result<()> {
        let path = self.join(name);
        let new = self.join(&format!(".{name}.new"));
        let written = serde_json::to_vec(value)
            .map_err(io::Error::from)
            .and_then(|bytes| publish(&path, &new, &bytes, reach));
        written.map_err(Error::io("write", path))
    }
}
