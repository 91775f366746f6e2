//! Putting a container on its network, and taking it off again.
//!
//! ```text
//!   monitor                                                     on disk / in the kernel
//!     Attachment::make   addresses, ports bound (relay)
//!                        endpoints written down                 networks.json
//!                        bridge, table, its elements            kernel
//!                        /etc files, other members' hosts       files
//!     clone ── the container's namespace ──
//!     Attachment::plug   interfaces                             kernel
//!     …
//!     Attachment::undo   elements, endpoints, hosts             the other way round
//!                        interfaces taken down: the kernel removes them with the namespace
//! ```
//!
//! What changes while it runs is in [`super::connect`].
//!
//! [`release`] undoes the same for a container whose monitor was killed.

use super::caretaker;
use super::files::{Hosts, hostname_file, hosts_file, reachable_servers, resolv_conf};
use super::forwarding;
use super::inside::{Inside, Interface};
use super::keeper;
use super::link::{self, Veth};
use super::names;
use super::netlink::{Refusal, Socket};
use super::nft::{self, Table};
use super::ports::Publish;
use super::relay::{Relay, Wanted as Ports};
use super::settings::{Join, Settings, Source};
use super::state::{Endpoint, Holder, Locked, Network, State};
use super::subnet;
use super::{NetworkError, networks};
use ipnet::IpNet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A container that is to be put on its network.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The root directory of all containers.
    pub root: &'a Path,
    /// Its id.
    pub container: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its host name.
    pub hostname: &'a str,
    /// What was asked for.
    pub settings: &'a Settings,
    /// Where its `hosts`, `hostname` and `resolv.conf` go.
    pub directory: &'a Path,
}

/// A container's place on its networks, for as long as it runs.
#[derive(Debug)]
pub struct Attachment {
    pub(super) root: PathBuf,
    pub(super) container: String,
    pub(super) table: Option<Table>,
    pub(super) relay: Option<Relay>,
    plugs: Vec<Plug>,
    interfaces: Vec<Interface>,
    own: bool,
    notices: Vec<String>,
}

/// An interface that is to be made between a bridge and the container.
#[derive(Debug)]
pub(super) struct Plug {
    pub(super) endpoint: Endpoint,
    pub(super) bridge: u32,
    /// The port may send back what came from it.
    pub(super) hairpin: bool,
}

impl Attachment {
    /// Takes what the container needs: addresses, ports, bridges; and writes its files. The
    /// caller must be single-threaded.
    ///
    /// # Errors
    /// A network, an address or a port cannot be had; nothing is left then.
    pub fn make(wanted: &Wanted<'_>) -> Result<Self, NetworkError> {
        let mut made = Self {
            root: wanted.root.to_owned(),
            container: wanted.container.to_owned(),
            table: None,
            relay: None,
            plugs: Vec::new(),
            interfaces: Vec::new(),
            own: !matches!(wanted.settings.source, Source::Host),
            notices: Vec::new(),
        };
        match made.fill(wanted) {
            Ok(()) => Ok(made),
            Err(error) => {
                // The first error is the one to tell.
                let _ = made.undo();
                Err(error)
            }
        }
    }

    fn fill(&mut self, wanted: &Wanted<'_>) -> Result<(), NetworkError> {
        let joins = match &wanted.settings.source {
            // Taken off all of them, it has loopback alone.
            Source::Networks(joins) if !joins.is_empty() => joins,
            // It sees the other one's files.
            Source::Container(_) => return Ok(()),
            _ => return write_files(wanted, &[], self.gateway(), &mut self.notices),
        };
        let mut locked = Locked::open(&self.root)?;
        self.join(wanted, joins, &mut locked)?;
        let own: Vec<IpAddr> = self.plugs.first().map(addresses).unwrap_or_default();
        write_files(wanted, &own, self.gateway(), &mut self.notices)?;
        for (network, _) in locked.state.of(wanted.container) {
            names::tell_members(&locked.state, network);
        }
        Ok(())
    }

    /// The machine as the container sees it.
    fn gateway(&self) -> IpAddr {
        let interfaces = self.interfaces.iter();
        let mut gateways = interfaces.flat_map(|interface| &interface.gateways);
        gateways
            .next()
            .copied()
            .unwrap_or(Ipv4Addr::LOCALHOST.into())
    }

    fn join(
        &mut self,
        wanted: &Wanted<'_>,
        joins: &[Join],
        locked: &mut Locked,
    ) -> Result<(), NetworkError> {
        networks::ensure_default(&mut locked.state)?;
        let table = self.table.insert(keeper::provide(locked)?);
        let holder = keeper::holder(table);
        let mut missing = networks::plan_bridges(locked, joins)?;
        for (number, join) in joins.iter().enumerate() {
            add_endpoint(&mut locked.state, wanted, join, number, holder)?;
        }
        let publish = publish(wanted.settings);
        if !publish.is_empty() {
            self.relay = Some(publish_ports(
                &mut locked.state,
                wanted.container,
                &publish,
            )?);
        }
        locked.save()?;
        missing.make(table, locked)?;
        let forwards6 = self.allow_forwarding(&locked.state, wanted.container)?;
        let hairpin = !publish.is_empty() && bridges_are_filtered();
        let main = locked.state.main_of(wanted.container);
        let main = main.map(|(network, _)| network.id.as_str());
        for (network, endpoint) in locked.state.of(wanted.container) {
            let leads_out = main == Some(network.id.as_str());
            self.interfaces
                .push(interface(network, endpoint, leads_out, forwards6));
            self.plugs.push(Plug {
                endpoint: endpoint.clone(),
                bridge: missing.index(network)?,
                hairpin,
            });
        }
        let elements = published_elements(self.plugs.iter().map(|plug| &plug.endpoint));
        if let Some(table) = &mut self.table {
            let added = table.add(&elements);
            added.map_err(|source| NetworkError::kernel("publish the ports", source))?;
        }
        Ok(())
    }

    /// Whether IPv6 is forwarded, too.
    pub(super) fn allow_forwarding(
        &mut self,
        state: &State,
        container: &str,
    ) -> Result<bool, NetworkError> {
        let outward = |(network, _): &(&Network, &Endpoint)| !network.internal;
        if !state.of(container).any(|each| outward(&each)) {
            return Ok(false);
        }
        self.notices.extend(forwarding::allow4()?);
        if state
            .of(container)
            .all(|(network, _)| network.subnet6.is_none())
        {
            return Ok(false);
        }
        let (on, notice) = forwarding::allow6()?;
        self.notices.extend(notice);
        Ok(on)
    }

    /// What the user should know, one line each.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// What the container's first process finds, or makes.
    pub fn inside(&self) -> Inside {
        if self.own {
            Inside::Own(self.interfaces.clone())
        } else {
            Inside::Machine
        }
    }

    /// Makes the container's interfaces, in the network namespace of this process.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn plug(&self, pid: i32) -> Result<(), NetworkError> {
        if self.plugs.is_empty() {
            return Ok(());
        }
        let mut socket = Socket::route()?;
        self.plugs
            .iter()
            .try_for_each(|plug| plug_in(&mut socket, plug, pid))
    }

    /// Undoes what was made, but for what the kernel does by itself.
    ///
    /// # Errors
    /// What could not be undone; the next command tries again.
    pub fn undo(self) -> Result<(), NetworkError> {
        if let Some(relay) = self.relay {
            relay.stop();
        }
        let Some(mut table) = self.table else {
            return Ok(());
        };
        let mut locked = Locked::open(&self.root)?;
        take_off(&mut locked, &self.container, Some(&mut table))?;
        caretaker::entrust(&self.root, &mut locked, &table)
    }
}

/// Takes a container off its networks whose monitor was killed. The caller holds its lock.
///
/// # Errors
/// What could not be undone.
pub fn release(root: &Path, container: &str) -> Result<(), NetworkError> {
    let mut locked = Locked::open(root)?;
    let mut table = keeper::borrow(&locked.state);
    take_off(&mut locked, container, table.as_mut())
}

/// Undoes what was made for a container. Its interfaces stay as long as its namespace does, which the
/// kernel takes apart some time after the last process, or which is another container's, too; they must
/// be down before their addresses are another's.
fn take_off(
    locked: &mut Locked,
    container: &str,
    table: Option<&mut Table>,
) -> Result<(), NetworkError> {
    let endpoints = locked.state.of(container).map(|(_, endpoint)| endpoint);
    let endpoints: Vec<Endpoint> = endpoints.cloned().collect();
    if endpoints.is_empty() {
        return Ok(());
    }
    if let Some(table) = table {
        let removed = table.take_out(&published_elements(&endpoints));
        removed.map_err(|source| NetworkError::kernel("withdraw the ports", source))?;
    }
    let mut socket = Socket::route()?;
    for endpoint in &endpoints {
        existing(socket.ask(vec![link::take_down(&endpoint.outside)]))?;
    }
    for network in &mut locked.state.networks {
        network
            .endpoints
            .retain(|endpoint| endpoint.container != container);
    }
    for network in &locked.state.networks {
        names::tell_members(&locked.state, network);
    }
    locked.save()
}

pub(super) fn add_endpoint(
    state: &mut State,
    wanted: &Wanted<'_>,
    join: &Join,
    number: usize,
    holder: Holder,
) -> Result<(), NetworkError> {
    let network = state.find_mut(&join.network)?;
    let found = subnet::lease(network, join.address, join.address6)?;
    let mut names = vec![wanted.name.to_owned()];
    let short = wanted.container.get(..12).unwrap_or(wanted.container);
    let more = join.aliases.iter().map(String::as_str).chain([short]);
    for name in more {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    network.last = Some(found.v4);
    network.endpoints.push(Endpoint {
        container: wanted.container.to_owned(),
        names,
        outside: format!("rv{short}{number}"),
        inside: format!("eth{number}"),
        address: found.v4,
        address6: found.v6,
        mac: join.mac.unwrap_or(subnet::mac_of(found.v4)),
        ports: Vec::new(),
        hosts: wanted.directory.join("hosts"),
        holder,
    });
    Ok(())
}

/// All that is to be published.
pub(super) fn publish(settings: &Settings) -> Vec<Publish> {
    let mut all = settings.publish.clone();
    if settings.publish_all {
        // What was published by itself already has its port.
        let exposed = settings.expose.iter().map(|exposed| Publish {
            address: None,
            outside: None,
            inside: exposed.ports,
            protocol: exposed.protocol,
        });
        all.extend(exposed.filter(|wanted| {
            let same = |other: &Publish| {
                other.protocol == wanted.protocol && other.inside == wanted.inside
            };
            !settings.publish.iter().any(same)
        }));
    }
    all
}

/// Binds the ports, and writes them to the endpoint that they lead to.
pub(super) fn publish_ports(
    state: &mut State,
    container: &str,
    publish: &[Publish],
) -> Result<Relay, NetworkError> {
    let Some((network, main)) = state.main_of(container) else {
        return Err(NetworkError::NoNetwork(container.to_owned()));
    };
    let id = network.id.clone();
    let ports = Ports {
        publish,
        address: main.address,
        address6: main.address6,
        ipv6: forwarding::has_ipv6(),
    };
    let (relay, published) = Relay::start(&ports).map_err(|error| {
        let owner = owner(state, &error);
        error.owned_by(owner)
    })?;
    let mut endpoints = state.find_mut(&id)?.endpoints.iter_mut();
    if let Some(main) = endpoints.find(|endpoint| endpoint.container == container) {
        main.ports = published;
    }
    Ok(relay)
}

/// The container that has the port an error is about.
fn owner(state: &State, error: &NetworkError) -> Option<String> {
    let NetworkError::Port {
        address, protocol, ..
    } = error
    else {
        return None;
    };
    let mut all = state.networks.iter().flat_map(|network| &network.endpoints);
    let has = |endpoint: &&Endpoint| {
        let mut ports = endpoint
            .ports
            .iter()
            .filter(|port| port.protocol == *protocol);
        ports.any(|port| port.sockets().any(|(_, other)| overlaps(*address, other)))
    };
    all.find(has)
        .and_then(|endpoint| endpoint.names.first().cloned())
}

fn overlaps(left: SocketAddr, right: SocketAddr) -> bool {
    let any = left.ip().is_unspecified() || right.ip().is_unspecified();
    left.port() == right.port() && (any || left.ip() == right.ip())
}

pub(super) fn published_elements<'a>(
    endpoints: impl IntoIterator<Item = &'a Endpoint>,
) -> Vec<nft::Element> {
    let one = |endpoint: &Endpoint| nft::published(&endpoint.ports, &endpoint_addresses(endpoint));
    endpoints.into_iter().flat_map(one).collect()
}

fn addresses(plug: &Plug) -> Vec<IpAddr> {
    endpoint_addresses(&plug.endpoint)
}

fn endpoint_addresses(endpoint: &Endpoint) -> Vec<IpAddr> {
    let v6 = endpoint.address6.map(IpAddr::V6);
    [IpAddr::V4(endpoint.address)]
        .into_iter()
        .chain(v6)
        .collect()
}

/// The endpoint as the container sees it; only one of its networks leads to the rest of the world.
pub(super) fn interface(
    network: &Network,
    endpoint: &Endpoint,
    leads_out: bool,
    forwards6: bool,
) -> Interface {
    let v4 = IpNet::new(IpAddr::V4(endpoint.address), network.subnet.prefix_len()).ok();
    let v6 = endpoint.address6.zip(network.subnet6);
    let v6 = v6.and_then(|(address, net)| IpNet::new(IpAddr::V6(address), net.prefix_len()).ok());
    let mut gateways = Vec::new();
    if leads_out && !network.internal {
        gateways.push(IpAddr::V4(network.gateway));
        let v6 = network
            .gateway6
            .filter(|_| forwards6 && endpoint.address6.is_some());
        gateways.extend(v6.map(IpAddr::V6));
    }
    Interface {
        name: endpoint.inside.clone(),
        addresses: v4.into_iter().chain(v6).collect(),
        gateways,
    }
}

pub(super) fn plug_in(socket: &mut Socket, plug: &Plug, pid: i32) -> Result<(), NetworkError> {
    let endpoint = &plug.endpoint;
    let requests = || {
        let veth = Veth {
            outside: &endpoint.outside,
            bridge: plug.bridge,
            inside: &endpoint.inside,
            mac: endpoint.mac,
            pid,
        };
        let mut requests = vec![link::make_veth(&veth)];
        if plug.hairpin {
            requests.push(link::allow_hairpin(&endpoint.outside));
        }
        requests
    };
    let made = match socket.ask(requests()) {
        // Left from a start of the same container a moment ago, whose namespace is on its way out.
        Err(refusal) if refusal.source.kind() == io::ErrorKind::AlreadyExists => {
            remove_interface(socket, &endpoint.outside)?;
            socket.ask(requests())
        }
        other => other,
    };
    made.map_err(|Refusal { what, source }| NetworkError::kernel(what, source))
}

pub(super) fn remove_interface(socket: &mut Socket, name: &str) -> Result<(), NetworkError> {
    existing(socket.ask(vec![link::remove(name)]))
}

/// It is no error that an interface is gone.
fn existing(done: Result<(), Refusal>) -> Result<(), NetworkError> {
    match done {
        Err(refusal) if refusal.source.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        other => other.map_err(|Refusal { what, source }| NetworkError::kernel(what, source)),
    }
}

/// Whether packets that only cross a bridge are filtered, too. Then one that a container sends to
/// itself by the machine's address is translated while it is still on the bridge, and has to go
/// out where it came in.
pub(super) fn bridges_are_filtered() -> bool {
    let setting = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    fs::read_to_string(setting).is_ok_and(|text| text.trim() != "0")
}

/// Writes the three files that the container sees below `/etc`.
fn write_files(
    wanted: &Wanted<'_>,
    own: &[IpAddr],
    gateway: IpAddr,
    notices: &mut Vec<String>,
) -> Result<(), NetworkError> {
    // Without the machine's own, its part is simply empty.
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let machine = matches!(wanted.settings.source, Source::Host).then(|| read("/etc/hosts"));
    let hosts = hosts_file(&Hosts {
        hostname: wanted.hostname,
        own,
        machine: machine.as_deref(),
        extra: &wanted.settings.hosts,
        gateway,
    });
    let servers = &wanted.settings.name_servers;
    let mut resolver = read("/etc/resolv.conf");
    if matches!(wanted.settings.source, Source::Networks(_)) && servers.servers.is_empty() {
        let resolved = fs::read_to_string("/run/systemd/resolve/resolv.conf").ok();
        let (text, notice) = reachable_servers(&resolver, resolved.as_deref());
        resolver = text;
        notices.extend(notice);
    }
    for (name, text) in [
        ("hosts", hosts),
        ("hostname", hostname_file(wanted.hostname)),
        ("resolv.conf", resolv_conf(&resolver, servers)),
    ] {
        let path = wanted.directory.join(name);
        let written = fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)));
        written.map_err(NetworkError::file("write", path))?;
    }
    Ok(())
}
