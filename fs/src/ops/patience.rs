//! Which changes take long, so that a caller with other work to do may leave them to somebody else.
//!
//! Only guesses: whoever asks does the same thing either way, here or there.

use super::FileSystem;
use super::raise::METACOPY_MIN;
use crate::types::{Kind, Metacopy, NodeId};

/// Copying so many bytes takes about as long as waking another thread.
const COPIED_AT_ONCE: i64 = 128 << 10;

impl FileSystem {
    /// Whether changing this node may take long: much data to copy up, the other names of a
    /// hard-linked file to find, or a copy-up that somebody has under way. With `data` the data is to
    /// change, else the metadata.
    pub fn is_slow_to_change(&self, node: NodeId, data: bool) -> bool {
        let Some(node) = self.table.get(node) else {
            return false;
        };
        if node.kind != Kind::File {
            return false;
        }
        if node.copying.is_locked() {
            return true;
        }
        let Some(state) = node.state.try_read() else {
            return true;
        };
        let Some(lower) = state.data_in_layer() else {
            return false;
        };
        let raised = state.upper().is_some();
        if raised && !data {
            return false;
        }
        let Ok(stat) = lower.stat() else {
            return false;
        };
        let metadata_only = !data && self.metacopy != Metacopy::Off && stat.st_size >= METACOPY_MIN;
        let names_to_find = !raised && stat.st_nlink > 1;
        names_to_find || stat.st_size > COPIED_AT_ONCE && !metadata_only
    }
}
