//! What a container's network shall be, as the user asked for it; kept in its specification.

use super::files::{HostEntry, NameServers};
use super::link::Mac;
use super::ports::{Exposed, Publish};
use super::state::{DEFAULT, Network, State};
use super::{NetworkError, refuse};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Everything about a container's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where it comes from.
    pub source: Source,
    /// `--add-host`.
    pub hosts: Vec<HostEntry>,
    /// `--dns` and the like.
    pub name_servers: NameServers,
    /// `-p`.
    pub publish: Vec<Publish>,
    /// `-P`: every exposed port gets a free one of the machine.
    pub publish_all: bool,
    /// `--expose`, and what the image exposes.
    pub expose: Vec<Exposed>,
}

/// Where a container's network comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// An own network namespace with nothing but loopback.
    None,
    /// The machine's network.
    Host,
    /// Another container's network, by id; as the user named it until that is known.
    Container(String),
    /// Bridges; the first leads to the rest of the world.
    Networks(Vec<Join>),
}

/// A network to be on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// Its name or id.
    pub network: String,
    /// `--ip`.
    pub address: Option<Ipv4Addr>,
    /// `--ip6`.
    pub address6: Option<Ipv6Addr>,
    /// `--mac-address`.
    pub mac: Option<Mac>,
    /// More names for it there.
    pub aliases: Vec<String>,
}

impl Settings {
    /// The network as docker calls it: `none`, `host`, `container:ID`, or the first one's name.
    pub fn name(&self) -> String {
        match &self.source {
            Source::None => "none".to_owned(),
            Source::Host => "host".to_owned(),
            Source::Container(id) => format!("container:{id}"),
            Source::Networks(joins) => joins
                .first()
                .map_or(DEFAULT, |join| join.network.as_str())
                .to_owned(),
        }
    }
}

impl Settings {
    /// One more network; `state` knows them all.
    ///
    /// # Errors
    /// It is there already, or its network is no bridge.
    pub fn join(&mut self, state: &State, join: Join) -> Result<(), NetworkError> {
        let network = state.find(&join.network)?;
        let joins = self.joins("connected to another network")?;
        if joins.iter().any(|other| is(state, other, network)) {
            let why = "the container is on it already";
            return Err(refuse("network", &network.name, why));
        }
        let name = network.name.clone();
        joins.push(Join {
            network: name,
            ..join
        });
        Ok(())
    }

    /// One network less.
    ///
    /// # Errors
    /// It is not among them.
    pub fn leave(&mut self, state: &State, network: &str) -> Result<(), NetworkError> {
        let network = state.find(network)?;
        let joins = self.joins("disconnected")?;
        let before = joins.len();
        joins.retain(|other| !is(state, other, network));
        if joins.len() == before {
            return Err(refuse(
                "network",
                &network.name,
                "the container is not on it",
            ));
        }
        Ok(())
    }

    fn joins(&mut self, what: &str) -> Result<&mut Vec<Join>, NetworkError> {
        let name = self.name();
        match &mut self.source {
            Source::Networks(joins) => Ok(joins),
            _ => Err(refuse("--network", &name, &format!("cannot be {what}"))),
        }
    }
}

/// A network that is gone meanwhile is nobody's.
fn is(state: &State, join: &Join, network: &Network) -> bool {
    state
        .find(&join.network)
        .is_ok_and(|found| found.id == network.id)
}

impl Join {
    /// Any address of a network.
    pub fn plain(network: impl Into<String>) -> Self {
        Self {
            network: network.into(),
            address: None,
            address6: None,
            mac: None,
            aliases: Vec::new(),
        }
    }
}

impl Source {
    /// The values of `--network`; none given is the default network.
    ///
    /// # Errors
    /// A mode that cannot be combined is not alone; a name is none.
    pub fn parse(values: &[String]) -> Result<Self, NetworkError> {
        match values {
            [] => Ok(Self::Networks(vec![Join::plain(DEFAULT)])),
            [one] if one == "none" => Ok(Self::None),
            [one] if one == "host" => Ok(Self::Host),
            [one] if one.starts_with("container:") => {
                let name = one.trim_start_matches("container:");
                if name.is_empty() {
                    return Err(refuse("--network", one, "want container:NAME"));
                }
                Ok(Self::Container(name.to_owned()))
            }
            several => {
                let mut joins: Vec<Join> = Vec::new();
                for value in several {
                    let join = parse_join(value)?;
                    if joins.iter().any(|other| other.network == join.network) {
                        return Err(refuse("--network", value, "is given twice"));
                    }
                    joins.push(join);
                }
                Ok(Self::Networks(joins))
            }
        }
    }
}

/// A network's name alone, or `name=NAME,alias=NAME,ip=ADDRESS,…`.
fn parse_join(value: &str) -> Result<Join, NetworkError> {
    if !value.contains('=') {
        check_combined(value, value)?;
        return Ok(Join::plain(network_name(value)));
    }
    let mut join = Join::plain("");
    for part in value.split(',') {
        let (key, text) = part.split_once('=').unwrap_or((part, ""));
        let bad = |why: &str| refuse("--network", value, &format!("{key}={text}: {why}"));
        match key {
            "name" => {
                check_combined(text, value)?;
                network_name(text).clone_into(&mut join.network);
            }
            "alias" => join.aliases.push(check_alias(text).map_err(bad)?),
            "ip" => join.address = Some(text.parse().map_err(|_| bad("no IPv4 address"))?),
            "ip6" => join.address6 = Some(text.parse().map_err(|_| bad("no IPv6 address"))?),
            "mac-address" => join.mac = Some(text.parse().map_err(bad)?),
            _ => {
                let known = "want name=, alias=, ip=, ip6= or mac-address=";
                return Err(refuse("--network", value, known));
            }
        }
    }
    if join.network.is_empty() {
        return Err(refuse("--network", value, "names no network: want name="));
    }
    Ok(join)
}

/// Checks one more name of a container on a network; gives it.
///
/// # Errors
/// It could not stand in a file of host names.
pub fn check_alias(name: &str) -> Result<String, &'static str> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if name.is_empty() || name.len() > 255 || !name.bytes().all(good) {
        return Err("no host name: want letters, digits, '.', '-' and '_'");
    }
    Ok(name.to_owned())
}

fn network_name(value: &str) -> &str {
    if value == "default" { DEFAULT } else { value }
}

fn check_combined(name: &str, value: &str) -> Result<(), NetworkError> {
    if matches!(name, "none" | "host") || name.starts_with("container:") {
        return Err(refuse("--network", value, "goes with no other network"));
    }
    if name != "default" {
        check_network_name(name).map_err(|why| refuse("--network", value, why))?;
    }
    Ok(())
}

/// Checks the name of a network.
///
/// # Errors
/// It is not `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
pub fn check_network_name(name: &str) -> Result<(), &'static str> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if first && name.len() <= 255 && bytes.all(rest) {
        return Ok(());
    }
    Err("no such network: want none, host, bridge, container:NAME or the name of a network")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Result<Source, String> {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        Source::parse(&values).map_err(|error| error.to_string())
    }

    #[test]
    fn sources() {
        let networks =
            |names: &[&str]| Source::Networks(names.iter().map(|n| Join::plain(*n)).collect());
        assert_eq!(parse(&[]), Ok(networks(&["bridge"])));
        assert_eq!(parse(&["none"]), Ok(Source::None));
        assert_eq!(parse(&["host"]), Ok(Source::Host));
        assert_eq!(parse(&["default"]), Ok(networks(&["bridge"])));
        assert_eq!(parse(&["web", "db"]), Ok(networks(&["web", "db"])));
        assert_eq!(
            parse(&["container:web"]),
            Ok(Source::Container("web".to_owned()))
        );
        let long = Join {
            aliases: vec!["db".to_owned(), "store".to_owned()],
            address: Some("10.1.2.3".parse().unwrap()),
            ..Join::plain("web")
        };
        assert_eq!(
            parse(&["name=web,alias=db,ip=10.1.2.3,alias=store", "b"]),
            Ok(Source::Networks(vec![long, Join::plain("b")]))
        );
        for (values, why) in [
            (&["container:"][..], "want container:NAME"),
            (&["host", "web"], "no other network"),
            (&["web", "container:x"], "no other network"),
            (&["web", "web"], "twice"),
            (&[""], "no such network"),
            (&["a b"], "no such network"),
            (&["../x"], "no such network"),
            (&["alias=a"], "names no network"),
            (&["name=web,ip=1.2.3"], "no IPv4 address"),
            (&["name=web,alias=a b"], "no host name"),
            (&["name=web,alias="], "no host name"),
            (&["name=web,gw=1"], "want name="),
            (&["name=host"], "no other network"),
            (&["web", "name=web,alias=x"], "twice"),
        ] {
            let error = parse(values).unwrap_err();
            assert!(error.contains(why), "{values:?}: {error}");
        }
    }
}
