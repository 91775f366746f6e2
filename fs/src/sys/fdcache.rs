//! A bounded cache of directory fds.
//!
//! Directories are known by the thousand, fds are not: each directory has an [`FdKey`], and its fd is
//! opened again when it was dropped for another. Sixteen shards, each a small LRU under its own lock.

use std::fmt;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::lock::Mutex;
use lru::LruCache;
use rustix::process::{Resource, getrlimit};

const SHARDS: usize = 16;

/// Fds we leave to open files and to whatever embeds us.
const SHARE: u64 = 4;

/// The cache; see the module.
pub struct FdCache {
    shards: [Mutex<LruCache<u64, Arc<OwnedFd>>>; SHARDS],
    next: AtomicU64,
}

/// What a directory is known by in the cache; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FdKey(u64);

impl FdCache {
    /// A cache that holds at most a quarter of the fds this process may have.
    pub fn new() -> Self {
        let limit = getrlimit(Resource::Nofile)
            .current
            .unwrap_or(1 << 20)
            .min(1 << 20);
        let per_shard = usize::try_from(limit / SHARE).unwrap_or(256) / SHARDS;
        let size = NonZeroUsize::new(per_shard).unwrap_or(NonZeroUsize::MIN);
        Self {
            shards: std::array::from_fn(|_| Mutex::new(LruCache::new(size))),
            next: AtomicU64::new(0),
        }
    }

    /// A new key.
    pub fn key(&self) -> FdKey {
        FdKey(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The fd of `key`, opened by `open` if it is not held. No lock is held during `open`: two
    /// threads may open the same directory, and the later fd is kept.
    pub fn get<E>(
        &self,
        key: FdKey,
        open: impl FnOnce() -> Result<OwnedFd, E>,
    ) -> Result<Arc<OwnedFd>, E> {
        if let Some(fd) = self.shard(key).lock().get(&key.0) {
            return Ok(fd.clone());
        }
        let fd = Arc::new(open()?);
        // What falls out is closed after the lock is released.
        let old = self.shard(key).lock().push(key.0, fd.clone());
        drop(old);
        Ok(fd)
    }

    /// Keeps a fd that somebody opened already.
    pub fn keep(&self, key: FdKey, fd: Arc<OwnedFd>) {
        let old = self.shard(key).lock().push(key.0, fd);
        drop(old);
    }

    /// Lets go of a directory that is no more.
    pub fn forget(&self, key: FdKey) {
        let old = self.shard(key).lock().pop(&key.0);
        drop(old);
    }

    fn shard(&self, key: FdKey) -> &Mutex<LruCache<u64, Arc<OwnedFd>>> {
        &self.shards[(key.0 % SHARDS as u64) as usize]
    }
}

impl Default for FdCache {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FdCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FdCache").finish_non_exhaustive()
    }
}
