//! What shows only when the whole upper is known: a directory of the layers that the merged tree shows at
//! two places, which would be one inode with two parents.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use super::{Check, Finding, Mend, Spot, shown};
use crate::error::{InspectError, Result};
use crate::inspect::names::descend;
use crate::inspect::tree::Dir;
use crate::marks::Marks;
use crate::sys::at::At;
use crate::union::numbers::{lower_number, shown_number};
use crate::upper::{Origin, PRESENT};

impl Check<'_> {
    /// Redirects that lead to a directory which shows elsewhere too.
    pub(super) fn twice(&mut self) -> Result<(), InspectError> {
        let mut found = Vec::new();
        for dir in self.entrances.iter().skip(1) {
            let finding = self.other_place(dir);
            found.extend(finding.map_err(InspectError::at(shown(&dir.path)))?);
        }
        self.findings.extend(found);
        Ok(())
    }

    fn other_place(&self, dir: &Dir) -> Result<Option<Finding>> {
        let (Some(top), Some(part)) = (dir.lowers.first(), &dir.upper) else {
            return Ok(None);
        };
        let path = top.path();
        let names = path.as_bytes().split(|byte| *byte == b'/');
        let names = names.filter(|name| !name.is_empty());
        let names: Vec<OsString> = names.map(|n| OsStr::from_bytes(n).into()).collect();
        let mut other = None;
        for entrance in &self.entrances {
            if entrance.path == dir.path {
                continue;
            }
            let place = descend(self.tree, entrance, top.layer().position, &names)?;
            other = other.or(place.filter(|place| place.path != dir.path));
        }
        let Some(other) = other else { return Ok(None) };
        let what = format!(
            "shows the layers' {}, which {} shows too",
            path.to_string_lossy(),
            shown(&other.path).display()
        );
        let finding = Finding::problem("redirect-twice", shown(&dir.path), what);
        if remembers(dir)? {
            // Where the other is a false one, that is told of the other.
            let redirected = self.entrances.iter().any(|e| e.path == other.path);
            if redirected && !remembers(&other)? {
                return Ok(None);
            }
            let advice = "remove one of the two through a mount, or by hand from the upper";
            return Ok(Some(finding.advice(advice)));
        }
        let mend = Mend::Marks {
            spot: Spot::Directory(part.clone()),
            set: vec![(self.key("opaque"), PRESENT.to_vec())],
            remove: self.keys("redirect"),
        };
        let advice = "made opaque and its redirect removed: it never was that directory";
        Ok(Some(finding.mend(advice, mend)))
    }
}

/// Whether a directory of the upper was copied up from the layers' directory that it shows: one that was
/// renamed was copied up before, and remembers from where.
fn remembers(dir: &Dir) -> Result<bool> {
    let (Some(top), Some(part)) = (dir.lowers.first(), &dir.upper) else {
        return Ok(false);
    };
    let marks = Marks::read(At::Fd(part.fd()?.as_fd()))?;
    let origin = marks.origin.as_deref().and_then(Origin::decode);
    let own = lower_number(top, &top.own_stat()?);
    Ok(origin.is_some_and(|origin| shown_number(&origin) == own))
}
