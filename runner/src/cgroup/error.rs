//! Errors of the control groups: what failed, on which file or value, why.

use std::path::PathBuf;

/// Why a limit was refused or a control group could not be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A limit on the command line is not usable.
    #[error("{flag} {value:?}: {why}")]
    Limit {
        /// The flag as the user knows it.
        flag: &'static str,
        /// What was given.
        value: String,
        /// Why not, and what is wanted.
        why: String,
    },
    /// No cgroup file system is mounted where it can be used.
    #[error("control groups: {why}; mount cgroup2 at /sys/fs/cgroup")]
    Missing {
        /// What was looked for.
        why: String,
    },
    /// A control group's name is not one of ours.
    #[error("control group {name:?}: bad name; letters, digits, '.', '_' and '-' only")]
    Name {
        /// The name.
        name: String,
    },
    /// A file or directory of the hierarchy refused.
    #[error("control group: cannot {what} {}: {source}", path.display())]
    Io {
        /// The action, as a verb phrase.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// Processes or the directory did not go within the time allowed.
    #[error("control group {}: still busy after {seconds} s; a process in it cannot be killed", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
        /// How long was waited, in seconds.
        seconds: u64,
    },
}
