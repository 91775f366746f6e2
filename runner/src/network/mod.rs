//! The network of a container: which one, its interfaces and addresses, its published ports, and
//! the files that name hosts.
//!
//! ```text
//!   settings ── what was asked for          files ── /etc/hosts, resolv.conf, hostname as text
//!   attach ── puts a container on its networks and takes it off
//!     │ inside ── the part that the container's first process does
//!     │ relay ── binds the published ports, serves them on loopback
//!     │ connect ── while it runs: on one more, off one
//!     │ names ── lines in other containers' /etc/hosts
//!   networks ── the default one, those of users
//!     │ bridge ── up and down          caretaker ── takes down what is unused
//!     │ keeper ── who holds the packet filtering table
//!   state ── networks.json: all of it on disk          subnet ── which addresses
//!   link, nft ── what the kernel is told          ports ── -p and what came of it
//!   netlink ── how
//! ```
//!
//! No other program is executed. What the kernel holds is written down before it is made and
//! after it is gone; what is written down of a container whose monitor is dead is removed by the
//! next command.

mod attach;
mod bridge;
mod caretaker;
mod connect;
mod files;
mod forwarding;
mod inside;
mod keeper;
mod link;
mod names;
mod netlink;
mod networks;
mod nft;
mod ports;
mod relay;
mod settings;
mod state;
mod subnet;

pub use attach::{Attachment, Wanted, release};
pub use caretaker::take_over;
pub use files::{
    HostEntry, NameServers, check_hostname, parse_dns, parse_dns_option, parse_dns_search,
};
pub use inside::{Inside, Interface};
pub use link::Mac;
pub use networks::{NewNetwork, all, create, remove};
pub use ports::{Exposed, Protocol, Publish, Published, Range};
pub use settings::{Join, Settings, Source, check_alias, check_network_name};
pub use state::{DEFAULT, Endpoint, Network, State};

use ipnet::Ipv4Net;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

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
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file cannot be used.
    #[error("network: cannot {what} {}: {source}", path.display())]
    File {
        /// The action, as a verb phrase.
        what: &'static str,
        /// The file.
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
    /// There is no network of that name.
    #[error("no such network: {0} (see runner network ls)")]
    NoNetwork(String),
    /// The beginning of an id that several networks share.
    #[error("{0:?} is the beginning of several networks' ids: give more of it")]
    Ambiguous(String),
    /// All addresses are given.
    #[error("network {network} has no free address left in {subnet}")]
    Full {
        /// The network.
        network: String,
        /// Where addresses are given from.
        subnet: Ipv4Net,
    },
    /// Something of the machine has addresses of the network's subnet.
    #[error(
        "network {network}: its subnet {subnet} collides with {with}, which this machine has a \
         route to: make the network again with another --subnet"
    )]
    Collision {
        /// The network.
        network: String,
        /// Its subnet.
        subnet: String,
        /// The other one.
        with: String,
    },
    /// A port cannot be had.
    #[error("-p: {}", port_text(*address, *protocol, source, owner.as_deref()))]
    Port {
        /// The machine's address and port; 0 is any port.
        address: SocketAddr,
        /// What is spoken.
        protocol: Protocol,
        /// Why not.
        source: io::Error,
        /// The container that has it.
        owner: Option<String>,
    },
    /// Containers of this root are on networks elsewhere.
    #[error(
        "containers of this root run in another network namespace: stop them first, or use \
         another --root"
    )]
    OtherNamespace,
}

impl NetworkError {
    fn kernel(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        Self::Kernel { what, source }
    }

    /// A [`NetworkError::File`] made of its parts, for `map_err`.
    fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }

    /// Adds who has the port.
    fn owned_by(mut self, name: Option<String>) -> Self {
        if let Self::Port { owner, .. } = &mut self {
            *owner = name;
        }
        self
    }
}

fn port_text(
    address: SocketAddr,
    protocol: Protocol,
    source: &io::Error,
    owner: Option<&str>,
) -> String {
    match source.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            let by = match owner {
                Some(name) => format!("container {name}"),
                None => "another program".to_owned(),
            };
            format!("port {address}/{protocol} is in use by {by}: stop that, or take another port")
        }
        Some(libc::EADDRNOTAVAIL) => format!("{} is no address of this machine", address.ip()),
        Some(libc::EAFNOSUPPORT) => format!("{}: this machine has no IPv6", address.ip()),
        Some(libc::EMFILE) => "too many ports for one container: the limit of open files is \
                               reached (ulimit -Hn)"
            .to_owned(),
        _ => format!("cannot take port {address}/{protocol}: {source}"),
    }
}

fn refuse(flag: &'static str, value: &str, why: &str) -> NetworkError {
    NetworkError::Value {
        flag,
        value: value.to_owned(),
        why: why.to_owned(),
    }
}
