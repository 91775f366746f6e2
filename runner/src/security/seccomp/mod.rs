//! System call filters: docker's profile format compiled to the kernel's classic BPF.
//!
//! ```text
//! JSON --profile::parse--> Profile --rules::select(capabilities, kernel)--> Rules by number
//!      --compile::program--> instructions --Filter::install--> the calling thread
//! ```
//!
//! Only the machine's own ABI is served. A call made with another ABI's entry (i386 on x86_64)
//! kills the process; x32 calls get ENOSYS, as from a kernel without x32. `subArchitectures` of a
//! profile are read and ignored.
//!
//! Where several rules match a call, the strictest action wins, whatever the order in the file;
//! libseccomp lets an unconditional rule win. The two agree unless a profile allows a call as a
//! whole and refuses some of its arguments, where ours does what was written.

mod compile;
mod profile;
mod rules;
mod syscalls;

pub(super) use compile::Instruction;

use super::{CapabilitySet, sys};
use std::path::PathBuf;

/// The built-in profile; see NOTICE for where its data comes from.
const DEFAULT: &str = include_str!("../seccomp_default.json");

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

/// Longest profile file that is read, in bytes.
const LONGEST: u64 = 4 << 20;

/// A compiled filter, ready to install; empty when unconfined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    program: Vec<Instruction>,
    flags: u32,
}

impl Filter {
    /// Compiles the chosen profile for a container with these capabilities.
    ///
    /// # Errors
    /// The file cannot be read, is not a profile, or is too large for the kernel.
    pub fn compile(choice: &SeccompChoice, caps: CapabilitySet) -> Result<Self, SeccompError> {
        let (name, text) = match choice {
            SeccompChoice::Unconfined => return Ok(Self::default()),
            SeccompChoice::Default => ("built-in".to_owned(), DEFAULT.to_owned()),
            SeccompChoice::File(path) => (path.display().to_string(), read(path)?),
        };
        let kernel = rustix::system::uname();
        let kernel = rules::version(&kernel.release().to_string_lossy()).unwrap_or((0, 0));
        Self::from_text(&text, caps, kernel).map_err(|why| SeccompError::Profile { name, why })
    }

    fn from_text(text: &str, caps: CapabilitySet, kernel: (u32, u32)) -> Result<Self, String> {
        let profile = profile::parse(text)?;
        let rules = rules::select(&profile, caps, kernel)?;
        Ok(Self {
            program: compile::program(&rules)?,
            flags: rules.flags,
        })
    }

    /// Installs the filter on the calling thread, for ever. Needs no_new_privs or CAP_SYS_ADMIN;
    /// allocates nothing. An unconfined filter does nothing.
    ///
    /// # Errors
    /// [`SeccompError::Install`].
    pub fn install(&self) -> Result<(), SeccompError> {
        if self.program.is_empty() {
            return Ok(());
        }
        sys::install(&self.program, self.flags).map_err(|source| SeccompError::Install { source })
    }
}

fn read(path: &std::path::Path) -> Result<String, SeccompError> {
    use std::io::Read;
    let failed = |source| SeccompError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(LONGEST)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
