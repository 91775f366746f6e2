//! The network of a container: which one, its loopback, and the files that name hosts.
//!
//! ```text
//! --network none   own network namespace, loopback_up() in it
//! --network host   the machine's namespace, nothing to do
//! files::*         /etc/hosts, /etc/resolv.conf, /etc/hostname as text; `mounts` puts them there
//! ```
//!
//! The bridge (veth, addresses, NAT, published ports) joins as a third mode.

mod files;
mod sys;

pub use files::{
    HostEntry, NameServers, check_hostname, hostname_file, hosts_file, parse_dns, parse_dns_option,
    parse_dns_search, resolv_conf,
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
        let why = match text {
            "none" => return Ok(Self::None),
            "host" => return Ok(Self::Host),
            "bridge" | "default" => "not there yet; use none or host",
            _ => "no such network; use none or host",
        };
        Err(refuse("--network", text, why))
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Host => "host",
        })
    }
}

/// Brings up `lo` in the calling thread's network namespace; the kernel then gives it 127.0.0.1
/// and ::1. Allocates nothing on the way to success.
///
/// # Errors
/// [`NetworkError::Kernel`], without CAP_NET_ADMIN over the namespace.
pub fn loopback_up() -> Result<(), NetworkError> {
    sys::up(c"lo").map_err(|source| NetworkError::Kernel {
        what: "bring up loopback",
        source,
    })
}

fn refuse(flag: &'static str, value: &str, why: &str) -> NetworkError {
    NetworkError::Value {
        flag,
        value: value.to_owned(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!("none".parse::<Mode>().unwrap(), Mode::None);
        assert_eq!("host".parse::<Mode>().unwrap().to_string(), "host");
        for bad in ["bridge", "", "None", "container:x"] {
            assert!(
                bad.parse::<Mode>()
                    .unwrap_err()
                    .to_string()
                    .contains("none or host")
            );
        }
    }

    #[test]
    fn loopback_answers_in_a_namespace_of_its_own() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // Network namespaces are per thread.
        let answered = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let listen = || std::net::TcpListener::bind("127.0.0.1:0");
            let before = listen().and_then(|l| std::net::TcpStream::connect(l.local_addr()?));
            loopback_up().unwrap();
            let after = listen().and_then(|l| std::net::TcpStream::connect(l.local_addr()?));
            (before.is_ok(), after.is_ok())
        });
        assert_eq!(answered.join().unwrap(), (false, true));
    }
}
