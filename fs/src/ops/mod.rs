//! The operations: STUB with the final signatures; the real ones are being written.
#![allow(unused_variables, missing_docs, clippy::too_many_arguments)]

use std::ffi::{OsStr, OsString};

use crate::error::{Error, OpenError, Result};
use crate::types::*;

/// A union, opened and ready to serve.
#[derive(Debug)]
pub struct FileSystem {}

impl FileSystem {
    /// Opens the layers, takes the upper's locks, recovers what a crash left.
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        Err(OpenError::NoLower)
    }

    /// Syncs the upper and removes the volatile marker: the clean end.
    pub fn close(&self) -> Result<()> {
        Ok(())
    }

    /// Takes back `count` lookups of `node`.
    pub fn forget(&self, node: NodeId, count: u64) {}

    pub fn lookup(&self, parent: NodeId, name: &OsStr) -> Result<Entry> {
        Err(Error::Unsupported)
    }

    pub fn getattr(&self, node: NodeId, handle: Option<Handle>) -> Result<Attr> {
        Err(Error::Unsupported)
    }

    pub fn setattr(&self, node: NodeId, handle: Option<Handle>, change: &SetAttr) -> Result<Attr> {
        Err(Error::Unsupported)
    }

    pub fn readlink(&self, node: NodeId) -> Result<OsString> {
        Err(Error::Unsupported)
    }

    pub fn mknod(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u64,
    ) -> Result<Entry> {
        Err(Error::Unsupported)
    }

    pub fn mkdir(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        umask: u32,
    ) -> Result<Entry> {
        Err(Error::Unsupported)
    }

    pub fn symlink(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &OsStr,
        target: &OsStr,
    ) -> Result<Entry> {
        Err(Error::Unsupported)
    }

    pub fn unlink(&self, parent: NodeId, name: &OsStr) -> Result<()> {
        Err(Error::Unsupported)
    }

    pub fn rmdir(&self, parent: NodeId, name: &OsStr) -> Result<()> {
        Err(Error::Unsupported)
    }

    pub fn rename(
        &self,
        parent: NodeId,
        name: &OsStr,
        new_parent: NodeId,
        new_name: &OsStr,
        mode: RenameMode,
    ) -> Result<()> {
        Err(Error::Unsupported)
    }

    pub fn link(&self, node: NodeId, new_parent: NodeId, new_name: &OsStr) -> Result<Entry> {
        Err(Error::Unsupported)
    }

    pub fn open_file(&self, node: NodeId, flags: i32) -> Result<Handle> {
        Err(Error::Unsupported)
    }

    pub fn create(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
    ) -> Result<(Entry, Handle)> {
        Err(Error::Unsupported)
    }

    pub fn read(&self, handle: Handle, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        Err(Error::Unsupported)
    }

    pub fn write(&self, handle: Handle, offset: u64, data: &[u8]) -> Result<usize> {
        Err(Error::Unsupported)
    }

    pub fn flush(&self, handle: Handle) -> Result<()> {
        Err(Error::Unsupported)
    }

    pub fn release(&self, handle: Handle) {}

    pub fn fsync(&self, handle: Handle, data_only: bool) -> Result<()> {
        Err(Error::Unsupported)
    }

    pub fn opendir(&self, node: NodeId) -> Result<Handle> {
        Err(Error::Unsupported)
    }

    pub fn readdir(
        &self,
        handle: Handle,
        offset: u64,
        take: &mut dyn FnMut(&DirEntry) -> bool,
    ) -> Result<()> {
        Err(Error::Unsupported)
    }

    pub fn readdirplus(
        &self,
        handle: Handle,
        offset: u64,
        take: &mut dyn FnMut(&DirEntry, &Entry) -> bool,
    ) -> Result<()> {
        Err(Error::Unsupported)
    }

    pub fn releasedir(&self, handle: Handle) {}

    pub fn fsyncdir(&self, handle: Handle, data_only: bool) -> Result<()> {
        Err(Error::Unsupported)
    }

    pub fn statfs(&self) -> Result<StatFs> {
        Err(Error::Unsupported)
    }

    pub fn getxattr(&self, node: NodeId, name: &OsStr) -> Result<Vec<u8>> {
        Err(Error::Unsupported)
    }

    pub fn listxattr(&self, node: NodeId) -> Result<Vec<u8>> {
        Err(Error::Unsupported)
    }

    pub fn setxattr(
        &self,
        caller: &Caller,
        node: NodeId,
        name: &OsStr,
        value: &[u8],
        mode: SetXattrMode,
    ) -> Result<()> {
        Err(Error::Unsupported)
    }

    pub fn removexattr(&self, node: NodeId, name: &OsStr) -> Result<()> {
        Err(Error::Unsupported)
    }

    pub fn fallocate(&self, handle: Handle, offset: u64, length: u64, mode: i32) -> Result<()> {
        Err(Error::Unsupported)
    }

    pub fn seek(&self, handle: Handle, offset: u64, what: Seek) -> Result<u64> {
        Err(Error::Unsupported)
    }

    pub fn copy_file_range(
        &self,
        from: Handle,
        from_offset: u64,
        to: Handle,
        to_offset: u64,
        length: u64,
    ) -> Result<usize> {
        Err(Error::Unsupported)
    }

    pub fn inode_flags(&self, handle: Handle) -> Result<u32> {
        Err(Error::Unsupported)
    }

    pub fn set_inode_flags(&self, handle: Handle, flags: u32) -> Result<()> {
        Err(Error::Unsupported)
    }

    pub fn project_attr(&self, handle: Handle) -> Result<ProjectAttr> {
        Err(Error::Unsupported)
    }

    pub fn set_project_attr(&self, handle: Handle, attr: &ProjectAttr) -> Result<()> {
        Err(Error::Unsupported)
    }
}
