//! Data of files that the kernel reads and writes without having opened them here.
//!
//! A kernel that was told that OPEN is not needed sends neither OPEN nor RELEASE, and requests name the
//! node alone. The fds of the nodes asked last are kept. They must go with the node (its disk space would
//! stay taken otherwise), and nothing here keeps a node: the table counts who does.

use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};

use lru::LruCache;

use super::handles::Source;
use super::node::Node;
use crate::sys::lock::Mutex;
use crate::types::NodeId;

const SHARDS: usize = 16;
/// Fds kept in a shard: 4096 in all, so a quarter of what 16 384 allowed fds are.
const PER_SHARD: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// The fds; see the module.
#[derive(Debug)]
pub struct Unopened {
    shards: [Mutex<LruCache<NodeId, Kept>>; SHARDS],
}

#[derive(Debug)]
struct Kept {
    /// Whose data it is: an id may come again for a node made anew.
    node: Weak<Node>,
    source: Source,
}

impl Default for Unopened {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::new(LruCache::new(PER_SHARD))),
        }
    }
}

impl Unopened {
    /// The fd of a node's data, if it is kept and the data did not move.
    pub fn get(&self, node: &Arc<Node>) -> Option<Source> {
        let mut shard = self.shard(node.id).lock();
        let kept = shard.get(&node.id)?;
        let same = Weak::as_ptr(&kept.node) == Arc::as_ptr(node);
        (same && kept.source.epoch == node.epoch()).then(|| kept.source.clone())
    }

    /// Keeps an fd of a node's data, in place of the one before.
    pub fn keep(&self, node: &Arc<Node>, source: Source) {
        let kept = Kept {
            node: Arc::downgrade(node),
            source,
        };
        // What falls out is closed after the lock is released.
        let old = self.shard(node.id).lock().push(node.id, kept);
        drop(old);
    }

    /// Closes the fd of a node that the kernel does not know any more.
    pub fn forget(&self, node: NodeId) {
        let old = self.shard(node).lock().pop(&node);
        drop(old);
    }

    fn shard(&self, node: NodeId) -> &Mutex<LruCache<NodeId, Kept>> {
        &self.shards[(node.0 % SHARDS as u64) as usize]
    }
}
