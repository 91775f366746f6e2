//! Hard-linked files of layers that the upper holds in its index, for names that only a layer has.
//!
//! Every such name is answered through the index, so a change shows at names of which the upper has no
//! line.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use rustix::fs::FileType;

use super::{Change, Name, Touched, Walk, shown, touched};
use crate::error::{InspectError, Result};
use crate::inspect::names::{lower_file, names_in_layer, shown_only_below};
use crate::inspect::tree::names;
use crate::inspect::{compare, tree::Tree};
use crate::marks::Marks;
use crate::sys::at::At;
use crate::union::lower::{Lower, LowerFile};
use crate::upper::Origin;

/// Tells the changes of all entries of the index.
pub(super) fn changes(walk: &mut Walk<'_>) -> Result<(), InspectError> {
    let upper = walk.tree.upper.as_ref();
    let Some(index) = upper.and_then(|upper| upper.index.as_ref()) else {
        return Ok(());
    };
    for name in names(index.as_fd()).map_err(InspectError::at("index"))? {
        let at = At::Name(index.as_fd(), &name);
        let found = entry(walk, at, &name).map_err(InspectError::at(shown(name.as_ref())))?;
        walk.changes.extend(found);
    }
    Ok(())
}

fn entry(walk: &Walk<'_>, at: At<'_>, name: &OsStr) -> Result<Vec<Change>> {
    let Some((position, ino)) = Origin::parse_index_name(name) else {
        return Ok(Vec::new());
    };
    let (stat, marks) = (at.stat()?, Marks::read(at)?);
    let kind = FileType::from_raw_mode(stat.st_mode);
    let paths = names_in_layer(walk.tree, position, ino)?;
    let first = paths
        .first()
        .map(|path| lower_file(walk.tree, position, path));
    let lower = match first {
        Some(lower) => lower?,
        None => named_by(walk.tree, &marks)?,
    };
    let differences = match &lower {
        Some(lower) => {
            // All names of the file in its layer are one: any of them has the data.
            let source = marks.metacopy.then_some(lower);
            compare::file(at, &stat, source, lower, &lower.stat()?)?
        }
        None => Vec::new(),
    };
    if lower.is_some() && differences.is_empty() {
        return Ok(Vec::new());
    }
    if paths.is_empty() {
        let touched = match (&lower, marks.metacopy) {
            (Some(_), _) => touched(&differences),
            (None, true) => Touched::Metadata,
            (None, false) => Touched::Content,
        };
        return Ok(vec![Change {
            path: None,
            touched,
            differences,
            ..Change::new(Default::default(), Name::Kept, kind)
        }]);
    }
    let mut changes = Vec::new();
    for path in paths {
        for (dir, name) in shown_only_below(walk.tree, &walk.entrances, position, path)? {
            let path = dir.path.join(name);
            changes.extend(Change::kept(path, kind, differences.clone()));
        }
    }
    Ok(changes)
}

/// The layer's file that a copy itself names.
fn named_by(tree: &Tree, marks: &Marks) -> Result<Option<LowerFile>> {
    let Some(path) = &marks.redirect else {
        return Ok(None);
    };
    Ok(match tree.layers.resolve(path) {
        Ok(Lower::File(file, _)) => Some(*file),
        _ => None,
    })
}
