//! Set-id bits that go when somebody else changes a file (C7).
//!
//! The kernel says when (`FUSE_HANDLE_KILLPRIV_V2`): it knows the caller's capabilities. File capabilities
//! it removes itself, by removexattr; a change of the owner clears the bits below us as anywhere.

use super::FileSystem;
use super::raise::Need;
use crate::error::Result;
use crate::types::{Kind, NodeId};

impl FileSystem {
    /// Clears set-user-id, and set-group-id where the group may execute (without that it is the mark of
    /// mandatory locking), as `setattr_should_drop_suidgid` of the kernel does. True if there was one.
    ///
    /// # Errors
    /// Whatever a copy-up and a chmod meet.
    pub fn drop_set_id_bits(&self, node: NodeId) -> Result<bool> {
        let node = self.node(node)?;
        if node.kind != Kind::File {
            return Ok(false);
        }
        let mode = self.with_object(&node, |at| at.stat())?.st_mode & 0o7777;
        let mut drop = mode & libc::S_ISUID;
        if mode & libc::S_IXGRP != 0 {
            drop |= mode & libc::S_ISGID;
        }
        if drop == 0 {
            return Ok(false);
        }
        self.raise(&node, Need::Metadata)?;
        self.before_change(&node)?;
        self.with_upper(&node, |at| Ok(at.chmod(mode & !drop)?))?;
        self.touched(&node);
        Ok(true)
    }
}
