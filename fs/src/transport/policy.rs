//! What the kernel may keep: the one place that decides it, for both carriers.
//!
//! All changes go through the mount, so with the default timeout (a year) everything we say stays true
//! until a request changes it, and what each request makes stale the kernel knows itself (checked
//! against fs/fuse of Linux 6.18):
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

use std::time::Duration;

use super::abi::{fopen, init};

/// Requests of the kernel's own (readahead, release) that may be under way.
pub(super) const MAX_BACKGROUND: u16 = 64;

/// What we always ask of the kernel. Not asked, on purpose: `ATOMIC_O_TRUNC` (O_TRUNC comes as a SETATTR of
/// the size), locks (kernel-local).
/// `HANDLE_KILLPRIV_V2`: we clear set-id bits where a request says so, and the kernel need not ask for
/// `security.capability` before every write.
const WANTED: u64 = init::ASYNC_READ
    | init::BIG_WRITES
    | init::MAX_PAGES
    | init::DONT_MASK
    | init::HANDLE_KILLPRIV_V2
    | init::PARALLEL_DIROPS
    | init::CACHE_SYMLINKS
    | init::DO_READDIRPLUS
    | init::READDIRPLUS_AUTO;

/// What the kernel may keep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// How long entries (also negative ones) and attributes hold.
    pub(super) timeout: Duration,
    /// Whether pages survive from one open to the next: only if nobody changes the layers.
    pub(super) keep: bool,
    /// Whether the kernel enforces and caches POSIX ACLs.
    pub(super) acl: bool,
    /// Whether the kernel holds writes back: sizes and mtimes of regular files are then its own.
    pub(super) writeback: bool,
}

impl Policy {
    /// The INIT flags to ask for.
    pub(super) fn wanted(&self) -> u64 {
        let mut wanted = WANTED;
        if self.acl {
            wanted |= init::POSIX_ACL;
        }
        if self.writeback {
            wanted |= init::WRITEBACK_CACHE;
        }
        if !self.keep {
            // The layers may change behind us: a new mtime or size must drop the pages.
            wanted |= init::AUTO_INVAL_DATA;
        } else {
            wanted |= init::NO_OPEN_SUPPORT | init::NO_OPENDIR_SUPPORT;
        }
        wanted
    }

    /// How a file that is opened with `flags` is cached. Closing one that was only read has nothing
    /// to tell us.
    pub(super) fn open_file(&self, flags: i32) -> u32 {
        let mut answer = 0;
        if self.keep {
            answer |= fopen::KEEP_CACHE;
        }
        if flags & libc::O_ACCMODE == libc::O_RDONLY {
            answer |= fopen::NOFLUSH;
        }
        answer
    }

    /// How an open directory is cached: the kernel keeps what it read until a name in it changes,
    /// which only happens through it.
    pub(super) fn open_directory(&self) -> u32 {
        match self.keep {
            true => fopen::CACHE_DIR | fopen::KEEP_CACHE,
            false => 0,
        }
    }
}
