//! The stage: where objects are made before they appear in the upper, and go when they leave it.
//!
//! ```text
//!   make ──> stage/N ──publish──> UPPER/dir/name        one rename or exchange: all or nothing
//!            stage/N <──discard── UPPER/dir/name        renamed out, then removed at leisure
//!     stage/whiteout ──link──> UPPER/dir/name           whiteouts of the overlay form are one inode
//! ```
//!
//! A crash leaves things in the stage, never half an object in the upper; the next open empties it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;

use rustix::fs::{
    AtFlags, Dev, FileType, Mode, OFlags, RawDir, RenameFlags, linkat, mkdirat, mknodat, openat,
    renameat_with, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::form::wh_name;
use super::{Form, Upper};
use crate::error::Result;
use crate::sys::at::At;

/// The whiteout that all others are names of (overlay form). It goes at the clean end.
pub(super) const WHITEOUT: &str = "whiteout";

/// An object in the stage. Dropping it removes it, unless it was published.
#[derive(Debug)]
pub struct Staged<'a> {
    upper: &'a Upper,
    name: OsString,
    armed: bool,
}

impl Upper {
    fn slot(&self) -> Staged<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Staged {
            upper: self,
            name: number.to_string().into(),
            armed: true,
        }
    }

    /// A new empty file, and its fd for reading and writing.
    pub fn stage_file(&self, mode: u32) -> Result<(Staged<'_>, OwnedFd)> {
        let staged = self.slot();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = openat(&self.stage, &staged.name, flags, Mode::from_raw_mode(mode))?;
        Ok((staged, fd))
    }

    /// A new empty directory.
    pub fn stage_directory(&self, mode: u32) -> Result<Staged<'_>> {
        let staged = self.slot();
        mkdirat(&self.stage, &staged.name, Mode::from_raw_mode(mode))?;
        Ok(staged)
    }

    /// A new symlink.
    pub fn stage_symlink(&self, target: &OsStr) -> Result<Staged<'_>> {
        let staged = self.slot();
        symlinkat(target, &self.stage, &staged.name)?;
        Ok(staged)
    }

    /// A new fifo, socket or device; never opened by us.
    pub fn stage_node(&self, kind: FileType, mode: u32, rdev: u64) -> Result<Staged<'_>> {
        let staged = self.slot();
        mknodat(
            &self.stage,
            &staged.name,
            kind,
            Mode::from_raw_mode(mode),
            rdev as Dev,
        )?;
        Ok(staged)
    }

    /// One more name of an existing object.
    pub fn stage_link(&self, object: At<'_>) -> Result<Staged<'_>> {
        let staged = self.slot();
        object.link_to(self.stage.as_fd(), &staged.name)?;
        Ok(staged)
    }

    /// One more name of the whiteout: making a node takes an inode, which is most of what a removal
    /// costs. overlayfs does the same (fs/overlayfs/dir.c, `ovl_whiteout`).
    fn link_whiteout(&self, dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
        let link = || linkat(&self.stage, WHITEOUT, dir, name, AtFlags::empty());
        let node = |dir, name: &OsStr| {
            let (kind, mode) = (FileType::CharacterDevice, Mode::empty());
            mknodat(dir, name, kind, mode, 0)
        };
        let linked = match link() {
            // There is none yet, or it has all the names it can have.
            Err(Errno::NOENT | Errno::MLINK) => {
                let fresh = self.slot();
                node(self.stage.as_fd(), &fresh.name)?;
                renameat_with(
                    &self.stage,
                    &fresh.name,
                    &self.stage,
                    WHITEOUT,
                    RenameFlags::empty(),
                )?;
                link()
            }
            other => other,
        };
        match linked {
            Ok(()) | Err(Errno::EXIST) => linked,
            // No links here.
            Err(_) => node(dir, name),
        }
    }

    fn stage_whiteout(&self) -> Result<Staged<'_>> {
        let staged = self.slot();
        self.link_whiteout(self.stage.as_fd(), &staged.name)?;
        Ok(staged)
    }

    /// Puts a whiteout at a name that the upper does not have.
    pub fn put_whiteout(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        let result = match self.form {
            Form::Overlay => self.link_whiteout(dir, name),
            Form::Aufs => create_empty(dir, &wh_name(name)),
        };
        match result {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a non-directory from the upper; with `whiteout`, one takes its place in the same step
    /// (overlay form), or before it (AUFS form: seen between, the file is still there).
    pub fn remove_file(&self, dir: BorrowedFd<'_>, name: &OsStr, whiteout: bool) -> Result<()> {
        if !whiteout {
            return Ok(unlinkat(dir, name, AtFlags::empty())?);
        }
        match self.form {
            Form::Overlay => {
                let staged = self.stage_whiteout()?;
                staged.publish(dir, name)
            }
            Form::Aufs => {
                self.put_whiteout(dir, name)?;
                Ok(unlinkat(dir, name, AtFlags::empty())?)
            }
        }
    }

    /// Removes a directory that shows nothing from the upper, with the whiteouts it may hold; with
    /// `whiteout`, one takes its place as in [`Self::remove_file`].
    pub fn remove_directory(
        &self,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        whiteout: bool,
    ) -> Result<()> {
        if !whiteout {
            match unlinkat(dir, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                other => return Ok(other?),
            }
        }
        let staged = match (whiteout, self.form) {
            (true, Form::Overlay) => {
                // The exchange puts the whiteout and takes the directory in one step.
                let staged = self.stage_whiteout()?;
                staged.exchange(dir, name)?;
                staged
            }
            (_, form) => {
                if whiteout && form == Form::Aufs {
                    self.put_whiteout(dir, name)?;
                }
                let staged = self.slot();
                let plain = RenameFlags::empty();
                renameat_with(dir, name, &self.stage, &staged.name, plain)?;
                staged
            }
        };
        drop(staged);
        Ok(())
    }

    /// Takes away the whiteout of a name that has become an object (AUFS form only: in the overlay
    /// form the object replaced it). One that stays hides nothing that shows.
    pub fn clear_whiteout(&self, dir: BorrowedFd<'_>, name: &OsStr) {
        if self.form == Form::Aufs
            && let Err(error) = unlinkat(dir, wh_name(name), AtFlags::empty())
            && error != Errno::NOENT
        {
            tracing::debug!(%error, ?name, "a needless whiteout stays");
        }
    }

    /// Removes everything under the stage.
    pub(super) fn empty_stage(&self) -> rustix::io::Result<()> {
        empty(self.stage.as_fd())
    }
}

impl Staged<'_> {
    /// Its address.
    pub fn at(&self) -> At<'_> {
        At::Name(self.upper.stage.as_fd(), &self.name)
    }

    /// Moves it to `name`, replacing a whiteout or a non-directory there.
    pub fn publish(mut self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        renameat_with(
            &self.upper.stage,
            &self.name,
            dir,
            name,
            RenameFlags::empty(),
        )?;
        self.armed = false;
        Ok(())
    }

    /// Swaps it with what is at `name`; what was there is now in the stage, and goes with the drop.
    pub fn exchange(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        Ok(renameat_with(
            &self.upper.stage,
            &self.name,
            dir,
            name,
            RenameFlags::EXCHANGE,
        )?)
    }

    /// Gives it another name and leaves it in the stage.
    pub fn link_to(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        Ok(linkat(
            &self.upper.stage,
            &self.name,
            dir,
            name,
            AtFlags::empty(),
        )?)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if self.armed
            && let Err(error) = remove_tree(self.upper.stage.as_fd(), &self.name)
        {
            // The next open empties the stage: nothing is lost but room.
            tracing::debug!(%error, name = ?self.name, "left in the stage");
        }
    }
}

fn create_empty(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty()).map(drop)
}

/// Removes an object and all below it, without leaving the file system or following a link.
fn remove_tree(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(Errno::NOENT) => return Ok(()),
        other => return other,
    }
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        other => return other,
    }
    empty(
        At::Name(dir, name)
            .open(OFlags::PATH | OFlags::DIRECTORY)?
            .as_fd(),
    )?;
    unlinkat(dir, name, AtFlags::REMOVEDIR)
}

/// Removes everything in a directory.
pub(crate) fn empty(dir: BorrowedFd<'_>) -> rustix::io::Result<()> {
    for name in names(dir)? {
        remove_tree(dir, &name)?;
    }
    Ok(())
}

/// All names in a directory but `.` and `..`.
fn names(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<OsString>> {
    let fd = openat(
        dir,
        c".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}
