//! The kernel's structs and numbers: include/uapi/linux/fuse.h, protocol 7.45 (Linux 6.18).
//!
//! ```text
//!   message   InHeader | the operation's own struct (…In) | names, data
//!   reply     OutHeader | the operation's own struct (…Out) | data
//! ```
//!
//! Field names are the header's. Nothing here is decided; [`super::decode`] and [`super::encode`]
//! turn it into our words and back.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `FUSE_KERNEL_VERSION`.
pub(super) const MAJOR: u32 = 7;
/// The newest minor version whose messages we know. The kernel talks the lower of both.
pub(super) const MINOR: u32 = 45;
/// The oldest that has all we rely on without asking (`FUSE_RENAME2`, `FUSE_LSEEK`): Linux 4.5.
pub(super) const MINOR_MIN: u32 = 24;

/// Declares the operations: the number of `enum fuse_opcode`, and the name for logs and statistics.
macro_rules! operations {
    ($($name:ident = $number:literal $text:literal,)*) => {
        /// What a message asks for, of what we answer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Opcode { $($name = $number,)* }

        impl Opcode {
            /// The operation of that number; `None` for those that we do not have.
            pub(super) fn of(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name, in small letters.
            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

operations! {
    Lookup = 1 "lookup",
    Forget = 2 "forget",
    Getattr = 3 "getattr",
    Setattr = 4 "setattr",
    Readlink = 5 "readlink",
    Symlink = 6 "symlink",
    Mknod = 8 "mknod",
    Mkdir = 9 "mkdir",
    Unlink = 10 "unlink",
    Rmdir = 11 "rmdir",
    Rename = 12 "rename",
    Link = 13 "link",
    Open = 14 "open",
    Read = 15 "read",
    Write = 16 "write",
    Statfs = 17 "statfs",
    Release = 18 "release",
    Fsync = 20 "fsync",
    Setxattr = 21 "setxattr",
    Getxattr = 22 "getxattr",
    Listxattr = 23 "listxattr",
    Removexattr = 24 "removexattr",
    Flush = 25 "flush",
    Init = 26 "init",
    Opendir = 27 "opendir",
    Readdir = 28 "readdir",
    Releasedir = 29 "releasedir",
    Fsyncdir = 30 "fsyncdir",
    Create = 35 "create",
    Interrupt = 36 "interrupt",
    Destroy = 38 "destroy",
    Ioctl = 39 "ioctl",
    BatchForget = 42 "batch_forget",
    Fallocate = 43 "fallocate",
    Readdirplus = 44 "readdirplus",
    Rename2 = 45 "rename2",
    Lseek = 46 "lseek",
    CopyFileRange = 47 "copy_file_range",
    Tmpfile = 51 "tmpfile",
    CopyFileRange64 = 53 "copy_file_range_64",
}

/// Declares groups of numbers of one type.
macro_rules! numbers {
    ($($(#[$doc:meta])* $module:ident: $type:ty { $($name:ident = $value:expr,)* })*) => {$(
        $(#[$doc])*
        pub(super) mod $module {
            $(pub(in crate::transport) const $name: $type = $value;)*
        }
    )*};
}

numbers! {
    /// INIT flags: `flags` in the low half, `flags2` in the high one.
    init: u64 {
        ASYNC_READ = 1 << 0,
        BIG_WRITES = 1 << 5,
        DONT_MASK = 1 << 6,
        AUTO_INVAL_DATA = 1 << 12,
        DO_READDIRPLUS = 1 << 13,
        READDIRPLUS_AUTO = 1 << 14,
        WRITEBACK_CACHE = 1 << 16,
        NO_OPEN_SUPPORT = 1 << 17,
        PARALLEL_DIROPS = 1 << 18,
        POSIX_ACL = 1 << 20,
        MAX_PAGES = 1 << 22,
        CACHE_SYMLINKS = 1 << 23,
        NO_OPENDIR_SUPPORT = 1 << 24,
        HANDLE_KILLPRIV_V2 = 1 << 28,
        INIT_EXT = 1 << 30,
        OVER_IO_URING = 1 << 41,
    }
    /// `fuse_setattr_in.valid`.
    fattr: u32 {
        MODE = 1 << 0,
        UID = 1 << 1,
        GID = 1 << 2,
        SIZE = 1 << 3,
        ATIME = 1 << 4,
        MTIME = 1 << 5,
        FH = 1 << 6,
        ATIME_NOW = 1 << 7,
        MTIME_NOW = 1 << 8,
        CTIME = 1 << 10,
        KILL_SUIDGID = 1 << 11,
    }
    /// `fuse_open_out.open_flags`.
    fopen: u32 {
        KEEP_CACHE = 1 << 1,
        CACHE_DIR = 1 << 3,
        NOFLUSH = 1 << 5,
    }
    /// Flags that are alone in their field.
    flag: u32 {
        GETATTR_FH = 1 << 0,
        FSYNC_FDATASYNC = 1 << 0,
        WRITE_CACHE = 1 << 0,
        WRITE_KILL_SUIDGID = 1 << 2,
        // Only for character devices (CUSE).
        IOCTL_UNRESTRICTED = 1 << 1,
    }
    /// `enum fuse_notify_code`: messages that answer nothing.
    notify: i32 {
        INVAL_INODE = 2,
    }
    /// `enum fuse_uring_cmd`: commands on a ring.
    ring: u32 {
        REGISTER = 1,
        COMMIT_AND_FETCH = 2,
    }
}

/// Declares structs as the header has them: no padding that is not named (the derive of `IntoBytes`
/// refuses it), every bit pattern valid.
macro_rules! wire {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $type,)* }
    )*};
}

wire! {
    /// `fuse_in_header`: begins every message.
    InHeader {
        len: u32, opcode: u32, unique: u64, nodeid: u64, uid: u32, gid: u32, pid: u32,
        total_extlen: u16, padding: u16,
    }
    /// `fuse_out_header`: begins every reply; `error` is 0 or a negative errno.
    OutHeader { len: u32, error: i32, unique: u64, }
    /// `fuse_init_in`, as far as every kernel since 2.6.13 sends it.
    InitIn { major: u32, minor: u32, max_readahead: u32, flags: u32, }
    /// What newer kernels add to it (`FUSE_INIT_EXT`).
    InitInExt { flags2: u32, unused: [u32; 11], }
    /// `fuse_init_out`.
    InitOut {
        major: u32, minor: u32, max_readahead: u32, flags: u32,
        max_background: u16, congestion_threshold: u16, max_write: u32, time_gran: u32,
        max_pages: u16, map_alignment: u16, flags2: u32, max_stack_depth: u32,
        request_timeout: u16, unused: [u16; 11],
    }
    /// `fuse_attr`.
    Attr {
        ino: u64, size: u64, blocks: u64, atime: u64, mtime: u64, ctime: u64,
        atimensec: u32, mtimensec: u32, ctimensec: u32, mode: u32, nlink: u32, uid: u32, gid: u32,
        rdev: u32, blksize: u32, flags: u32,
    }
    /// `fuse_entry_out`.
    EntryOut {
        nodeid: u64, generation: u64, entry_valid: u64, attr_valid: u64,
        entry_valid_nsec: u32, attr_valid_nsec: u32, attr: Attr,
    }
    /// `fuse_attr_out`.
    AttrOut { attr_valid: u64, attr_valid_nsec: u32, dummy: u32, attr: Attr, }
    /// `fuse_forget_in`.
    ForgetIn { nlookup: u64, }
    /// `fuse_batch_forget_in`; `count` times [`ForgetOne`] follow.
    BatchForgetIn { count: u32, dummy: u32, }
    /// `fuse_forget_one`.
    ForgetOne { nodeid: u64, nlookup: u64, }
    /// `fuse_getattr_in`.
    GetattrIn { getattr_flags: u32, dummy: u32, fh: u64, }
    /// `fuse_setattr_in`.
    SetattrIn {
        valid: u32, padding: u32, fh: u64, size: u64, lock_owner: u64,
        atime: u64, mtime: u64, ctime: u64, atimensec: u32, mtimensec: u32, ctimensec: u32,
        mode: u32, unused4: u32, uid: u32, gid: u32, unused5: u32,
    }
    /// `fuse_mknod_in`; the name follows.
    MknodIn { mode: u32, rdev: u32, umask: u32, padding: u32, }
    /// `fuse_mkdir_in`; the name follows.
    MkdirIn { mode: u32, umask: u32, }
    /// `fuse_rename_in`; both names follow.
    RenameIn { newdir: u64, }
    /// `fuse_rename2_in`; both names follow.
    Rename2In { newdir: u64, flags: u32, padding: u32, }
    /// `fuse_link_in`; the new name follows.
    LinkIn { oldnodeid: u64, }
    /// `fuse_open_in`.
    OpenIn { flags: u32, open_flags: u32, }
    /// `fuse_create_in`, of CREATE and TMPFILE; the name follows.
    CreateIn { flags: u32, mode: u32, umask: u32, open_flags: u32, }
    /// `fuse_open_out`.
    OpenOut { fh: u64, open_flags: u32, backing_id: i32, }
    /// `fuse_release_in`.
    ReleaseIn { fh: u64, flags: u32, release_flags: u32, lock_owner: u64, }
    /// `fuse_read_in`, of READ, READDIR and READDIRPLUS.
    ReadIn {
        fh: u64, offset: u64, size: u32, read_flags: u32, lock_owner: u64, flags: u32, padding: u32,
    }
    /// `fuse_write_in`; the data follows.
    WriteIn {
        fh: u64, offset: u64, size: u32, write_flags: u32, lock_owner: u64, flags: u32,
        padding: u32,
    }
    /// `fuse_write_out`, also of COPY_FILE_RANGE.
    WriteOut { size: u32, padding: u32, }
    /// `fuse_kstatfs`.
    StatfsOut {
        blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64,
        bsize: u32, namelen: u32, frsize: u32, padding: u32, spare: [u32; 6],
    }
    /// `fuse_fsync_in`.
    FsyncIn { fh: u64, fsync_flags: u32, padding: u32, }
    /// `fuse_setxattr_in` without `FUSE_SETXATTR_EXT`; name and value follow.
    SetxattrIn { size: u32, flags: u32, }
    /// `fuse_getxattr_in`, of GETXATTR (the name follows) and LISTXATTR.
    GetxattrIn { size: u32, padding: u32, }
    /// `fuse_getxattr_out`: the answer to size 0.
    GetxattrOut { size: u32, padding: u32, }
    /// `fuse_ioctl_in`; the input follows.
    IoctlIn { fh: u64, flags: u32, cmd: u32, arg: u64, in_size: u32, out_size: u32, }
    /// `fuse_ioctl_out`; the output follows.
    IoctlOut { result: i32, flags: u32, in_iovs: u32, out_iovs: u32, }
    /// `fuse_fallocate_in`.
    FallocateIn { fh: u64, offset: u64, length: u64, mode: u32, padding: u32, }
    /// `fuse_lseek_in`.
    LseekIn { fh: u64, offset: u64, whence: u32, padding: u32, }
    /// `fuse_lseek_out`.
    LseekOut { offset: u64, }
    /// `fuse_copy_file_range_in`.
    CopyFileRangeIn {
        fh_in: u64, off_in: u64, nodeid_out: u64, fh_out: u64, off_out: u64, len: u64, flags: u64,
    }
    /// `fuse_copy_file_range_out`, of COPY_FILE_RANGE_64.
    CopyFileRangeOut { bytes_copied: u64, }
    /// `fuse_dirent`; the name follows, and padding to 8 bytes.
    Dirent { ino: u64, off: u64, namelen: u32, kind: u32, }
    /// `fuse_notify_inval_inode_out`.
    InvalInodeOut { ino: u64, off: i64, len: i64, }
    /// `fuse_uring_ent_in_out`.
    RingEntry { flags: u64, commit_id: u64, payload_sz: u32, padding: u32, reserved: u64, }
    /// `fuse_uring_cmd_req`: the command area of an SQE.
    RingCommand { flags: u64, commit_id: u64, qid: u16, padding: [u8; 6], }
}

/// `fuse_uring_req_header`: what the kernel and we share for one entry of a ring, beside the payload.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct RingHeader {
    /// [`InHeader`] or [`OutHeader`].
    pub(super) in_out: [u8; 128],
    /// The operation's own struct.
    pub(super) op_in: [u8; 128],
    /// Sizes and the number to commit.
    pub(super) entry: RingEntry,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes by the header's fields, for x86-64 as for every other machine.
    #[test]
    fn sizes_are_the_kernels() {
        let sizes = [
            (size_of::<InHeader>(), 40),
            (size_of::<OutHeader>(), 16),
            (size_of::<InitIn>() + size_of::<InitInExt>(), 64),
            (size_of::<InitOut>(), 64),
            (size_of::<Attr>(), 88),
            (size_of::<EntryOut>(), 128),
            (size_of::<AttrOut>(), 104),
            (size_of::<ForgetOne>(), 16),
            (size_of::<SetattrIn>(), 88),
            (size_of::<OpenOut>(), 16),
            (size_of::<ReadIn>(), 40),
            (size_of::<WriteIn>(), 40),
            (size_of::<StatfsOut>(), 80),
            (size_of::<IoctlIn>(), 32),
            (size_of::<CopyFileRangeIn>(), 56),
            (size_of::<Dirent>(), 24),
            (size_of::<RingEntry>(), 32),
            (size_of::<RingCommand>(), 24),
            (size_of::<RingHeader>(), 288),
        ];
        for (index, (ours, kernels)) in sizes.into_iter().enumerate() {
            assert_eq!(ours, kernels, "the struct at {index}");
        }
    }
}
