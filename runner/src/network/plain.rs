//! The two networks without a bridge, as containers use them until they are put on networks by
//! `attach`.

use super::files::{self, Hosts};
use super::{HostEntry, NameServers, NetworkError, inside, refuse};
use std::net::Ipv4Addr;

/// Where a container's network comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// An own network namespace with nothing but loopback.
    None,
    /// The machine's network.
    Host,
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

/// Brings up `lo` in the calling thread's network namespace.
///
/// # Errors
/// [`NetworkError::Kernel`], without CAP_NET_ADMIN over the namespace.
pub fn loopback_up() -> Result<(), NetworkError> {
    inside::set_up(true, &[])
}

/// `/etc/hosts`.
pub fn hosts_file(mode: Mode, hostname: &str, host: &str, extra: &[HostEntry]) -> String {
    files::hosts_file(&Hosts {
        hostname,
        own: &[],
        machine: (mode == Mode::Host).then_some(host),
        extra,
        gateway: Ipv4Addr::LOCALHOST.into(),
    })
}

/// `/etc/resolv.conf`.
pub fn resolv_conf(host: &str, wanted: &NameServers) -> String {
    files::resolv_conf(host, wanted)
}

/// `/etc/hostname`.
pub fn hostname_file(hostname: &str) -> String {
    files::hostname_file(hostname)
}
