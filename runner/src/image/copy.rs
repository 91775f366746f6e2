//! From a directory to another, or to an archive: a faithful copy of one file system.
//!
//! Owners, modes, times, attributes, hard links and holes are kept. Sockets are left out, as by
//! tar. A directory that is a mount point is copied without what is mounted in it: an import of
//! `/` shall not swallow /proc.

use super::ImageError;
use super::tree::{Meta, Node, Tree, shown};
use crate::types::Piece;
use archive::{Kind, Writer};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, SeekFrom, Stat, openat2};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// How deep directories may be nested; each level costs a descriptor and a stack frame.
const DEEPEST: usize = 900;

/// An entry that cannot be copied.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stop {
    /// Its path, fit for a message.
    pub(super) path: String,
    /// Why not.
    pub(super) why: String,
}

impl Stop {
    fn of(self, origin: &str) -> ImageError {
        ImageError::Entry {
            origin: origin.to_owned(),
            entry: self.path,
            why: self.why,
        }
    }
}

/// What a directory is copied to.
pub(super) trait Target {
    fn directory(&mut self, path: &[u8], meta: Meta) -> Result<(), String>;
    /// Makes a file of what `from` holds.
    fn file(&mut self, path: &[u8], meta: &Meta, from: &File) -> Result<(), String>;
    fn symlink(&mut self, path: &[u8], target: &[u8], meta: &Meta) -> Result<(), String>;
    fn node(&mut self, path: &[u8], node: Node, meta: &Meta) -> Result<(), String>;
    fn hard_link(&mut self, path: &[u8], first: &[u8], meta: &Meta) -> Result<(), String>;
}

impl Target for Tree {
    fn directory(&mut self, path: &[u8], meta: Meta) -> Result<(), String> {
        Self::directory(self, path, meta)
    }

    fn file(&mut self, path: &[u8], meta: &Meta, from: &File) -> Result<(), String> {
        Self::file(self, path, meta, |to| contents(from, to))
    }

    fn symlink(&mut self, path: &[u8], target: &[u8], meta: &Meta) -> Result<(), String> {
        Self::symlink(self, path, target, meta)
    }

    fn node(&mut self, path: &[u8], node: Node, meta: &Meta) -> Result<(), String> {
        Self::node(self, path, node, meta)
    }

    fn hard_link(&mut self, path: &[u8], first: &[u8], _: &Meta) -> Result<(), String> {
        Self::hard_link(self, path, first)
    }
}

impl<W: Write> Target for Writer<W> {
    fn directory(&mut self, path: &[u8], meta: Meta) -> Result<(), String> {
        Self::directory(self, path, &meta).map_err(|e| e.to_string())
    }

    fn file(&mut self, path: &[u8], meta: &Meta, from: &File) -> Result<(), String> {
        let written = Self::file(self, path, meta, from);
        written.map(|_| ()).map_err(|e| e.to_string())
    }

    fn symlink(&mut self, path: &[u8], target: &[u8], meta: &Meta) -> Result<(), String> {
        Self::symlink(self, path, target, meta).map_err(|e| e.to_string())
    }

    fn node(&mut self, path: &[u8], node: Node, meta: &Meta) -> Result<(), String> {
        let (kind, device) = match node {
            Node::Fifo => (Kind::Fifo, (0, 0)),
            Node::Char(major, minor) => (Kind::Char, (major, minor)),
            Node::Block(major, minor) => (Kind::Block, (major, minor)),
        };
        Self::node(self, path, kind, device, meta).map_err(|e| e.to_string())
    }

    fn hard_link(&mut self, path: &[u8], first: &[u8], meta: &Meta) -> Result<(), String> {
        Self::hard_link(self, path, first, meta).map_err(|e| e.to_string())
    }
}

struct Copy<'a, T> {
    tree: &'a mut T,
    device: u64,
    /// First path of each file with several names, by inode number.
    links: HashMap<u64, Vec<u8>>,
    /// Device and inode of a directory to leave out: the store itself.
    omitted: Option<(u64, u64)>,
    /// What is in a directory comes with it.
    deep: bool,
}

/// Copies all below `source` to the target, names in order, leaving out the directory `omitted`.
pub(super) fn copy<T: Target>(
    source: &OwnedFd,
    tree: &mut T,
    omitted: Option<&OwnedFd>,
) -> Result<(), Stop> {
    let stat = |fd| rustix::fs::fstat(fd).map_err(|e| stop(b".", "look at", e));
    let omitted = omitted.map(stat).transpose()?;
    let mut copy = Copy {
        tree,
        device: stat(source)?.st_dev,
        links: HashMap::new(),
        omitted: omitted.map(|stat| (stat.st_dev, stat.st_ino)),
        deep: true,
    };
    copy.directory(source, &mut Vec::new(), 0)
}

impl<T: Target> Copy<'_, T> {
    fn directory(&mut self, from: &OwnedFd, path: &mut Vec<u8>, depth: usize) -> Result<(), Stop> {
        if depth > DEEPEST {
            let why = format!("directories nested deeper than {DEEPEST}");
            return Err(Stop {
                path: shown(path),
                why,
            });
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(from).map_err(|e| stop(path, "list", e))? {
            let entry = entry.map_err(|e| stop(path, "list", e))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        for name in &names {
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            self.entry(from, OsStr::from_bytes(name), path, depth)?;
            path.truncate(length);
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: &OwnedFd,
        name: &OsStr,
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), Stop> {
        let stat = match rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()), // gone since it was listed
            other => other.map_err(|e| stop(path, "look at", e))?,
        };
        if Some((stat.st_dev, stat.st_ino)) == self.omitted {
            return Ok(());
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Socket {
            return Ok(());
        }
        let meta = meta_of(from, name, &stat).map_err(|e| stop(path, "read attributes of", e))?;
        let why = |path: &[u8]| {
            let path = shown(path);
            move |why| Stop { path, why }
        };
        if kind.is_dir() {
            self.tree.directory(path, meta).map_err(why(path))?;
            if stat.st_dev != self.device || !self.deep {
                return Ok(());
            }
            let below = open(from, name, OFlags::DIRECTORY).map_err(|e| stop(path, "open", e))?;
            return self.directory(&below, path, depth + 1);
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&stat.st_ino) {
                return self.tree.hard_link(path, first, &meta).map_err(why(path));
            }
            self.links.insert(stat.st_ino, path.clone());
        }
        if kind.is_file() {
            let file = open(from, name, OFlags::NONBLOCK).map_err(|e| stop(path, "open", e))?;
            return self.tree.file(path, &meta, &file.into()).map_err(why(path));
        }
        if kind.is_symlink() {
            let target = rustix::fs::readlinkat(from, name, Vec::new());
            let target = target.map_err(|e| stop(path, "read link", e))?;
            return self
                .tree
                .symlink(path, target.as_bytes(), &meta)
                .map_err(why(path));
        }
        let made = match node(&stat) {
            Some(node) => self.tree.node(path, node, &meta),
            None => Err("a file of an unknown kind".to_owned()),
        };
        made.map_err(why(path))
    }
}

/// The node that a fifo or device is.
fn node(stat: &Stat) -> Option<Node> {
    let (major, minor) = (
        rustix::fs::major(stat.st_rdev),
        rustix::fs::minor(stat.st_rdev),
    );
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => Some(Node::Fifo),
        FileType::CharacterDevice => Some(Node::Char(major, minor)),
        FileType::BlockDevice => Some(Node::Block(major, minor)),
        _ => None,
    }
}

fn stop(path: &[u8], what: &str, errno: Errno) -> Stop {
    let why = format!("cannot {what} it: {}", std::io::Error::from(errno));
    Stop {
        path: shown(path),
        why,
    }
}

fn open(from: &OwnedFd, name: &OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(from, name, flags, Mode::empty())
}

/// Owner, mode, time and attributes of a name in a directory, not followed.
///
/// # Errors
/// As getxattr(2).
pub fn meta_of(from: &OwnedFd, name: &OsStr, stat: &Stat) -> rustix::io::Result<Meta> {
    let mut through = OsString::from(format!("/proc/self/fd/{}/", from.as_raw_fd()));
    through.push(name);
    Ok(Meta {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (
            stat.st_mtime,
            u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        ),
        xattrs: xattrs(&through)?,
    })
}

/// The extended attributes of a name, not following it.
fn xattrs(path: &OsStr) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0_u8; 64 << 10]; // the kernel's largest list
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno),
    };
    let mut found = Vec::new();
    for name in names[..length]
        .split(|&b| b == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0_u8; 64 << 10]; // the kernel's largest value
        match rustix::fs::lgetxattr(path, OsString::from_vec(name.to_vec()), &mut value) {
            Ok(length) => value.truncate(length),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => continue,
            Err(errno) => return Err(errno),
        }
        found.push((name.to_vec(), value));
    }
    Ok(found)
}

/// Copies the data between the holes.
fn contents(from: &File, to: &mut File) -> Result<(), String> {
    let failed = |e: Errno| format!("cannot copy its contents: {}", std::io::Error::from(e));
    let size = rustix::fs::fstat(from).map_err(failed)?.st_size;
    let size = u64::try_from(size).unwrap_or(0);
    let mut at = 0;
    while at < size {
        let (start, end) = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => (
                start,
                rustix::fs::seek(from, SeekFrom::Hole(start))
                    .map_err(failed)?
                    .min(size),
            ),
            Err(Errno::NXIO) => break, // only a hole is left
            Err(Errno::INVAL) => (at, size),
            Err(errno) => return Err(failed(errno)),
        };
        piece(from, to, start, end).map_err(failed)?;
        at = end.max(at + 1);
    }
    to.set_len(size)
        .map_err(|e| format!("cannot set its size: {e}"))
}

/// Copies one piece, inside of the kernel where it can.
fn piece(from: &File, to: &File, start: u64, end: u64) -> rustix::io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let want = usize::try_from(end - read_at)
            .unwrap_or(usize::MAX)
            .min(1 << 30);
        let (source, target) = (Some(&mut read_at), Some(&mut write_at));
        match rustix::fs::copy_file_range(from, source, to, target, want) {
            Ok(0) => break, // became shorter meanwhile
            Ok(_) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                return by_hand(from, to, read_at, end);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn by_hand(from: &File, to: &File, start: u64, end: u64) -> rustix::io::Result<()> {
    let mut buffer = vec![0_u8; 256 << 10];
    let mut at = start;
    while at < end {
        let want = buffer
            .len()
            .min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let read = rustix::io::pread(from, &mut buffer[..want], at)?;
        let mut done = 0;
        while done < read {
            done += rustix::io::pwrite(to, &buffer[done..read], at + done as u64)?;
        }
        if read == 0 {
            break;
        }
        at += read as u64;
    }
    Ok(())
}

/// Writes an archive of all below the directory `from`, without what is mounted there.
///
/// # Errors
/// What cannot be read or written; `origin` is for messages.
pub fn archive_directory(from: &OwnedFd, origin: &str, to: impl Write) -> Result<(), ImageError> {
    archive(from, None, origin, to)
}

/// The same, without the directory `omitted`.
pub(super) fn archive(
    from: &OwnedFd,
    omitted: Option<&OwnedFd>,
    origin: &str,
    to: impl Write,
) -> Result<(), ImageError> {
    let mut writer = Writer::new(to);
    root(from, &mut writer).map_err(|stop| stop.of(origin))?;
    copy(from, &mut writer, omitted).map_err(|stop| stop.of(origin))?;
    let finished = writer.finish();
    finished.map(|_| ()).map_err(|error| ImageError::Input {
        origin: origin.to_owned(),
        why: error.to_string(),
    })
}

/// Writes the root directory's own entry.
fn root<W: Write>(from: &OwnedFd, writer: &mut Writer<W>) -> Result<(), Stop> {
    let stat = rustix::fs::fstat(from).map_err(|e| stop(b".", "look at", e))?;
    let meta = meta_of(from, OsStr::new("."), &stat).map_err(|e| stop(b".", "look at", e))?;
    let written = Writer::directory(writer, b".", &meta);
    written.map_err(|error| Stop {
        path: ".".to_owned(),
        why: error.to_string(),
    })
}

/// Writes the archive of a layer: of each path below `root` the piece that is asked for.
///
/// # Errors
/// What cannot be read or written; `origin` is for messages.
pub fn archive_pieces(
    root: &OwnedFd,
    pieces: &BTreeMap<PathBuf, Piece>,
    origin: &str,
    to: impl Write,
) -> Result<(), ImageError> {
    let mut writer = Writer::new(to);
    let entry = |stop: Stop| stop.of(origin);
    let device = rustix::fs::fstat(root).map_err(|e| entry(stop(b".", "look at", e)))?;
    self::root(root, &mut writer).map_err(entry)?;
    let mut links = HashMap::new();
    for (path, piece) in pieces {
        let mut copy = Copy {
            tree: &mut writer,
            device: device.st_dev,
            links: std::mem::take(&mut links),
            omitted: None,
            deep: *piece == Piece::Tree,
        };
        copy.piece(root, path, *piece).map_err(entry)?;
        links = copy.links;
    }
    let finished = writer.finish();
    finished.map(|_| ()).map_err(|error| ImageError::Input {
        origin: origin.to_owned(),
        why: error.to_string(),
    })
}

impl<W: Write> Copy<'_, Writer<W>> {
    fn piece(&mut self, root: &OwnedFd, path: &Path, piece: Piece) -> Result<(), Stop> {
        let bytes = path.as_os_str().as_bytes();
        let Some(name) = path.file_name() else {
            return Ok(());
        };
        let parent = path.parent().unwrap_or(Path::new(""));
        let mark = |name: &[u8]| {
            let parent = parent.as_os_str().as_bytes();
            let slash: &[u8] = if parent.is_empty() { b"" } else { b"/" };
            [parent, slash, name].concat()
        };
        let failed = |why: archive::WriteError| Stop {
            path: shown(bytes),
            why: why.to_string(),
        };
        let empty = |path: &[u8], writer: &mut Writer<W>| {
            writer.contents(path, &Meta::default(), 0, std::io::empty())
        };
        if piece == Piece::Gone {
            let name = mark(&[b".wh.", name.as_bytes()].concat());
            return empty(&name, self.tree).map(|_| ()).map_err(failed);
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        let from = match openat2(root, place, flags, Mode::empty(), resolve) {
            // Gone meanwhile: the container runs.
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            other => other.map_err(|e| stop(bytes, "open", e))?,
        };
        self.entry(&from, name, &mut bytes.to_vec(), 0)?;
        if matches!(piece, Piece::Fresh | Piece::Tree) {
            // It counts first wherever it stands.
            let path = [bytes, b"/.wh..wh..opq"].concat();
            empty(&path, self.tree).map_err(failed)?;
        }
        Ok(())
    }
}

/// Copies all below the directory `from` into the empty directory `to`; owner and mode of `to` become
/// those of `from`.
///
/// # Errors
/// What cannot be read or made.
pub fn copy_directory(from: &OwnedFd, to: OwnedFd) -> Result<(), ImageError> {
    let wrong = |what: &str| ImageError::Input {
        origin: "the image's directory".to_owned(),
        why: what.to_owned(),
    };
    let mut tree = Tree::new(to);
    copy(from, &mut tree, None).map_err(|Stop { path, why }| wrong(&format!("{path}: {why}")))?;
    let to = tree.finish().map_err(|why| wrong(&why))?;
    let stat = rustix::fs::fstat(from).map_err(|errno| wrong(&errno.to_string()))?;
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(stat.st_uid),
        rustix::fs::Gid::from_raw(stat.st_gid),
    );
    rustix::fs::fchown(&to, Some(uid), Some(gid))
        .and_then(|()| rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777)))
        .map_err(|errno| wrong(&errno.to_string()))
}
