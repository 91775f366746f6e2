//! What COPY and ADD copy: found below a root that is never left, written as a tar for the target.
//!
//! ```text
//!   pattern ──find──> paths below the context, a stage or an image ──write──> TARGET/… in a tar
//! ```
//!
//! The same sources give the same bytes, but for their times, which do not count for the cache.

use super::ignore::{Ignore, Pattern};
use crate::image::meta_of;
use archive::{Archive, Kind, Meta, Packing, Writer, is_tar, start_of};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat2, statat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How deep directories may be nested.
const DEEPEST: usize = 900;

/// Why not, in words.
pub type Why = String;

/// Where sources are looked for.
#[derive(Debug)]
pub struct Origin<'a> {
    /// The directory that everything is below.
    pub root: &'a OwnedFd,
    /// What is left out.
    pub ignore: &'a Ignore,
    /// Its name in messages.
    pub name: &'a str,
}

/// How sources become the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct How {
    /// Where to: a path without `/` at its ends.
    pub target: String,
    /// It is a directory, or is to be one.
    pub directory: bool,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Permission bits, if not the sources' own.
    pub mode: Option<u32>,
    /// Archives are unpacked.
    pub extract: bool,
    /// Times are the sources'; else all are 0.
    pub times: bool,
    /// What is left out, by its path below a source that is a directory, or by a file's name.
    pub exclude: Ignore,
    /// A source keeps its path, from `/./` on if that is in it.
    pub parents: bool,
}

/// A source that was found.
#[derive(Debug)]
pub enum Found {
    /// Below the origin's root, and how many of its directories stand before `/./`.
    Path(PathBuf, usize),
    /// A text under a name.
    Text(String, String),
    /// A file that was fetched.
    Fetched(File, Meta, FetchedName),
}

/// Its name and size in bytes.
pub type FetchedName = (String, u64);

impl How {
    fn below_target(&self, path: &[u8]) -> Vec<u8> {
        let target = self.target.as_bytes();
        match (target.is_empty(), path.is_empty()) {
            (true, _) => path.to_vec(),
            (_, true) => target.to_vec(),
            (false, false) => [target, b"/", path].concat(),
        }
    }
}

/// Finds the paths that a pattern names.
///
/// # Errors
/// There is none.
pub fn find(origin: &Origin<'_>, pattern: &str) -> Result<Vec<Found>, Why> {
    let parts: Vec<String> = clean(pattern);
    let path = parts.join("/");
    let mut found = BTreeSet::new();
    match parts
        .iter()
        .position(|part| part.contains(['*', '?', '[', '\\']))
    {
        None => {
            let kept = !origin.leaves_out(&path) || origin.ignore.takes_back();
            if kept && open(origin.root, Path::new(&path), OFlags::PATH).is_ok() {
                found.insert(PathBuf::from(&path));
            }
        }
        Some(plain) => {
            let wanted = Pattern::parse(&path).map_err(|why| format!("{pattern}: {why}"))?;
            let start = parts[..plain].join("/");
            matching(origin, &start, &wanted, &mut found, parts.len() - plain)?;
        }
    }
    if found.is_empty() {
        let why = if origin.leaves_out(&path) {
            ": .dockerignore leaves it out"
        } else {
            ""
        };
        return Err(format!("{pattern}: not in {}{why}", origin.name));
    }
    let pivot = pattern.split_once("/./");
    let pivot = pivot.map_or(0, |(before, _)| clean(before).len());
    let found = found.into_iter().map(|path| Found::Path(path, pivot));
    Ok(found.collect())
}

impl Origin<'_> {
    fn leaves_out(&self, path: &str) -> bool {
        !path.is_empty() && self.ignore.matches(path)
    }
}

/// Finds what fits in so many levels of directories.
fn matching(
    origin: &Origin<'_>,
    below: &str,
    wanted: &Pattern,
    found: &mut BTreeSet<PathBuf>,
    levels: usize,
) -> Result<(), Why> {
    let Ok(directory) = open(origin.root, Path::new(below), OFlags::DIRECTORY) else {
        return Ok(());
    };
    for name in names(&directory).map_err(|e| failed(Path::new(below), "list", e))? {
        let Ok(name) = String::from_utf8(name) else {
            continue; // no pattern names it
        };
        let path = if below.is_empty() {
            name
        } else {
            format!("{below}/{name}")
        };
        let out = origin.leaves_out(&path);
        if wanted.fits(&path) && !out {
            found.insert(PathBuf::from(&path));
        }
        if levels > 1 && (!out || origin.ignore.takes_back()) {
            matching(origin, &path, wanted, found, levels - 1)?;
        }
    }
    Ok(())
}

/// The parts of a path, without `.` and `..`, which cannot lead above the root.
fn clean(path: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part.to_owned()),
        }
    }
    parts
}

/// Opens a path as a container would that has `root` as its `/`.
pub fn open(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // A pipe does not wait for a writer; and openat2(2) takes no flag with O_PATH that says nothing.
    let wait = if flags.contains(OFlags::PATH) {
        OFlags::empty()
    } else {
        OFlags::NONBLOCK
    };
    let flags = flags | OFlags::CLOEXEC | wait;
    openat2(root, path, flags, Mode::empty(), resolve)
}

fn failed(path: &Path, what: &str, errno: Errno) -> Why {
    format!(
        "cannot {what} {}: {}",
        path.display(),
        std::io::Error::from(errno)
    )
}

fn names(directory: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Writes what was found below `origin`, and texts, as they are to lie in the target's root.
///
/// # Errors
/// What cannot be read or written.
pub fn write(
    origin: Option<&Origin<'_>>,
    found: &[Found],
    how: &How,
    to: impl Write,
) -> Result<(), Why> {
    let mut writing = Writing {
        how,
        base: PathBuf::new(),
        writer: Writer::new(to),
    };
    for source in found {
        match (source, origin) {
            (Found::Text(name, text), _) => {
                let meta = writing.meta(Meta {
                    mode: 0o644,
                    ..Meta::default()
                });
                let path = writing.file_name(name.as_bytes());
                let size = text.len() as u64;
                let written = writing.writer.contents(&path, &meta, size, text.as_bytes());
                written.map_err(|e| e.to_string())?;
            }
            (Found::Fetched(file, meta, (name, size)), _) => {
                let meta = writing.meta(meta.clone());
                let path = writing.file_name(name.as_bytes());
                let mut file = file;
                let written = std::io::Seek::rewind(&mut file)
                    .map_err(|e| e.to_string())
                    .and_then(|()| {
                        let written = writing.writer.contents(&path, &meta, *size, file);
                        written.map_err(|e| e.to_string())
                    });
                written.map_err(|why| format!("{name}: {why}"))?;
            }
            (Found::Path(path, pivot), Some(origin)) => writing.source(origin, path, *pivot)?,
            (Found::Path(path, _), None) => return Err(format!("{}: not there", path.display())),
        }
    }
    writing
        .writer
        .finish()
        .map(|_| ())
        .map_err(|e| e.to_string())
}

struct Writing<'a, W> {
    how: &'a How,
    /// The source that is a directory and being walked.
    base: PathBuf,
    writer: Writer<W>,
}

impl<W: Write> Writing<'_, W> {
    /// Where a file goes.
    fn file_name(&self, name: &[u8]) -> Vec<u8> {
        match self.how.directory {
            false => self.how.target.clone().into_bytes(),
            true => self.how.below_target(name),
        }
    }

    /// Attributes as the target has them.
    fn meta(&self, mut meta: Meta) -> Meta {
        (meta.uid, meta.gid) = self.how.owner;
        meta.mode = self.how.mode.unwrap_or(meta.mode);
        if !self.how.times {
            meta.mtime = (0, 0);
        }
        meta
    }

    fn source(&mut self, origin: &Origin<'_>, path: &Path, pivot: usize) -> Result<(), Why> {
        let file = open(origin.root, path, OFlags::RDONLY);
        let file = file.map_err(|e| failed(path, "open", e))?;
        let stat = rustix::fs::fstat(&file).map_err(|e| failed(path, "look at", e))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind.is_dir() {
            let mut target = match self.how.parents {
                true => self.kept_path(path, pivot),
                false => self.how.target.clone().into_bytes(),
            };
            if self.how.parents && target != self.how.target.as_bytes() {
                let meta = self.meta(plain(&stat));
                let made = self.writer.directory(&target, &meta);
                made.map_err(|e| format!("{}: {e}", path.display()))?;
            }
            self.base = path.to_owned();
            return self.directory(origin, &file, path, &mut target, 0);
        }
        if !kind.is_file() {
            return Err(format!(
                "{}: neither a file nor a directory",
                path.display()
            ));
        }
        let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
        if self.how.exclude.matches(&String::from_utf8_lossy(&name)) {
            return Ok(());
        }
        let file = File::from(file);
        if self.how.extract && self.extract(&file, path)? {
            return Ok(());
        }
        let target = match self.how.parents {
            true => self.kept_path(path, pivot),
            false => self.file_name(&name),
        };
        let meta = self.meta(plain(&stat));
        // Whoever unpacks it knows no holes.
        let written = self.writer.contents(&target, &meta, size(&stat), file);
        written
            .map(|_| ())
            .map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Where a source goes that keeps its path.
    fn kept_path(&self, path: &Path, pivot: usize) -> Vec<u8> {
        let kept: PathBuf = path.components().skip(pivot).collect();
        self.how.below_target(kept.as_os_str().as_bytes())
    }

    /// What is in a directory; not itself, which the target has already or gets.
    fn directory(
        &mut self,
        origin: &Origin<'_>,
        from: &OwnedFd,
        path: &Path,
        target: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), Why> {
        if depth > DEEPEST {
            return Err(format!("{}: nested too deep", path.display()));
        }
        for name in names(from).map_err(|e| failed(path, "list", e))? {
            let name = OsStr::from_bytes(&name);
            let inner = path.join(name);
            let below = inner.strip_prefix(&self.base).unwrap_or(&inner);
            let excluded = self.how.exclude.matches(&below.to_string_lossy());
            let out = excluded || origin.leaves_out(&inner.to_string_lossy());
            if out && !(origin.ignore.takes_back() || self.how.exclude.takes_back()) {
                continue;
            }
            let length = target.len();
            if length > 0 {
                target.push(b'/');
            }
            target.extend(name.as_bytes());
            self.entry(origin, (from, name), &inner, target, (out, depth))?;
            target.truncate(length);
        }
        Ok(())
    }

    fn entry(
        &mut self,
        origin: &Origin<'_>,
        (from, name): (&OwnedFd, &OsStr),
        path: &Path,
        target: &mut Vec<u8>,
        (out, depth): (bool, usize),
    ) -> Result<(), Why> {
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|e| failed(path, "look at", e))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if out && !kind.is_dir() {
            return Ok(());
        }
        let meta = meta_of(from, name, &stat).map_err(|e| failed(path, "look at", e))?;
        let meta = self.meta(meta);
        let told = |e: archive::WriteError| format!("{}: {e}", path.display());
        let open = |flags| {
            let flags =
                flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let opened = rustix::fs::openat(from, name, flags, Mode::empty());
            opened.map_err(|e| failed(path, "open", e))
        };
        match kind {
            FileType::Directory => {
                if !out {
                    self.writer.directory(target, &meta).map_err(told)?;
                }
                let below = open(OFlags::DIRECTORY)?;
                self.directory(origin, &below, path, target, depth + 1)
            }
            FileType::RegularFile => {
                let file = File::from(open(OFlags::empty())?);
                let written = self.writer.contents(target, &meta, size(&stat), file);
                written.map(|_| ()).map_err(told)
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(from, name, Vec::new());
                let link = link.map_err(|e| failed(path, "read", e))?;
                self.writer
                    .symlink(target, link.as_bytes(), &meta)
                    .map_err(told)
            }
            FileType::Fifo => self
                .writer
                .node(target, Kind::Fifo, (0, 0), &meta)
                .map_err(told),
            // Sockets are nothing without whoever made them, and devices are the machine's.
            _ => Ok(()),
        }
    }

    /// Unpacks an archive below the target; false if it is none.
    fn extract(&mut self, file: &File, path: &Path) -> Result<bool, Why> {
        let told = |why: std::io::Error| format!("{}: {why}", path.display());
        let mut input = BufReader::with_capacity(256 << 10, file);
        let packing = Packing::of(input.fill_buf().map_err(told)?);
        let mut inflated = packing.open(input).map_err(told)?;
        let start = start_of(&mut inflated).map_err(told)?;
        // What holds no archive, compressed or not, is copied as it is.
        if !is_tar(&start) {
            std::io::Seek::rewind(&mut &*file).map_err(told)?;
            return Ok(false);
        }
        self.members(Archive::new(start.chain(inflated)))
            .map_err(|why| format!("{}: {why}", path.display()))?;
        Ok(true)
    }

    fn members<R: Read>(&mut self, mut archive: Archive<R>) -> Result<(), Why> {
        let damaged =
            |d: archive::Damage| format!("{} (at byte {} of the archive)", d.why, d.offset);
        while let Some(member) = archive.next().map_err(damaged)? {
            let place = |path: &[u8]| {
                let parts = clean(&String::from_utf8_lossy(path));
                let target = self.how.target.split('/').map(str::to_owned);
                let whole: Vec<String> = target.filter(|p| !p.is_empty()).chain(parts).collect();
                whole.join("/").into_bytes()
            };
            let (target, link) = (place(&member.path), place(&member.link));
            if target == self.how.target.as_bytes() {
                continue; // its root
            }
            let mut meta = Meta {
                mode: self.how.mode.unwrap_or(member.mode),
                uid: member.uid,
                gid: member.gid,
                mtime: if self.how.times { member.mtime } else { (0, 0) },
                xattrs: member.xattrs.clone(),
            };
            if self.how.owner != (0, 0) {
                (meta.uid, meta.gid) = self.how.owner;
            }
            let written = match member.kind {
                Kind::Directory => self.writer.directory(&target, &meta),
                Kind::Symlink => self.writer.symlink(&target, &member.link, &meta),
                Kind::HardLink => self.writer.hard_link(&target, &link, &meta),
                Kind::File => {
                    let size = member.size;
                    let stored = Stored::new(&mut archive, member.extents);
                    self.writer
                        .contents(&target, &meta, size, stored)
                        .map(|_| ())
                }
                kind => self.writer.node(&target, kind, member.device, &meta),
            };
            written.map_err(|e| format!("{}: {e}", String::from_utf8_lossy(&target)))?;
        }
        Ok(())
    }
}

/// A member's data with its holes.
struct Stored<'a, R> {
    archive: &'a mut Archive<R>,
    extents: std::vec::IntoIter<(u64, u64)>,
    at: u64,
    hole: u64,
    data: u64,
}

impl<'a, R: Read> Stored<'a, R> {
    fn new(archive: &'a mut Archive<R>, extents: Vec<(u64, u64)>) -> Self {
        Self {
            archive,
            extents: extents.into_iter(),
            at: 0,
            hole: 0,
            data: 0,
        }
    }
}

impl<R: Read> Read for Stored<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.hole == 0 && self.data == 0 {
            let Some((offset, length)) = self.extents.next() else {
                return Ok(0); // the writer fills up with zeroes
            };
            (self.hole, self.data) = (offset.saturating_sub(self.at), length);
        }
        let most = |left: u64| {
            buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX))
        };
        if self.hole > 0 {
            let n = most(self.hole);
            buffer[..n].fill(0);
            (self.hole, self.at) = (self.hole - n as u64, self.at + n as u64);
            return Ok(n);
        }
        let n = most(self.data);
        let read = self.archive.read(&mut buffer[..n]);
        let n = read.map_err(|damage| std::io::Error::other(damage.why))?;
        (self.data, self.at) = (self.data - n as u64, self.at + n as u64);
        Ok(n)
    }
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn plain(stat: &Stat) -> Meta {
    Meta {
        mode: stat.st_mode & 0o7777,
        mtime: (
            stat.st_mtime,
            u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        ),
        ..Meta::default()
    }
}
