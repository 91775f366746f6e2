//! The form in which the diff is written (contract R3), found out at the first open by trying, and kept.
//!
//! | form | whiteout | marks | when |
//! | --- | --- | --- | --- |
//! | `Overlay` | char 0/0 | `trusted.overlay.*` | root on an ordinary file system |
//! | `Aufs` | `.wh.NAME` | `user.overlay.*` | no mknod, no trusted xattrs, or no RENAME_WHITEOUT |

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno;

use crate::error::Result;
use crate::marks::{WH_OPAQUE, WH_PREFIX, is_wh_name};
use crate::sys::at::At;

/// How the diff is written; see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Char 0/0 whiteouts, `trusted.overlay.*` marks.
    Overlay,
    /// `.wh.NAME` whiteouts, `user.overlay.*` marks.
    Aufs,
}

impl Form {
    /// Tries in the empty directory `scratch` what the overlay form needs.
    pub fn probe(scratch: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        let form = match try_overlay(scratch) {
            Ok(()) => Self::Overlay,
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Self::Aufs,
            Err(error) => return Err(error),
        };
        for name in ["probe", "probe.moved"] {
            if let Err(error) = rustix::fs::unlinkat(scratch, name, AtFlags::empty())
                && error != Errno::NOENT
            {
                return Err(error);
            }
        }
        Ok(form)
    }

    /// The form as it is written down.
    pub fn word(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Aufs => "aufs",
        }
    }

    /// The other way round.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Overlay, Self::Aufs]
            .into_iter()
            .find(|form| form.word() == word)
    }

    /// The xattr name of mark `key`.
    pub fn key(self, key: &str) -> CString {
        let prefix = match self {
            Self::Overlay => "trusted.overlay.",
            Self::Aufs => "user.overlay.",
        };
        CString::new(format!("{prefix}{key}")).unwrap_or_default()
    }

    /// Whether names of this shape belong to the form and can be no user's (R6).
    pub fn owns_name(self, name: &OsStr) -> bool {
        self == Self::Aufs && is_wh_name(name)
    }

    /// Whether `dir` holds a `.wh.` file for `name`.
    pub fn hides(self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<bool> {
        if self == Self::Overlay {
            return Ok(false);
        }
        match At::Name(dir, &wh_name(name)).stat() {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether `dir` is opaque by name.
    pub fn opaque_by_name(self, dir: BorrowedFd<'_>) -> Result<bool> {
        self.hides(dir, OsStr::from_bytes(&WH_OPAQUE[WH_PREFIX.len()..]))
    }
}

/// The name that hides `name` in the AUFS form.
pub fn wh_name(name: &OsStr) -> OsString {
    OsString::from_vec([WH_PREFIX, name.as_bytes()].concat())
}

fn try_overlay(scratch: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let name = OsStr::new("probe");
    let mode = Mode::from_raw_mode(0o600);
    let file: OwnedFd = rustix::fs::openat(
        scratch,
        name,
        OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC,
        mode,
    )?;
    let at = At::Name(scratch, name);
    at.set_xattr(
        &Form::Overlay.key("layerfs.probe"),
        b"y",
        XattrFlags::empty(),
    )?;
    drop(file);
    // Leaves a whiteout behind, which shows that whiteouts can be made at all.
    rustix::fs::renameat_with(scratch, name, scratch, "probe.moved", RenameFlags::WHITEOUT)?;
    let left = rustix::fs::statat(scratch.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(left.st_mode) {
        FileType::CharacterDevice => Ok(()),
        _ => Err(Errno::OPNOTSUPP),
    }
}
