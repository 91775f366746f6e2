//! Errors of the mounts: what failed, on which path, why.

use super::inroot::InRootError;
use rustix::io::Errno;
use std::path::PathBuf;

/// Why a part of the container's tree could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The host's side of a bind cannot be used.
    #[error("volume source {}: {errno}", path.display())]
    Source {
        /// The host path.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The target cannot be found or made below the container's root.
    #[error("mount point {} in the container: {source}", path.display())]
    Target {
        /// The path in the container.
        path: PathBuf,
        /// Why.
        source: InRootError,
    },
    /// The target is a directory and the source is not, or the other way round.
    #[error(
        "mount point {} in the container: is {found}, but what is mounted there is {wanted}",
        path.display()
    )]
    Mismatch {
        /// The path in the container.
        path: PathBuf,
        /// What is there.
        found: &'static str,
        /// What was needed.
        wanted: &'static str,
    },
    /// Nothing may cover a part of procfs, whatever links lead there (CVE-2019-19921).
    #[error("mount point {} in the container: leads into /proc, where nothing may be mounted",
        path.display())]
    Procfs {
        /// The path in the container.
        path: PathBuf,
    },
    /// Something is not what was made a moment ago.
    #[error("{}: is not what was put there: refusing to go on", path.display())]
    Foreign {
        /// The path in the container.
        path: PathBuf,
    },
    /// A system call refused.
    #[error("cannot {what} {}: {errno}", path.display())]
    Kernel {
        /// The action, as a verb phrase.
        what: &'static str,
        /// The object.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
}
