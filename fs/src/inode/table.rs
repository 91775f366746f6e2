//! Nodes by nodeid, and how often the kernel has each.
//!
//! A node stays while the kernel counts lookups of it, or anything of ours holds it (a child's link, an
//! open handle, a running operation). What the kernel let go of while we still held it lingers, and is
//! looked at again with the next forgets.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::node::Node;
use crate::sys::lock::Mutex;
use crate::types::NodeId;

const SHARDS: usize = 64;
/// How many lingering nodes one forget looks at.
const SWEEP: usize = 4;

/// The table; see the module.
#[derive(Debug)]
pub struct Table {
    shards: [Mutex<HashMap<NodeId, Slot>>; SHARDS],
    lingering: Mutex<VecDeque<NodeId>>,
}

#[derive(Debug)]
struct Slot {
    node: Arc<Node>,
    lookups: u64,
    /// Whether it stands in the queue of lingering ones.
    lingers: bool,
}

impl Table {
    /// A table with the root in it.
    pub fn new(root: Node) -> Self {
        let table = Self {
            shards: std::array::from_fn(|_| Mutex::new(HashMap::new())),
            lingering: Mutex::new(VecDeque::new()),
        };
        table.insert(root.id, || root);
        table
    }

    /// The node of that id.
    pub fn get(&self, id: NodeId) -> Option<Arc<Node>> {
        self.shard(id).lock().get(&id).map(|slot| slot.node.clone())
    }

    /// The node of that id, made now if there was none.
    pub fn insert(&self, id: NodeId, make: impl FnOnce() -> Node) -> Arc<Node> {
        let mut shard = self.shard(id).lock();
        let slot = shard.entry(id).or_insert_with(|| Slot {
            node: Arc::new(make()),
            lookups: 0,
            lingers: false,
        });
        slot.node.clone()
    }

    /// Counts one lookup that is about to be told to the kernel.
    pub fn count(&self, id: NodeId) {
        if let Some(slot) = self.shard(id).lock().get_mut(&id) {
            slot.lookups += 1;
        }
    }

    /// Takes back `count` lookups, and lets the node go if nothing holds it. Gives whether the kernel
    /// does not know it any more.
    pub fn forget(&self, id: NodeId, count: u64) -> bool {
        let mut gone = Vec::new();
        let mut unknown = true;
        {
            let mut shard = self.shard(id).lock();
            if let Some(slot) = shard.get_mut(&id) {
                slot.lookups = slot.lookups.saturating_sub(count);
                unknown = slot.lookups == 0;
            }
        }
        self.release(id, &mut gone);
        let old: Vec<_> = {
            let mut lingering = self.lingering.lock();
            let some = lingering.len().min(SWEEP);
            lingering.drain(..some).collect()
        };
        for id in old {
            if let Some(slot) = self.shard(id).lock().get_mut(&id) {
                slot.lingers = false;
            }
            self.release(id, &mut gone);
        }
        // Dropping a node drops its links: its parents may be free now.
        while let Some(node) = gone.pop() {
            let parents: Vec<_> = node
                .state
                .read()
                .links
                .iter()
                .map(|link| link.parent.id)
                .collect();
            drop(node);
            for parent in parents {
                self.release(parent, &mut gone);
            }
        }
        unknown
    }

    /// How many nodes are known.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether none is known (never: the root is).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a node out if the kernel has let go of it and nothing else holds it. Nobody can get hold of
    /// it meanwhile: new holders come through the table, whose shard is locked.
    fn release(&self, id: NodeId, gone: &mut Vec<Arc<Node>>) {
        if id == NodeId::ROOT {
            return;
        }
        let mut shard = self.shard(id).lock();
        let Some(slot) = shard.get_mut(&id) else {
            return;
        };
        if slot.lookups > 0 {
            return;
        }
        if Arc::strong_count(&slot.node) == 1 {
            gone.extend(shard.remove(&id).map(|slot| slot.node));
        } else if !std::mem::replace(&mut slot.lingers, true) {
            drop(shard);
            self.lingering.lock().push_back(id);
        }
    }

    fn shard(&self, id: NodeId) -> &Mutex<HashMap<NodeId, Slot>> {
        &self.shards[(id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize % SHARDS]
    }
}
