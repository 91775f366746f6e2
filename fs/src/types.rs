//! The plain data that operations take and give: ids, attributes, changes. No behaviour, no I/O.

use std::ffi::OsStr;
use std::path::PathBuf;

/// The kernel's handle for an inode of ours. [`NodeId::ROOT`] is the root of the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The root directory's nodeid (`FUSE_ROOT_ID`).
    pub const ROOT: Self = Self(1);
}

/// An open file, as given by `open` and `create`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

impl Handle {
    /// What a request carries whose file was never opened; no open file has it.
    pub const NONE: Self = Self(0);
}

/// The file that a request reads, writes or syncs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// One that was opened, and is until its handle is released.
    Handle(Handle),
    /// One that nobody told us of opening. The caller has checked that it may be read, or written.
    Node {
        /// The file.
        node: NodeId,
        /// Reading leaves the access time alone.
        noatime: bool,
    },
}

impl From<Handle> for Opened {
    fn from(handle: Handle) -> Self {
        Self::Handle(handle)
    }
}

/// Who asks. Ids are as the mount sees them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caller {
    /// File system user id.
    pub uid: u32,
    /// File system group id.
    pub gid: u32,
    /// Process (thread) id, 0 when the kernel asks for itself.
    pub pid: u32,
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
}

/// A point in time: seconds since the epoch (may be negative) and nanoseconds below 10^9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Time {
    /// Seconds since 1970-01-01 UTC.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999 999 999.
    pub nanos: u32,
}

/// Attributes of an object, as `stat` tells them. The mount's st_dev is the kernel's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// st_ino: unique and constant (contract I1).
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// Number of names; of directories 2 + subdirectories (contract D3).
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, as `st_rdev` (`makedev` form).
    pub rdev: u64,
    /// Size in bytes.
    pub size: u64,
    /// Blocks of 512 bytes.
    pub blocks: u64,
    /// Preferred I/O size in bytes.
    pub blksize: u32,
    /// Last access.
    pub atime: Time,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of the inode.
    pub ctime: Time,
}

/// What a lookup gives: the node and its attributes. Each one given counts as one lookup, to be
/// taken back by `forget`.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The node.
    pub node: NodeId,
    /// Its attributes.
    pub attr: Attr,
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// The current time, taken by the file system below (`UTIME_NOW`).
    Now,
    /// This time.
    At(Time),
}

/// What `setattr` shall change; `None` leaves a field alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct SetAttr {
    /// Permission bits, 0 to 0o7777.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes (truncate or extend).
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<SetTime>,
    /// Last change of the content.
    pub mtime: Option<SetTime>,
}

/// How `rename` treats the target (renameat2(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RenameMode {
    /// Replace it.
    #[default]
    Replace,
    /// Fail with [`crate::error::Error::Exists`] if it is there.
    NoReplace,
    /// Swap the two.
    Exchange,
}

/// How `setxattr` treats an attribute that is there or is not (setxattr(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SetXattrMode {
    /// Create or replace.
    #[default]
    Any,
    /// It must not exist.
    Create,
    /// It must exist.
    Replace,
}

/// One name of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// Its name; `.` and `..` included.
    pub name: &'a OsStr,
    /// What it is.
    pub kind: Kind,
    /// d_ino, equal to st_ino.
    pub ino: u64,
    /// The cookie with which a later call goes on *after* this entry; at most 2^63 - 1.
    pub next: u64,
}

/// Figures of a file system (statvfs(3)); sizes in blocks of `fragment` bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct StatFs {
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// Free blocks for unprivileged users.
    pub available: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// Preferred block size in bytes.
    pub block_size: u32,
    /// Fragment size in bytes.
    pub fragment: u32,
    /// Longest name in bytes.
    pub name_max: u32,
}

/// `struct fsxattr` of `FS_IOC_FSGETXATTR` (linux/fs.h).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProjectAttr {
    /// `fsx_xflags`.
    pub xflags: u32,
    /// `fsx_extsize`, bytes.
    pub extsize: u32,
    /// `fsx_nextents`.
    pub nextents: u32,
    /// `fsx_projid`.
    pub projid: u32,
    /// `fsx_cowextsize`, bytes.
    pub cowextsize: u32,
}

/// A place that `lseek` can look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// The next byte that is data (`SEEK_DATA`).
    Data,
    /// The next hole or the end (`SEEK_HOLE`).
    Hole,
}

/// The writable side of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpperConfig {
    /// The writable diff.
    pub upper: PathBuf,
    /// Scratch beside it, on the same file system.
    pub work: PathBuf,
}

/// What to mount and how; see [`crate::ops::FileSystem::open`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Read-only layers, topmost first; at least one.
    pub lowers: Vec<PathBuf>,
    /// The writable diff; without it the file system is read-only.
    pub upper: Option<UpperConfig>,
    /// Refuse every change though an upper is there (it is read as the topmost layer).
    pub read_only: bool,
    /// Never sync; leave a marker that refuses a mount after a crash (contract F3).
    pub volatile: bool,
    /// Follow `overlay.redirect` found in lower layers (`-o redirect_dir=on|follow`).
    pub trust_redirect: bool,
    /// Write metadata-only copies of large files, and follow `overlay.metacopy` of lower layers if
    /// `Follow` (`-o metacopy=`).
    pub metacopy: Metacopy,
    /// Reading leaves access times alone.
    pub noatime: bool,
}

/// What to do with metadata-only copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Metacopy {
    /// Never write one, refuse those of lower layers: any overlayfs reads the upper.
    Off,
    /// Write them in the upper, refuse those of lower layers.
    #[default]
    Upper,
    /// Write them, and follow those of lower layers too: the layers are trusted.
    Follow,
}
