//! The writable diff: one directory we write, and a workdir beside it.
//!
//! ```text
//!   UPPER/...                     the diff, in the form of overlayfs (or AUFS names, see `form`)
//!   WORK/layerfs/lock             held while mounted
//!   WORK/layerfs/stack            which layers the index belongs to
//!   WORK/layerfs/volatile         a --volatile mount is on, or died
//!   WORK/layerfs/unsynced         copies may not be on disk yet, see `durability`
//!   WORK/layerfs/index/POS-INO    the upper inode of a hard-linked lower one (contract I2)
//!   WORK/layerfs/stage/N          objects being made; emptied at every open
//! ```
//!
//! Nothing appears in UPPER but by one rename, link or exclusive creation: what is half made lies in
//! the stage, which the next open empties.

pub mod data;
pub mod durability;
pub mod form;
pub mod open;
pub mod record;
pub mod stage;

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::error::Result;
use crate::marks::{self, Found, Marks, Object};
use crate::sys::at::At;
use durability::Durability;

pub use durability::{Left, Safety};
pub use form::Form;
pub use record::{KeptTimes, Origin};

/// The writable diff, opened and locked.
#[derive(Debug)]
pub struct Upper {
    /// `O_PATH` fd of the upper's root.
    pub root: Arc<OwnedFd>,
    /// How whiteouts and marks are written here.
    pub form: Form,
    /// Whether nothing is ever synced.
    pub volatile: bool,
    /// What the last session left unsynced.
    pub left: Left,
    durability: Durability,
    stage: OwnedFd,
    index: OwnedFd,
    next: AtomicU64,
    /// The locks and the fd of `WORK/layerfs`, to remove the volatile marker at the end.
    home: OwnedFd,
    _locks: Vec<OwnedFd>,
}

impl Upper {
    /// What `name` means in the upper's directory `dir`. Where that is not `impure`, nothing but
    /// directories can carry a mark: overlayfs marks the directory first, and so do we.
    pub fn lookup(&self, dir: BorrowedFd<'_>, name: &OsStr, impure: bool) -> Result<Found> {
        if self.form.owns_name(name) {
            return Ok(Found::Absent);
        }
        let at = At::Name(dir, name);
        match at.stat() {
            Ok(stat) if marks::is_char00(&stat) => Ok(Found::Whiteout),
            Ok(stat) if impure || is_directory(&stat) => {
                Ok(Found::Object(Box::new(self.object(at, stat)?)))
            }
            Ok(stat) => Ok(Found::Object(Box::new(Object {
                stat,
                marks: Marks::default(),
            }))),
            Err(Errno::NOENT) if self.form.hides(dir, name)? => Ok(Found::Whiteout),
            Err(Errno::NOENT) => Ok(Found::Absent),
            Err(error) => Err(error.into()),
        }
    }

    /// The object at a place that is known to hold one.
    pub fn object_at(&self, at: At<'_>) -> Result<Object> {
        self.object(at, at.stat()?)
    }

    fn object(&self, at: At<'_>, mut stat: Stat) -> Result<Object> {
        let marks = match FileType::from_raw_mode(stat.st_mode) {
            // Symlinks and special files carry our record only, but it must be read.
            FileType::RegularFile | FileType::Directory => Marks::read(at)?,
            _ => Marks {
                origin: at.xattr(self.form.key("layerfs.origin").as_c_str())?,
                ..Marks::default()
            },
        };
        if marks.char00 && stat.st_size == 0 {
            stat.st_mode = (stat.st_mode & 0o7777) | libc::S_IFCHR;
        }
        Ok(Object { stat, marks })
    }

    /// The attributes of an object known already, with the type it is to show.
    pub fn stat(&self, at: At<'_>, shows_char00: bool) -> Result<Stat> {
        let mut stat = at.stat()?;
        if shows_char00 {
            stat.st_mode = (stat.st_mode & 0o7777) | libc::S_IFCHR;
        }
        Ok(stat)
    }

    /// Writes a mark.
    pub fn mark(&self, at: At<'_>, key: &str, value: &[u8]) -> Result<()> {
        let name = self.form.key(key);
        Ok(at.set_xattr(&name, value, rustix::fs::XattrFlags::empty())?)
    }

    /// Removes a mark, if it is there.
    pub fn unmark(&self, at: At<'_>, key: &str) -> Result<()> {
        match at.remove_xattr(&self.form.key(key)) {
            Ok(()) | Err(Errno::NODATA) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How the data of copy-ups is kept safe.
    pub fn safety(&self) -> Safety {
        self.durability.safety()
    }

    /// Tells the disk that copies are about to be marked as unsynced.
    pub fn announce_unsynced(&self) -> Result<()> {
        self.durability.announce(&self.home)
    }

    /// Tells the disk that no copy is marked as unsynced any more.
    pub fn all_settled(&self) -> Result<()> {
        self.durability.all_settled(&self.home)
    }

    /// The index directory: upper inodes of hard-linked lower ones, by origin.
    pub fn index(&self) -> BorrowedFd<'_> {
        self.index.as_fd()
    }

    /// Syncs all that was written (F1 for the whole file system below).
    pub fn sync(&self) -> Result<()> {
        if self.volatile {
            return Ok(());
        }
        let dir = At::Fd(self.root.as_fd()).open(rustix::fs::OFlags::RDONLY)?;
        Ok(rustix::fs::syncfs(dir)?)
    }

    /// The clean end, once everything is on disk: nothing stays in the stage, and the volatile marker
    /// goes last.
    pub fn close(&self) -> Result<()> {
        for (dir, name) in [(&self.stage, stage::WHITEOUT), (&self.home, open::VOLATILE)] {
            match rustix::fs::unlinkat(dir, name, rustix::fs::AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// The key of an xattr as the C string the calls need.
pub(crate) fn c_name(name: &[u8]) -> Option<std::ffi::CString> {
    std::ffi::CString::new(name).ok()
}

/// The empty value, for marks that say all by being there.
pub const PRESENT: &[u8] = b"y";
