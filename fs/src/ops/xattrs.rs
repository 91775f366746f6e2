//! Extended attributes and ACLs (A3, R5).

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::XattrFlags;

use super::FileSystem;
use super::raise::Need;
use crate::error::{Error, Result};
use crate::inode::Node;
use crate::marks::Attributes;
use crate::sys::at::xattr_names;
use crate::types::{Caller, NodeId, SetXattrMode};
use crate::union::birth::{ACL_ACCESS, ACL_DEFAULT};
use crate::union::xattrs::{to_disk, to_merged};

impl FileSystem {
    /// The value of an attribute; ENODATA if there is none.
    pub fn getxattr(&self, node: NodeId, name: &OsStr) -> Result<Vec<u8>> {
        let node = self.node(node)?;
        let name = to_disk(name.as_bytes()).ok_or(Error::Invalid)?;
        self.with_object(&node, |at| at.get_xattr(&name))
    }

    /// The names of all attributes that are the user's, each closed by a NUL.
    pub fn listxattr(&self, node: NodeId) -> Result<Vec<u8>> {
        let node = self.node(node)?;
        let names = self.with_object(&node, |at| at.list_xattrs())?;
        let mut shown = Vec::with_capacity(names.len());
        for name in xattr_names(&names).filter_map(to_merged) {
            shown.extend_from_slice(&name);
            shown.push(0);
        }
        Ok(shown)
    }

    /// Sets an attribute; EEXIST or ENODATA as `mode` says.
    pub fn setxattr(
        &self,
        caller: &Caller,
        node: NodeId,
        name: &OsStr,
        value: &[u8],
        mode: SetXattrMode,
    ) -> Result<()> {
        let node = self.node(node)?;
        self.upper()?;
        let disk = to_disk(name.as_bytes()).ok_or(Error::Invalid)?;
        let flags = match mode {
            SetXattrMode::Any => XattrFlags::empty(),
            SetXattrMode::Create => XattrFlags::CREATE,
            SetXattrMode::Replace => XattrFlags::REPLACE,
        };
        self.raise(&node, Need::Metadata)?;
        self.before_change(&node)?;
        self.with_upper(&node, |at| Ok(at.set_xattr(&disk, value, flags)?))?;
        if disk.as_c_str() == ACL_ACCESS {
            self.drop_set_group_id(caller, &node)?;
        }
        forget_acl(&node);
        self.touched(&node);
        Ok(())
    }

    /// Removes an attribute; ENODATA if there is none, and then nothing is copied up. An ACL that is
    /// not there is removed with success, as on any other file system.
    pub fn removexattr(&self, node: NodeId, name: &OsStr) -> Result<()> {
        let node = self.node(node)?;
        self.upper()?;
        let name = to_disk(name.as_bytes()).ok_or(Error::Invalid)?;
        match self.with_object(&node, |at| at.get_xattr(&name)) {
            Err(Error::NoAttribute) if is_acl(name.as_c_str()) => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        self.raise(&node, Need::Metadata)?;
        self.before_change(&node)?;
        self.with_upper(&node, |at| Ok(at.remove_xattr(&name)?))?;
        forget_acl(&node);
        self.touched(&node);
        Ok(())
    }

    /// An ACL set by somebody outside the file's group takes its set-group-id bit, as
    /// posix_acl_update_mode does it (C7). Root keeps it, as CAP_FSETID would.
    fn drop_set_group_id(&self, caller: &Caller, node: &Node) -> Result<()> {
        if caller.uid == 0 {
            return Ok(());
        }
        self.with_upper(node, |at| {
            let stat = at.stat()?;
            let outside = stat.st_gid != caller.gid && !in_groups(caller.pid, stat.st_gid);
            if stat.st_mode & libc::S_ISGID != 0 && outside {
                at.chmod(stat.st_mode & 0o7777 & !libc::S_ISGID)?;
            }
            Ok(())
        })
    }
}

fn is_acl(name: &CStr) -> bool {
    [ACL_ACCESS, ACL_DEFAULT].contains(&name)
}

/// The directory's ACL may have changed: whoever makes a child looks again.
fn forget_acl(node: &Node) {
    if let Some(directory) = &node.directory {
        *directory.passes_acl.lock() = None;
    }
}

/// Whether a process has `gid` among its supplementary groups; no if it is gone.
fn in_groups(pid: u32, gid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let groups = status
        .lines()
        .find_map(|line| line.strip_prefix("Groups:"))
        .unwrap_or_default();
    groups
        .split_whitespace()
        .any(|group| group.parse() == Ok(gid))
}
