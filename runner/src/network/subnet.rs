//! Which addresses a network is made of, and which a container gets.
//!
//! ```text
//!   network 10.77.0.0/16                 fd5e:…::/64
//!     machine    10.77.0.1               …::1
//!     container  10.77.0.2, .3, …        …::2, …      the same place in both, where that is free
//! ```
//!
//! Addresses are given one after the other, so that one that was just given back rests for long:
//! whoever still talks to it must not reach somebody else.

use super::NetworkError;
use super::link::Mac;
use super::state::{Endpoint, Network};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A container's addresses on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Option<Ipv6Addr>,
}

/// Subnets to try, best first: none that other programs are known to take by themselves.
fn candidates(large: bool) -> impl Iterator<Item = Ipv4Net> {
    let large_ones = (77..88).map(|second| ([10, second, 0, 0], 16));
    let small_ones =
        (89..97).flat_map(|second| (0..=255).map(move |third| ([10, second, third, 0], 24)));
    let last_ones = (100..200).map(|third| ([192, 168, third, 0], 24));
    large_ones
        .filter(move |_| large)
        .chain(small_ones)
        .chain(last_ones)
        .filter_map(|(octets, length)| Ipv4Net::new(Ipv4Addr::from(octets), length).ok())
}

/// The first subnet that nothing else has.
pub(super) fn choose(large: bool, taken: &[IpNet]) -> Option<Ipv4Net> {
    candidates(large).find(|net| collision(IpNet::V4(*net), taken).is_none())
}

/// What a subnet overlaps with.
pub(super) fn collision(subnet: IpNet, taken: &[IpNet]) -> Option<IpNet> {
    let overlaps = |other: &&IpNet| subnet.contains(*other) || other.contains(&subnet);
    taken.iter().find(overlaps).copied()
}

/// A private IPv6 subnet out of five random bytes (RFC 4193).
pub(super) fn private6(random: [u8; 5]) -> Ipv6Net {
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&random);
    // The length is one that an IPv6 address can have.
    Ipv6Net::new(Ipv6Addr::from(octets), 64).unwrap_or_default()
}

/// The machine's address in a subnet unless told otherwise: the first.
pub(super) fn first4(subnet: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()).saturating_add(1))
}

/// The same for IPv6.
pub(super) fn first6(subnet: Ipv6Net) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(subnet.network()).saturating_add(1))
}

/// An Ethernet address that belongs to the IPv4 address, so that nobody's memory of who had it
/// before can be wrong.
pub(super) fn mac_of(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    Mac([0x02, 0x42, a, b, c, d])
}

/// Finds free addresses on a network, the wanted ones if there are any.
///
/// # Errors
/// A wanted address is not of the subnet or taken; none is free.
pub(super) fn lease(
    network: &Network,
    wanted4: Option<Ipv4Addr>,
    wanted6: Option<Ipv6Addr>,
) -> Result<Addresses, NetworkError> {
    if let Some(address) = wanted4 {
        let fits = usable4(network.subnet).contains(&u32::from(address));
        check(network, "--ip", IpAddr::V4(address), fits)?;
    }
    if let Some(address) = wanted6 {
        let fits = network.subnet6.is_some_and(|net| net.contains(&address));
        check(network, "--ip6", IpAddr::V6(address), fits)?;
    }
    let used4: HashSet<_> = network
        .endpoints
        .iter()
        .map(|endpoint| endpoint.address)
        .chain([network.gateway])
        .collect();
    let used6: HashSet<_> = network
        .endpoints
        .iter()
        .filter_map(|endpoint| endpoint.address6)
        .chain(network.gateway6)
        .collect();
    let partner = |v4: Ipv4Addr| match (wanted6, network.subnet6) {
        (Some(address), _) => Some(Some(address)),
        (None, None) => Some(None),
        (None, Some(net)) => counterpart(network, net, v4, &used6).map(Some),
    };
    let free = |v4: Ipv4Addr| {
        let v6 = partner(v4).filter(|_| !used4.contains(&v4))?;
        Some(Addresses { v4, v6 })
    };
    let found = match wanted4 {
        Some(address) => free(address),
        None => in_turn(network).find_map(free),
    };
    found.ok_or_else(|| NetworkError::Full {
        network: network.name.clone(),
        subnet: network.range.unwrap_or(network.subnet),
    })
}

fn check(
    network: &Network,
    flag: &'static str,
    address: IpAddr,
    fits: bool,
) -> Result<(), NetworkError> {
    let refuse = |why: String| NetworkError::Value {
        flag,
        value: address.to_string(),
        why,
    };
    if !fits {
        let name = &network.name;
        return Err(refuse(match (address, network.subnet6) {
            (IpAddr::V4(_), _) => {
                format!(
                    "no address for a container of network {name} ({})",
                    network.subnet
                )
            }
            (IpAddr::V6(_), Some(net)) => format!("not in network {name} ({net})"),
            (IpAddr::V6(_), None) => format!("network {name} has no IPv6"),
        }));
    }
    if address == network.gateway || network.gateway6.is_some_and(|gateway| gateway == address) {
        return Err(refuse("is the machine's own on this network".to_owned()));
    }
    let has = |endpoint: &&Endpoint| {
        address == endpoint.address || endpoint.address6.is_some_and(|other| other == address)
    };
    match network.endpoints.iter().find(has) {
        Some(endpoint) => {
            let by = endpoint.names.first().unwrap_or(&endpoint.container);
            Err(refuse(format!("is in use by container {by}")))
        }
        None => Ok(()),
    }
}

/// The addresses that can be given, as numbers; without the subnet's own and its broadcast.
fn usable4(subnet: Ipv4Net) -> std::ops::RangeInclusive<u32> {
    let (first, last) = (u32::from(subnet.network()), u32::from(subnet.broadcast()));
    if subnet.prefix_len() >= 31 {
        return first..=last;
    }
    first + 1..=last - 1
}

/// All addresses that can be given, beginning behind the one given last.
fn in_turn(network: &Network) -> impl Iterator<Item = Ipv4Addr> {
    let all = usable4(network.subnet);
    let part = network.range.unwrap_or(network.subnet);
    let first = u32::from(part.network()).max(*all.start());
    let last = u32::from(part.broadcast()).min(*all.end());
    let before = network.last.map_or(last, u32::from).clamp(first, last);
    (before + 1..=last)
        .chain(first..=before)
        .map(Ipv4Addr::from)
}

/// The IPv6 address at the same place of its subnet, if that is free; in a subnet that is too
/// small for that, any free one.
fn counterpart(
    network: &Network,
    net: Ipv6Net,
    v4: Ipv4Addr,
    used: &HashSet<Ipv6Addr>,
) -> Option<Ipv6Addr> {
    let place = u128::from(u32::from(v4) - u32::from(network.subnet.network()));
    let base = u128::from(net.network());
    let same = Ipv6Addr::from(base.saturating_add(place));
    if net.contains(&same) {
        return (!used.contains(&same)).then_some(same);
    }
    let last = u128::from(net.broadcast());
    (base + 1..=last)
        .map(Ipv6Addr::from)
        .take(used.len() + 1)
        .find(|address| !used.contains(address))
}

#[cfg(test)]
mod tests {
    use super::super::state::Holder;
    use super::*;
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    fn network(subnet: &str, subnet6: Option<&str>) -> Network {
        let subnet = subnet.parse().unwrap();
        let subnet6 = subnet6.map(|text| text.parse().unwrap());
        Network {
            id: "ab12".to_owned(),
            name: "test".to_owned(),
            created: 0,
            subnet,
            gateway: first4(subnet),
            range: None,
            subnet6,
            gateway6: subnet6.map(first6),
            chosen: true,
            internal: false,
            labels: BTreeMap::new(),
            interface: None,
            last: None,
            endpoints: Vec::new(),
        }
    }

    fn join(network: &mut Network, v4: Option<&str>, v6: Option<&str>) -> Result<String, String> {
        let v4 = v4.map(|text| text.parse().unwrap());
        let v6 = v6.map(|text| text.parse().unwrap());
        let found = lease(network, v4, v6).map_err(|error| error.to_string())?;
        network.last = Some(found.v4);
        network.endpoints.push(Endpoint {
            container: "c".to_owned(),
            names: vec!["web".to_owned()],
            outside: String::new(),
            inside: String::new(),
            address: found.v4,
            address6: found.v6,
            mac: mac_of(found.v4),
            ports: Vec::new(),
            hosts: PathBuf::new(),
            holder: Holder { pid: 1, fd: 1 },
        });
        let v6 = found.v6.map(|v6| format!(" {v6}")).unwrap_or_default();
        Ok(format!("{}{v6}", found.v4))
    }

    #[test]
    fn one_after_the_other_and_again_from_the_start() {
        let mut net = network("10.0.0.0/29", Some("fd00::/64"));
        let mut given = || join(&mut net, None, None);
        assert_eq!(given().unwrap(), "10.0.0.2 fd00::2");
        assert_eq!(given().unwrap(), "10.0.0.3 fd00::3");
        net.endpoints.clear();
        let mut given = || join(&mut net, None, None);
        for last in ["4", "5", "6", "2", "3"] {
            assert_eq!(given().unwrap(), format!("10.0.0.{last} fd00::{last}"));
        }
        assert!(given().unwrap_err().contains("10.0.0.0/29"));
        net.endpoints.remove(1);
        assert_eq!(join(&mut net, None, None).unwrap(), "10.0.0.5 fd00::5");
    }

    #[test]
    fn wanted_addresses() {
        let mut net = network("10.0.0.0/24", Some("fd00::/64"));
        let mut ask = |v4, v6| join(&mut net, v4, v6);
        assert_eq!(ask(Some("10.0.0.9"), None).unwrap(), "10.0.0.9 fd00::9");
        assert_eq!(ask(None, Some("fd00::b")).unwrap(), "10.0.0.10 fd00::b");
        // Its counterpart is taken, so the address is passed over.
        assert_eq!(ask(None, None).unwrap(), "10.0.0.12 fd00::c");
        for (v4, v6, why) in [
            (
                Some("10.0.0.9"),
                None,
                "--ip \"10.0.0.9\": is in use by container web",
            ),
            (None, Some("fd00::b"), "in use"),
            (Some("10.0.0.1"), None, "machine's own"),
            (Some("10.0.0.0"), None, "no address for a container"),
            (Some("10.0.0.255"), None, "no address for a container"),
            (Some("10.0.1.1"), None, "10.0.0.0/24"),
            (None, Some("fd01::1"), "not in network test (fd00::/64)"),
        ] {
            let error = ask(v4, v6).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let mut plain = network("10.0.0.0/24", None);
        let error = join(&mut plain, None, Some("fd00::2")).unwrap_err();
        assert!(error.contains("has no IPv6"), "{error}");
    }

    #[test]
    fn ranges_and_odd_subnets() {
        let mut net = network("10.0.0.0/24", None);
        net.range = Some("10.0.0.128/30".parse().unwrap());
        for last in 128..132 {
            assert_eq!(
                join(&mut net, None, None).unwrap(),
                format!("10.0.0.{last}")
            );
        }
        assert!(join(&mut net, None, None).is_err());
        assert_eq!(join(&mut net, Some("10.0.0.7"), None).unwrap(), "10.0.0.7");
        let mut small = network("10.0.0.0/16", Some("fd00::/126"));
        small.last = Some("10.0.5.5".parse().unwrap());
        assert_eq!(join(&mut small, None, None).unwrap(), "10.0.5.6 fd00::2");
        assert_eq!(join(&mut small, None, None).unwrap(), "10.0.5.7 fd00::3");
        assert!(join(&mut small, None, None).is_err());
        let mut pair = network("10.0.0.0/31", None);
        assert_eq!(join(&mut pair, None, None).unwrap(), "10.0.0.0");
    }

    #[test]
    fn subnets_keep_clear_of_routes() {
        let taken = |list: &[&str]| -> Vec<IpNet> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let chosen = |large, list: &[&str]| choose(large, &taken(list)).unwrap().to_string();
        assert_eq!(chosen(true, &[]), "10.77.0.0/16");
        assert_eq!(chosen(true, &["10.77.5.0/24"]), "10.78.0.0/16");
        assert_eq!(chosen(false, &["10.89.0.0/24"]), "10.89.1.0/24");
        assert_eq!(
            chosen(true, &["10.0.0.0/8", "fd00::/8"]),
            "192.168.100.0/24"
        );
        assert_eq!(
            choose(true, &taken(&["10.0.0.0/8", "192.168.0.0/16"])),
            None
        );
        let ula = private6([1, 2, 3, 4, 5]);
        assert_eq!(ula.to_string(), "fd01:203:405::/64");
        assert_eq!(
            mac_of("10.77.0.2".parse().unwrap()).to_string(),
            "02:42:0a:4d:00:02"
        );
    }
}
