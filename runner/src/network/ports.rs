//! Published ports: what was asked for (`-p`, `--expose`), and what came of it.
//!
//! ```text
//!   -p  [ADDRESS:][OUTSIDE:]INSIDE[/tcp|udp]       each of the two a port or a range
//!       8080                 any free port of the machine
//!       80:8080              that port, on every address
//!       127.0.0.1:80:8080    on one address
//!       127.0.0.1::8080      on one address, any free port
//!       [::1]:80:8080        IPv6 in brackets
//!       9000-9009:80         the first free one of these
//!       8000-8009:9000-9009  each to its counterpart
//! ```

use super::{NetworkError, refuse};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// What is spoken over a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Ports that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first; not 0.
    pub first: u16,
    /// The last; not below the first.
    pub last: u16,
}

/// Ports of a container, as `--expose` tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exposed {
    /// Which.
    pub ports: Range,
    /// What is spoken.
    pub protocol: Protocol,
}

/// One `-p`, as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The machine's address; every one if not given.
    pub address: Option<IpAddr>,
    /// The machine's ports; any free ones if not given.
    pub outside: Option<Range>,
    /// The container's ports: as many as outside, or one.
    pub inside: Range,
    /// What is spoken.
    pub protocol: Protocol,
}

/// Ports of the machine that lead to a container's, as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The machine's address; all zeroes is every address of that kind.
    pub address: IpAddr,
    /// What is spoken.
    pub protocol: Protocol,
    /// The machine's first port.
    pub outside: u16,
    /// The container's first port.
    pub inside: u16,
    /// How many ports follow each other, at least 1.
    pub count: u16,
}

impl Range {
    /// One port alone.
    pub fn one(port: u16) -> Self {
        let (first, last) = (port, port);
        Self { first, last }
    }

    /// The ports, in order.
    pub fn ports(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }

    /// How many.
    pub fn len(self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    /// There is always one.
    pub fn is_empty(self) -> bool {
        false
    }
}

impl Published {
    /// Each port of the machine with the container's.
    pub fn pairs(self) -> impl Iterator<Item = (u16, u16)> {
        (0..self.count).map(move |n| {
            (
                self.outside.saturating_add(n),
                self.inside.saturating_add(n),
            )
        })
    }

    /// Where it is reached, for each port of the container, as `port` prints it.
    pub fn sockets(self) -> impl Iterator<Item = (u16, SocketAddr)> {
        self.pairs()
            .map(move |(outside, inside)| (inside, SocketAddr::new(self.address, outside)))
    }
}

impl FromStr for Protocol {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Err("sctp is not supported: only tcp and udp"),
            _ => Err("want tcp or udp after /"),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl FromStr for Range {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (port(first)?, port(last)?) {
            (0, _) => Err("there is no port 0"),
            (first, last) if last < first => Err("the range goes backwards"),
            (first, last) => Ok(Self { first, last }),
        }
    }
}

fn port(text: &str) -> Result<u16, &'static str> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("want a port number or a range, as 80 or 8000-8009");
    }
    text.parse().map_err(|_| "ports end at 65535")
}

fn split_protocol(text: &str) -> Result<(&str, Protocol), &'static str> {
    match text.split_once('/') {
        Some((ports, protocol)) => Ok((ports, protocol.parse()?)),
        None => Ok((text, Protocol::Tcp)),
    }
}

impl FromStr for Exposed {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let parse = || {
            let (ports, protocol) = split_protocol(text)?;
            let ports = ports.parse()?;
            Ok(Self { ports, protocol })
        };
        parse().map_err(|why: &str| refuse("--expose", text, why))
    }
}

impl FromStr for Publish {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        parse_publish(text).map_err(|why| refuse("-p", text, why))
    }
}

fn parse_publish(text: &str) -> Result<Publish, &'static str> {
    let (ports, protocol) = split_protocol(text)?;
    let (address, ports) = split_address(ports)?;
    let (outside, inside) = match (ports.split_once(':'), address) {
        (Some((outside, inside)), _) => (outside, inside),
        (None, None) => ("", ports),
        // `1.2.3.4:80` would read as address and port, but says neither which port of which.
        (None, Some(_)) => return Err("after an address want OUTSIDE:INSIDE, or :INSIDE"),
    };
    let inside: Range = inside.parse()?;
    let outside = match outside {
        "" | "0" => None,
        outside => Some(outside.parse::<Range>()?),
    };
    if let Some(outside) = outside
        && inside.len() != 1
        && inside.len() != outside.len()
    {
        return Err("the two ranges are not of one length");
    }
    Ok(Publish {
        address,
        outside,
        inside,
        protocol,
    })
}

/// The address in front, if there is one, and the rest.
fn split_address(text: &str) -> Result<(Option<IpAddr>, &str), &'static str> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once("]:").ok_or("want ]: after [ADDRESS")?;
        let address = address.parse().map_err(|_| "no IPv6 address in brackets")?;
        return Ok((Some(IpAddr::V6(address)), rest));
    }
    let mut parts = text.rsplitn(3, ':');
    let (_, _, address) = (parts.next(), parts.next(), parts.next());
    match address {
        None => Ok((None, text)),
        Some("") => Ok((None, text.get(1..).unwrap_or_default())),
        Some(address) => match address.parse::<std::net::Ipv4Addr>() {
            Ok(ip) => Ok((
                Some(IpAddr::V4(ip)),
                text.get(address.len() + 1..).unwrap_or_default(),
            )),
            Err(_) if address.contains(':') => Err("an IPv6 address goes in brackets"),
            Err(_) => Err("no IP address in front of the ports"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts = (Option<String>, Option<(u16, u16)>, (u16, u16), Protocol);

    fn publish(text: &str) -> Parts {
        let found: Publish = text.parse().unwrap();
        (
            found.address.map(|address| address.to_string()),
            found.outside.map(|range| (range.first, range.last)),
            (found.inside.first, found.inside.last),
            found.protocol,
        )
    }

    #[test]
    fn every_form_of_the_manual() {
        use Protocol::{Tcp, Udp};
        let at = |text: &str| Some(text.to_owned());
        for (text, wanted) in [
            ("8080", (None, None, (8080, 8080), Tcp)),
            ("80:8080", (None, Some((80, 80)), (8080, 8080), Tcp)),
            ("0:8080", (None, None, (8080, 8080), Tcp)),
            (":8080", (None, None, (8080, 8080), Tcp)),
            ("53:53/udp", (None, Some((53, 53)), (53, 53), Udp)),
            ("53/UDP", (None, None, (53, 53), Udp)),
            (
                "127.0.0.1::8080",
                (at("127.0.0.1"), None, (8080, 8080), Tcp),
            ),
            (
                "127.0.0.1:80:8080",
                (at("127.0.0.1"), Some((80, 80)), (8080, 8080), Tcp),
            ),
            (
                "0.0.0.0:80:80",
                (at("0.0.0.0"), Some((80, 80)), (80, 80), Tcp),
            ),
            ("[::1]:80:80", (at("::1"), Some((80, 80)), (80, 80), Tcp)),
            ("[::]::80/udp", (at("::"), None, (80, 80), Udp)),
            ("8000-8009", (None, None, (8000, 8009), Tcp)),
            (
                "8000-8009:9000-9009",
                (None, Some((8000, 8009)), (9000, 9009), Tcp),
            ),
            ("9000-9009:80", (None, Some((9000, 9009)), (80, 80), Tcp)),
            (
                "10.0.0.1:8000-8001:1-2/tcp",
                (at("10.0.0.1"), Some((8000, 8001)), (1, 2), Tcp),
            ),
            (
                "65535:65535",
                (None, Some((65535, 65535)), (65535, 65535), Tcp),
            ),
        ] {
            assert_eq!(publish(text), wanted, "{text}");
        }
    }

    #[test]
    fn nonsense_is_told_why() {
        for (text, why) in [
            ("", "port number"),
            ("x", "port number"),
            ("80:", "port number"),
            ("+80", "port number"),
            ("80:0", "no port 0"),
            ("70000", "65535"),
            ("80:80/icmp", "tcp or udp"),
            ("80:80/sctp", "not supported"),
            ("90-80", "backwards"),
            ("80-81:90-92", "one length"),
            ("127.0.0.1:80", "port number"),
            ("1.2.3:80:80", "no IP address"),
            ("::1:80:80", "brackets"),
            ("[::1]80:80", "]:"),
            ("[::1]:80", "after an address"),
            ("[1.2.3.4]:80:80", "no IPv6"),
            ("a:b:c:d", "brackets"),
        ] {
            let error = text.parse::<Publish>().unwrap_err().to_string();
            assert!(
                error.contains(why) && error.starts_with("-p "),
                "{text}: {error}"
            );
        }
        assert!("80-90/udp".parse::<Exposed>().is_ok());
        assert!("80:90".parse::<Exposed>().is_err());
    }

    #[test]
    fn ranges_in_pairs() {
        let published = Published {
            address: "0.0.0.0".parse().unwrap(),
            protocol: Protocol::Tcp,
            outside: 8000,
            inside: 80,
            count: 2,
        };
        let pairs: Vec<_> = published.pairs().collect();
        assert_eq!(pairs, [(8000, 80), (8001, 81)]);
    }
}
