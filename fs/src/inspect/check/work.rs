//! The workdir: the stage, the markers, the list of layers, the index.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::{Check, Finding, Mend, Spot};
use crate::error::{Error, InspectError, Result};
use crate::inspect::names::{names_in_layer, shown_only_below};
use crate::inspect::tree::names;
use crate::marks::Marks;
use crate::sys::at::At;
use crate::sys::mounts::open_directory;
use crate::union::numbers::AS_IT_IS;
use crate::upper::durability::Durability;
use crate::upper::open::{HOME, STACK, STAGE, VOLATILE};
use crate::upper::{Left, Origin};

/// Whether a power cut may have spoilt copies that this workdir's upper holds.
pub(super) fn may_be_spoilt(work: &Path) -> Result<bool, InspectError> {
    Ok(matches!(left(work)?, Left::Lost(_)))
}

fn left(work: &Path) -> Result<Left, InspectError> {
    let home = work.join(HOME);
    let error = InspectError::at(home.clone());
    match open_directory(&home) {
        Ok(home) => Durability::new(home.as_fd(), false)
            .left(home.as_fd())
            .map_err(error),
        Err(_) => Ok(Left::Nothing),
    }
}

impl Check<'_> {
    /// All but the index; gives whether the layers are those of the last mount, as far as anybody knows.
    pub(super) fn workdir(&mut self) -> Result<bool, InspectError> {
        let Some(work) = self.work else {
            return Ok(true);
        };
        let home = work.join(HOME);
        let staged = count(&home.join(STAGE))?;
        if staged > 0 {
            let what = format!("{staged} objects were being made when the last mount died");
            self.findings.push(
                Finding::note("stage", home.join(STAGE), what)
                    .mend("removed, as the next mount would do", Mend::Stage),
            );
        }
        if home.join(VOLATILE).exists() {
            let what =
                "a --volatile mount was not unmounted cleanly: its content cannot be trusted";
            self.findings.push(
                Finding::problem("volatile", home.join(VOLATILE), what).advice(
                    "remove the upper; or, if only the daemon died and not the machine, remove this marker",
                ),
            );
        }
        for name in ["work", "index"] {
            if count(&work.join(name))? > 0 {
                let what = "left by the kernel's overlayfs, which had this workdir";
                self.findings
                    .push(Finding::note("kernel-work", work.join(name), what));
            }
        }
        match left(work)? {
            Left::Nothing => {}
            Left::Cached => self.findings.push(
                Finding::note(
                    "unsynced",
                    home.join("unsynced"),
                    "the daemon died before copied-up data was on disk",
                )
                .advice("the next mount brings it there"),
            ),
            Left::Lost(session) => {
                self.lost = Some(session);
                let what = "the machine went down before copied-up data was on disk";
                self.findings.push(
                    Finding::problem("unsynced", home.join("unsynced"), what).advice(
                        "the next mount puts the layers' data back; so does --repair with --lower",
                    ),
                );
            }
        }
        self.stack(&home.join(STACK))
    }

    fn stack(&mut self, path: &Path) -> Result<bool, InspectError> {
        let known = match fs::read_to_string(path) {
            Ok(known) if self.tree.knows_layers() => known,
            _ => return Ok(true),
        };
        let given = self.tree.layers.fingerprint()?;
        if known == given {
            return Ok(true);
        }
        if given.starts_with(&known) {
            let what = "layers were put on top since the last mount";
            self.findings.push(
                Finding::note("layers", path, what)
                    .advice("the next mount forgets which names of layers are hard links"),
            );
            return Ok(true);
        }
        let what = "the layers given are not those of the last mount, or in another order";
        self.findings.push(
            Finding::problem("layers", path, what)
                .advice("give the layers of the last mount, the topmost first"),
        );
        Ok(false)
    }

    /// The index: each entry is the upper inode of a hard-linked file of a layer.
    pub(super) fn index(&mut self) -> Result<(), InspectError> {
        let upper = self.tree.upper.as_ref();
        let Some(index) = upper.and_then(|upper| upper.index.as_ref()) else {
            return Ok(());
        };
        for name in names(index.as_fd()).map_err(InspectError::at("index"))? {
            let at = At::Name(index.as_fd(), &name);
            let found = self.entry(at, &name);
            let found = found.map_err(InspectError::at(self.index_path(&name)))?;
            self.findings.extend(found);
        }
        Ok(())
    }

    fn index_path(&self, name: &OsStr) -> std::path::PathBuf {
        let work = self.work.unwrap_or(Path::new(""));
        work.join(HOME).join("index").join(name)
    }

    fn entry(&self, at: At<'_>, name: &OsStr) -> Result<Option<Finding>> {
        let (stat, place) = (at.stat()?, self.index_path(name));
        let named = stat.st_nlink > 1;
        // What has other names loses nothing with this one.
        let remove = |finding: Finding| match named {
            true => finding.mend("the entry was removed", Mend::IndexEntry(name.to_owned())),
            false => finding.advice("it has no other name: look at it, then remove it by hand"),
        };
        let Some((position, ino)) = Origin::parse_index_name(name) else {
            let what = "is no name of the index";
            return Ok(Some(remove(Finding::problem("index-name", place, what))));
        };
        if self.tree.knows_layers()
            && position != AS_IT_IS
            && !(1..=self.tree.layers.0.len()).contains(&usize::from(position))
        {
            let what = format!("speaks of layer {position}, which there is not");
            return Ok(Some(remove(Finding::problem("index-layer", place, what))));
        }
        let total = self.merged_names(position, ino, stat.st_nlink)?;
        let set = |nlink: u32| Mend::Marks {
            spot: Spot::Index(name.to_owned()),
            set: vec![(
                self.key("layerfs.origin"),
                Origin {
                    nlink: Some(nlink),
                    ..Origin::of(position, ino)
                }
                .encode(),
            )],
            remove: Vec::new(),
        };
        let record = Marks::read(at)?.origin;
        let Some(origin) = record.as_deref().and_then(Origin::decode) else {
            let finding = Finding::problem("index-record", place, "has no origin record");
            return Ok(Some(match total {
                Some(total) => finding.mend("the record was written anew", set(total)),
                None => finding.advice("give the layers, so that its names can be counted"),
            }));
        };
        if (origin.position, origin.ino) != (position, ino) {
            let what = format!(
                "is the copy of another file (layer {}, inode {:#x})",
                origin.position, origin.ino
            );
            return Ok(Some(remove(Finding::problem("index-other", place, what))));
        }
        let Some(counted) = origin.nlink else {
            let what = "all names of this file are in the upper: the entry is done with";
            return Ok(Some(remove(Finding::note("index-leftover", place, what))));
        };
        let in_upper = u32::try_from(stat.st_nlink).unwrap_or(u32::MAX) - 1;
        if total == Some(0) {
            let what = "nothing shows this file any more";
            let mend = Mend::IndexEntry(name.to_owned());
            let note = Finding::note("index-orphan", place, what);
            return Ok(Some(note.mend("the entry was removed", mend)));
        }
        let finding = match total {
            Some(total) if counted > total => Finding::note(
                "index-count",
                place,
                format!("counts {counted} names, and has {total}"),
            )
            .mend("the count was corrected", set(total)),
            Some(total) if counted < total => Finding::problem(
                "index-count",
                place,
                format!("counts {counted} names, and has {total}"),
            )
            .mend("the count was corrected", set(total)),
            None if counted < in_upper => Finding::problem(
                "index-count",
                place,
                format!("counts {counted} names, and has {in_upper} in the upper alone"),
            )
            .advice("give the layers, so that all names can be counted"),
            _ => return Ok(None),
        };
        Ok(Some(finding))
    }

    /// How many names the merged tree has for an indexed file; `None` if nobody can tell.
    fn merged_names(&self, position: u16, ino: u64, nlink: u64) -> Result<Option<u32>> {
        if !self.tree.knows_layers() {
            return Ok(None);
        }
        let paths = names_in_layer(self.tree, position, ino)?;
        if paths.is_empty() {
            return Ok(None);
        }
        let mut total = u32::try_from(nlink).unwrap_or(u32::MAX) - 1;
        for path in paths {
            let shown = shown_only_below(self.tree, &self.entrances, position, path)?;
            total += u32::try_from(shown.len()).unwrap_or(u32::MAX);
        }
        Ok(Some(total))
    }
}

/// How many names a directory holds; none if it is not there.
fn count(dir: &Path) -> Result<usize, InspectError> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.count()),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(InspectError::at(dir)(Error::from(error))),
    }
}
