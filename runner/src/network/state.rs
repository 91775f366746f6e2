//! What is kept on disk: every network of one root, and who is on it.
//!
//! ```text
//!   ROOT/networks.lock     held while networks change
//!   ROOT/networks.json     all of them; replaced as a whole, so a reader sees the old or the new
//! ```
//!
//! It is written before the kernel is told to make anything and after it was told to remove
//! everything: what is in the kernel is in the file, whoever is killed when. An endpoint whose
//! container has no monitor is stale; the next command removes it (see `container::home`).
//! Nothing is synced: a machine that was cut off has no containers.

use super::NetworkError;
use super::link::Mac;
use super::ports::Published;
use crate::publish::{Reach, publish};
use ipnet::{Ipv4Net, Ipv6Net};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Longest file that is read.
const BOUND: u64 = 64 << 20;

/// The network of containers that name none.
pub const DEFAULT: &str = "bridge";

/// All networks of one root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The packet filtering table, if there is one.
    pub(super) table: Option<TableRecord>,
    /// A process that only waits to take down what is unused.
    pub(super) caretaker: Option<Holder>,
    /// The networks that containers can be on.
    pub networks: Vec<Network>,
}

/// Where our table is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TableRecord {
    pub(super) name: String,
    /// What the kernel calls the socket that owns it.
    pub(super) port: u32,
    /// The network namespace it is in, by its number.
    pub(super) namespace: u64,
}

/// A process that holds a copy of the table's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Holder {
    pub(super) pid: i32,
    /// The descriptor's number there.
    pub(super) fd: i32,
}

/// One network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, unique.
    pub name: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Its IPv4 addresses.
    pub subnet: Ipv4Net,
    /// The machine's address on it.
    pub gateway: Ipv4Addr,
    /// The part of the subnet that addresses are given from.
    pub range: Option<Ipv4Net>,
    /// Its IPv6 addresses.
    pub subnet6: Option<Ipv6Net>,
    /// The machine's IPv6 address on it.
    pub gateway6: Option<Ipv6Addr>,
    /// The subnet was chosen by us, so another one will do, too.
    pub chosen: bool,
    /// Nothing gets in or out.
    pub internal: bool,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
    /// The bridge's name while it is up, or being made.
    pub interface: Option<String>,
    /// The address given last; the next one is looked for behind it.
    pub(super) last: Option<Ipv4Addr>,
    /// The containers on it.
    pub endpoints: Vec<Endpoint>,
}

/// A container on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The container's id.
    pub container: String,
    /// Its names on this network, the container's own first.
    pub names: Vec<String>,
    /// The interface on the machine.
    pub outside: String,
    /// The interface in the container.
    pub inside: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its IPv6 address.
    pub address6: Option<Ipv6Addr>,
    /// Its Ethernet address.
    pub mac: Mac,
    /// What of the machine's ports leads to it.
    pub ports: Vec<Published>,
    /// The file that the container sees as `/etc/hosts`.
    pub(super) hosts: PathBuf,
    /// The container's monitor.
    pub(super) holder: Holder,
}

/// The networks while nobody else changes them.
#[derive(Debug)]
pub(super) struct Locked {
    pub(super) state: State,
    path: PathBuf,
    lock: File,
}

impl State {
    /// Reads it without a lock: as it was at some moment.
    ///
    /// # Errors
    /// The file cannot be read, or is not what was written.
    pub fn read(root: &Path) -> Result<Self, NetworkError> {
        let path = root.join("networks.json");
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path);
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(NetworkError::file("open", &path))?,
        };
        let mut bytes = Vec::new();
        file.take(BOUND)
            .read_to_end(&mut bytes)
            .map_err(NetworkError::file("read", &path))?;
        serde_json::from_slice(&bytes).map_err(|error| NetworkError::Damaged {
            path,
            why: error.to_string(),
        })
    }

    /// The containers that are on any network.
    pub fn containers(&self) -> impl Iterator<Item = &str> {
        let all = self.networks.iter().flat_map(|network| &network.endpoints);
        all.map(|endpoint| endpoint.container.as_str())
    }

    /// What a container has, network by network, in the order of its interfaces.
    pub fn of(&self, container: &str) -> impl Iterator<Item = (&Network, &Endpoint)> + use<'_> {
        let all = self.networks.iter();
        let mut all: Vec<_> = all
            .filter_map(|network| Some((network, network.endpoint(container)?)))
            .collect();
        all.sort_by_key(|(_, endpoint)| endpoint.number());
        all.into_iter()
    }

    /// What leads a container to the rest of the world, and from there to its published ports: the
    /// first of its networks that has a way out, or else the first.
    pub fn main_of(&self, container: &str) -> Option<(&Network, &Endpoint)> {
        let leads_out = self.of(container).find(|(network, _)| !network.internal);
        leads_out.or_else(|| self.of(container).next())
    }

    /// Finds a network by name, id or unique beginning of an id.
    ///
    /// # Errors
    /// There is none, or several ids begin so.
    pub fn find(&self, wanted: &str) -> Result<&Network, NetworkError> {
        self.place(wanted).map(|at| &self.networks[at])
    }

    pub(super) fn find_mut(&mut self, wanted: &str) -> Result<&mut Network, NetworkError> {
        self.place(wanted).map(|at| &mut self.networks[at])
    }

    fn place(&self, wanted: &str) -> Result<usize, NetworkError> {
        let at = |test: &dyn Fn(&Network) -> bool| self.networks.iter().position(test);
        if let Some(found) = at(&|network| network.name == wanted || network.id == wanted) {
            return Ok(found);
        }
        let begins = |network: &&Network| !wanted.is_empty() && network.id.starts_with(wanted);
        match self.networks.iter().filter(begins).count() {
            0 => Err(NetworkError::NoNetwork(wanted.to_owned())),
            1 => Ok(at(&|network| begins(&network)).unwrap_or_default()),
            _ => Err(NetworkError::Ambiguous(wanted.to_owned())),
        }
    }

    /// Whether the kernel holds something that no container needs.
    pub fn has_unused(&self) -> bool {
        let idle = |network: &Network| network.interface.is_some() && network.endpoints.is_empty();
        let empty = self.table.is_some() && self.containers().next().is_none();
        empty || self.networks.iter().any(idle)
    }
}

impl Endpoint {
    /// The container's interfaces are numbered.
    pub(super) fn number(&self) -> usize {
        let digits = self.inside.trim_start_matches("eth");
        digits.parse().unwrap_or(usize::MAX)
    }
}

impl Network {
    /// A container's endpoint here.
    pub fn endpoint(&self, container: &str) -> Option<&Endpoint> {
        let mut all = self.endpoints.iter();
        all.find(|endpoint| endpoint.container == container)
    }

    /// The first 12 digits of the id.
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// Whether containers find each other by name here.
    pub(super) fn has_names(&self) -> bool {
        self.name != DEFAULT
    }
}

impl Locked {
    /// Waits for the lock, and reads.
    pub(super) fn open(root: &Path) -> Result<Self, NetworkError> {
        let path = root.join("networks.lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(NetworkError::file("open", &path))?;
        while let Err(error) = flock(&lock, FlockOperation::LockExclusive) {
            if error != rustix::io::Errno::INTR {
                return Err(NetworkError::file("lock", &path)(error.into()));
            }
        }
        Ok(Self {
            state: State::read(root)?,
            path: root.join("networks.json"),
            lock,
        })
    }

    /// The root directory it is of.
    pub(super) fn root(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// Writes what has changed.
    pub(super) fn save(&self) -> Result<(), NetworkError> {
        let new = self.path.with_file_name(".networks.json.new");
        let written = serde_json::to_vec(&self.state)
            .map_err(io::Error::from)
            .and_then(|bytes| publish(&self.path, &new, &bytes, Reach::Readers));
        written.map_err(NetworkError::file("write", &self.path))
    }
}

impl Drop for Locked {
    /// Told to the kernel, since a forked process may still hold a copy of the descriptor.
    fn drop(&mut self) {
        // Only a descriptor that is no file could be refused.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn network(name: &str, id: &str) -> Network {
        Network {
            id: id.to_owned(),
            name: name.to_owned(),
            created: 0,
            subnet: "10.77.0.0/16".parse().unwrap(),
            gateway: "10.77.0.1".parse().unwrap(),
            range: None,
            subnet6: None,
            gateway6: None,
            chosen: true,
            internal: false,
            labels: BTreeMap::new(),
            interface: None,
            last: None,
            endpoints: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(State::read(root.path()).unwrap(), State::default());
        let mut locked = Locked::open(root.path()).unwrap();
        locked.state.networks.push(network("bridge", "ab12"));
        locked.state.caretaker = Some(Holder { pid: 7, fd: 3 });
        locked.save().unwrap();
        let written = locked.state.clone();
        drop(locked);
        assert_eq!(State::read(root.path()).unwrap(), written);
        assert_eq!(Locked::open(root.path()).unwrap().state, written);
    }

    #[test]
    fn what_others_wrote_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("networks.json");
        for text in ["", "{", "{\"networks\":[],\"more\":1}", "[]"] {
            fs::write(&path, text).unwrap();
            let error = State::read(root.path()).unwrap_err().to_string();
            assert!(error.contains("networks.json"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(State::read(root.path()).is_err());
    }

    #[test]
    fn networks_by_name_and_id() {
        let networks = vec![
            network("web", "ab12"),
            network("ab", "cd34"),
            network("x", "ce56"),
        ];
        let state = State {
            networks,
            ..State::default()
        };
        let found = |wanted: &str| state.find(wanted).map(|network| network.name.as_str());
        assert_eq!(found("web").unwrap(), "web");
        assert_eq!(found("ab").unwrap(), "ab", "a name wins over an id");
        assert_eq!(found("ab1").unwrap(), "web");
        assert_eq!(found("ce").unwrap(), "x");
        assert!(found("c").is_err() && found("").is_err() && found("y").is_err());
    }
}
