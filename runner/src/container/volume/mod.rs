//! Volumes and temporary file systems of a container.
//!
//! ```text
//!   -v, --mount, --tmpfs ──flags──> Wanted ──Volumes::provide──> Volume (in config.json)
//!                                                 └─ makes named and anonymous ones (store)
//! ```

mod flags;
mod mount;
mod store;

pub use flags::{check_targets, volumes_from};
pub use mount::Mount;
pub use store::{Record, Volumes};

use rustix::mount::MountAttrFlags;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A volume as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What is shown.
    pub origin: Origin,
    /// In the container, absolute.
    pub target: PathBuf,
    /// Cannot be written through it.
    pub read_only: bool,
    /// What it forbids besides.
    pub forbid: Forbid,
    /// Later mounts on the host below the source appear in the container.
    pub slave: bool,
    /// A new volume gets what the image has there.
    pub copy: bool,
}

/// What a volume shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A path of the host, absolute.
    Host(PathBuf),
    /// A volume of ours.
    Named(String),
    /// A new one without a name.
    Anonymous,
}

/// A directory of the host, or a volume of ours, shown in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// The volume of ours.
    #[serde(default)]
    pub name: Option<String>,
    /// On its first use it gets what the image has there.
    #[serde(default)]
    pub copy: bool,
    /// On the host, absolute.
    pub source: PathBuf,
    /// In the container, absolute.
    pub target: PathBuf,
    /// Cannot be written through it.
    pub read_only: bool,
    /// What it forbids besides.
    pub forbid: Forbid,
    /// Later mounts on the host below the source appear in the container.
    pub slave: bool,
}

/// A temporary file system in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tmpfs {
    /// Where.
    pub target: PathBuf,
    /// Cannot be written.
    pub read_only: bool,
    /// What it forbids.
    pub forbid: Forbid,
    /// Options of the file system: `size`, `mode`, ...
    pub options: Vec<(String, String)>,
}

/// What cannot be done with the files of a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forbid {
    /// Set-user-id has no effect.
    pub suid: bool,
    /// Devices cannot be opened.
    pub dev: bool,
    /// Programs cannot be executed.
    pub exec: bool,
}

impl Forbid {
    /// As attributes of a mount.
    pub fn attributes(self, read_only: bool) -> MountAttrFlags {
        [
            (self.suid, MountAttrFlags::MOUNT_ATTR_NOSUID),
            (self.dev, MountAttrFlags::MOUNT_ATTR_NODEV),
            (self.exec, MountAttrFlags::MOUNT_ATTR_NOEXEC),
            (read_only, MountAttrFlags::MOUNT_ATTR_RDONLY),
        ]
        .into_iter()
        .filter_map(|(on, flag)| on.then_some(flag))
        .collect()
    }

    /// Takes one option if it is of this kind.
    pub(super) fn option(&mut self, option: &str) -> bool {
        match option {
            "suid" => self.suid = false,
            "nosuid" => self.suid = true,
            "dev" => self.dev = false,
            "nodev" => self.dev = true,
            "exec" => self.exec = false,
            "noexec" => self.exec = true,
            _ => return false,
        }
        true
    }
}
