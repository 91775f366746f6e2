//! What a power cut may leave, told from what a plain tree went through.
//!
//! ```text
//!   names, owners, modes, xattrs, link counts    those of one moment for the whole tree: not before the last
//!                                                fsync of something changed; the last if the journal was written
//!   a file's data and mtime                      of that moment or another, not before its own last fsync
//! ```
//!
//! Data of different moments may be mixed, byte by byte, as pages are written one by one. No byte of
//! the layers or of what is written is zero: a hole that nobody made shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tests::operations::Op;
use tests::sequences::present;
use tests::stage::START;
use tests::sys::{self, Cut};

use super::steps::Step;

/// One object.
#[derive(Debug)]
pub(crate) struct Object {
    /// Inode number and birth: another object may get the number later.
    id: (u64, Option<SystemTime>),
    line: String,
    mtime: String,
    data: Option<Vec<u8>>,
}

/// A tree at one moment.
pub(crate) type Moment = BTreeMap<PathBuf, Object>;

/// Looks at the tree at `root`.
pub(crate) fn moment(root: &Path) -> Moment {
    let mut names: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut paths = present(root);
    paths.push(PathBuf::new());
    paths.sort();
    let look = |path: PathBuf| {
        let full = root.join(&path);
        let meta = fs::symlink_metadata(&full).unwrap();
        let mut line = format!("{:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
        if !meta.is_dir() {
            let first = names.entry(meta.ino()).or_insert_with(|| path.clone());
            write!(line, " {} names, {}", meta.nlink(), first.display()).unwrap();
        }
        for (name, value) in sys::xattrs(&full).unwrap() {
            let name = String::from_utf8_lossy(&name).into_owned();
            write!(line, " {name}={value:x?}").unwrap();
        }
        let mtime = match meta.mtime() >= START {
            true => "recent".to_owned(),
            false => format!("{}.{:09}", meta.mtime(), meta.mtime_nsec()),
        };
        let data = meta.is_file().then(|| fs::read(&full).unwrap());
        let id = (meta.ino(), meta.created().ok());
        let object = Object {
            id,
            line,
            mtime,
            data,
        };
        (path, object)
    };
    paths.into_iter().map(look).collect()
}

/// A plain tree's way: `moments[i]` is before step `i`.
#[derive(Debug)]
pub(crate) struct Truth<'a> {
    pub(crate) steps: &'a [Step],
    pub(crate) moments: &'a [Moment],
}

impl Truth<'_> {
    /// Whether a power cut after the last step may leave `found`; else why not.
    pub(crate) fn explain(&self, found: &Moment, cut: Cut) -> Result<usize, String> {
        let end = self.steps.len();
        let first = match cut {
            Cut::JournalWritten => end,
            Cut::AtOnce => self.first(),
        };
        let mut best: Option<String> = None;
        for at in (first..=end).rev() {
            let why = self.faults(found, at);
            if why.is_empty() {
                return Ok(at);
            }
            if best.as_ref().is_none_or(|best| best.len() > why.len()) {
                best = Some(format!("compared with the moment after step {at}:\n{why}"));
            }
        }
        Err(best.unwrap_or_default())
    }

    /// The earliest moment whose names may show: what was synced was brought there with all before it.
    fn first(&self) -> usize {
        let synced = |(at, step): (usize, &Step)| match step {
            Step::Sync => at + 1,
            Step::Fsync(path) => self.last_change(path, at),
            Step::Do(_) | Step::Wait => 0,
        };
        self.steps.iter().enumerate().map(synced).max().unwrap_or(0)
    }

    /// The moment, `at` or before, since which an object is as it is now.
    fn last_change(&self, path: &Path, at: usize) -> usize {
        let look = |moment: &Moment| {
            let object = moment.get(path)?;
            let below = moment.keys().filter(|name| name.parent() == Some(path));
            let below: Vec<_> = below.cloned().collect();
            let size = object.data.as_ref().map(Vec::len);
            Some((object.line.clone(), size, below))
        };
        let now = look(&self.moments[at]);
        if now.is_none() {
            return 0;
        }
        (1..=at)
            .rfind(|moment| look(&self.moments[moment - 1]) != now)
            .unwrap_or(0)
    }

    fn faults(&self, found: &Moment, at: usize) -> String {
        let wanted = &self.moments[at];
        let mut out = String::new();
        for (path, object) in wanted {
            match found.get(path) {
                None => writeln!(out, "- {path:?}: {}", object.line).unwrap(),
                Some(there) => {
                    if there.line != object.line {
                        let (a, b) = (&object.line, &there.line);
                        writeln!(out, "- {path:?}: {a}\n+ {path:?}: {b}").unwrap();
                    }
                    if let Err(why) = self.is_plausible(object, there, at) {
                        writeln!(out, "{path:?}: {why}").unwrap();
                    }
                }
            }
        }
        for (path, object) in found {
            if !wanted.contains_key(path) {
                writeln!(out, "+ {path:?}: {}", object.line).unwrap();
            }
        }
        out
    }

    /// Data and mtime of an object.
    fn is_plausible(&self, wanted: &Object, found: &Object, at: usize) -> Result<(), String> {
        let Some(data) = &found.data else {
            return match wanted.mtime == found.mtime {
                true => Ok(()),
                false => Err(format!("mtime {} for {}", found.mtime, wanted.mtime)),
            };
        };
        let since = self.synced(wanted.id);
        let states: Vec<&Object> = self.moments[since.min(at)..]
            .iter()
            .filter_map(|moment| moment.values().find(|object| object.id == wanted.id))
            .collect();
        if !states.iter().any(|state| state.mtime == found.mtime) {
            return Err(format!(
                "mtime {} was at no moment since its fsync",
                found.mtime
            ));
        }
        let contents: Vec<&Vec<u8>> = states.iter().filter_map(|o| o.data.as_ref()).collect();
        if data.is_empty() && self.may_be_empty(wanted.id, since) {
            return Ok(());
        }
        if !contents.iter().any(|content| content.len() == data.len()) {
            let sizes: Vec<_> = contents.iter().map(|content| content.len()).collect();
            return Err(format!("{} bytes, where it had {sizes:?}", data.len()));
        }
        let strange = |i: &usize| !contents.iter().any(|c| c.get(*i) == Some(&data[*i]));
        match (0..data.len()).find(strange) {
            None => Ok(()),
            Some(i) => Err(format!(
                "byte {i} of {} is {}, and never was",
                data.len(),
                data[i]
            )),
        }
    }

    /// The moment behind an object's last fsync.
    fn synced(&self, id: (u64, Option<SystemTime>)) -> usize {
        // Of copies sync(2) makes nothing sure before they are settled: no message tells the daemon of it, and
        // they are put back (DESIGN.md, "Open").
        let copied = self.moments[0].values().any(|object| object.id == id);
        let synced = |(at, step): (usize, &Step)| match step {
            Step::Sync if copied => 0,
            Step::Sync => at + 1,
            Step::Fsync(path) => {
                let object = self.moments[at].get(path);
                object.map_or(0, |object| if object.id == id { at + 1 } else { 0 })
            }
            Step::Do(_) | Step::Wait => 0,
        };
        self.steps.iter().enumerate().map(synced).max().unwrap_or(0)
    }

    /// Whether an O_TRUNC may have reached the disk without what was written after it. It may not where a
    /// layer's file would be hidden: for those that are no copy, or had long been settled.
    fn may_be_empty(&self, id: (u64, Option<SystemTime>), since: usize) -> bool {
        let of_layer = self.moments[0].values().any(|object| object.id == id);
        let waited = self.steps.contains(&Step::Wait);
        let truncated = |step: &Step| matches!(step, Step::Do(Op::Overwrite(..)));
        let settled = !of_layer || since > 0 || waited;
        settled
            && self.steps[since.min(self.steps.len())..]
                .iter()
                .any(truncated)
    }
}
