//! The marks of every object of the upper.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::{Check, Finding, Mend, Spot, shown};
use crate::error::{Error, InspectError, Result};
use crate::inspect::tree::{Below, Dir, Entry, Line, Tie, Whiteout, redirected};
use crate::marks::{self, Marks};
use crate::sys::at::{At, xattr_names};
use crate::union::numbers::{AS_IT_IS, lower_number, shown_number};
use crate::upper::{Form, Origin, PRESENT, c_name};

/// Marks of the kernel's overlayfs that say nothing to us.
const KERNELS: [&[u8]; 5] = [b"origin", b"nlink", b"upper", b"uuid", b"protattr"];

/// Who says to have come from the same object of a layer.
struct Claim {
    path: PathBuf,
    ino: u64,
    spot: Spot,
    /// Whether it lies where that object lay.
    at_home: bool,
}

/// What one directory's children ask of it, and what is counted on the way.
#[derive(Default)]
struct Sums {
    claims: HashMap<u64, Vec<Claim>>,
    kernels: usize,
    first_kernel: Option<PathBuf>,
}

impl Check<'_> {
    /// Walks the upper.
    pub(super) fn marks(&mut self) -> Result<(), InspectError> {
        let root = self.tree.root().map_err(InspectError::at("/"))?;
        self.entrances.push(root.clone());
        let mut sums = Sums::default();
        let mut todo = vec![root];
        while let Some(dir) = todo.pop() {
            let path = shown(&dir.path);
            self.directory(&dir, &mut todo, &mut sums)
                .map_err(InspectError::at(path))?;
        }
        self.claimed_twice(sums.claims);
        if let Some(first) = sums.first_kernel {
            let what = format!(
                "{} objects carry marks of the kernel's overlayfs",
                sums.kernels
            );
            self.findings.push(
                Finding::note("kernel-marks", first, what)
                    .advice("harmless: such objects show inode numbers of their own"),
            );
        }
        Ok(())
    }

    fn directory(&mut self, dir: &Dir, todo: &mut Vec<Dir>, sums: &mut Sums) -> Result<()> {
        let Some(part) = dir.upper.clone() else {
            return Ok(());
        };
        let fd = part.fd()?;
        let own = Marks::read(At::Fd(fd.as_fd()))?;
        if dir.path.as_os_str().is_empty() {
            let spot = Spot::Directory(part.clone());
            self.keys_of(At::Fd(fd.as_fd()), Path::new("/"), &spot, None, sums)?;
        }
        let mut foreign = None;
        for line in self.tree.lines(dir)? {
            self.objects += 1;
            match line {
                Line::Whiteout(whiteout) => self.whiteout(dir, &whiteout)?,
                Line::Object(entry) => {
                    if self.object(dir, &entry, todo, sums)? {
                        foreign.get_or_insert(entry.name.clone());
                    }
                }
            }
        }
        if let Some(name) = foreign.filter(|_| !own.impure) {
            let what = format!(
                "is not marked impure, but {} came from elsewhere: listings show a wrong number",
                name.to_string_lossy()
            );
            let mend = Mend::Marks {
                spot: Spot::Directory(part),
                set: vec![(self.key("impure"), PRESENT.to_vec())],
                remove: Vec::new(),
            };
            self.findings.push(
                Finding::problem("impure-missing", shown(&dir.path), what)
                    .mend("the mark was set", mend),
            );
        }
        Ok(())
    }

    fn whiteout(&mut self, dir: &Dir, whiteout: &Whiteout) -> Result<()> {
        let Some(part) = &dir.upper else {
            return Ok(());
        };
        let place = shown(&dir.path.join(&whiteout.name));
        let fd = part.fd()?;
        let at = At::Name(fd.as_fd(), &whiteout.file);
        let list = at.list_xattrs()?;
        let marked = xattr_names(&list).any(|name| marks::key_of(name).is_some());
        if marked {
            let what = "the whiteout carries marks nobody reads";
            let note = Finding::note("whiteout-marked", &place, what);
            self.findings.push(match marks::is_char00(&whiteout.stat) {
                true => {
                    let (dir, file) = (part.clone(), whiteout.file.clone());
                    note.mend(
                        "a new whiteout took its place",
                        Mend::Whiteout { dir, file },
                    )
                }
                false => note,
            });
        }
        if self.tree.knows_layers()
            && matches!(self.tree.below(dir, &whiteout.name)?, Below::Absent)
        {
            let what = "the whiteout hides nothing";
            self.findings
                .push(Finding::note("whiteout-needless", place, what));
        }
        Ok(())
    }

    /// An object; whether its directory must be marked as impure for its sake.
    fn object(
        &mut self,
        dir: &Dir,
        entry: &Entry,
        todo: &mut Vec<Dir>,
        sums: &mut Sums,
    ) -> Result<bool> {
        let Some(part) = &dir.upper else {
            return Ok(false);
        };
        let place = shown(&dir.path.join(&entry.name));
        let spot = Spot::Name(part.clone(), entry.name.clone());
        let fd = part.fd()?;
        let at = At::Name(fd.as_fd(), &entry.name);
        self.keys_of(at, &place, &spot, Some(entry), sums)?;
        if marks::is_wh_name(&entry.name) {
            let what = "is a file in this upper, and would hide a name if the upper became a layer";
            self.findings.push(Finding::note("wh-name", &place, what));
        }
        if entry.kind() != FileType::Directory {
            return self.file(dir, entry, place, spot, sums);
        }
        let (inner, tie) = self.tree.enter(dir, entry)?;
        if let (Some(target), Tie::Dangling) = (&entry.marks.redirect, &tie) {
            self.dangling(dir, target, place, spot);
        }
        let redirects = matches!(tie, Tie::Redirect(_));
        if redirects {
            self.entrances.push(inner.clone());
        }
        todo.push(inner);
        Ok(redirects)
    }

    fn dangling(&mut self, dir: &Dir, target: &OsStr, place: PathBuf, spot: Spot) {
        let text = target.to_string_lossy();
        let finding = match redirected(dir, target) {
            Some(_) => {
                let what = format!("redirects to {text:?}, which is no directory of the layers");
                Finding::problem("redirect-nowhere", place, what)
            }
            None => {
                let what = format!("its redirect {text:?} is no path");
                Finding::problem("redirect-grammar", place, what)
            }
        };
        let mend = Mend::Marks {
            spot,
            set: vec![(self.key("opaque"), PRESENT.to_vec())],
            remove: self.keys("redirect"),
        };
        let advice = "made opaque and its redirect removed: it shows what the upper has";
        self.findings.push(finding.mend(advice, mend));
    }

    fn file(
        &mut self,
        dir: &Dir,
        entry: &Entry,
        place: PathBuf,
        spot: Spot,
        sums: &mut Sums,
    ) -> Result<bool> {
        let marks = &entry.marks;
        let origin = marks.origin.as_deref().and_then(Origin::decode);
        if marks.origin.is_some() {
            self.origin(dir, entry, origin, &place, &spot, sums)?;
        }
        let regular = entry.kind() == FileType::RegularFile;
        if marks.metacopy && regular && self.tree.knows_layers() {
            self.data(dir, entry, &place)?;
        }
        let unsynced = origin.is_some_and(|origin| origin.unsynced.is_some());
        if marks.redirect.is_some() && !marks.metacopy && !unsynced {
            let what = "has a redirect, and its data is its own";
            self.findings
                .push(Finding::note("redirect-leftover", place, what).mend(
                    "the redirect was removed",
                    Mend::Marks {
                        spot,
                        set: Vec::new(),
                        remove: self.keys("redirect"),
                    },
                ));
        }
        Ok(origin.is_some() || marks.char00)
    }

    /// The layer's data behind a metadata-only copy.
    fn data(&mut self, dir: &Dir, entry: &Entry, place: &Path) -> Result<()> {
        let wanted = entry.stat.st_size;
        let what = match self.tree.data_of(dir, entry)? {
            None => "has only metadata, and no layer has its data".to_owned(),
            Some(file) => match file.stat()?.st_size {
                size if size == wanted => return Ok(()),
                size => {
                    format!("has only metadata, for {wanted} bytes; the layer's file has {size}")
                }
            },
        };
        self.findings.push(
            Finding::problem("data-missing", place, what)
                .advice("give back the layer it was copied from; or remove it from the upper"),
        );
        Ok(())
    }

    fn origin(
        &mut self,
        dir: &Dir,
        entry: &Entry,
        origin: Option<Origin>,
        place: &Path,
        spot: &Spot,
        sums: &mut Sums,
    ) -> Result<()> {
        let remove = Mend::Marks {
            spot: spot.clone(),
            set: Vec::new(),
            remove: self.keys("layerfs.origin"),
        };
        let advice = "the record was removed: it shows an inode number of its own";
        let Some(origin) = origin else {
            let record = entry.marks.origin.as_deref().unwrap_or_default();
            let newer = record.len() >= 32 && record.first() > Some(&1);
            let what = "its origin record cannot be read";
            let finding = Finding::problem("origin-unreadable", place, what);
            self.findings.push(match newer {
                true => finding.advice("a newer layerfs may have written it: use that"),
                false => finding.mend(advice, remove),
            });
            return Ok(());
        };
        if !origin.is_of_layer() && origin.kept.is_some() {
            // A directory that was born in the upper, or copied up by overlayfs: its kept times only.
            return Ok(());
        }
        let layers = self.tree.layers.0.len();
        let known = (1..=layers).contains(&usize::from(origin.position));
        if origin.position == 0 || (layers > 0 && origin.position != AS_IT_IS && !known) {
            let what = format!("came from layer {}, which there is not", origin.position);
            let finding = Finding::problem("origin-layer", place, what);
            self.findings.push(finding.mend(advice, remove));
            return Ok(());
        }
        if let (Some(session), Some(lost)) = (origin.unsynced, self.lost)
            && lost.is_none_or(|lost| lost == session)
        {
            let what = "was copied up and not on disk when the machine went down";
            self.findings
                .push(Finding::problem("unsynced", place, what).advice(
                    "the next mount puts the layer's data back; so does --repair with --lower",
                ));
        }
        if origin.nlink.is_some() {
            return self.indexed(entry, origin, place, spot);
        }
        let number = shown_number(&origin);
        let at_home = matches!(
            self.tree.below(dir, &entry.name)?,
            Below::File(file, stat) if lower_number(&file.dir, &stat) == number
        );
        sums.claims.entry(number).or_default().push(Claim {
            path: place.to_owned(),
            ino: entry.stat.st_ino,
            spot: spot.clone(),
            at_home,
        });
        Ok(())
    }

    /// A file whose names are counted by its record must be in the index.
    fn indexed(&mut self, entry: &Entry, origin: Origin, place: &Path, spot: &Spot) -> Result<()> {
        let upper = self.tree.upper.as_ref();
        let Some(index) = upper.and_then(|upper| upper.index.as_ref()) else {
            return Ok(());
        };
        let name = Origin::index_name(origin.position, origin.ino);
        let there = match At::Name(index.as_fd(), name.as_ref()).stat() {
            Ok(stat) => stat.st_ino == entry.stat.st_ino,
            Err(rustix::io::Errno::NOENT) => false,
            Err(error) => return Err(Error::from(error)),
        };
        if !there {
            let plain = Origin {
                nlink: None,
                ..origin
            };
            let mend = Mend::Marks {
                spot: spot.clone(),
                set: vec![(self.key("layerfs.origin"), plain.encode())],
                remove: Vec::new(),
            };
            let what = "counts names by the index, which has no entry for it";
            self.findings.push(
                Finding::note("index-missing", place, what)
                    .mend("its names are counted by the file system below", mend),
            );
        }
        Ok(())
    }

    /// Several objects of the upper that say to be the same object of a layer.
    fn claimed_twice(&mut self, claims: HashMap<u64, Vec<Claim>>) {
        let mut twice: Vec<Vec<Claim>> = claims
            .into_values()
            .filter(|claims| claims.iter().any(|claim| claim.ino != claims[0].ino))
            .collect();
        twice.sort_by(|a, b| a[0].path.cmp(&b[0].path));
        for claims in twice {
            let home = claims
                .iter()
                .find(|claim| claim.at_home)
                .map(|claim| claim.ino);
            let first = claims[0].path.clone();
            for claim in claims {
                if Some(claim.ino) == home {
                    continue;
                }
                let what = format!("says to come from the same file as {}", first.display());
                let remove = self.keys("layerfs.origin");
                let (spot, set) = (claim.spot, Vec::new());
                self.findings
                    .push(Finding::problem("origin-twice", claim.path, what).mend(
                        "the record was removed: it shows an inode number of its own",
                        Mend::Marks { spot, set, remove },
                    ));
            }
        }
    }

    /// The names of the marks of one object.
    fn keys_of(
        &mut self,
        at: At<'_>,
        place: &Path,
        spot: &Spot,
        entry: Option<&Entry>,
        sums: &mut Sums,
    ) -> Result<()> {
        let kind = entry.map_or(FileType::Directory, Entry::kind);
        let (mut kernels, directory) = (false, kind == FileType::Directory);
        for name in xattr_names(&at.list_xattrs()?) {
            let (Some(key), Some(c_name)) = (marks::key_of(name), c_name(name)) else {
                continue;
            };
            let value = at.xattr(&c_name)?.unwrap_or_default();
            let text = String::from_utf8_lossy(name);
            let wrong = match key {
                b"opaque" if !directory => Some(("opaque-file", "is opaque, and no directory")),
                b"opaque" if !matches!(&value[..], b"y" | b"x") => {
                    Some(("opaque-value", "has an opaque mark that says nothing"))
                }
                b"impure" if !directory => Some(("impure-file", "is impure, and no directory")),
                b"metacopy" if kind != FileType::RegularFile => {
                    Some(("metacopy-type", "is marked as metadata only, and no file"))
                }
                b"layerfs.char00" if kind != FileType::CharacterDevice => Some((
                    "char00-content",
                    "stands for a device 0/0, and is no empty file",
                )),
                b"opaque" | b"impure" | b"metacopy" | b"redirect" | b"whiteout"
                | b"layerfs.char00" | b"layerfs.origin" => None,
                key if KERNELS.contains(&key) => {
                    kernels = true;
                    None
                }
                _ => {
                    self.findings.push(
                        Finding::problem("unknown-mark", place, format!("carries {text}"))
                            .advice("a newer layerfs or overlayfs may need it; else setfattr -x"),
                    );
                    None
                }
            };
            if let Some((code, what)) = wrong {
                let mend = Mend::Marks {
                    spot: spot.clone(),
                    set: Vec::new(),
                    remove: vec![c_name],
                };
                let finding = Finding::problem(code, place, what);
                self.findings
                    .push(finding.mend("the mark was removed", mend));
            }
        }
        if kernels {
            sums.kernels += 1;
            sums.first_kernel.get_or_insert(place.to_owned());
        }
        Ok(())
    }

    /// The name of a mark in the form of this upper.
    pub(super) fn key(&self, key: &str) -> CString {
        let upper = self.tree.upper.as_ref();
        upper.map_or(Form::Overlay, |upper| upper.form).key(key)
    }

    /// The names of a mark in all forms.
    pub(super) fn keys(&self, key: &str) -> Vec<CString> {
        let name = |prefix: &&str| CString::new(format!("{prefix}{key}")).ok();
        marks::PREFIXES.iter().filter_map(name).collect()
    }
}
