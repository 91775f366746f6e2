//! What a container's network shall be, as the user asked for it; kept in its specification.

use super::files::{HostEntry, NameServers};
use super::link::Mac;
use super::ports::{Exposed, Publish};
use super::state::DEFAULT;
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
        let networks = || values.iter().map(|value| Join::plain(network_name(value)));
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
                for (at, value) in several.iter().enumerate() {
                    check_combined(value)?;
                    if several.iter().take(at).any(|other| other == value) {
                        return Err(refuse("--network", value, "is given twice"));
                    }
                }
                Ok(Self::Networks(networks().collect()))
            }
        }
    }
}

fn network_name(value: &str) -> &str {
    if value == "default" { DEFAULT } else { value }
}

fn check_combined(value: &str) -> Result<(), NetworkError> {
    if matches!(value, "none" | "host") || value.starts_with("container:") {
        return Err(refuse("--network", value, "goes with no other network"));
    }
    if value != "default" {
        check_network_name(value).map_err(|why| refuse("--network", value, why))?;
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
        for (values, why) in [
            (&["container:"][..], "want container:NAME"),
            (&["host", "web"], "no other network"),
            (&["web", "container:x"], "no other network"),
            (&["web", "web"], "twice"),
            (&[""], "no such network"),
            (&["a b"], "no such network"),
            (&["../x"], "no such network"),
        ] {
            let error = parse(values).unwrap_err();
            assert!(error.contains(why), "{values:?}: {error}");
        }
    }
}
