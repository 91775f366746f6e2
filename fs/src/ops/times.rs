//! The times of a directory, which copy-ups into it must not change (contract C4).
//!
//! ```text
//!   a quiet change      record: the times to keep ─> the change ─> mtime put back on disk
//!   one in earnest      record without them ─> the change ─> the directory's own times are shown
//! ```
//!
//! While times are kept they are shown, whatever the disk says. Killed after a quiet change, the record
//! has the right ones; killed before one in earnest, the mtime on disk is right, and the ctime too late,
//! which is the safe side. A directory that is copied up is born with a record of its layer's times; a
//! metadata-only copy has one while its data is brought in.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::Stat;

use super::FileSystem;
use crate::error::{Error, Result};
use crate::inode::{Node, State};
use crate::sys::at::At;
use crate::types::Kind;
use crate::union::copy_up;
use crate::upper::{KeptTimes, Origin, Upper};

impl FileSystem {
    /// Changes a directory of the upper without anybody seeing that it changed. Its names are held.
    pub(super) fn quietly<R>(
        &self,
        upper: &Upper,
        directory: &Node,
        change: impl FnOnce(BorrowedFd<'_>) -> Result<R>,
    ) -> Result<R> {
        let dir = self.upper_dir(directory)?;
        let at = At::Fd(dir.as_fd());
        let kept = keep(upper, directory, at)?;
        let done = change(dir.as_fd())?;
        if let Err(error) = at.set_times(&kept.put_back()) {
            // Nobody sees it here: the record says what to show.
            tracing::debug!(%error, ino = directory.ino, "mtime not put back on disk");
        }
        Ok(done)
    }

    /// Lets the disk forget kept times, just before an object is changed in earnest.
    pub(super) fn before_change(&self, node: &Node) -> Result<()> {
        let kept_on_disk = |state: &State| {
            let place = state.upper()?;
            place.origin?.kept
        };
        if kept_on_disk(&node.state.read()).is_none() {
            return Ok(());
        }
        let upper = self.upper()?;
        let dir = match node.kind {
            Kind::Directory => Some(self.upper_dir(node)?),
            _ => None,
        };
        let mut state = node.state.write();
        let Some(kept) = kept_on_disk(&state) else {
            return Ok(());
        };
        let place = state.upper().ok_or(Error::Damaged)?;
        let own = place
            .origin
            .filter(Origin::is_of_layer)
            .map(|origin| Origin {
                kept: None,
                ..origin
            });
        let forget = |at: At<'_>| {
            // The session before may have been killed before it did.
            at.set_times(&kept.put_back())?;
            match &own {
                Some(origin) => copy_up::record(upper, at, origin),
                None => upper.unmark(at, "layerfs.origin"),
            }
        };
        match &dir {
            Some(dir) => forget(At::Fd(dir.as_fd()))?,
            None => self.at_anchor(&state, place, forget)?,
        }
        if let Some(place) = state.upper_mut() {
            place.origin = own;
        }
        Ok(())
    }

    /// Tells an object that it was changed in earnest: its times are its own again, and a directory has
    /// something to sync.
    pub(super) fn touched(&self, node: &Node) {
        if let Some(directory) = &node.directory {
            directory.names_changed();
        }
        let kept = |state: &State| state.upper().is_some_and(|place| place.kept.is_some());
        if kept(&node.state.read())
            && let Some(place) = node.state.write().upper_mut()
        {
            place.kept = None;
        }
    }

    /// The times that a directory shows now, to be kept over a quiet change of its attributes, which
    /// has no mtime to lose.
    pub(super) fn keep_in_memory(&self, directory: &Node, stat: &Stat) {
        if let Some(place) = directory.state.write().upper_mut() {
            place.kept.get_or_insert_with(|| KeptTimes::of(stat));
        }
    }
}

/// Writes the times that a directory shows now into its record, unless they are there.
fn keep(upper: &Upper, directory: &Node, at: At<'_>) -> Result<KeptTimes> {
    let mut state = directory.state.write();
    let place = state.upper_mut().ok_or(Error::Damaged)?;
    if let Some(kept) = place.origin.and_then(|origin| origin.kept) {
        return Ok(kept);
    }
    let stat = at.stat()?;
    let kept = place.kept.unwrap_or_else(|| KeptTimes::of(&stat));
    let origin = Origin {
        kept: Some(kept),
        ..place.origin.unwrap_or(Origin::of(0, stat.st_ino))
    };
    copy_up::record(upper, at, &origin)?;
    (place.origin, place.kept) = (Some(origin), Some(kept));
    Ok(kept)
}
