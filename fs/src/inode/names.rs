//! The names of one directory in the upper, in the order of their cookies, kept up to date while the
//! directory is listed and changed (contract D2).
//!
//! Only directories that merge layers have one: their listing must be in the order of cookies, while a
//! directory of the upper alone is read as it lies on disk. A name costs some 100 bytes, whiteouts
//! included, until the kernel forgets the directory.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::Bound;

use rustix::fs::FileType;

use crate::layer::listing::cookie;

/// What stands at a name in the upper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Its type; `None` is a whiteout.
    pub kind: Option<FileType>,
    /// Its inode number in the upper.
    pub ino: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<(u64, Box<OsStr>), Line>);

/// Some lines after a cookie.
#[derive(Debug)]
pub struct Batch {
    /// Cookie, name and what stands there, in order.
    pub lines: Vec<(u64, Box<OsStr>, Line)>,
    /// The last cookie that the batch covers.
    pub until: u64,
}

impl Batch {
    /// No names, and no more to come.
    pub fn none() -> Self {
        Self {
            lines: Vec::new(),
            until: u64::MAX,
        }
    }
}

impl Names {
    /// What stands at `name` from now on; `None`: nothing.
    pub fn set(&mut self, name: &OsStr, line: Option<Line>) {
        let key = (cookie(name), Box::from(name));
        match line {
            Some(line) => drop(self.0.insert(key, line)),
            None => drop(self.0.remove(&key)),
        }
    }

    /// A whiteout beside the name, which counts only where no object has it.
    pub fn hide(&mut self, name: &OsStr) {
        let key = (cookie(name), Box::from(name));
        self.0.entry(key).or_insert(Line { kind: None, ino: 0 });
    }

    /// The lines behind a cookie: `most`, and those that share the last one's cookie.
    pub fn behind(&self, after: u64, most: usize) -> Batch {
        let from = Bound::Excluded((after, Box::from(OsStr::new(""))));
        let mut lines = Vec::new();
        let mut until = u64::MAX;
        for ((cookie, name), line) in self.0.range((from, Bound::Unbounded)) {
            if *cookie == after {
                continue;
            }
            if lines.len() >= most && *cookie != until {
                return Batch { lines, until };
            }
            until = *cookie;
            lines.push((*cookie, name.clone(), *line));
        }
        let until = u64::MAX;
        Batch { lines, until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d1_batches_give_every_name_once() {
        let line = Line {
            kind: Some(FileType::RegularFile),
            ino: 1,
        };
        let mut names = Names::default();
        for n in 0..1000 {
            names.set(OsStr::new(&format!("n{n}")), Some(line));
        }
        for n in 500..1000 {
            names.set(OsStr::new(&format!("n{n}")), None);
        }
        let (mut seen, mut after) = (0, 0);
        while after != u64::MAX {
            let batch = names.behind(after, 7);
            assert!(batch.lines.len() <= 7 && batch.lines.iter().all(|(c, _, _)| *c > after));
            seen += batch.lines.len();
            after = batch.until;
        }
        assert_eq!(seen, 500);
    }
}
