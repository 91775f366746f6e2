//! The networks themselves: the default one, and those that users make.

use super::NetworkError;
use super::bridge::{self, Exclusive};
use super::forwarding;
use super::netlink::Socket;
use super::nft::Table;
use super::settings::Join;
use super::state::{DEFAULT, Locked, Network, State};
use super::subnet;
use ipnet::Ipv6Net;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
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

/// Looks which bridges are there, and plans the others.
pub(super) fn plan_bridges(locked: &mut Locked, joins: &[Join]) -> Result<Bridges, NetworkError> {
    let opened = Socket::route();
    let socket = opened.map_err(|source| NetworkError::kernel("open a netlink socket", source))?;
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
    pub(super) fn make(&mut self, table: &mut Table, state: &State) -> Result<(), NetworkError> {
        for id in std::mem::take(&mut self.missing) {
            let index = bridge::make(&mut self.socket, table, state.find(&id)?)?;
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
    let bytes = random::<32>()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
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
