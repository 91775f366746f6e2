//! How many names an indexed file has: the file system below cannot count them, so its record does.
//!
//! ```text
//!   record: the higher of both numbers, "recount" ─> the name comes or goes ─> record: the new number
//! ```
//!
//! Killed between, the next open counts again ([`super::recover`]). A number that is too low would be
//! worse than one too high: the index entry, and with it the data, would go before the last name.

use std::sync::Arc;

use rustix::fs::unlinkat;

use super::FileSystem;
use crate::error::{Error, Result};
use crate::inode::{Anchor, Node, State};
use crate::union::copy_up;
use crate::upper::{Origin, Upper};

/// What happens to the names of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// One more.
    Comes,
    /// One less.
    Goes,
}

impl FileSystem {
    /// Does `change`, which gives an object a name or takes one away, and keeps the number of its names
    /// right, on disk and here. Other objects than indexed ones are counted below.
    pub(super) fn counted<R>(
        &self,
        upper: &Upper,
        node: &Arc<Node>,
        names: Names,
        change: impl FnOnce() -> Result<R>,
    ) -> Result<R> {
        if !is_counted(&node.state.read()) {
            return change();
        }
        self.begin(upper, node, names)?;
        let result = change();
        if let Err(error) = self.end(upper, node, names, result.is_ok()) {
            // What was done is done. The record says "recount", or the entry says that nobody needs it.
            tracing::warn!(%error, ino = node.ino, "the number of names is counted at the next mount");
        }
        result
    }

    fn begin(&self, upper: &Upper, node: &Node, names: Names) -> Result<()> {
        let mut state = node.state.write();
        let place = state.upper_mut().ok_or(Error::Damaged)?;
        place.counting += 1;
        let Some(mut told) = place.origin else {
            return Ok(());
        };
        told.recount = true;
        if names == Names::Comes {
            told.nlink = told.nlink.map(|nlink| nlink.saturating_add(1));
        }
        let written = self.write_record(upper, &state, &told);
        if written.is_err()
            && let Some(place) = state.upper_mut()
        {
            place.counting -= 1;
        }
        written
    }

    fn end(&self, upper: &Upper, node: &Node, names: Names, done: bool) -> Result<()> {
        let mut state = node.state.write();
        let place = state.upper_mut().ok_or(Error::Damaged)?;
        place.counting -= 1;
        let recount = place.counting > 0;
        let Some(origin) = &mut place.origin else {
            return Ok(());
        };
        if done && let Some(nlink) = &mut origin.nlink {
            *nlink = match names {
                Names::Comes => nlink.saturating_add(1),
                Names::Goes => nlink.saturating_sub(1),
            };
        }
        let told = Origin { recount, ..*origin };
        self.write_record(upper, &state, &told)?;
        if told.nlink != Some(0) {
            return Ok(());
        }
        // The last name went: the entry goes, and what is open is held by a fd.
        let place = state.upper().ok_or(Error::Damaged)?;
        let pinned = self.at_anchor(&state, place, |at| Ok(at.pin()?))?;
        let entry = Origin::index_name(told.position, told.ino);
        unlinkat(upper.index(), entry.as_str(), rustix::fs::AtFlags::empty())?;
        if let Some(place) = state.upper_mut() {
            place.anchor = Anchor::Pinned(Arc::new(pinned));
        }
        Ok(())
    }

    fn write_record(&self, upper: &Upper, state: &State, origin: &Origin) -> Result<()> {
        let place = state.upper().ok_or(Error::Damaged)?;
        self.at_anchor(state, place, |at| copy_up::record(upper, at, origin))
    }
}

/// Whether the record counts the names of an object.
fn is_counted(state: &State) -> bool {
    state
        .upper()
        .and_then(|place| place.origin)
        .is_some_and(|origin| origin.nlink.is_some())
}
