//! Bringing to disk what copy-up left in memory (contract F1, F2).
//!
//! ```text
//!   copy-up ──> waiting ──5 s, or many──> data synced ──> mark taken away
//!   fsync   ──────────────────────────────────^               (of that file only)
//!   close   ──> everything synced, then all marks, then the marker
//! ```
//!
//! Order: the mark goes after the data is on disk, the marker after the last mark. Killed or cut off
//! between any two of them, the data is safe and at worst put back once more from the layer.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::fs::{OFlags, fdatasync, fsync};

use super::FileSystem;
use super::directories::open_for_reading;
use crate::error::{Error, Result};
use crate::inode::{Node, State, Unsettled};
use crate::union::copy_up;
use crate::union::lower::LowerFile;
use crate::upper::Upper;

/// How long a copy may wait for its data to reach the disk: as long as the data of any file does.
const PATIENCE: Duration = Duration::from_secs(5);
/// More waiting copies than this are settled at once.
const MANY: usize = 4096;
/// Up to so many are synced one by one; more by one sync of the whole file system.
const FEW: usize = 64;

/// Copies whose data may not be on disk.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    nodes: Vec<Arc<Node>>,
    closed: bool,
    /// Whether some copy could not be settled: its mark stays in force.
    failed: bool,
}

impl FileSystem {
    /// Remembers a copy that was just published with an unsynced mark.
    pub(super) fn settle_later(&self, node: &Arc<Node>) {
        let mut queue = self.waiting.queue.lock();
        queue.nodes.push(node.clone());
        if queue.nodes.len() == 1 || queue.nodes.len() == MANY {
            self.waiting.changed.notify_all();
        }
    }

    /// Settles copies until the file system is closed: the work of a thread of its own. Without it
    /// copies are settled by fsync and at close. Without an upper there is nothing to do.
    pub fn settle_until_closed(&self) {
        while self.upper.is_some() {
            {
                let mut queue = self.waiting.queue.lock();
                while queue.nodes.is_empty() && !queue.closed {
                    self.waiting.changed.wait(&mut queue);
                }
                let due = std::time::Instant::now() + PATIENCE;
                while !queue.closed && queue.nodes.len() < MANY {
                    if self.waiting.changed.wait_until(&mut queue, due).timed_out() {
                        break;
                    }
                }
                if queue.closed {
                    return;
                }
            }
            if let Err(error) = self.settle_all() {
                // The marks stay: after a power cut the layer's data is put back.
                tracing::error!(%error, "copied-up data cannot be brought to disk");
            }
        }
    }

    /// Brings all copies that wait now to disk.
    pub fn settle_all(&self) -> Result<()> {
        let upper = self.upper()?;
        let nodes = std::mem::take(&mut self.waiting.queue.lock().nodes);
        let settled = if nodes.len() > FEW {
            upper.sync().and_then(|()| self.unmark_all(upper, &nodes))
        } else {
            nodes
                .iter()
                .try_for_each(|node| self.settle_one(upper, node))
        };
        self.note(settled)
    }

    /// Brings everything to disk, for the end.
    pub(super) fn settle_at_close(&self, upper: &Upper) -> Result<()> {
        let nodes = {
            let mut queue = self.waiting.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.nodes)
        };
        self.waiting.changed.notify_all();
        self.note(upper.sync().and_then(|()| self.unmark_all(upper, &nodes)))?;
        match self.waiting.queue.lock().failed {
            // Some marks stay, so the marker does.
            true => Ok(()),
            false => upper.all_settled(),
        }
    }

    fn unmark_all(&self, upper: &Upper, nodes: &[Arc<Node>]) -> Result<()> {
        nodes
            .iter()
            .try_for_each(|node| self.unmark_settled(upper, node))
    }

    fn note(&self, settled: Result<()>) -> Result<()> {
        if settled.is_err() {
            self.waiting.queue.lock().failed = true;
        }
        settled
    }

    /// Syncs a copy's data and takes its mark away.
    fn settle_one(&self, upper: &Upper, node: &Node) -> Result<()> {
        let data = {
            let state = node.state.read();
            match state.upper().filter(|place| place.unsettled.is_some()) {
                Some(place) if !state.links.is_empty() => {
                    self.at_anchor(&state, place, |at| Ok(at.open(OFlags::RDONLY)?))?
                }
                // Its last name went, or fsync settled it: nothing can be hidden any more.
                _ => return Ok(()),
            }
        };
        fdatasync(data)?;
        self.unmark_settled(upper, node)
    }

    /// Takes the mark of a copy away whose data is on disk.
    fn unmark_settled(&self, upper: &Upper, node: &Node) -> Result<()> {
        let mut state = node.state.write();
        let Some(place) = state.upper_mut() else {
            return Ok(());
        };
        let Some(unsettled) = place.unsettled.take() else {
            return Ok(());
        };
        let Some(origin) = &mut place.origin else {
            return Ok(());
        };
        origin.unsynced = None;
        let (origin, state) = (*origin, &*state);
        let place = state.upper().ok_or(Error::Damaged)?;
        self.at_anchor(state, place, |at| {
            copy_up::record(upper, at, &origin)?;
            match unsettled.pointed {
                true => upper.unmark(at, "redirect"),
                false => Ok(()),
            }
        })
    }

    /// Lets the copy say by itself where its data came from: before it gets another name than the
    /// layer's. `state` is the node's, held for writing.
    pub(super) fn point_to_source(&self, upper: &Upper, state: &mut State) -> Result<()> {
        let path = match state.upper().and_then(|place| place.unsettled.as_ref()) {
            Some(unsettled) if !unsettled.pointed => data_path(&unsettled.source),
            _ => return Ok(()),
        };
        let place = state.upper().ok_or(Error::Damaged)?;
        self.at_anchor(state, place, |at| {
            upper.mark(at, "redirect", path.as_encoded_bytes())
        })?;
        if let Some(unsettled) = state.upper_mut().and_then(|place| place.unsettled.as_mut()) {
            unsettled.pointed = true;
        }
        Ok(())
    }

    /// After a file was synced: its mark is taken away, and its names and all copied-up directories
    /// above them are synced too (F1).
    pub(super) fn sync_around(
        &self,
        upper: &Upper,
        node: &Arc<Node>,
        file: impl AsFd,
    ) -> Result<()> {
        let marked = |state: &State| state.upper().is_some_and(|p| p.unsettled.is_some());
        if marked(&node.state.read()) {
            self.unmark_settled(upper, node)?;
            fsync(file)?;
        }
        self.sync_names(node)
    }

    /// Brings the names of a node, and those of the directories above it, to disk.
    pub(super) fn sync_names(&self, node: &Node) -> Result<()> {
        let mut here = node.state.read().links.clone();
        while let Some(link) = here.pop() {
            let directory = link.parent.as_directory()?;
            if directory.unsynced_names.swap(false, Ordering::AcqRel) {
                let synced = self
                    .upper_dir(&link.parent)
                    .and_then(|dir| Ok(fsync(open_for_reading(dir.as_fd())?)?));
                if let Err(error) = synced {
                    directory.unsynced_names.store(true, Ordering::Release);
                    return Err(error);
                }
            }
            here.extend(link.parent.link());
        }
        Ok(())
    }
}

/// The path in the layers of the data that a copy was made of.
fn data_path(source: &LowerFile) -> std::ffi::OsString {
    source.data.as_deref().unwrap_or(source).path()
}

impl Unsettled {
    /// A copy of `source` that is marked as unsynced.
    pub(super) fn of(source: &LowerFile, pointed: bool) -> Self {
        Self {
            source: Box::new(source.clone()),
            pointed,
        }
    }
}
