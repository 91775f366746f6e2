//! What the kernel asks of a file system, object by object.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::operations::Create;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    /// A character device of that number.
    Device(u64),
}

/// What stat(2) tells; the mode has permission bits only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Attr {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub nlink: u64,
    pub mtime: (i64, i64),
}

/// A name in a directory.
pub type Place<'a, N> = (N, &'a OsStr);

/// Extended attributes, ACLs among them.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// A file system under the kernel. The kernel has checked what it checks itself: that names of which
/// something is to be made are free, that what is removed is of the right kind, that no directory
/// gets below itself.
#[allow(missing_docs)] // the system calls say it
pub trait Below {
    /// How an object is named to the file system.
    type Node: Copy + Eq + Debug;

    fn root(&self) -> Self::Node;
    fn lookup(&mut self, at: Place<'_, Self::Node>) -> Result<Self::Node, Errno>;
    fn attr(&mut self, node: Self::Node) -> Result<Attr, Errno>;
    fn target(&mut self, node: Self::Node) -> Result<PathBuf, Errno>;
    /// Names in a directory, with the dots.
    fn names(&mut self, directory: Self::Node) -> Result<Vec<OsString>, Errno>;

    fn make(&mut self, at: Place<'_, Self::Node>, kind: Kind, mode: u32) -> Result<(), Errno>;
    fn symlink(&mut self, at: Place<'_, Self::Node>, target: &Path) -> Result<(), Errno>;
    /// A file without a name, as in that directory.
    fn unnamed(&mut self, directory: Self::Node, mode: u32) -> Result<Self::Node, Errno>;
    fn link(&mut self, node: Self::Node, at: Place<'_, Self::Node>) -> Result<(), Errno>;
    fn unlink(&mut self, at: Place<'_, Self::Node>) -> Result<(), Errno>;
    /// ENOTEMPTY is for the file system to say, here and where one directory replaces another.
    fn rmdir(&mut self, at: Place<'_, Self::Node>) -> Result<(), Errno>;
    fn rename(
        &mut self,
        from: Place<'_, Self::Node>,
        to: Place<'_, Self::Node>,
        exchange: bool,
    ) -> Result<(), Errno>;

    /// Up to `length` bytes.
    fn read(&mut self, node: Self::Node, offset: u64, length: usize) -> Result<Vec<u8>, Errno>;
    fn write(&mut self, node: Self::Node, offset: u64, data: &[u8]) -> Result<(), Errno>;
    fn resize(&mut self, node: Self::Node, size: u64) -> Result<(), Errno>;
    /// Makes a hole, the size stays.
    fn punch(&mut self, node: Self::Node, offset: u64, length: u64) -> Result<(), Errno>;
    /// Room up to there, the size grows.
    fn extend(&mut self, node: Self::Node, offset: u64, length: u64) -> Result<(), Errno>;

    fn chmod(&mut self, node: Self::Node, mode: u32) -> Result<(), Errno>;
    fn chown(&mut self, node: Self::Node, uid: u32, gid: u32) -> Result<(), Errno>;
    fn set_mtime(&mut self, node: Self::Node, time: (i64, i64)) -> Result<(), Errno>;
    fn xattrs(&mut self, node: Self::Node) -> Result<Xattrs, Errno>;
    fn set_xattr(
        &mut self,
        node: Self::Node,
        name: &str,
        value: &[u8],
        how: Create,
    ) -> Result<(), Errno>;
    fn remove_xattr(&mut self, node: Self::Node, name: &str) -> Result<(), Errno>;
}
