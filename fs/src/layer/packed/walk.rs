//! The whole tree of a packed layer, in the order of its paths; and one path of it.
//!
//! ```text
//!   find(a/b)     ROOT ──lookup──> a ──lookup──> b             names as they are: no symlink is followed
//!   walk(from)    d  d/a  d/a/x  d/b  e                        each directory before what is in it
//! ```
//!
//! An index that lies could show one directory under a thousand names, each of them doubled again: here a
//! directory has one name, and all have as many entries as the index has.

use std::collections::HashSet;

use super::builder::{LONGEST_PATH, names};
use super::reader::{Pack, ROOT};
use crate::error::{Error, Result};

/// A name met on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    /// Its path, without a `/` in front.
    pub path: Vec<u8>,
    /// The object; `None` for a whiteout.
    pub node: Option<u32>,
    /// Type as st_mode has it; 0 for a whiteout.
    pub kind: u32,
}

impl Met {
    /// The last name of the path.
    pub fn name(&self) -> &[u8] {
        let cut = self.path.iter().rposition(|byte| *byte == b'/');
        cut.map_or(&*self.path, |cut| &self.path[cut + 1..])
    }
}

/// The object at `path`: `None` if there is none, or a whiteout. A symlink on the way is no directory.
///
/// # Errors
/// ENOTDIR; EINVAL for a path that leads out of the layer; the index is damaged.
pub fn find(pack: &Pack, path: &[u8]) -> Result<Option<u32>> {
    let mut here = ROOT;
    for name in names(path).map_err(|_| Error::Invalid)? {
        if pack.node(here)?.mode.get() & libc::S_IFMT != libc::S_IFDIR {
            return Err(Error::NotDirectory);
        }
        match pack.lookup(here, name)?.and_then(|named| named.node) {
            Some(node) => here = node,
            None => return Ok(None),
        }
    }
    Ok(Some(here))
}

/// The names of the directory `node`, which lies at `path`, in order.
///
/// # Errors
/// The index is damaged.
pub fn list(pack: &Pack, path: &[u8], node: u32) -> Result<Vec<Met>> {
    let below = |name: &[u8]| match path {
        b"" => name.to_vec(),
        path => [path, b"/", name].concat(),
    };
    let met = |named: super::reader::Named<'_>| Met {
        path: below(named.name),
        node: named.node,
        kind: u32::from(named.kind) << 12,
    };
    let listed = pack.names(node)?.map(|named| named.map(met));
    let mut listed = listed.collect::<Result<Vec<_>>>()?;
    listed.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(listed)
}

/// All below the directory `node`, which lies at `path`; the first error ends it.
///
/// Memory: the names of the directories on the way.
pub fn walk<'a>(pack: &'a Pack, path: &[u8], node: u32) -> Walk<'a> {
    let mut walk = Walk {
        pack,
        todo: Vec::new(),
        seen: HashSet::new(),
        left: u64::from(pack.header().entries.get()),
        failed: None,
    };
    walk.failed = walk.enter(path, node).err();
    walk
}

/// See [`walk`].
#[derive(Debug)]
pub struct Walk<'a> {
    pack: &'a Pack,
    /// What is to come, the next one last.
    todo: Vec<Met>,
    seen: HashSet<u32>,
    left: u64,
    failed: Option<Error>,
}

impl Walk<'_> {
    fn enter(&mut self, path: &[u8], node: u32) -> Result<()> {
        let count = u64::from(self.pack.node(node)?.count.get());
        self.left = self.left.checked_sub(count).ok_or(Error::Damaged)?;
        if !self.seen.insert(node) {
            return Err(Error::Damaged);
        }
        let listed = list(self.pack, path, node)?;
        self.todo.extend(listed.into_iter().rev());
        Ok(())
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Met>;

    fn next(&mut self) -> Option<Result<Met>> {
        if let Some(error) = self.failed.take() {
            self.todo.clear();
            return Some(Err(error));
        }
        let met = self.todo.pop()?;
        if met.path.len() > LONGEST_PATH {
            self.todo.clear();
            return Some(Err(Error::NameTooLong));
        }
        if let Some(node) = met.node
            && met.kind == libc::S_IFDIR
        {
            self.failed = self.enter(&met.path, node).err();
        }
        Some(Ok(met))
    }
}
