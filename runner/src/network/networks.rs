//! The networks themselves: the default one, and those that users make.

use super::bridge::{self, Exclusive};
use super::forwarding;
use super::netlink::Socket;
use super::nft::Table;
use super::settings::Join;
use super::state::{DEFAULT, Locked, Network, State};
use super::subnet;
use super::{NetworkError, caretaker, check_network_name, refuse};
use crate::types::hex;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bridges that a container needs: the numbers of those that are there, and those to be made.
#[derive(Debug)]
pub(super) struct Bridges {
    socket: Socket,
    /// By the network's id.
    indices: HashMap<String, u32>,
    missing: Vec<String>,
    /// As long as there are some to be made.
    exclusive: Option<Exclusive>,
}

/// Makes sure that there is the default network. Its subnet is only a first guess, which is
/// looked into when its bridge is made.
pub(super) fn ensure_default(state: &mut State) -> Result<(), NetworkError> {
    if state.networks.iter().any(|network| network.name == DEFAULT) {
        return Ok(());
    }
    let subnet = subnet::choose(true, &[]).unwrap_or_default();
    let subnet6 = own_subnet6()?;
    state.networks.insert(
        0,
        Network {
            id: random_id()?,
            name: DEFAULT.to_owned(),
            created: now(),
            subnet,
            gateway: subnet::first4(subnet),
            range: None,
            subnet6,
            gateway6: subnet6.map(subnet::first6),
            chosen: true,
            internal: false,
            labels: BTreeMap::new(),
            interface: None,
            last: None,
            endpoints: Vec::new(),
        },
    );
    Ok(())
}

/// A network that a user asks for.
#[derive(Debug, Clone, Default)]
pub struct NewNetwork {
    /// Its name.
    pub name: String,
    /// Its IPv4 addresses; chosen if not given.
    pub subnet: Option<Ipv4Net>,
    /// The machine's address; the first one if not given.
    pub gateway: Option<Ipv4Addr>,
    /// The part of the subnet that addresses are given from.
    pub range: Option<Ipv4Net>,
    /// Nothing gets in or out.
    pub internal: bool,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
}

/// Makes a network; its bridge comes with the first container. Gives its id.
///
/// # Errors
/// The name is taken; the subnet collides with a route of the machine or with another network; the
/// gateway or the range lie outside of it.
pub fn create(root: &Path, new: NewNetwork) -> Result<String, NetworkError> {
    check_network_name(&new.name).map_err(|why| refuse("network create", &new.name, why))?;
    if matches!(new.name.as_str(), "none" | "host" | "default" | DEFAULT) {
        return Err(refuse("network create", &new.name, "is a name of our own"));
    }
    let mut locked = Locked::open(root)?;
    ensure_default(&mut locked.state)?;
    if locked
        .state
        .networks
        .iter()
        .any(|other| other.name == new.name)
    {
        return Err(refuse(
            "network create",
            &new.name,
            "there is a network of this name",
        ));
    }
    let mut taken = bridge::routes()?;
    let others = locked.state.networks.iter();
    taken.extend(others.map(|other| IpNet::V4(other.subnet)));
    let subnet = match new.subnet {
        Some(subnet) => subnet.trunc(),
        None => {
            let why = "no subnet is free: give one (--subnet)";
            subnet::choose(false, &taken).ok_or_else(|| refuse("network create", &new.name, why))?
        }
    };
    if subnet.prefix_len() > 30 {
        let text = subnet.to_string();
        return Err(refuse(
            "--subnet",
            &text,
            "is too small for a container: want /30 or larger",
        ));
    }
    if let Some(with) = subnet::collision(IpNet::V4(subnet), &taken) {
        return Err(NetworkError::Collision {
            network: new.name,
            subnet: subnet.to_string(),
            with: with.to_string(),
        });
    }
    let gateway = new.gateway.unwrap_or_else(|| subnet::first4(subnet));
    let outside = |flag, text: String| refuse(flag, &text, &format!("lies outside of {subnet}"));
    if !subnet.contains(&gateway) || gateway == subnet.network() || gateway == subnet.broadcast() {
        return Err(outside("--gateway", gateway.to_string()));
    }
    if let Some(range) = new.range.filter(|range| !subnet.contains(range)) {
        return Err(outside("--ip-range", range.to_string()));
    }
    let subnet6 = own_subnet6()?;
    let id = random_id()?;
    locked.state.networks.push(Network {
        id: id.clone(),
        name: new.name,
        created: now(),
        subnet,
        gateway,
        range: new.range,
        subnet6,
        gateway6: subnet6.map(subnet::first6),
        chosen: new.subnet.is_none(),
        internal: new.internal,
        labels: new.labels,
        interface: None,
        last: None,
        endpoints: Vec::new(),
    });
    locked.save()?;
    Ok(id)
}

/// All networks; the default one is among them.
///
/// # Errors
/// The file cannot be read or written.
pub fn all(root: &Path) -> Result<State, NetworkError> {
    let state = State::read(root)?;
    if state.networks.iter().any(|network| network.name == DEFAULT) {
        return Ok(state);
    }
    let mut locked = Locked::open(root)?;
    ensure_default(&mut locked.state)?;
    locked.save()?;
    Ok(locked.state.clone())
}

/// Removes a network that no container is on; gives its name.
///
/// # Errors
/// There is none of that name, it is the default one, or containers are on it.
pub fn remove(root: &Path, wanted: &str) -> Result<String, NetworkError> {
    let mut locked = Locked::open(root)?;
    let network = locked.state.find(wanted)?.clone();
    if network.name == DEFAULT {
        return Err(refuse("network rm", wanted, "is always there"));
    }
    if !network.endpoints.is_empty() {
        let on = network
            .endpoints
            .iter()
            .filter_map(|endpoint| endpoint.names.first());
        let on: Vec<_> = on.map(String::as_str).collect();
        let why = format!("containers are on it: {}; stop them first", on.join(", "));
        return Err(refuse("network rm", wanted, &why));
    }
    // Its bridge may still wait for the next container.
    caretaker::take_down_one(&mut locked.state, &network.id)?;
    locked.state.networks.retain(|other| other.id != network.id);
    locked.save()?;
    Ok(network.name)
}

/// Looks which bridges are there, and plans the others.
pub(super) fn plan_bridges(locked: &mut Locked, joins: &[Join]) -> Result<Bridges, NetworkError> {
    let socket = Socket::route()?;
    let mut bridges = Bridges {
        socket,
        indices: HashMap::new(),
        missing: Vec::new(),
        exclusive: None,
    };
    for join in joins {
        let network = locked.state.find(&join.network)?;
        let id = network.id.clone();
        if let Some(index) = bridge::index(&bridges.socket, network)? {
            bridges.indices.insert(id, index);
            continue;
        }
        if bridges.exclusive.is_none() {
            bridges.exclusive = Some(Exclusive::wait()?);
        }
        bridge::plan(&mut bridges.socket, &mut locked.state, &id)?;
        bridges.missing.push(id);
    }
    Ok(bridges)
}

impl Bridges {
    /// Makes those that are missing.
    pub(super) fn make(&mut self, table: &mut Table, locked: &Locked) -> Result<(), NetworkError> {
        for id in std::mem::take(&mut self.missing) {
            let network = locked.state.find(&id)?;
            let index = bridge::make(&mut self.socket, table, locked.root(), network)?;
            self.indices.insert(id, index);
        }
        self.exclusive = None;
        Ok(())
    }

    /// The number of a network's bridge.
    pub(super) fn index(&self, network: &Network) -> Result<u32, NetworkError> {
        let found = self.indices.get(&network.id).copied();
        found.ok_or_else(|| NetworkError::NoNetwork(network.name.clone()))
    }
}

/// A private IPv6 subnet, if the machine speaks IPv6.
fn own_subnet6() -> Result<Option<Ipv6Net>, NetworkError> {
    if !forwarding::has_ipv6() {
        return Ok(None);
    }
    let [a, b, c, d, e, ..] = random::<5>()?;
    Ok(Some(subnet::private6([a, b, c, d, e])))
}

fn random_id() -> Result<String, NetworkError> {
    Ok(hex(&random::<32>()?))
}

fn random<const N: usize>() -> Result<[u8; N], NetworkError> {
    let path = "/dev/urandom";
    let mut bytes = [0; N];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(NetworkError::file("read", path))?;
    Ok(bytes)
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
