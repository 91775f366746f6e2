//! Bringing a network's bridge up, and taking it down.
//!
//! ```text
//!   routes of the machine ──> is the subnet free? else another one, or an error
//!   bridge ── no router's advice taken ── addresses ── up ── known to the table
//! ```
//!
//! Between looking at the routes and adding one's own, no other root must do the same: the
//! machine's network namespace is locked meanwhile (flock on its own file; nothing is left of
//! that).

use super::NetworkError;
use super::link::{self, Mac};
use super::netlink::{Refusal, Socket};
use super::nft::{self, Table};
use super::state::{DEFAULT, Network, State};
use super::subnet;
use ipnet::IpNet;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// How the alias of a bridge begins; the root directory that it is of follows.
const ALIAS: &str = "bridge of runner --root ";

/// The longest alias that the kernel takes, in bytes (IFALIASZ without the end).
const LONGEST_ALIAS: usize = 255;

/// Interfaces of this name and a number are the default networks' of all roots.
const FIRST: &str = "runner";

/// While it lives, no other runner makes bridges in this network namespace.
#[derive(Debug)]
pub(super) struct Exclusive {
    _namespace: File,
}

impl Exclusive {
    pub(super) fn wait() -> Result<Self, NetworkError> {
        let path = "/proc/thread-self/ns/net";
        let file = File::open(path).map_err(NetworkError::file("open", path))?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(NetworkError::file("lock", path)(error.into())),
                Ok(()) => return Ok(Self { _namespace: file }),
            }
        }
    }
}

/// The number of a network's bridge, if it is there.
pub(super) fn index(socket: &Socket, network: &Network) -> Result<Option<u32>, NetworkError> {
    let Some(name) = &network.interface else {
        return Ok(None);
    };
    let found = link::index(socket, name);
    found.map_err(|source| NetworkError::kernel(format!("look for {name}"), source))
}

/// Addresses that this machine has routes to, or asks for names.
pub(super) fn routes() -> Result<Vec<IpNet>, NetworkError> {
    let mut socket = Socket::route()?;
    let routes = link::routes(&mut socket);
    let (mut taken, _) =
        routes.map_err(|source| NetworkError::kernel("list the routes", source))?;
    taken.extend(name_servers());
    Ok(taken)
}

/// Prepares a network for its bridge: a subnet that nothing else has, a name. To be
/// written down before [`make`] is called.
pub(super) fn plan(socket: &mut Socket, state: &mut State, id: &str) -> Result<(), NetworkError> {
    let routes = link::routes(socket);
    let (mut taken, _) =
        routes.map_err(|source| NetworkError::kernel("list the routes", source))?;
    taken.extend(name_servers());
    let others = state.networks.iter().filter(|network| network.id != id);
    let others: Vec<IpNet> = others.flat_map(nets).collect();
    let network = state.find_mut(id)?;
    let collision = nets(network).find_map(|net| subnet::collision(net, &taken));
    if let Some(other) = collision {
        let error = NetworkError::Collision {
            network: network.name.clone(),
            subnet: network.subnet.to_string(),
            with: other.to_string(),
        };
        if !network.chosen || !network.endpoints.is_empty() {
            return Err(error);
        }
        taken.extend(others);
        let large = network.name == DEFAULT;
        network.subnet = subnet::choose(large, &taken).ok_or(error)?;
        network.gateway = subnet::first4(network.subnet);
        network.last = None;
    }
    network.interface = Some(free_name(socket, network)?);
    Ok(())
}

/// Makes the bridge; its number.
pub(super) fn make(
    socket: &mut Socket,
    table: &mut Table,
    root: &Path,
    network: &Network,
) -> Result<u32, NetworkError> {
    let name = network.interface.as_deref().unwrap_or_default();
    let refused = |Refusal { what, source }| NetworkError::kernel(what, source);
    socket
        .ask(vec![link::make_bridge(name, bridge_mac(network.gateway))])
        .map_err(refused)?;
    // What routers on it say, which would be containers, is not for the machine.
    let setting = format!("/proc/sys/net/ipv6/conf/{name}/accept_ra");
    match fs::write(&setting, "0") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other.map_err(NetworkError::file("write", setting))?,
    }
    let index = link::index(socket, name).map(Option::unwrap_or_default);
    let index = index.map_err(|source| NetworkError::kernel(format!("look for {name}"), source))?;
    let mut requests: Vec<_> = addresses(network)
        .map(|address| link::add_address(name, index, address))
        .collect();
    requests.extend(alias(root).map(|alias| link::set_alias(name, alias)));
    requests.push(link::bring_up(name, index));
    socket.ask(requests).map_err(refused)?;
    table
        .add(&elements(network))
        .map_err(|source| NetworkError::kernel("add to the packet filtering table", source))?;
    Ok(index)
}

/// Takes the bridge down. What is not there is no failure.
pub(super) fn remove(
    socket: &mut Socket,
    table: Option<&mut Table>,
    network: &Network,
) -> Result<(), NetworkError> {
    let Some(name) = &network.interface else {
        return Ok(());
    };
    if let Some(table) = table {
        table.take_out(&elements(network)).map_err(|source| {
            NetworkError::kernel("remove from the packet filtering table", source)
        })?;
    }
    match socket.ask(vec![link::remove(name)]) {
        Err(refusal) if refusal.source.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        other => other.map_err(|Refusal { what, source }| NetworkError::kernel(what, source)),
    }
}

/// Which root a bridge is of; `None` for one whose path is too long, or no text.
fn alias(root: &Path) -> Option<String> {
    let alias = format!("{ALIAS}{}", root.to_str()?);
    (alias.len() <= LONGEST_ALIAS).then_some(alias)
}

fn elements(network: &Network) -> Vec<nft::Element> {
    nft::bridge(&nft::Bridge {
        name: network.interface.as_deref().unwrap_or_default(),
        subnet4: network.subnet,
        subnet6: network.subnet6,
        internal: network.internal,
    })
}

/// The machine's addresses on the network.
fn addresses(network: &Network) -> impl Iterator<Item = IpNet> {
    let v4 = IpNet::new(IpAddr::V4(network.gateway), network.subnet.prefix_len()).ok();
    let v6 = network.gateway6.zip(network.subnet6);
    let v6 = v6.and_then(|(gateway, net)| IpNet::new(IpAddr::V6(gateway), net.prefix_len()).ok());
    v4.into_iter().chain(v6)
}

fn nets(network: &Network) -> impl Iterator<Item = IpNet> + use<> {
    let v6 = network.subnet6.map(IpNet::V6);
    [IpNet::V4(network.subnet)].into_iter().chain(v6)
}

/// The machine's name servers, which must stay reachable even where only a default route leads.
fn name_servers() -> Vec<IpNet> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    super::files::name_servers(&text).map(IpNet::from).collect()
}

/// A bridge's own Ethernet address: another one than a container of the same address would have.
fn bridge_mac(gateway: Ipv4Addr) -> Mac {
    let [a, b, c, d] = gateway.octets();
    Mac([0x02, 0x43, a, b, c, d])
}

/// `runner0` for the default network, unless another root has it; else after the network's id.
fn free_name(socket: &Socket, network: &Network) -> Result<String, NetworkError> {
    if network.name != DEFAULT {
        return Ok(format!("rn-{}", network.short_id()));
    }
    for number in 0..1000 {
        let name = format!("{FIRST}{number}");
        let found = link::index(socket, &name);
        if found
            .map_err(|source| NetworkError::kernel(format!("look for {name}"), source))?
            .is_none()
        {
            return Ok(name);
        }
    }
    Err(NetworkError::kernel(
        "name the bridge",
        io::ErrorKind::AlreadyExists.into(),
    ))
}
