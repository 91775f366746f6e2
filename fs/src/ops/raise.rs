//! Copy-up, with the locks it needs: an object of a layer gets its copy in the upper.
//!
//! ```text
//!   parents first, top down ─> stage the copy (only this object is held) ─> names of the parent and
//!   state of the node: still there? ─> index entry (hard-linked) ─> publish ─> state says Upper
//! ```
//!
//! Crash order: the index entry comes before the name. Between the two, every name of the file is
//! answered through the index, with equal content. After a crash before either, only the stage holds
//! anything, and the next open empties it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, OFlags, Stat, fdatasync, ftruncate, unlinkat};

use super::FileSystem;
use super::place::kind_of_stat;
use crate::error::{Error, Result};
use crate::inode::{Anchor, Link, Node, Place, Unsettled, UpperPlace};
use crate::marks::Marks;
use crate::sys::at::At;
use crate::types::{Kind, Metacopy};
use crate::union::copy_up::{self, Data};
use crate::union::lower::LowerFile;
use crate::union::numbers::origin_of;
use crate::upper::stage::Staged;
use crate::upper::{KeptTimes, Origin, PRESENT, Upper};

/// Files below this size are copied whole even if only their metadata changes: the copy costs less than
/// the indirection, and any overlayfs reads the upper.
pub(super) const METACOPY_MIN: i64 = 64 << 10;

/// What the caller is going to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Not the data.
    Metadata,
    /// The data.
    Data,
    /// The size, down to this many bytes of the old data.
    Truncated(u64),
    /// The number of names: hard-linked files get an index entry, and no name in the upper.
    Index,
}

impl FileSystem {
    /// Brings a node into the upper as far as `need` says, its directories first.
    ///
    /// # Errors
    /// EROFS without an upper; ENOENT for a directory that was removed; whatever the copy meets. The
    /// merged view is then as before.
    pub(super) fn raise(&self, node: &Arc<Node>, need: Need) -> Result<()> {
        let upper = self.upper()?;
        if node.kind == Kind::Directory {
            return self.raise_directory(node);
        }
        if !self.is_raised(node, need) {
            self.raise_alone(upper, node, need)?;
        }
        if need != Need::Index && self.names_are_missing(node) {
            if self.is_small_copy(node)? {
                self.raise_alone(upper, node, Need::Data)?;
            }
            self.spread(upper, node)?;
        }
        Ok(())
    }

    /// As [`Self::raise`] of a non-directory, under one of its names only.
    fn raise_alone(&self, upper: &Upper, node: &Arc<Node>, need: Need) -> Result<()> {
        let link = node.link();
        if let Some(link) = &link {
            self.raise_directory(&link.parent)?;
        }
        let _copying = node.copying.lock();
        if self.is_raised(node, need) {
            return Ok(());
        }
        let lower = {
            let state = node.state.read();
            state.data_in_layer().cloned().ok_or(Error::Damaged)?
        };
        if node.in_upper() {
            return self.complete(upper, node, &lower, need);
        }
        self.raise_file(upper, node, &lower, need)
    }

    pub(super) fn is_raised(&self, node: &Node, need: Need) -> bool {
        let state = node.state.read();
        state.upper().is_some_and(|place| match need {
            Need::Metadata | Need::Index => true,
            Need::Data | Need::Truncated(_) => place.data.is_none(),
        })
    }

    /// Brings a directory into the upper, empty, its own directories first.
    pub(super) fn raise_directory(&self, node: &Arc<Node>) -> Result<()> {
        if node.in_upper() {
            return Ok(());
        }
        let upper = self.upper()?;
        let Link { parent, name } = node.link().ok_or(Error::NotFound)?;
        self.raise_directory(&parent)?;
        let _copying = node.copying.lock();
        if node.in_upper() {
            return Ok(());
        }
        let lower = node.as_directory()?.lowers.first().ok_or(Error::Damaged)?;
        let stat = lower.own_stat()?;
        let kept = KeptTimes::of(&stat);
        let origin = Origin {
            kept: Some(kept),
            ..origin_of(lower, &stat)
        };
        let staged = lower.reading_itself(|from| copy_up::directory(upper, from, &stat, origin))?;

        let _names = parent.as_directory()?.names.write();
        if !node.state.read().knows(&parent, &name) {
            return Err(Error::NotFound);
        }
        self.publish_quietly(upper, &parent, &name, |dir| {
            let mut state = node.state.write();
            staged.publish(dir, &name)?;
            let mut place = UpperPlace::plain(Anchor::Name);
            (place.origin, place.kept) = (Some(origin), Some(kept));
            state.place = Place::Upper(Box::new(place));
            self.copy_ups.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    }

    fn raise_file(
        &self,
        upper: &Upper,
        node: &Arc<Node>,
        lower: &LowerFile,
        need: Need,
    ) -> Result<()> {
        let stat = lower.stat()?;
        let how = self.how(&stat, need);
        let linked = stat.st_nlink > 1;
        let mut origin = origin_of(&lower.dir, &stat);
        origin.nlink = linked.then_some(stat.st_nlink as u32);
        let (staged, origin) = copy_up::file(upper, lower, &stat, how, origin)?;
        let mut place = UpperPlace::plain(if linked { Anchor::Index } else { Anchor::Name });
        place.origin = Some(origin);
        let unsynced = origin.unsynced.is_some();
        place.unsettled = unsynced.then(|| Unsettled::of(lower, linked));
        place.char00 = lower.char00;
        if how == Data::Metadata && kind_of_stat(&stat) == Kind::File {
            place.data = Some(Box::new(lower.clone()));
        }

        let Some(Link { parent, name }) = node.link() else {
            // No name leads to it any more, but somebody has it open: a copy without a name.
            place.anchor = Anchor::Pinned(Arc::new(staged.at().pin()?));
            place.unsettled = None;
            return self.arrive(node, place, || Ok(()));
        };
        let _names = parent.as_directory()?.names.write();
        if !node.state.read().knows(&parent, &name) {
            return self.raise_again(node, need, staged);
        }
        if linked {
            self.index_entry(upper, &staged, &origin)?;
        }
        if need == Need::Index && linked {
            return self.arrive(node, place, || Ok(()));
        }
        let published = match lower.char00 {
            true => self.mark_impure(upper, &parent),
            false => Ok(()),
        };
        let published = published.and_then(|()| {
            self.publish_quietly(upper, &parent, &name, |dir| {
                self.arrive(node, place, || staged.publish(dir, &name))
            })
        });
        if published.is_err() && linked && !node.in_upper() {
            // As before, and not as a kill would leave it. If that fails, it is what a kill leaves.
            let entry = Origin::index_name(origin.position, origin.ino);
            let _ = unlinkat(upper.index(), &*entry, AtFlags::empty());
        }
        published?;
        if unsynced {
            self.settle_later(node);
        }
        Ok(())
    }

    /// The name went while the copy was made. Nothing is published; by the rules of removal the node is
    /// now without names, or in the index.
    fn raise_again(&self, node: &Arc<Node>, need: Need, staged: Staged<'_>) -> Result<()> {
        let pinned = staged.at().pin()?;
        let removed = node.is_removed();
        if !removed || node.in_upper() {
            tracing::debug!(ino = node.ino, "renamed or indexed during its copy-up");
            return if self.is_raised(node, need) {
                Ok(())
            } else {
                Err(Error::NotFound)
            };
        }
        let mut place = UpperPlace::plain(Anchor::Pinned(Arc::new(pinned)));
        place.origin = None;
        self.arrive(node, place, || Ok(()))
    }

    /// Makes the last step of a copy-up and tells the node and its open handles.
    fn arrive(
        &self,
        node: &Node,
        place: UpperPlace,
        last: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let mut state = node.state.write();
        last()?;
        state.place = Place::Upper(Box::new(place));
        node.next_epoch();
        self.copy_ups.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn how(&self, stat: &Stat, need: Need) -> Data {
        let regular = kind_of_stat(stat) == Kind::File;
        let worth_it = stat.st_size >= METACOPY_MIN && self.metacopy != Metacopy::Off;
        match need {
            Need::Metadata if regular && worth_it => Data::Metadata,
            Need::Index if regular => Data::Metadata,
            Need::Truncated(size) => Data::UpTo(size.min(stat.st_size.cast_unsigned())),
            _ => Data::All,
        }
    }

    fn index_entry(&self, upper: &Upper, staged: &Staged<'_>, origin: &Origin) -> Result<()> {
        let name = Origin::index_name(origin.position, origin.ino);
        match staged.link_to(upper.index(), name.as_ref()) {
            // Left by a crash between this and the name: the other copy is as good, but this one is the
            // one we publish. Nobody has seen the other.
            Err(Error::Exists) => {
                unlinkat(upper.index(), &*name, AtFlags::empty())?;
                staged.link_to(upper.index(), name.as_ref())
            }
            other => other,
        }
    }

    /// Brings the data of a metadata-only copy into the upper. The mark goes last: until then a crash
    /// leaves the layer's data in force. Data that is not on disk by then leaves its redirect, and a
    /// record that says so.
    fn complete(
        &self,
        upper: &Upper,
        node: &Arc<Node>,
        lower: &LowerFile,
        need: Need,
    ) -> Result<()> {
        let mut state = node.state.write();
        let place = state.upper().ok_or(Error::Damaged)?;
        let (mut origin, mut kept) = (place.origin, place.kept);
        let completed = self.at_anchor(&state, place, |at| {
            let file = at.open(OFlags::RDWR)?;
            let before = at.stat()?;
            // What a completion that was killed has kept is still what shows.
            let kept = *kept.get_or_insert_with(|| KeptTimes::of(&before));
            // A truncation that was killed half-way has made the copy shorter than the layer's file.
            let size = lower.stat()?.st_size.min(before.st_size).cast_unsigned();
            let wanted = match need {
                Need::Truncated(wanted) => wanted.min(size),
                _ => size,
            };
            let done = bring_data(upper, lower, at, &file, (size, wanted), kept, &mut origin);
            if done.is_err() && Marks::read(at).is_ok_and(|marks| marks.metacopy) {
                // The layer's data is still in force, as much of it as the copy is long. It is the failure
                // that is told, not what comes of this.
                let _ = ftruncate(&file, before.st_size.cast_unsigned());
                let _ = at.set_times(&kept.put_back());
            }
            done
        });
        if completed.is_err()
            && let Some(place) = state.upper_mut()
        {
            // Whatever was written, nobody shall see it by the times.
            place.kept = kept;
        }
        let unsynced = completed?;
        if let Some(place) = state.upper_mut() {
            (place.data, place.kept) = (None, None);
            place.origin = origin;
            place.unsettled = unsynced.then(|| Unsettled::of(lower, true));
        }
        node.next_epoch();
        drop(state);
        self.copy_ups.fetch_add(1, Ordering::Relaxed);
        if unsynced {
            self.settle_later(node);
        }
        Ok(())
    }

    /// Puts an object into a directory of the upper without anybody seeing that the directory changed
    /// (C4). The parent's names are held.
    pub(super) fn publish_quietly(
        &self,
        upper: &Upper,
        parent: &Arc<Node>,
        name: &OsStr,
        publish: impl FnOnce(BorrowedFd<'_>) -> Result<()>,
    ) -> Result<()> {
        self.mark_impure(upper, parent)?;
        self.quietly(upper, parent, publish)?;
        self.note_name(upper, parent, name);
        tracing::trace!(?name, "copied up");
        Ok(())
    }

    /// Marks a directory as holding children whose inode numbers are not their own, once.
    pub(super) fn mark_impure(&self, upper: &Upper, parent: &Arc<Node>) -> Result<()> {
        let impure = |place: &UpperPlace| place.impure;
        if parent.state.read().upper().is_some_and(impure) {
            return Ok(());
        }
        let dir = self.upper_dir(parent)?;
        let at = At::Fd(dir.as_fd());
        // The mark itself changes the ctime, which is nobody's business either.
        self.keep_in_memory(parent, &at.stat()?);
        upper.mark(at, "impure", PRESENT)?;
        if let Some(place) = parent.state.write().upper_mut() {
            place.impure = true;
        }
        Ok(())
    }
}

/// Fills a metadata-only copy with the first `wanted` of `size` bytes of the layer's data, and takes its
/// mark away; tells whether the data is still to be brought to disk.
fn bring_data(
    upper: &Upper,
    lower: &LowerFile,
    at: At<'_>,
    file: &OwnedFd,
    (size, wanted): (u64, u64),
    kept: KeptTimes,
    origin: &mut Option<Origin>,
) -> Result<bool> {
    if let (Some(origin), true) = (&mut *origin, wanted == size) {
        // The data changes the times, and it may take long.
        origin.kept = Some(kept);
        copy_up::record(upper, at, origin)?;
    }
    let unsynced = copy_up::fill(upper, lower, file.as_fd(), size, wanted)?;
    if wanted == size {
        at.set_times(&kept.put_back())?;
    }
    match &mut *origin {
        Some(origin) => {
            (origin.kept, origin.unsynced) = (None, unsynced);
            copy_up::record(upper, at, origin)?;
        }
        // A copy that overlayfs made has no record of ours to say it.
        None if unsynced.is_some() => fdatasync(file)?,
        None => {}
    }
    upper.unmark(at, "metacopy")?;
    let marked = origin.is_some_and(|origin| origin.unsynced.is_some());
    if !marked {
        upper.unmark(at, "redirect")?;
    }
    Ok(marked)
}
