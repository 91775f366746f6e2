//! One object of the merged tree.
//!
//! ```text
//!             copy-up                       last known name removed
//!   Lower ─────────────> Upper, by name ─────────────────────────────> Upper, pinned by a fd
//!     │                        │  (hard-linked in its layer)
//!     │                        └─> Upper, by its entry in the index
//!     └─ last name removed: stays Lower, readable, nlink 0
//! ```
//!
//! `kind`, `ino` and a directory's `lowers` never change. Where it is changes under `state`.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use smallvec::SmallVec;

use super::names::Names;
use crate::error::{Error, Result};
use crate::sys::fdcache::FdKey;
use crate::sys::lock::{Mutex, RwLock};
use crate::types::{Kind, NodeId};
use crate::union::lower::{LowerFile, Stack};
use crate::upper::{KeptTimes, Origin};

/// Names remembered of one object; others still work, they are found when asked for.
const LINKS_MAX: usize = 8;

/// An object; see the module.
#[derive(Debug)]
pub struct Node {
    /// The kernel's handle for it.
    pub id: NodeId,
    /// Its st_ino.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    /// What only directories have.
    pub directory: Option<Box<Directory>>,
    /// Held while it is copied up: the data of one file is copied once, and nobody else waits.
    pub copying: Mutex<()>,
    /// Where it is.
    pub state: RwLock<State>,
    /// Counts the moves of its data from a layer to the upper; changes under `state` only.
    epoch: AtomicU32,
}

/// What only directories have.
#[derive(Debug)]
pub struct Directory {
    /// The directories of the layers it merges, topmost first.
    pub lowers: Stack,
    /// Its fd in the upper.
    pub key: FdKey,
    /// Guards the set of its names: shared by lookups and listings, exclusive for changes.
    pub names: RwLock<()>,
    /// The names in its directory of the upper, once a listing that merges layers has read them.
    /// Filled while `names` is held, changed while it is held for changes.
    pub upper_names: Mutex<Option<Names>>,
    /// How many subdirectories it shows (contract D3).
    pub subdirectories: Mutex<Count>,
    /// Whether it passes an ACL on to its children, once somebody asked (contract A3).
    pub passes_acl: Mutex<Option<bool>>,
    /// Whether its names in the upper may not be on disk: changed since they were last synced, or
    /// found by this mount (contract F1).
    pub unsynced_names: AtomicBool,
}

/// A count that is made when it is asked for, and kept up to date from then on.
#[derive(Debug, Default)]
pub struct Count {
    /// The count, if it was made.
    pub known: Option<u32>,
    /// How often it changed: who counts without a lock sees that it was overtaken.
    pub changes: u64,
}

/// Where an object is.
#[derive(Debug)]
pub struct State {
    /// Names known to lead to it. Empty: it is the root, or removed.
    pub links: SmallVec<[Link; 1]>,
    /// The object below.
    pub place: Place,
}

/// A name of an object.
#[derive(Debug, Clone)]
pub struct Link {
    /// The directory.
    pub parent: Arc<Node>,
    /// The name in it.
    pub name: Box<OsStr>,
}

/// The object below.
#[derive(Debug)]
pub enum Place {
    /// Only in layers. `None` for directories: see their `lowers`.
    Lower(Option<Box<LowerFile>>),
    /// In the upper.
    Upper(Box<UpperPlace>),
}

/// An object of the upper.
#[derive(Debug)]
pub struct UpperPlace {
    /// How it is reached.
    pub anchor: Anchor,
    /// Its data, if that is still in a layer (a metadata-only copy).
    pub data: Option<Box<LowerFile>>,
    /// Whether it is the stand-in of a char 0/0 node.
    pub char00: bool,
    /// Where it came from.
    pub origin: Option<Origin>,
    /// The times to show while only copy-ups changed it (directories, contract C4); on disk too if the
    /// record has them.
    pub kept: Option<KeptTimes>,
    /// Directories: whether it is marked as holding children that came from elsewhere.
    pub impure: bool,
    /// Indexed files: whether all known names are in the upper.
    pub spread: bool,
    /// Copied data that may not be on disk yet: where it came from.
    pub unsettled: Option<Unsettled>,
    /// Indexed files: how many of its names are coming or going now.
    pub counting: u32,
}

/// A copy whose record says that it is unsynced (contract F2).
#[derive(Debug)]
pub struct Unsettled {
    /// The layer's file, whose data is put back after a power cut.
    pub source: Box<LowerFile>,
    /// Whether a redirect on the copy names it; until then its own name does.
    pub pointed: bool,
}

/// How an object of the upper is reached.
#[derive(Debug, Clone)]
pub enum Anchor {
    /// By its first known link.
    Name,
    /// By its entry in the index.
    Index,
    /// By this fd: the root, and objects without a known name.
    Pinned(Arc<OwnedFd>),
}

impl Node {
    /// A new node.
    pub fn new(
        id: NodeId,
        ino: u64,
        kind: Kind,
        directory: Option<Directory>,
        state: State,
    ) -> Self {
        Self {
            id,
            ino,
            kind,
            directory: directory.map(Box::new),
            copying: Mutex::new(()),
            state: RwLock::new(state),
            epoch: AtomicU32::new(0),
        }
    }

    /// The directory part, or ENOTDIR.
    pub fn as_directory(&self) -> Result<&Directory> {
        self.directory.as_deref().ok_or(Error::NotDirectory)
    }

    /// Whether it has an object in the upper.
    pub fn in_upper(&self) -> bool {
        matches!(self.state.read().place, Place::Upper(_))
    }

    /// Directories in the upper: whether children came from elsewhere; `None` if it is in layers only.
    pub fn upper_impure(&self) -> Option<bool> {
        self.state.read().upper().map(|place| place.impure)
    }

    /// Whether no name leads to it any more.
    pub fn is_removed(&self) -> bool {
        self.id != NodeId::ROOT && self.state.read().links.is_empty()
    }

    /// A name that leads to it.
    pub fn link(&self) -> Option<Link> {
        self.state.read().links.first().cloned()
    }

    /// Remembers a name that was found to lead to it.
    pub fn add_link(&self, parent: &Arc<Node>, name: &OsStr) {
        {
            let state = self.state.read();
            if state.knows(parent, name) || state.links.len() >= LINKS_MAX {
                return;
            }
        }
        self.state.write().add_link(parent, name);
    }

    /// The count of moves of its data; compare with what a handle was opened at.
    pub fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Tells open handles that the data has moved. Call with `state` held for writing.
    pub fn next_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }
}

impl Directory {
    /// A directory that merges `lowers` and has no name taken yet.
    pub fn new(lowers: Stack, key: FdKey) -> Self {
        Self {
            lowers,
            key,
            names: RwLock::new(()),
            upper_names: Mutex::default(),
            subdirectories: Mutex::default(),
            passes_acl: Mutex::default(),
            unsynced_names: AtomicBool::new(true),
        }
    }

    /// Tells that a name in the upper came or went.
    pub fn names_changed(&self) {
        self.unsynced_names.store(true, Ordering::Release);
    }

    /// Tells that it shows so many subdirectories more, or less.
    pub fn count_subdirectories(&self, difference: i32) {
        let mut count = self.subdirectories.lock();
        count.changes += 1;
        count.known = count
            .known
            .map(|known| known.saturating_add_signed(difference));
    }
}

impl State {
    /// Whether this name is known.
    pub fn knows(&self, parent: &Arc<Node>, name: &OsStr) -> bool {
        self.links
            .iter()
            .any(|link| Arc::ptr_eq(&link.parent, parent) && &*link.name == name)
    }

    /// Remembers a name.
    pub fn add_link(&mut self, parent: &Arc<Node>, name: &OsStr) {
        if self.links.len() < LINKS_MAX && !self.knows(parent, name) {
            self.links.push(Link {
                parent: parent.clone(),
                name: Box::from(name),
            });
        }
    }

    /// Forgets a name that is gone.
    pub fn remove_link(&mut self, parent: &Arc<Node>, name: &OsStr) {
        self.links
            .retain(|link| !(Arc::ptr_eq(&link.parent, parent) && &*link.name == name));
    }

    /// Whether this is the only name it is reached by.
    pub fn hangs_on(&self, parent: &Arc<Node>, name: &OsStr) -> bool {
        self.links.len() <= 1 && (self.links.is_empty() || self.knows(parent, name))
    }

    /// The upper's object, if there is one.
    pub fn upper(&self) -> Option<&UpperPlace> {
        match &self.place {
            Place::Upper(place) => Some(place),
            Place::Lower(_) => None,
        }
    }

    /// The upper's object, if there is one.
    pub fn upper_mut(&mut self) -> Option<&mut UpperPlace> {
        match &mut self.place {
            Place::Upper(place) => Some(place),
            Place::Lower(_) => None,
        }
    }

    /// The layer's file that holds the data, if a layer does.
    pub fn data_in_layer(&self) -> Option<&LowerFile> {
        match &self.place {
            Place::Upper(place) => place.data.as_deref(),
            Place::Lower(file) => file.as_deref(),
        }
    }
}

impl UpperPlace {
    /// An object that has nothing to do with layers.
    pub fn plain(anchor: Anchor) -> Self {
        Self {
            anchor,
            data: None,
            char00: false,
            origin: None,
            kept: None,
            impure: false,
            spread: false,
            unsettled: None,
            counting: 0,
        }
    }

    /// Whether its inode number is not its own: its directory must be marked as impure.
    pub fn is_from_elsewhere(&self) -> bool {
        self.char00 || self.origin.is_some_and(|origin| origin.is_of_layer())
    }
}
