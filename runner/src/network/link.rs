//! Interfaces, addresses and routes as netlink requests.
//!
//! Each function here is one request, as data; [`Socket::ask`] sends many of them at once.

use super::netlink::{Request, Socket};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::net::IpAddr;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

/// A pair of connected interfaces, one end in a container.
#[derive(Debug)]
pub(super) struct Veth<'a> {
    /// Name of the end on the machine.
    pub(super) outside: &'a str,
    /// Number of the bridge that it is plugged into.
    pub(super) bridge: u32,
    /// Name of the end in the container.
    pub(super) inside: &'a str,
    /// Address of the end in the container.
    pub(super) mac: Mac,
    /// A process in the container's network namespace.
    pub(super) pid: i32,
}

/// Makes a bridge and brings it up.
///
/// It has an address of its own: otherwise it would take the lowest of its ports' and change it
/// as they come and go, and containers would talk to an address that is no more.
pub(super) fn make_bridge(name: &str, mac: Mac) -> Request {
    let mut link = named(name);
    raise(&mut link);
    link.attributes.extend([
        LinkAttribute::Address(mac.0.to_vec()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
    ]);
    Request {
        what: format!("make the bridge {name}"),
        message: RouteNetlinkMessage::NewLink(link),
        flags: NLM_F_CREATE | NLM_F_EXCL,
    }
}

/// Gives an interface a text for people, at most 255 bytes. The kernel takes none with the request that
/// makes it.
pub(super) fn set_alias(name: &str, alias: String) -> Request {
    let mut link = named(name);
    link.attributes.push(LinkAttribute::IfAlias(alias));
    Request {
        what: format!("name the root of {name}"),
        message: RouteNetlinkMessage::SetLink(link),
        flags: 0,
    }
}

/// Makes both ends; the outer one is plugged in and up. The inner one cannot be brought up in
/// the same request, since the two are not yet connected when the kernel looks at its flags.
pub(super) fn make_veth(veth: &Veth<'_>) -> Request {
    let mut inner = named(veth.inside);
    inner.attributes.extend([
        LinkAttribute::Address(veth.mac.0.to_vec()),
        LinkAttribute::NetNsPid(veth.pid.unsigned_abs()),
    ]);
    let mut link = named(veth.outside);
    raise(&mut link);
    link.attributes.extend([
        LinkAttribute::Controller(veth.bridge),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inner))),
        ]),
    ]);
    Request {
        what: format!("make the interface {}", veth.outside),
        message: RouteNetlinkMessage::NewLink(link),
        flags: NLM_F_CREATE | NLM_F_EXCL,
    }
}

/// Lets a port of a bridge send back where a packet came from.
pub(super) fn allow_hairpin(name: &str) -> Request {
    let mut link = named(name);
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(
            true,
        )])),
    ]));
    Request {
        what: format!("set up the interface {name}"),
        message: RouteNetlinkMessage::NewLink(link),
        flags: 0,
    }
}

/// Brings an interface up.
pub(super) fn bring_up(name: &str, index: u32) -> Request {
    let mut link = LinkMessage::default();
    link.header.index = index;
    raise(&mut link);
    Request {
        what: format!("bring up {name}"),
        message: RouteNetlinkMessage::SetLink(link),
        flags: 0,
    }
}

/// Takes an interface down: nothing gets through it any more.
pub(super) fn take_down(name: &str) -> Request {
    let mut link = named(name);
    link.header.change_mask = LinkFlags::Up;
    Request {
        what: format!("take down {name}"),
        message: RouteNetlinkMessage::SetLink(link),
        flags: 0,
    }
}

/// Removes an interface, and with it the other end of a pair. It waits for all processors
/// (`rcu_barrier`), 10 ms and more.
pub(super) fn remove(name: &str) -> Request {
    Request {
        what: format!("remove the interface {name}"),
        message: RouteNetlinkMessage::DelLink(named(name)),
        flags: 0,
    }
}

/// Gives an interface an address. There is no search for duplicates (IPv6), for which the
/// container would have to wait: that addresses are given once is our own business.
pub(super) fn add_address(name: &str, index: u32, address: IpNet) -> Request {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.prefix_len();
    message.header.family = family(address.addr());
    message.attributes = vec![
        AddressAttribute::Local(address.addr()),
        AddressAttribute::Address(address.addr()),
    ];
    match address {
        IpNet::V4(address) if address.prefix_len() < 31 => message
            .attributes
            .push(AddressAttribute::Broadcast(address.broadcast())),
        IpNet::V4(_) => {}
        IpNet::V6(_) => message.header.flags = AddressHeaderFlags::Nodad,
    }
    Request {
        what: format!("give {name} the address {address}"),
        message: RouteNetlinkMessage::NewAddress(message),
        flags: NLM_F_CREATE | NLM_F_REPLACE,
    }
}

/// Sends what is meant for the rest of the world to this neighbour.
pub(super) fn add_default_route(gateway: IpAddr, index: u32) -> Request {
    let mut message = RouteMessage::default();
    message.header.address_family = family(gateway);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        RouteAttribute::Gateway(RouteAddress::from(gateway)),
        RouteAttribute::Oif(index),
    ];
    Request {
        what: format!("route by {gateway}"),
        message: RouteNetlinkMessage::NewRoute(message),
        flags: NLM_F_CREATE | NLM_F_EXCL,
    }
}

/// What the machine's routes lead to, but the default ones; and whether an IPv6 route was told by
/// a router (its life depends on the machine not being a router itself).
pub(super) fn routes(socket: &mut Socket) -> io::Result<(Vec<IpNet>, bool)> {
    let (mut found, mut told) = (Vec::new(), false);
    let question = RouteNetlinkMessage::GetRoute(RouteMessage::default());
    socket.list(question, |message| {
        let RouteNetlinkMessage::NewRoute(route) = message else {
            return;
        };
        told |= route.header.protocol == RouteProtocol::Ra;
        if !matches!(route.header.kind, RouteType::Unicast | RouteType::Local) {
            return;
        }
        let length = route.header.destination_prefix_length;
        found.extend(route.attributes.iter().find_map(|attribute| {
            let RouteAttribute::Destination(address) = attribute else {
                return None;
            };
            match address {
                RouteAddress::Inet(to) => Ipv4Net::new(*to, length).ok().map(IpNet::V4),
                RouteAddress::Inet6(to) => Ipv6Net::new(*to, length).ok().map(IpNet::V6),
                _ => None,
            }
        }));
    })?;
    found.retain(|net| net.prefix_len() > 0);
    Ok((found, told))
}

/// The number of an interface of the calling thread's namespace, if there is one of that name.
pub(super) fn index(socket: &Socket, name: &str) -> io::Result<Option<u32>> {
    match rustix::net::netdevice::name_to_index(socket, name) {
        Ok(index) => Ok(Some(index)),
        Err(rustix::io::Errno::NODEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn named(name: &str) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    link
}

fn raise(link: &mut LinkMessage) {
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl std::str::FromStr for Mac {
    type Err = &'static str;

    /// Six bytes between colons or hyphens; not a group's address, not all zeroes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let why = "want six bytes, as 02:42:0a:4d:00:02";
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let digits = |part: &&str| part.bytes().all(|b| b.is_ascii_hexdigit());
            let part = parts.next().filter(|part| part.len() == 2);
            let part = part.filter(digits).ok_or(why)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| why)?;
        }
        let [first, ..] = bytes;
        match parts.next() {
            Some(_) => Err(why),
            None if first & 1 == 1 => Err("is the address of a group"),
            None if bytes == [0; 6] => Err("all zeroes belong to nobody"),
            None => Ok(Self(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethernet_addresses() {
        let mac: Mac = "02:42:0a:4D:00:02".parse().unwrap();
        assert_eq!(mac.to_string(), "02:42:0a:4d:00:02");
        assert_eq!("02-42-0a-4d-00-02".parse(), Ok(mac));
        for bad in [
            "",
            "02:42:0a:4d:00",
            "02:42:0a:4d:00:02:03",
            "1:2:3:4:5:6",
            "03:42:0a:4d:00:02",
            "00:00:00:00:00:00",
            "02:42:0a:4d:00:0g",
            "02:42:0a:4d:00:+2",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bridge_in_a_namespace_of_its_own() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // Network namespaces are per thread.
        let done = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let mut socket = Socket::route().unwrap();
            let mac = "02:42:0a:4d:00:01".parse().unwrap();
            socket.ask(vec![make_bridge("runner0", mac)]).unwrap();
            let refusal = socket.ask(vec![make_bridge("runner0", mac)]).unwrap_err();
            assert_eq!(refusal.what, "make the bridge runner0");
            assert_eq!(refusal.source.raw_os_error(), Some(libc::EEXIST));
            let bridge = index(&socket, "runner0").unwrap().unwrap();
            assert_eq!(index(&socket, "runner1").unwrap(), None);
            let veth = Veth {
                outside: "rv0",
                bridge,
                inside: "eth0",
                mac: "02:42:0a:4d:00:02".parse().unwrap(),
                // The thread's, not the process's, whose namespace is the machine's.
                pid: rustix::thread::gettid().as_raw_pid(),
            };
            let address = |text: &str| add_address("runner0", bridge, text.parse().unwrap());
            let requests = vec![
                address("10.77.0.1/16"),
                address("fd77::1/64"),
                make_veth(&veth),
                allow_hairpin("rv0"),
            ];
            socket.ask(requests).unwrap();
            let names = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
            assert!(names.contains("rv0:") && names.contains("eth0:"), "{names}");
            let (routes, told) = routes(&mut socket).unwrap();
            assert!(
                routes.contains(&"10.77.0.0/16".parse().unwrap()),
                "{routes:?}"
            );
            assert!(routes.contains(&"fd77::/64".parse().unwrap()), "{routes:?}");
            assert!(!told);
            socket.ask(vec![remove("rv0"), remove("runner0")]).unwrap();
            assert_eq!(index(&socket, "runner0").unwrap(), None);
        });
        done.join().unwrap();
    }
}
