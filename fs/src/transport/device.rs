//! The adapter: a FUSE request decoded by `fuser` → one call of [`FileSystem`] → its reply.
//!
//! ```text
//!   kernel ── /dev/fuse ── fuser thread ── Device ── ops
//!                                            │
//!                 catch_unwind: a panic is EIO for this request only
//! ```
//!
//! It translates and decides nothing, with one exception: what the kernel may cache. All changes go
//! through the mount, so with the default timeout (a year) everything we say stays true until a
//! request changes it, and what each request makes stale the kernel knows itself (checked against
//! fs/fuse of Linux 6.18):
//!
//! | request | what the kernel does with its cached attributes |
//! | --- | --- |
//! | link, create, mknod, mkdir, symlink | takes them from our reply; drops the parent's |
//! | unlink, rmdir, rename over a name | counts nlink down itself, drops ctime; drops the parents' |
//! | setattr | takes them from our reply |
//! | write, fallocate, copy_file_range | size itself, drops mtime, ctime, blocks |
//! | setxattr, removexattr | drops ctime; all of them for ACLs, which change the mode |
//! | read | drops atime, unless mounted read-only |
//! | chattr's ioctls | nothing: we tell it to drop them |
//!
//! `fuser` sends an entry's inode number as its nodeid, so the two must be equal: operations give
//! them so for every node but the root, which never comes as an entry.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fuser::{
    Errno, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig, Notifier, OpenAccMode,
    OpenFlags, ReplyDirectoryPlus, ReplyEntry,
};
use parking_lot::Mutex;

use super::wire;
use crate::error::Result;
use crate::ops::FileSystem;
use crate::types::{DirEntry, Entry};

/// Bytes of one WRITE at most. fuser's buffers are 16 MiB of address space for each thread, of
/// which the kernel fills, and so makes resident, no more than this.
pub(super) const MAX_WRITE: u32 = 1 << 20;

/// Requests of the kernel's own (readahead, release) that may be under way.
const MAX_BACKGROUND: u16 = 64;

/// What we ask of the kernel. Not asked, on purpose: `WRITEBACK_CACHE` (times and sizes would be
/// the kernel's), `ATOMIC_O_TRUNC` (O_TRUNC comes as a SETATTR of the size), `HANDLE_KILLPRIV`
/// (the kernel clears setuid and capabilities by SETATTR and REMOVEXATTR), locks (kernel-local),
/// `SETXATTR_EXT` (fuser panics on it).
const CAPABILITIES: InitFlags = InitFlags::FUSE_ASYNC_READ
    .union(InitFlags::FUSE_BIG_WRITES)
    .union(InitFlags::FUSE_MAX_PAGES)
    .union(InitFlags::FUSE_DONT_MASK)
    .union(InitFlags::FUSE_PARALLEL_DIROPS)
    .union(InitFlags::FUSE_CACHE_SYMLINKS)
    .union(InitFlags::FUSE_DO_READDIRPLUS)
    .union(InitFlags::FUSE_READDIRPLUS_AUTO);

/// What the kernel may keep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caching {
    /// How long entries (also negative ones) and attributes hold.
    pub(super) timeout: Duration,
    /// Whether pages survive from one open to the next: only if nobody changes the layers.
    pub(super) keep: bool,
    /// Whether the kernel enforces and caches POSIX ACLs.
    pub(super) acl: bool,
}

/// The file system as `fuser` sees it.
pub(super) struct Device {
    pub(super) file_system: Arc<FileSystem>,
    pub(super) caching: Caching,
    /// What [`super::ioctl::SERVER`] tells.
    pub(super) server: Option<[u64; 2]>,
    /// Set once the session stands; before that nothing is cached that could be stale.
    notifier: Arc<OnceLock<Notifier>>,
    /// Lookups that the kernel will take back though none was counted; see [`Device::add_plus`].
    uncounted: Mutex<HashMap<u64, u64>>,
}

impl Device {
    pub(super) fn new(
        file_system: Arc<FileSystem>,
        caching: Caching,
        server: Option<[u64; 2]>,
        notifier: Arc<OnceLock<Notifier>>,
    ) -> Self {
        Self {
            file_system,
            caching,
            server,
            notifier,
            uncounted: Mutex::default(),
        }
    }

    /// Adds one entry of a READDIRPLUS; false when the buffer is full.
    ///
    /// Two kinds of entries tell the kernel no node. Of `.` and `..` it takes the d_ino alone. An
    /// entry with node 0 (a rule refuses the name, or looking it up failed) shall show, and nothing
    /// be remembered of it. Nodeid 0 would say so, but fuser sends one number as nodeid and d_ino,
    /// and readdir(3) skips a name with d_ino 0. So it goes out under its d_ino with a size that
    /// cannot be: the kernel (5.5 and later) then shows the name, takes no attributes, and gives one
    /// lookup back by a FORGET that must not be counted.
    pub(super) fn add_plus(
        &self,
        reply: &mut ReplyDirectoryPlus,
        entry: &DirEntry,
        found: &Entry,
    ) -> bool {
        let dots = entry.name == "." || entry.name == "..";
        let refused = !dots && found.node.0 == 0;
        let ino = if dots || refused {
            entry.ino
        } else {
            found.node.0
        };
        let mut attr = wire::file_attr(ino, &found.attr);
        if refused {
            attr.size = u64::MAX;
        }
        let timeout = &self.caching.timeout;
        if reply.add(
            attr.ino,
            entry.next,
            entry.name,
            timeout,
            &attr,
            Generation(0),
        ) {
            return false;
        }
        if refused {
            *self.uncounted.lock().entry(ino).or_default() += 1;
        }
        true
    }

    /// How many of `count` lookups taken back were counted.
    pub(super) fn counted(&self, ino: u64, count: u64) -> u64 {
        let mut uncounted = self.uncounted.lock();
        let Some(open) = uncounted.get_mut(&ino) else {
            return count;
        };
        let taken = count.min(*open);
        *open -= taken;
        if *open == 0 {
            uncounted.remove(&ino);
        }
        count - taken
    }

    pub(super) fn reply_entry(&self, result: Result<Entry, Errno>, reply: ReplyEntry) {
        match result {
            Ok(entry) => {
                let attr = wire::file_attr(entry.node.0, &entry.attr);
                reply.entry(&self.caching.timeout, &attr, Generation(0));
            }
            Err(errno) => reply.error(errno),
        }
    }

    /// How an open directory is cached: the kernel keeps what it read until a name in it changes, which
    /// only happens through it.
    pub(super) fn opendir_flags(&self) -> FopenFlags {
        match self.caching.keep {
            true => FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE,
            false => FopenFlags::empty(),
        }
    }

    /// How an open file is cached. Closing one that was only read has nothing to tell us.
    pub(super) fn fopen_flags(&self, flags: OpenFlags) -> FopenFlags {
        let mut fopen = FopenFlags::empty();
        if self.caching.keep {
            fopen |= FopenFlags::FOPEN_KEEP_CACHE;
        }
        if flags.acc_mode() == OpenAccMode::O_RDONLY {
            fopen |= FopenFlags::FOPEN_NOFLUSH;
        }
        fopen
    }

    /// Tells the kernel that its attributes of `ino` are stale. A negative offset leaves the pages
    /// alone, so this takes no lock that the request under way could hold.
    pub(super) fn drop_cached_attributes(&self, ino: INodeNo) {
        if let Some(notifier) = self.notifier.get()
            && let Err(error) = notifier.inval_inode(ino, -1, 0)
        {
            tracing::warn!(%error, "cannot drop cached attributes; ctime may be stale");
        }
    }

    /// Asks the kernel for what we want of it.
    pub(super) fn configure(&self, config: &mut KernelConfig) {
        let mut wanted = CAPABILITIES;
        if self.caching.acl {
            wanted |= InitFlags::FUSE_POSIX_ACL;
        }
        if !self.caching.keep {
            // The layers may change behind us: a new mtime or size must drop the pages.
            wanted |= InitFlags::FUSE_AUTO_INVAL_DATA;
        }
        for flag in wanted.iter() {
            if config.add_capabilities(flag).is_err() {
                tracing::debug!(?flag, "the kernel does not know this capability");
            }
        }
        // Both calls fail only for numbers that are out of range, which these are not.
        let _ = config.set_max_write(MAX_WRITE);
        let _ = config.set_max_background(MAX_BACKGROUND);
    }
}
