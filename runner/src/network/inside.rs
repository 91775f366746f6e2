//! The container's side: what its first process does in its own network namespace.

use super::NetworkError;
use super::link;
use super::netlink::{Refusal, Socket};
use ipnet::IpNet;
use nix::sched::{CloneFlags, setns};
use rustix::fd::OwnedFd;
use std::fs;
use std::io;
use std::net::IpAddr;

/// The number of loopback in every namespace.
const LOOPBACK: u32 = 1;

/// What a namespace of a container's own gets: everybody may ask for echoes, and bind low ports,
/// since there is nobody else in it to protect.
const SETTINGS: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
];

/// What network the first process finds itself in.
#[derive(Debug)]
pub enum Inside {
    /// The machine's.
    Machine,
    /// A new one, with loopback and these interfaces, which are there when it is told to go on.
    Own(Vec<Interface>),
    /// Another container's, to be joined.
    Joined(OwnedFd),
}

/// An interface in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub(super) name: String,
    pub(super) addresses: Vec<IpNet>,
    /// Who leads to the rest of the world, by protocol.
    pub(super) gateways: Vec<IpAddr>,
}

impl Inside {
    /// Whether a new namespace must be made for it.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// Sets up the network of the calling process, or joins it.
    ///
    /// # Errors
    /// [`NetworkError::Kernel`], without the rights to do so.
    pub fn enter(&self) -> Result<(), NetworkError> {
        match self {
            Self::Machine => Ok(()),
            Self::Own(interfaces) => {
                set_up(true, interfaces)?;
                SETTINGS
                    .iter()
                    .try_for_each(|(path, value)| set(path, value))
            }
            Self::Joined(namespace) => join(namespace),
        }
    }
}

/// Gives interfaces of the calling thread's namespace their addresses and routes, after loopback.
pub(super) fn set_up(loopback: bool, interfaces: &[Interface]) -> Result<(), NetworkError> {
    let mut socket = Socket::route()?;
    set_up_by(&mut socket, loopback, interfaces)
}

/// The same in the namespace that a socket was made in.
pub(super) fn set_up_by(
    socket: &mut Socket,
    loopback: bool,
    interfaces: &[Interface],
) -> Result<(), NetworkError> {
    let refused = |Refusal { what, source }| NetworkError::kernel(what, source);
    let mut requests = Vec::new();
    if loopback {
        requests.push(link::bring_up("lo", LOOPBACK));
    }
    for interface in interfaces {
        let name = &interface.name;
        let index = link::index(socket, name)
            .and_then(|index| index.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(|source| NetworkError::kernel(format!("find {name}"), source))?;
        // Up first: a route needs an interface that is.
        requests.push(link::bring_up(name, index));
        let addresses = interface.addresses.iter();
        requests.extend(addresses.map(|address| link::add_address(name, index, *address)));
        let gateways = interface.gateways.iter();
        requests.extend(gateways.map(|gateway| link::add_default_route(*gateway, index)));
    }
    socket.ask(requests).map_err(refused)
}

/// Makes another network namespace the calling thread's.
pub(super) fn join(namespace: &OwnedFd) -> Result<(), NetworkError> {
    let joined = setns(namespace, CloneFlags::CLONE_NEWNET);
    joined.map_err(|errno| NetworkError::kernel("join the other container's network", errno.into()))
}

/// Writes a setting of the network; one that this kernel has not is passed over.
fn set(path: &str, value: &str) -> Result<(), NetworkError> {
    match fs::write(path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(NetworkError::file("write", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_answers_in_a_namespace_of_its_own() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // Network namespaces are per thread.
        let answered = std::thread::spawn(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let listen = || std::net::TcpListener::bind("127.0.0.1:0");
            let before = listen().and_then(|l| std::net::TcpStream::connect(l.local_addr()?));
            set_up(true, &[]).unwrap();
            let after = listen().and_then(|l| std::net::TcpStream::connect(l.local_addr()?));
            (before.is_ok(), after.is_ok())
        });
        assert_eq!(answered.join().unwrap(), (false, true));
    }

    #[test]
    fn a_missing_interface_is_named() {
        let interface = Interface {
            name: "surely-none".to_owned(),
            addresses: Vec::new(),
            gateways: Vec::new(),
        };
        let error = set_up(false, &[interface]).unwrap_err().to_string();
        assert!(error.contains("surely-none"), "{error}");
    }
}
