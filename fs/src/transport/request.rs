//! What the kernel can ask for, in our words.

use std::ffi::OsStr;

use super::abi::{ForgetOne, Opcode};
use crate::types::{Caller, Handle, NodeId, SetAttr};

/// Who asks, and about which node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// The number that the reply must carry.
    pub(super) unique: u64,
    /// What is asked for; `None` if we do not know the operation.
    pub(super) opcode: Option<Opcode>,
    /// The node: of requests with a name, the directory it is in.
    pub(super) node: NodeId,
    /// Who asks.
    pub(super) caller: Caller,
}

/// One request. Names are not checked (see `ops`), flags are the system call's.
#[derive(Debug, Clone, Copy)]
pub(super) enum Request<'a> {
    Lookup {
        name: &'a OsStr,
    },
    Forget {
        count: u64,
    },
    BatchForget {
        nodes: Batch<'a>,
    },
    Getattr {
        handle: Option<Handle>,
    },
    Setattr {
        handle: Option<Handle>,
        change: SetAttr,
        /// Drop set-id bits first.
        kill: bool,
        /// The kernel keeps the times of the file itself, and these are they.
        told: bool,
    },
    Readlink,
    Symlink {
        name: &'a OsStr,
        target: &'a OsStr,
    },
    Mknod {
        name: &'a OsStr,
        mode: u32,
        rdev: u64,
        umask: u32,
    },
    Mkdir {
        name: &'a OsStr,
        mode: u32,
        umask: u32,
    },
    Unlink {
        name: &'a OsStr,
    },
    Rmdir {
        name: &'a OsStr,
    },
    Rename {
        name: &'a OsStr,
        new_parent: NodeId,
        new_name: &'a OsStr,
        flags: u32,
    },
    /// The header's node is the directory of the new name.
    Link {
        node: NodeId,
        new_name: &'a OsStr,
    },
    Open {
        flags: i32,
    },
    Create {
        name: &'a OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
    },
    /// A file without a name, opened; the header's node is its directory.
    Tmpfile {
        mode: u32,
        umask: u32,
        flags: i32,
    },
    Read {
        handle: Handle,
        offset: u64,
        size: u32,
        /// The file was opened with `O_NOATIME`.
        noatime: bool,
    },
    Write {
        handle: Handle,
        offset: u64,
        data: &'a [u8],
        /// Drop set-id bits first.
        kill: bool,
        /// Pages that the kernel held back, and no call of a program.
        cached: bool,
    },
    /// A close of one of the descriptors of an open file.
    Flush,
    Release {
        handle: Handle,
    },
    Fsync {
        handle: Handle,
        data_only: bool,
    },
    Fallocate {
        handle: Handle,
        offset: u64,
        length: u64,
        mode: i32,
    },
    Lseek {
        handle: Handle,
        offset: i64,
        whence: i32,
    },
    CopyFileRange(CopyFileRange),
    Opendir,
    /// With `plus`, each entry comes with its attributes and counts as a lookup.
    Readdir {
        offset: u64,
        size: u32,
        plus: bool,
    },
    Releasedir,
    Fsyncdir {
        data_only: bool,
    },
    Statfs,
    Setxattr {
        name: &'a OsStr,
        value: &'a [u8],
        flags: i32,
    },
    Getxattr {
        name: &'a OsStr,
        size: u32,
    },
    Listxattr {
        size: u32,
    },
    Removexattr {
        name: &'a OsStr,
    },
    Ioctl {
        command: u32,
        input: &'a [u8],
        out_size: u32,
    },
    /// The sender of a request got a signal.
    Interrupt,
    /// The last message of all.
    Destroy,
}

/// Nodes and counts of a BATCH_FORGET, as they lie in the message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch<'a>(pub(super) &'a [[u8; size_of::<ForgetOne>()]]);

impl Batch<'_> {
    /// Each node with the lookups that it gives back.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, u64)> {
        self.0.iter().map(|bytes| {
            let one: ForgetOne = zerocopy::transmute!(*bytes);
            (NodeId(one.nodeid), one.nlookup)
        })
    }
}

/// Copying between two open files.
#[derive(Debug, Clone, Copy)]
pub(super) struct CopyFileRange {
    pub(super) from: Handle,
    pub(super) from_offset: u64,
    pub(super) to: Handle,
    pub(super) to_node: NodeId,
    pub(super) to_offset: u64,
    pub(super) length: u64,
    /// Whether the reply counts in 64 bits (COPY_FILE_RANGE_64).
    pub(super) wide: bool,
}
