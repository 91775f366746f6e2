//! Listing directories: readdir, readdirplus, fsyncdir.
//!
//! ```text
//!   layers, or upper over layers   merged in the order of cookies, which are hashes of the names:
//!                                     upper   3 · 8 · · 20 · ·    (whiteouts among them)
//!                                     layer   · 5 8 · 11 · · 31   topmost first where two have one
//!   upper alone                    as it lies on disk, with the cookies of the file system below
//! ```
//!
//! No listing needs a handle or remembers where it was: a cookie says where to go on, and stays the
//! same whatever is made or removed meanwhile, so each name that is there throughout comes once (D1).
//! Which of the two ways a directory takes never changes while it is known.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, RawDir, SeekFrom, fsync, openat, seek};
use rustix::io::Errno;

use super::FileSystem;
use super::place::{kind_of, kind_of_stat};
use crate::error::{Error, Result};
use crate::inode::names::Batch;
use crate::inode::{Line, Names, Node};
use crate::layer::listing::Listing;
use crate::layer::{LayerDir, Shows};
use crate::marks;
use crate::sys::at::At;
use crate::types::{Attr, DirEntry, Entry, Kind, NodeId};
use crate::union::numbers::{listed_number, number};
use crate::upper::{Form, Upper};

/// Names of the upper that are merged at a time.
const BATCH: usize = 256;
/// The cookies of the dots where names have hashes.
const DOT: u64 = 1;
const DOTS: u64 = 2;

/// A name that a directory shows, and whose it is.
struct Shown<'a> {
    name: &'a OsStr,
    cookie: u64,
    from: From<'a>,
}

#[derive(Clone, Copy)]
enum From<'a> {
    Upper(FileType, u64),
    Layer(&'a LayerDir, FileType, u64),
}

/// What [`FileSystem::each`] calls; false ends the listing.
type Take<'a> = &'a mut dyn FnMut(&Shown<'_>) -> Result<bool>;

impl FileSystem {
    /// Gives the entries after the cookie `offset` (0: from the start) to `take` until it returns false.
    pub fn readdir(
        &self,
        node: NodeId,
        offset: u64,
        take: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        let node = self.directory(node)?;
        let _names = node.as_directory()?.names.read();
        if !self.dots(&node, offset, &mut |entry| take(entry)) {
            return Ok(());
        }
        self.each(&node, offset, true, &mut |shown| {
            let Some((kind, ino)) = self.kind_and_number(&node, shown)? else {
                return Ok(true);
            };
            Ok(take(&DirEntry {
                name: shown.name,
                kind,
                ino,
                next: shown.cookie,
            }))
        })
    }

    /// As [`Self::readdir`], with each entry looked up: one lookup is counted for each taken, but none
    /// for `.` and `..`. A name that is gone by now is left out; one that a rule refuses comes with
    /// nodeid 0, which tells the kernel to look it up itself.
    pub fn readdirplus(
        &self,
        node: NodeId,
        offset: u64,
        take: &mut dyn FnMut(&DirEntry<'_>, &Entry) -> bool,
    ) -> Result<()> {
        let node = self.directory(node)?;
        let _names = node.as_directory()?.names.read();
        let own = self.attr(&node)?;
        let unknown = |ino, kind| Entry {
            node: NodeId(0),
            attr: Attr { ino, kind, ..own },
        };
        let mut dot = |entry: &DirEntry<'_>| take(entry, &unknown(entry.ino, Kind::Directory));
        if !self.dots(&node, offset, &mut dot) {
            return Ok(());
        }
        self.each(&node, offset, true, &mut |shown| {
            // The dots are no names of anything: a lookup would make them links of their directories.
            let found = match is_dots(shown.name) {
                true => None,
                false => match self.lookup_in(&node, shown.name) {
                    Ok(found) => Some(found),
                    Err(Error::NotFound) => return Ok(true),
                    Err(_) => None,
                },
            };
            let found = match found {
                Some(found) => found,
                None => match self.kind_and_number(&node, shown)? {
                    Some((kind, ino)) => unknown(ino, kind),
                    None => return Ok(true),
                },
            };
            let entry = DirEntry {
                name: shown.name,
                kind: found.attr.kind,
                ino: found.attr.ino,
                next: shown.cookie,
            };
            let taken = take(&entry, &found);
            if !taken && found.node != NodeId(0) {
                self.table.forget(found.node, 1);
            }
            Ok(taken)
        })
    }

    /// Brings a directory's names, and those of the directories above it, to disk.
    pub fn fsyncdir(&self, node: NodeId, _data_only: bool) -> Result<()> {
        let node = self.directory(node)?;
        let Some(upper) = &self.upper else {
            return Ok(());
        };
        if upper.volatile || !node.in_upper() {
            return Ok(());
        }
        fsync(open_for_reading(self.upper_dir(&node)?.as_fd())?)?;
        self.sync_names(&node)
    }

    /// Gives `.` and `..` where they come after `offset`; false if `take` had enough. Directories that are
    /// read as they lie on disk have theirs among their names.
    fn dots(&self, node: &Node, offset: u64, take: &mut dyn FnMut(&DirEntry<'_>) -> bool) -> bool {
        if self.lies_alone(node) {
            return true;
        }
        let dots = [(".", DOT, node.ino), ("..", DOTS, above(node))];
        dots.into_iter()
            .filter(|(_, cookie, _)| *cookie > offset)
            .all(|(name, next, ino)| {
                take(&DirEntry {
                    name: OsStr::new(name),
                    kind: Kind::Directory,
                    ino,
                    next,
                })
            })
    }

    /// Whether a directory is of the upper alone, now and for ever.
    fn lies_alone(&self, node: &Node) -> bool {
        let merges = |node: &Node| {
            node.directory
                .as_deref()
                .is_some_and(|d| !d.lowers.is_empty())
        };
        !merges(node) && !node.is_removed()
    }

    /// What a listing tells of a name; `None` if it shows nothing after all.
    fn kind_and_number(&self, node: &Node, shown: &Shown<'_>) -> Result<Option<(Kind, u64)>> {
        let (kind, ino) = match shown.from {
            From::Layer(dir, kind, ino) => {
                let ino = listed_number(dir, ino);
                return Ok(kind_of(kind).map(|kind| (kind, ino)));
            }
            From::Upper(kind, ino) => (kind, ino),
        };
        if is_dots(shown.name) {
            return Ok(Some((Kind::Directory, ino)));
        }
        let merges = !node.as_directory()?.lowers.is_empty();
        let impure = node.state.read().upper().is_some_and(|place| place.impure);
        // Objects that show another number or type than their own.
        let look = match kind {
            FileType::Unknown | FileType::CharacterDevice => true,
            FileType::Directory => merges || impure,
            _ => impure,
        };
        let own = kind_of(kind).map(|kind| (kind, number(0, ino, None)));
        if !look {
            return Ok(own);
        }
        match self.resolve(node, shown.name) {
            Ok(found) => Ok(found.map(|found| (kind_of_stat(&found.stat), found.ino))),
            // Broken below us: shown, so that it can be seen and removed.
            Err(Error::Damaged | Error::NotPermitted) => Ok(own),
            Err(error) => Err(error),
        }
    }

    /// How many subdirectories a directory shows. Its names need not be held: who asks counts again when
    /// one came or went meanwhile.
    pub(super) fn shown_subdirectories(&self, node: &Node) -> Result<u32> {
        let mut count: u32 = 0;
        self.each(node, 0, false, &mut |shown| {
            let (From::Upper(kind, _) | From::Layer(_, kind, _)) = shown.from;
            let dots = is_dots(shown.name);
            count += u32::from(kind == FileType::Directory && !dots);
            Ok(true)
        })?;
        Ok(count)
    }

    /// Whether a directory shows a name; its names are held.
    pub(super) fn shows_a_name(&self, node: &Node) -> Result<bool> {
        let mut any = false;
        self.each(node, 0, false, &mut |shown| {
            any = !is_dots(shown.name);
            Ok(!any)
        })?;
        Ok(any)
    }

    /// Calls `take` for every name behind the cookie `offset`. With `keep` (its names must then be held)
    /// what is read of the upper is kept for the next call.
    fn each(&self, node: &Node, offset: u64, keep: bool, take: Take<'_>) -> Result<()> {
        if node.is_removed() {
            return Ok(());
        }
        let lowers = &node.as_directory()?.lowers;
        let upper = self.upper.as_ref().filter(|_| node.in_upper());
        let Some(upper) = upper else {
            return merge(lowers, &Batch::none(), offset, take).map(drop);
        };
        if lowers.is_empty() {
            return self.each_on_disk(upper, node, offset, take);
        }
        let mut own = None;
        let mut after = offset;
        while after != u64::MAX {
            let batch = match &own {
                None => match self.kept_names(node, after) {
                    Some(batch) => batch,
                    None => {
                        let names = self.read_upper_names(upper, node)?;
                        let batch = names.behind(after, BATCH);
                        match keep {
                            true => *node.as_directory()?.upper_names.lock() = Some(names),
                            false => own = Some(names),
                        }
                        batch
                    }
                },
                Some(names) => names.behind(after, BATCH),
            };
            if !merge(lowers, &batch, after, take)? {
                return Ok(());
            }
            after = batch.until;
        }
        Ok(())
    }

    fn kept_names(&self, node: &Node, after: u64) -> Option<Batch> {
        let names = node.directory.as_deref()?.upper_names.lock();
        names.as_ref().map(|names| names.behind(after, BATCH))
    }

    /// All names of a directory in the upper.
    fn read_upper_names(&self, upper: &Upper, node: &Node) -> Result<Names> {
        let dir = self.upper_dir(node)?;
        let mut names = Names::default();
        scan(dir.as_fd(), |name, kind, ino| {
            if upper.form == Form::Aufs && marks::is_wh_name(name) {
                if let Some(hidden) = marks::hidden_name(name) {
                    names.hide(hidden);
                }
                return Ok(());
            }
            let line = match kind {
                FileType::Unknown | FileType::CharacterDevice => line_at(upper, dir.as_fd(), name)?,
                kind => Some(Line {
                    kind: Some(kind),
                    ino,
                }),
            };
            names.set(name, line);
            Ok(())
        })?;
        Ok(names)
    }

    /// Tells a listing that is kept what stands at a name of the upper now. The directory's names are
    /// held for changes.
    pub(super) fn note_name(&self, upper: &Upper, parent: &Node, name: &OsStr) {
        let Some(directory) = parent.directory.as_deref() else {
            return;
        };
        directory.names_changed();
        if directory.upper_names.lock().is_none() {
            return;
        }
        let line = self
            .upper_dir(parent)
            .and_then(|dir| line_at(upper, dir.as_fd(), name));
        let mut names = directory.upper_names.lock();
        match (line, names.as_mut()) {
            (Ok(line), Some(names)) => names.set(name, line),
            // Not known: it is read again when it is asked for.
            _ => *names = None,
        }
    }

    /// As [`Self::each`], of a directory of the upper alone.
    fn each_on_disk(&self, upper: &Upper, node: &Node, offset: u64, take: Take<'_>) -> Result<()> {
        let fd = open_for_reading(self.upper_dir(node)?.as_fd())?;
        if offset != 0 {
            seek(&fd, SeekFrom::Start(offset))?;
        }
        let mut buffer = Vec::with_capacity(8 << 10);
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if upper.form == Form::Aufs && marks::is_wh_name(name) {
                continue;
            }
            let ino = match name.as_bytes() {
                b"." => node.ino,
                b".." => above(node),
                _ => entry.ino(),
            };
            let shown = Shown {
                name,
                cookie: entry.next_entry_cookie(),
                from: From::Upper(entry.file_type(), ino),
            };
            if !take(&shown)? {
                break;
            }
        }
        Ok(())
    }
}

/// The number that `..` shows.
fn above(node: &Node) -> u64 {
    node.link().map_or(node.ino, |link| link.parent.ino)
}

/// Merges a batch of the upper's names with those of the layers between the cookies `after` and
/// `batch.until`; false if `take` had enough.
fn merge(lowers: &[Arc<LayerDir>], batch: &Batch, after: u64, take: Take<'_>) -> Result<bool> {
    // The upper first, then the layers from the topmost down: the rank decides between equal names.
    let mut sources = Vec::with_capacity(lowers.len() + 1);
    sources.push(Source::Upper(&batch.lines));
    for dir in lowers {
        let listing = dir.listing()?;
        sources.push(Source::Layer(dir, listing, listing.behind(after)));
    }
    let mut heads: BinaryHeap<_> = (0..sources.len())
        .filter_map(|rank| head(&sources, rank))
        .collect();
    while let Some(Reverse((cookie, name, rank))) = heads.pop() {
        if cookie > batch.until {
            break;
        }
        let mut found = sources[rank].found()?;
        sources[rank].advance();
        heads.extend(head(&sources, rank));
        while let Some(Reverse((_, _, rank))) = heads
            .peek()
            .filter(|Reverse((other, twin, _))| (*other, *twin) == (cookie, name))
        {
            let rank = *rank;
            heads.pop();
            if let Found::Nothing = found {
                found = sources[rank].found()?;
            }
            sources[rank].advance();
            heads.extend(head(&sources, rank));
        }
        if let Found::Object(from) = found
            && !take(&Shown { name, cookie, from })?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where names come from, and how far it was read.
enum Source<'a> {
    Upper(&'a [(u64, Box<OsStr>, Line)]),
    Layer(&'a LayerDir, &'a Listing, usize),
}

/// What a source has at its head.
enum Found<'a> {
    Nothing,
    Whiteout,
    Object(From<'a>),
}

/// A head in the order in which heads are taken.
type Head<'a> = Reverse<(u64, &'a OsStr, usize)>;

fn head<'a>(sources: &[Source<'a>], rank: usize) -> Option<Head<'a>> {
    match &sources[rank] {
        Source::Upper(lines) => lines
            .first()
            .map(|(cookie, name, _)| Reverse((*cookie, &**name, rank))),
        Source::Layer(_, listing, index) => listing
            .get(*index)
            .map(|listed| Reverse((listed.cookie, listed.name, rank))),
    }
}

impl<'a> Source<'a> {
    fn found(&self) -> Result<Found<'a>> {
        Ok(match self {
            Self::Upper(lines) => match lines.first().map(|(_, _, line)| *line) {
                None => Found::Nothing,
                Some(Line { kind: None, .. }) => Found::Whiteout,
                Some(Line {
                    kind: Some(kind),
                    ino,
                }) => Found::Object(From::Upper(kind, ino)),
            },
            Self::Layer(dir, listing, index) => match listing.get(*index) {
                None => Found::Nothing,
                Some(listed) => match dir.shows(&listed)? {
                    Shows::Nothing => Found::Nothing,
                    Shows::Whiteout => Found::Whiteout,
                    Shows::Object(kind) => Found::Object(From::Layer(dir, kind, listed.ino)),
                },
            },
        })
    }

    fn advance(&mut self) {
        match self {
            Self::Upper(lines) => *lines = lines.get(1..).unwrap_or_default(),
            Self::Layer(_, _, index) => *index += 1,
        }
    }
}

/// What stands at a name of the upper.
fn line_at(upper: &Upper, dir: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Line>> {
    let hidden = Line { kind: None, ino: 0 };
    match At::Name(dir, name).stat() {
        Ok(stat) if marks::is_char00(&stat) => Ok(Some(hidden)),
        Ok(stat) => Ok(Some(Line {
            kind: Some(FileType::from_raw_mode(stat.st_mode)),
            ino: stat.st_ino,
        })),
        Err(Errno::NOENT) if upper.form.hides(dir, name)? => Ok(Some(hidden)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn open_for_reading(dir: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    openat(
        dir,
        c".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Calls `take` for every name of a directory of the upper but `.` and `..`.
pub(super) fn scan(
    dir: BorrowedFd<'_>,
    mut take: impl FnMut(&OsStr, FileType, u64) -> Result<()>,
) -> Result<()> {
    let fd = open_for_reading(dir)?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            take(name, entry.file_type(), entry.ino())?;
        }
    }
    Ok(())
}

fn is_dots(name: &OsStr) -> bool {
    matches!(name.as_bytes(), b"." | b"..")
}
