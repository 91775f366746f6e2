//! What happened to containers and volumes, one JSON object a line: `runner events` shows it.
//!
//! ```text
//!   ROOT/events.log      appended to, a line by one write, under the file's lock
//!   ROOT/events.log.1    the one before, when that had become long
//! ```
//!
//! The form is that of docker's event stream, so programs that read that can read this.

use super::Id;
use super::spec::Spec;
use crate::error::{Error, Result};
use crate::network;
use crate::types::Moment;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of a file before the next is begun.
const LONG: u64 = 1 << 20;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// `container`, `volume`, `network`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// `create`, `start`, `die`, ...
    #[serde(rename = "Action")]
    pub action: String,
    /// To whom.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Always `local`.
    pub scope: String,
    /// Seconds since 1970.
    pub time: u64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: Moment,
}

/// Whom an event happened to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// Id, or the name of what has none.
    #[serde(rename = "ID")]
    pub id: String,
    /// What else is known of it.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

/// Whom an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    kind: &'static str,
    actor: Actor,
}

impl Subject {
    /// A container: its image, name and labels are told.
    pub fn container(spec: &Spec, name: &str) -> Self {
        let mut attributes = spec.labels.clone();
        attributes.insert("image".to_owned(), spec.image.clone());
        attributes.insert("name".to_owned(), name.to_owned());
        Self {
            kind: "container",
            actor: Actor {
                id: spec.id.to_string(),
                attributes,
            },
        }
    }

    /// Something else, as a volume.
    pub fn other(kind: &'static str, id: &str) -> Self {
        Self {
            kind,
            actor: Actor {
                id: id.to_owned(),
                attributes: BTreeMap::new(),
            },
        }
    }

    /// Tells one thing more.
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.actor
            .attributes
            .insert(key.to_owned(), value.to_string());
        self
    }
}

/// The journal of one root directory.
#[derive(Debug, Clone)]
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    /// The journal below `root`; nothing is looked at.
    pub fn at(root: &Path) -> Self {
        Self {
            path: root.join("events.log"),
        }
    }

    /// Its newest file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its files, oldest first.
    pub fn files(&self) -> [PathBuf; 2] {
        [self.path.with_extension("log.1"), self.path.clone()]
    }

    /// Writes down that a container came on a network, or went off it.
    pub fn record_network(&self, action: &str, all: &network::State, name: &str, container: &Id) {
        if let Ok(network) = all.find(name) {
            let subject = Subject::other("network", &network.id)
                .with("container", container)
                .with("name", &network.name)
                .with("type", "bridge");
            self.record(action, &subject);
        }
    }

    /// Writes down what happened. That it could not be written (a full disk) is no reason for
    /// the thing itself to fail.
    pub fn record(&self, action: &str, subject: &Subject) {
        let now = Moment::now();
        let event = Event {
            kind: subject.kind.to_owned(),
            action: action.to_owned(),
            actor: subject.actor.clone(),
            scope: "local".to_owned(),
            time: now.seconds(),
            time_nano: now,
        };
        let _ = self.append(&event);
    }

    fn append(&self, event: &Event) -> Result<()> {
        let failed = || Error::io("write", &self.path);
        let mut line = serde_json::to_vec(event)
            .map_err(std::io::Error::from)
            .map_err(failed())?;
        line.push(b'\n');
        let mut file = self.open()?;
        if file.metadata().map_err(failed())?.len() > LONG {
            let [older, newest] = self.files();
            fs::rename(&newest, older).map_err(failed())?;
            file = self.open()?;
        }
        file.write_all(&line).map_err(failed())
    }

    /// The newest file, locked against the others that write.
    fn open(&self) -> Result<File> {
        let failed = || Error::io("open", &self.path);
        loop {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&self.path)
                .map_err(failed())?;
            if let Err(errno) = flock(&file, FlockOperation::LockExclusive) {
                return Err(failed()(errno.into()));
            }
            // Renamed since it was opened?
            let named = fs::metadata(&self.path).map(|meta| meta.ino());
            if named.is_ok_and(|named| file.metadata().is_ok_and(|own| own.ino() == named)) {
                return Ok(file);
            }
        }
    }
}
