//! What can go wrong in a command: what failed, on what, why, what to do; and the exit code.

use crate::cgroup::CgroupError;
use crate::image::ImageError;
use crate::init::Failure;
use crate::logs::LogError;
use crate::mounts::MountError;
use crate::mounts::union::UnionError;
use crate::network::NetworkError;
use crate::registry::RegistryError;
use crate::security::{CapabilityError, SeccompError};
use std::io;
use std::path::PathBuf;

/// The result of a command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command failed. Each prints as one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line is not understood.
    #[error("{0}")]
    Usage(String),
    /// A value on the command line is not usable.
    #[error("{flag} {value:?}: {why}")]
    Value {
        /// The flag as the user knows it.
        flag: &'static str,
        /// What was given.
        value: String,
        /// Why not, and what is wanted.
        why: String,
    },
    /// Not root.
    #[error("needs root: containers are made of mounts, namespaces and cgroups; use sudo")]
    NotRoot,
    /// Neither the image nor the command line names a command.
    #[error("no command given, and image {image} has none: runner run [flags] {image} COMMAND")]
    NoCommand {
        /// The image.
        image: String,
    },
    /// `-t` with an input that is no terminal.
    #[error("the input device is not a terminal: leave out -t, or run it from a terminal")]
    NoTerminal,
    /// The name belongs to another container.
    #[error(
        "name {name:?} is in use by container {id}: remove that first (runner rm {name}) or \
         take another name"
    )]
    NameInUse {
        /// The name.
        name: String,
        /// The other container, short.
        id: String,
    },
    /// No container of that name or id.
    #[error("no such container: {0}")]
    NoContainer(String),
    /// No volume of that name.
    #[error("no such volume: {0}")]
    NoVolume(String),
    /// Containers refer to the volume.
    #[error("volume {name} is in use by {containers}: remove that first (runner rm)")]
    VolumeInUse {
        /// Its name.
        name: String,
        /// The containers, short.
        containers: String,
    },
    /// Neither a container nor anything else of that name.
    #[error("no such object: {0}")]
    NoObject(String),
    /// The beginning of an id that several containers share.
    #[error("{0:?} is the beginning of several containers' ids: give more of it")]
    Ambiguous(String),
    /// The container runs.
    #[error("container {0} is running: stop it first (runner stop {0}), or force it with -f")]
    Running(String),
    /// The container does not run.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// A new name is the old one.
    #[error("name {0:?} is the container's name already")]
    SameName(String),
    /// A monitor says no, in its own words.
    #[error("{0}")]
    Refused(String),
    /// A file of ours cannot be used.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The action, as a verb phrase.
        what: &'static str,
        /// The object.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of ours does not hold what it should.
    #[error("{}: not what runner wrote there: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A system call on no particular file refused.
    #[error("cannot {what}: {source}")]
    System {
        /// The action, as a verb phrase.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The monitor ended without telling how the container did.
    #[error(
        "the container's monitor was killed, and the container with it; all it left is removed"
    )]
    MonitorDied,
    /// Told by the monitor in its own words.
    #[error("{message}")]
    Monitor {
        /// One line.
        message: String,
        /// The exit code.
        code: u8,
    },
    /// The container's first process could not become the command.
    #[error(transparent)]
    Start(#[from] Failure),
    /// Images.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Registries.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Control groups.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// Logs.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Capabilities.
    #[error(transparent)]
    Capability(#[from] CapabilityError),
    /// System call filter.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    /// The container's tree.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The layerfs mount.
    #[error(transparent)]
    Union(#[from] UnionError),
}

impl Error {
    /// The exit code: 125 unless the container's command itself is at fault.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Monitor { code, .. } => *code,
            Self::Start(failure) => failure.exit_code(),
            _ => 125,
        }
    }

    /// An [`Error::Io`] made of its parts, for `map_err`.
    pub fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    /// An [`Error::System`] made of its parts, for `map_err`.
    pub fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System {
            what,
            source: source.into(),
        }
    }
}
