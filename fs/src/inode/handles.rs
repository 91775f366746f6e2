//! Open files, by the handle the kernel was given.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::node::Node;
use crate::error::{Error, Result};
use crate::sys::lock::RwLock;
use crate::sys::pieces::Data;
use crate::types::Handle;

const SHARDS: usize = 16;

/// The handles.
#[derive(Debug)]
pub struct Handles {
    shards: [RwLock<HashMap<u64, Arc<OpenFile>>>; SHARDS],
    next: AtomicU64,
}

/// An open file.
#[derive(Debug)]
pub struct OpenFile {
    /// The file.
    pub node: Arc<Node>,
    /// How it was opened.
    pub how: How,
    /// Where its data was when last looked at.
    pub source: RwLock<Source>,
}

/// How a file was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct How {
    /// For writing (and reading).
    pub writable: bool,
    /// For appending.
    pub append: bool,
    /// Reading leaves the access time alone.
    pub noatime: bool,
}

impl How {
    /// For reading.
    pub fn reading(noatime: bool) -> Self {
        Self {
            writable: false,
            append: false,
            noatime,
        }
    }
}

/// A fd of a file's data, good as long as the node's epoch is the same.
#[derive(Debug, Clone)]
pub struct Source {
    /// [`Node::epoch`] when it was opened.
    pub epoch: u32,
    /// The fd, and where in it the data lies.
    pub data: Data,
    /// Whether it can be written to.
    pub writable: bool,
    /// Whether all that is written goes to the end, because the file takes nothing else (chattr +a).
    pub appends: bool,
}

impl Default for Handles {
    fn default() -> Self {
        Self {
            shards: Default::default(),
            // Never 0, which the kernel sends when it has none.
            next: AtomicU64::new(1),
        }
    }
}

impl Handles {
    /// Gives a handle.
    pub fn insert(&self, open: OpenFile) -> Handle {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        self.shard(handle).write().insert(handle, Arc::new(open));
        Handle(handle)
    }

    /// What is open under a handle; EBADF if nothing is.
    pub fn get(&self, handle: Handle) -> Result<Arc<OpenFile>> {
        self.shard(handle.0)
            .read()
            .get(&handle.0)
            .cloned()
            .ok_or(Error::BadHandle)
    }

    /// Closes a handle; gives what was open under it.
    pub fn remove(&self, handle: Handle) -> Option<Arc<OpenFile>> {
        self.shard(handle.0).write().remove(&handle.0)
    }

    fn shard(&self, handle: u64) -> &RwLock<HashMap<u64, Arc<OpenFile>>> {
        &self.shards[(handle % SHARDS as u64) as usize]
    }
}
