//! What an upper says without its layers.
//!
//! A whiteout or a redirect speaks for itself. A copy-up is known by the origin it keeps, ours or the
//! kernel's. What keeps none may be new or take the place of a layer's object: only the layers know.

use std::path::PathBuf;

use super::{Change, Hidden, Name, Opaque, Touched, Walk};
use crate::inspect::tree::{Dir, Entry, Tie};

impl Walk<'_> {
    /// What is hidden at a path of the layers.
    pub(super) fn hide_unknown(&mut self, before: PathBuf, occupied: bool) -> Hidden {
        if !occupied {
            self.changes.push(Change::deleted(before, None));
        }
        Hidden::Broken
    }

    /// What happened to the name of a directory; `None`: nothing that the upper tells.
    pub(super) fn directory_alone(
        &mut self,
        dir: &Dir,
        inner: &Dir,
        entry: &Entry,
        tie: &Tie,
    ) -> Option<Name> {
        let Some(home) = dir.before.as_ref().map(|before| before.join(&entry.name)) else {
            return match &inner.before {
                Some(before) => Some(Name::Renamed(before.clone())),
                None => Some(Name::Added),
            };
        };
        match (tie, &inner.before) {
            _ if entry.marks.opaque == Opaque::Yes => Some(Name::Replaced),
            (Tie::Redirect(_), Some(before)) if *before != home => {
                Some(Name::Renamed(before.clone()))
            }
            (Tie::Dangling, _) => Some(Name::Unknown),
            _ if came_from_a_layer(entry) => None,
            _ => Some(Name::Unknown),
        }
    }

    /// Anything but a directory.
    pub(super) fn file_alone(&mut self, dir: &Dir, entry: &Entry) {
        let path = dir.path.join(&entry.name);
        let home = dir.before.as_ref().map(|before| before.join(&entry.name));
        let redirect = entry
            .marks
            .redirect
            .as_ref()
            .and_then(|target| super::super::tree::redirected(dir, target));
        let copied = came_from_a_layer(entry) || entry.marks.metacopy;
        let touched = match (copied, entry.marks.metacopy) {
            (_, true) => Touched::Metadata,
            (true, false) => Touched::Content,
            _ => Touched::No,
        };
        let name = match (redirect, home) {
            (Some(from), home) if copied && Some(&from) != home.as_ref() => Name::Renamed(from),
            (_, None) => Name::Added,
            _ if copied => Name::Kept,
            _ => Name::Unknown,
        };
        // A whole new object has nothing that could be touched.
        let touched = match name {
            Name::Added | Name::Unknown => Touched::No,
            _ => touched,
        };
        self.changes.push(Change {
            touched,
            ..Change::new(path, name, entry.kind())
        });
    }
}

/// Whether an object keeps an origin.
fn came_from_a_layer(entry: &Entry) -> bool {
    entry.marks.origin.is_some() || entry.marks.kernel_origin
}
