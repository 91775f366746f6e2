//! Copy-ups that survive a power cut without an fsync each (contract F2).
//!
//! ```text
//!   copy-up    the copy carries "unsynced, session S" in its record before it gets its name: both are
//!              metadata and reach the disk in order, so a name without the mark has its data
//!   settle     some seconds later, at fsync and at unmount: sync the data, then take the mark away
//!   WORK/layerfs/unsynced -> BOOT.S     a symlink, made before the first mark and removed after the
//!              last one: a target this short lies in the inode, so it needs no fsync either
//!
//!   next open, no symlink          nothing is marked
//!              BOOT is this boot   only the process died, the page cache lives: sync, and go on
//!              BOOT is another     what S marked may have lost its data: the layer's data is put back
//! ```
//!
//! Needs a file system that keeps metadata in order (ext4, XFS, btrfs); elsewhere each copy is synced
//! before it appears, as overlayfs does it.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, readlinkat, symlinkat, unlinkat};
use rustix::io::Errno;

use crate::error::Result;
use crate::sys::filesystem::keeps_metadata_in_order;
use crate::sys::lock::Mutex;

const MARKER: &str = "unsynced";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// How the data of a copy-up is kept safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// Not at all (`--volatile`).
    None,
    /// It is synced before the copy appears.
    Sync,
    /// The copy is marked as unsynced with this session, and synced later.
    Mark(u64),
}

/// The marks of one session; see the module.
#[derive(Debug)]
pub struct Durability {
    safety: Safety,
    boot: String,
    /// Whether the symlink is there.
    marker: Mutex<bool>,
}

/// What the last session left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing unsynced.
    Nothing,
    /// Unsynced copies, whose data is still in the page cache.
    Cached,
    /// Unsynced copies of this session (of any session, if nobody can tell), and a power cut since.
    Lost(Option<u64>),
}

impl Durability {
    /// How it is done in `home`, the upper's own place in the workdir.
    pub fn new(home: BorrowedFd<'_>, volatile: bool) -> Self {
        let boot = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
        let boot = boot.trim().to_owned();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        // Sessions of one upper follow each other, so the time tells them apart.
        let session = now.map_or(1, |now| now.as_nanos() as u64);
        let safety = match () {
            () if volatile => Safety::None,
            () if !boot.is_empty() && keeps_metadata_in_order(home) => Safety::Mark(session),
            () => Safety::Sync,
        };
        Self {
            safety,
            boot,
            marker: Mutex::new(false),
        }
    }

    /// How copies are kept safe here.
    pub fn safety(&self) -> Safety {
        self.safety
    }

    /// What the last session left in `home`.
    pub fn left(&self, home: BorrowedFd<'_>) -> Result<Left> {
        let target = match readlinkat(home, MARKER, Vec::new()) {
            Ok(target) => OsString::from_vec(target.into_bytes()),
            Err(Errno::NOENT) => return Ok(Left::Nothing),
            // Somebody put something else there: the worst is assumed.
            Err(Errno::INVAL) => return Ok(Left::Lost(None)),
            Err(error) => return Err(error.into()),
        };
        let target = target.to_string_lossy();
        Ok(match target.rsplit_once('.') {
            Some((boot, _)) if boot == self.boot => Left::Cached,
            Some((_, session)) => Left::Lost(u64::from_str_radix(session, 16).ok()),
            None => Left::Lost(None),
        })
    }

    /// Tells the disk that marks of this session follow. Before the first of them.
    pub fn announce(&self, home: &OwnedFd) -> Result<()> {
        let Safety::Mark(session) = self.safety else {
            return Ok(());
        };
        let mut there = self.marker.lock();
        if !*there {
            symlinkat(format!("{}.{session:x}", self.boot), home, MARKER)?;
            *there = true;
        }
        Ok(())
    }

    /// Tells the disk that no mark is left. After the last of them is gone.
    pub fn all_settled(&self, home: &OwnedFd) -> Result<()> {
        let mut there = self.marker.lock();
        match unlinkat(home.as_fd(), MARKER, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => *there = false,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
