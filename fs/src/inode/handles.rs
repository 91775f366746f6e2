//! Open files and directories, by the handle the kernel was given.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::node::Node;
use crate::error::{Error, Result};
use crate::types::Handle;

const SHARDS: usize = 16;

/// Handles of one kind.
#[derive(Debug)]
pub struct Handles<T> {
    shards: [RwLock<HashMap<u64, Arc<T>>>; SHARDS],
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

/// A fd of a file's data, good as long as the node's epoch is the same.
#[derive(Debug, Clone)]
pub struct Source {
    /// [`Node::epoch`] when it was opened.
    pub epoch: u32,
    /// The fd.
    pub file: Arc<OwnedFd>,
}

/// An open directory. Listing needs no handle, the chattr ioctls may come with one.
#[derive(Debug)]
pub struct OpenDir {
    /// The directory.
    pub node: Arc<Node>,
}

impl<T> Handles<T> {
    /// No handles yet. Numbers start at `first` (never 0, which the kernel sends when it has none) and
    /// go up by 2: two kinds of handles can be told apart.
    pub fn starting_at(first: u64) -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::new(HashMap::new())),
            next: AtomicU64::new(first),
        }
    }

    /// Gives a handle.
    pub fn insert(&self, open: T) -> Handle {
        let handle = self.next.fetch_add(2, Ordering::Relaxed);
        self.shard(handle).write().insert(handle, Arc::new(open));
        Handle(handle)
    }

    /// What is open under a handle; EBADF if nothing is.
    pub fn get(&self, handle: Handle) -> Result<Arc<T>> {
        self.shard(handle.0)
            .read()
            .get(&handle.0)
            .cloned()
            .ok_or(Error::BadHandle)
    }

    /// Closes a handle.
    pub fn remove(&self, handle: Handle) {
        let open = self.shard(handle.0).write().remove(&handle.0);
        drop(open);
    }

    fn shard(&self, handle: u64) -> &RwLock<HashMap<u64, Arc<T>>> {
        &self.shards[(handle / 2 % SHARDS as u64) as usize]
    }
}
