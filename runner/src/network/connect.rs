//! A container that runs joins one more network, or leaves one.
//!
//! ```text
//!   connect      endpoint written down ── bridge ── interface ── its address, from inside
//!   disconnect   ports withdrawn ── interface removed ── endpoint forgotten
//!                another network leads out now: default route, ports
//! ```
//!
//! The container's side is done by a netlink socket that was made in its namespace: a socket stays
//! in the namespace that it was made in, so nobody but this process has to go there.

use super::attach::{
    Attachment, Plug, Wanted, add_endpoint, bridges_are_filtered, interface, plug_in, publish,
    publish_ports, published_elements, remove_interface,
};
use super::inside::{join, set_up_by};
use super::link;
use super::names;
use super::netlink::{Refusal, Socket};
use super::ports::{Publish, Range};
use super::settings::Join;
use super::state::{Endpoint, Locked, State};
use super::{NetworkError, caretaker, keeper, networks, refuse};
use crate::sys::process::exit_now;
use std::fs::File;
use std::os::fd::OwnedFd;

impl Attachment {
    /// Puts a container that runs on one more network; `pid` is a process in its namespace. The
    /// caller must be single-threaded.
    ///
    /// # Errors
    /// It is there already; the network or the address cannot be had. Nothing has changed then.
    pub fn connect(
        &mut self,
        wanted: &Wanted<'_>,
        join: &Join,
        pid: i32,
    ) -> Result<(), NetworkError> {
        let mut locked = Locked::open(&self.root)?;
        networks::ensure_default(&mut locked.state)?;
        let network = locked.state.find(&join.network)?;
        if network.endpoint(&self.container).is_some() {
            let why = "the container is on it already";
            return Err(refuse("network", &network.name, why));
        }
        let id = network.id.clone();
        let done = self.connect_locked(&mut locked, wanted, join, pid);
        if done.is_err() {
            // The first error is the one to tell; what stays is undone with the container.
            let _ = self.forget(&mut locked, &id);
        }
        self.let_go(&mut locked)?;
        done
    }

    fn connect_locked(
        &mut self,
        locked: &mut Locked,
        wanted: &Wanted<'_>,
        join: &Join,
        pid: i32,
    ) -> Result<(), NetworkError> {
        if self.table.is_none() {
            self.table = Some(keeper::provide(locked)?);
        }
        let Some(table) = &mut self.table else {
            return Err(NetworkError::NoNetwork(join.network.clone()));
        };
        let mut bridges = networks::plan_bridges(locked, std::slice::from_ref(join))?;
        let number = free_number(&locked.state, &self.container);
        let holder = keeper::holder(table);
        add_endpoint(&mut locked.state, wanted, join, number, holder)?;
        locked.save()?;
        bridges.make(table, locked)?;
        let forwards6 = self.allow_forwarding(&locked.state, &self.container.clone())?;
        let network = locked.state.find(&join.network)?;
        let Some(endpoint) = network.endpoint(&self.container) else {
            return Err(NetworkError::NoNetwork(network.name.clone()));
        };
        let mut socket = Socket::route()?;
        let plug = Plug {
            endpoint: endpoint.clone(),
            bridge: bridges.index(network)?,
            hairpin: bridges_are_filtered(),
        };
        plug_in(&mut socket, &plug, pid)?;
        // One that led out before goes on to do so.
        let all = locked.state.of(&self.container);
        let leads_out = all.filter(|(one, _)| !one.internal).count() == 1;
        let interface = interface(network, endpoint, leads_out, forwards6);
        set_up_by(&mut socket_of(pid)?, false, &[interface])?;
        names::tell_members(&locked.state, network);
        let ports = publish(wanted.settings);
        if self.relay.is_none() && !ports.is_empty() {
            self.publish_again(locked, &ports)?;
        }
        Ok(())
    }

    /// Takes a container that runs off a network.
    ///
    /// # Errors
    /// It is not there; the kernel refuses.
    pub fn disconnect(&mut self, network: &str, pid: i32) -> Result<(), NetworkError> {
        let mut locked = Locked::open(&self.root)?;
        let network = locked.state.find(network)?;
        let (id, name) = (network.id.clone(), network.name.clone());
        let Some(left) = self.forget(&mut locked, &id)? else {
            return Err(refuse("network", &name, "the container is not on it"));
        };
        names::tell_left(&locked.state, &left);
        self.lead_out(&locked.state, pid)?;
        let ports: Vec<Publish> = left.ports.iter().map(again).collect();
        if !ports.is_empty() && locked.state.main_of(&self.container).is_some() {
            self.publish_again(&mut locked, &ports)?;
        }
        self.let_go(&mut locked)
    }

    /// Removes what the kernel has of a container's place on a network, then the place.
    fn forget(&mut self, locked: &mut Locked, id: &str) -> Result<Option<Endpoint>, NetworkError> {
        let found = locked.state.find(id)?.endpoint(&self.container);
        let Some(endpoint) = found.cloned() else {
            return Ok(None);
        };
        if let (Some(table), false) = (&mut self.table, endpoint.ports.is_empty()) {
            let removed = table.take_out(&published_elements([&endpoint]));
            removed.map_err(|source| NetworkError::kernel("withdraw the ports", source))?;
            if let Some(relay) = self.relay.take() {
                relay.stop();
            }
        }
        remove_interface(&mut Socket::route()?, &endpoint.outside)?;
        let network = locked.state.find_mut(id)?;
        network
            .endpoints
            .retain(|endpoint| endpoint.container != self.container);
        let network = locked.state.find(id)?;
        names::tell_members(&locked.state, network);
        locked.save()?;
        Ok(Some(endpoint))
    }

    /// Gives the container a default route by the network that leads out now, if it has none.
    fn lead_out(&mut self, state: &State, pid: i32) -> Result<(), NetworkError> {
        let Some((network, endpoint)) = state.main_of(&self.container) else {
            return Ok(());
        };
        let forwards6 = self.allow_forwarding(state, &self.container.clone())?;
        let wanted = interface(network, endpoint, true, forwards6);
        let mut socket = socket_of(pid)?;
        let failed = |source| NetworkError::kernel(format!("find {}", endpoint.inside), source);
        let Some(index) = link::index(&socket, &endpoint.inside).map_err(failed)? else {
            return Ok(());
        };
        for gateway in wanted.gateways {
            match socket.ask(vec![link::add_default_route(gateway, index)]) {
                // Another network led out all the time.
                Err(refusal) if refusal.source.raw_os_error() == Some(libc::EEXIST) => {}
                Err(Refusal { what, source }) => return Err(NetworkError::kernel(what, source)),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn publish_again(
        &mut self,
        locked: &mut Locked,
        ports: &[Publish],
    ) -> Result<(), NetworkError> {
        self.relay = Some(publish_ports(&mut locked.state, &self.container, ports)?);
        locked.save()?;
        let elements = published_elements(locked.state.of(&self.container).map(|(_, one)| one));
        let added = self
            .table
            .as_mut()
            .map_or(Ok(()), |table| table.add(&elements));
        added.map_err(|source| NetworkError::kernel("publish the ports", source))
    }

    /// Leaves to the caretaker what nobody needs any more.
    fn let_go(&mut self, locked: &mut Locked) -> Result<(), NetworkError> {
        if let Some(table) = &self.table {
            caretaker::entrust(&self.root, locked, table)?;
        }
        if locked.state.of(&self.container).next().is_none() {
            self.table = None;
        }
        Ok(())
    }
}

/// The same ports of the machine as before.
fn again(port: &super::Published) -> Publish {
    let range = |first: u16| Range {
        first,
        last: first.saturating_add(port.count - 1),
    };
    Publish {
        address: Some(port.address),
        outside: Some(range(port.outside)),
        inside: range(port.inside),
        protocol: port.protocol,
    }
}

fn free_number(state: &State, container: &str) -> usize {
    let used: Vec<_> = state.of(container).map(|(_, one)| one.number()).collect();
    (0..).find(|number| !used.contains(number)).unwrap_or(0)
}

/// A netlink socket in the network namespace of a process that cannot be gone: a child not yet
/// waited for.
fn socket_of(pid: i32) -> Result<Socket, NetworkError> {
    let open = |path: String| {
        let opened = File::open(&path).map(OwnedFd::from);
        opened.map_err(NetworkError::file("open", path))
    };
    let own = open("/proc/thread-self/ns/net".to_owned())?;
    join(&open(format!("/proc/{pid}/ns/net"))?)?;
    let socket = Socket::route();
    if join(&own).is_err() {
        // All that this process does later would be done in the container's.
        exit_now(1);
    }
    socket
}
