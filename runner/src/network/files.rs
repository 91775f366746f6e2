//! Contents of /etc/hosts, /etc/resolv.conf and /etc/hostname, as pure functions.

use super::{Mode, NetworkError};
use std::net::IpAddr;

/// One `--add-host NAME:ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// The host's name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

impl std::str::FromStr for HostEntry {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        Err(NetworkError::Value {
            flag: "--add-host",
            value: text.to_owned(),
            why: "want NAME:ADDRESS".to_owned(),
        })
    }
}

/// What `--dns`, `--dns-search` and `--dns-option` ask for; an empty list means the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameServers {
    /// `--dns`.
    pub servers: Vec<IpAddr>,
    /// `--dns-search`; a single `.` means none at all.
    pub search: Vec<String>,
    /// `--dns-option`.
    pub options: Vec<String>,
}

/// The value of `--dns`.
pub fn parse_dns(text: &str) -> Result<IpAddr, NetworkError> {
    text.parse().map_err(|_| NetworkError::Value {
        flag: "--dns",
        value: text.to_owned(),
        why: "not an IP address".to_owned(),
    })
}

/// The value of `--dns-search`.
pub fn parse_dns_search(text: &str) -> Result<String, NetworkError> {
    Ok(text.to_owned())
}

/// Checks the value of `--hostname`.
pub fn check_hostname(_name: &str) -> Result<(), NetworkError> {
    Ok(())
}

/// `/etc/hosts`. `host` is the machine's own file, used in host mode only.
pub fn hosts_file(_mode: Mode, _hostname: &str, _host: &str, _extra: &[HostEntry]) -> String {
    String::new()
}

/// `/etc/resolv.conf` from the machine's own file and what the user asked for.
pub fn resolv_conf(_host: &str, _wanted: &NameServers) -> String {
    String::new()
}

/// `/etc/hostname`.
pub fn hostname_file(hostname: &str) -> String {
    format!("{hostname}\n")
}
