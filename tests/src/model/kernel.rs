//! What Linux does above a file system: it walks paths, follows symlinks, and says no in a fixed
//! order before the file system is asked (fs/namei.c).

use std::ffi::OsString;
use std::path::Path;

use rustix::io::Errno;

use super::below::{Below, Kind, Place};
use crate::operations::Op;

/// Symlinks followed in one path.
const MOST_SYMLINKS: usize = 40;

/// A file system with its kernel.
#[derive(Debug)]
pub struct Kernel<B> {
    pub(super) below: B,
}

/// A way from the root down: no path of ours has `..` or begins at `/`, so each directory on it lies
/// in the one before.
struct Way<N> {
    directories: Vec<N>,
    symlinks: usize,
}

/// The directory and the name that a path ends with.
struct End<N> {
    /// All directories down to the one that has the name.
    way: Vec<N>,
    name: OsString,
}

impl<N: Copy> End<N> {
    fn directory(&self) -> N {
        *self.way.last().expect("a way begins at the root")
    }

    fn place(&self) -> Place<'_, N> {
        (self.directory(), &self.name)
    }
}

impl<B: Below> Kernel<B> {
    /// The kernel over that file system.
    pub fn over(below: B) -> Self {
        Self { below }
    }

    /// Does one operation; gives what [`crate::operations::apply`] gives on a tree on disk.
    pub fn apply(&mut self, op: &Op) -> Result<String, Errno> {
        let done = |()| String::new();
        match op {
            Op::Create(path, mode) => self.make(path, Kind::File, *mode).map(done),
            Op::Mkdir(path, mode) => {
                // mkdir(2) takes no set-id bits.
                self.make(path, Kind::Directory, mode & 0o1777).map(done)
            }
            Op::Fifo(path, mode) => self.make(path, Kind::Fifo, *mode).map(done),
            Op::Socket(path, mode) => self.make(path, Kind::Socket, *mode).map(done),
            Op::Device(path, major, minor) => {
                let kind = Kind::Device(rustix::fs::makedev(*major, *minor));
                self.make(path, kind, 0o600).map(done)
            }
            Op::Symlink(target, path) => self.symlink(target, path).map(done),
            Op::Unnamed(path, data) => self.unnamed(path, data),
            Op::Link(from, to) => self.link(from, to).map(done),
            Op::Unlink(path) => self.unlink(path).map(done),
            Op::Rmdir(path) => self.rmdir(path).map(done),
            Op::Rename(from, to) => self.rename(from, to, Flag::None).map(done),
            Op::RenameNoReplace(from, to) => self.rename(from, to, Flag::NoReplace).map(done),
            Op::Exchange(from, to) => self.rename(from, to, Flag::Exchange).map(done),
            Op::Readlink(path) => {
                let node = self.find(path, false)?;
                match self.below.attr(node)?.kind {
                    Kind::Symlink => Ok(self.below.target(node)?.display().to_string()),
                    _ => Err(Errno::INVAL),
                }
            }
            Op::List(path) => Ok(self.list(path)?.split_off(2).join(" ")),
            Op::Scan(path) => Ok(self.list(path)?.join(" ")),
            other => self.apply_to_content(other),
        }
    }

    /// The object of a path. `follow`: a symlink at its end, too.
    pub(super) fn find(&mut self, path: &Path, follow: bool) -> Result<B::Node, Errno> {
        let mut way = self.start();
        self.walk(&mut way, path, follow)
    }

    fn start(&self) -> Way<B::Node> {
        Way {
            directories: vec![self.below.root()],
            symlinks: 0,
        }
    }

    /// Goes on from where the way has come to.
    fn walk(
        &mut self,
        way: &mut Way<B::Node>,
        path: &Path,
        follow: bool,
    ) -> Result<B::Node, Errno> {
        let mut here = *way.directories.last().expect("a way begins at the root");
        let mut names = path.iter().peekable();
        while let Some(name) = names.next() {
            let is_last = names.peek().is_none();
            let mut node = self.below.lookup((here, name))?;
            let mut kind = self.below.attr(node)?.kind;
            if kind == Kind::Symlink && (follow || !is_last) {
                way.symlinks += 1;
                if way.symlinks > MOST_SYMLINKS {
                    return Err(Errno::LOOP);
                }
                let target = self.below.target(node)?;
                node = self.walk(way, &target, true)?;
                kind = self.below.attr(node)?.kind;
            }
            if !is_last {
                if kind != Kind::Directory {
                    return Err(Errno::NOTDIR);
                }
                // After a symlink the way is there already.
                if way.directories.last() != Some(&node) {
                    way.directories.push(node);
                }
            } else if follow && kind == Kind::Directory && way.directories.last() != Some(&node) {
                way.directories.push(node);
            }
            here = node;
        }
        Ok(here)
    }

    /// The place that a path names, whether something is there or not.
    fn end(&mut self, path: &Path) -> Result<End<B::Node>, Errno> {
        let mut way = self.start();
        let parent = path.parent().expect("a path below the root");
        let directory = self.walk(&mut way, parent, true)?;
        if self.below.attr(directory)?.kind != Kind::Directory {
            return Err(Errno::NOTDIR);
        }
        Ok(End {
            way: way.directories,
            name: path
                .file_name()
                .expect("a path that ends in a name")
                .to_owned(),
        })
    }

    /// What is at a place, if anything.
    fn look(&mut self, end: &End<B::Node>) -> Result<Option<B::Node>, Errno> {
        match self.below.lookup(end.place()) {
            Ok(node) => Ok(Some(node)),
            Err(Errno::NOENT) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// A place where something is to be made: it must be free.
    fn free(&mut self, path: &Path) -> Result<End<B::Node>, Errno> {
        let end = self.end(path)?;
        match self.look(&end)? {
            Some(_) => Err(Errno::EXIST),
            None => Ok(end),
        }
    }

    /// A place where something must be.
    fn taken(&mut self, path: &Path) -> Result<(End<B::Node>, Kind), Errno> {
        let end = self.end(path)?;
        let node = self.look(&end)?.ok_or(Errno::NOENT)?;
        let kind = self.below.attr(node)?.kind;
        Ok((end, kind))
    }

    fn make(&mut self, path: &Path, kind: Kind, mode: u32) -> Result<(), Errno> {
        let end = self.free(path)?;
        self.below.make(end.place(), kind, mode)
    }

    fn symlink(&mut self, target: &Path, path: &Path) -> Result<(), Errno> {
        let end = self.free(path)?;
        self.below.symlink(end.place(), target)
    }

    fn unnamed(&mut self, path: &Path, data: &[u8]) -> Result<String, Errno> {
        let directory = self.find(path.parent().expect("a path below the root"), true)?;
        if self.below.attr(directory)?.kind != Kind::Directory {
            return Err(Errno::NOTDIR);
        }
        let node = self.below.unnamed(directory, 0o640)?;
        if !data.is_empty() {
            self.below.write(node, 0, data)?;
        }
        let nlink = self.below.attr(node)?.nlink;
        let end = self.free(path)?;
        self.below.link(node, end.place())?;
        Ok(format!("nlink={nlink}"))
    }

    fn link(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        let node = self.find(from, false)?;
        let end = self.free(to)?;
        match self.below.attr(node)?.kind {
            Kind::Directory => Err(Errno::PERM),
            _ => self.below.link(node, end.place()),
        }
    }

    pub(super) fn unlink(&mut self, path: &Path) -> Result<(), Errno> {
        match self.taken(path)? {
            (_, Kind::Directory) => Err(Errno::ISDIR),
            (end, _) => self.below.unlink(end.place()),
        }
    }

    fn rmdir(&mut self, path: &Path) -> Result<(), Errno> {
        match self.taken(path)? {
            (end, Kind::Directory) => self.below.rmdir(end.place()),
            _ => Err(Errno::NOTDIR),
        }
    }

    fn rename(&mut self, from: &Path, to: &Path, flag: Flag) -> Result<(), Errno> {
        let (from, to) = (self.end(from)?, self.end(to)?);
        let source = self.look(&from)?.ok_or(Errno::NOENT)?;
        let target = self.look(&to)?;
        match (flag, target) {
            (Flag::NoReplace, Some(_)) => return Err(Errno::EXIST),
            (Flag::Exchange, None) => return Err(Errno::NOENT),
            _ => {}
        }
        if to.way.contains(&source) {
            return Err(Errno::INVAL);
        }
        if target.is_some_and(|target| from.way.contains(&target)) {
            return Err(match flag {
                Flag::Exchange => Errno::INVAL,
                _ => Errno::NOTEMPTY,
            });
        }
        if let Some(target) = target {
            if target == source {
                return Ok(());
            }
            let is_directory = |kind| kind == Kind::Directory;
            let moves_directory = is_directory(self.below.attr(source)?.kind);
            let over_directory = is_directory(self.below.attr(target)?.kind);
            match (flag, moves_directory, over_directory) {
                (Flag::Exchange, ..) | (_, true, true) | (_, false, false) => {}
                (_, true, false) => return Err(Errno::NOTDIR),
                (_, false, true) => return Err(Errno::ISDIR),
            }
        }
        let exchange = flag == Flag::Exchange;
        self.below.rename(from.place(), to.place(), exchange)
    }

    /// Sorted; the dots are first.
    fn list(&mut self, path: &Path) -> Result<Vec<String>, Errno> {
        let node = self.find(path, true)?;
        if self.below.attr(node)?.kind != Kind::Directory {
            return Err(Errno::NOTDIR);
        }
        let names = self.below.names(node)?.into_iter();
        let mut names: Vec<_> = names.map(|n| n.to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }
}

/// The flags of renameat2(2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flag {
    None,
    NoReplace,
    Exchange,
}
