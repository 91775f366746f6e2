//! From a directory to a layer directory: a faithful copy of one file system.
//!
//! Owners, modes, times, attributes, hard links and holes are kept. Sockets are left out, as by
//! tar. A directory that is a mount point is copied without what is mounted in it: an import of
//! `/` shall not swallow /proc.

use super::tree::{Meta, Node, Tree, shown};
use super::unpack::{ImportLimits, Meter, Stop};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// How deep directories may be nested; each level costs a descriptor and a stack frame.
const DEEPEST: usize = 900;

struct Copy<'a> {
    tree: &'a mut Tree,
    meter: Meter,
    device: u64,
    /// First path of each file with several names, by inode number.
    links: HashMap<u64, Vec<u8>>,
    /// Device and inode of a directory to leave out: the store itself.
    omitted: (u64, u64),
}

/// Copies all below `source` into the tree, leaving out the directory `omitted`. Returns the
/// bytes of contents.
pub(super) fn copy(
    source: &OwnedFd,
    tree: &mut Tree,
    omitted: &OwnedFd,
    limits: ImportLimits,
) -> Result<u64, Stop> {
    let stat = |fd| rustix::fs::fstat(fd).map_err(|e| stop(b".", "look at", e));
    let (device, omitted) = (stat(source)?.st_dev, stat(omitted)?);
    let omitted = (omitted.st_dev, omitted.st_ino);
    let meter = Meter::new(limits);
    let mut copy = Copy {
        tree,
        meter,
        device,
        links: HashMap::new(),
        omitted,
    };
    copy.directory(source, &mut Vec::new(), 0)?;
    Ok(copy.meter.bytes)
}

impl Copy<'_> {
    fn directory(&mut self, from: &OwnedFd, path: &mut Vec<u8>, depth: usize) -> Result<(), Stop> {
        if depth > DEEPEST {
            let why = format!("directories nested deeper than {DEEPEST}");
            return Err(Stop::Entry {
                path: shown(path),
                why,
            });
        }
        for entry in Dir::read_from(from).map_err(|e| stop(path, "list", e))? {
            let entry = entry.map_err(|e| stop(path, "list", e))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
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
        if (stat.st_dev, stat.st_ino) == self.omitted {
            return Ok(());
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Socket {
            return Ok(());
        }
        let meta = meta(from, name, &stat).map_err(|e| stop(path, "read attributes of", e))?;
        let why = |path: &[u8]| {
            let path = shown(path);
            move |why| Stop::Entry { path, why }
        };
        if kind.is_dir() {
            self.meter.count(0)?;
            self.tree.directory(path, meta).map_err(why(path))?;
            if stat.st_dev != self.device {
                return Ok(());
            }
            let below = open(from, name, OFlags::DIRECTORY).map_err(|e| stop(path, "open", e))?;
            return self.directory(&below, path, depth + 1);
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&stat.st_ino) {
                self.meter.count(0)?;
                return self.tree.hard_link(path, first).map_err(why(path));
            }
            self.links.insert(stat.st_ino, path.clone());
        }
        if kind.is_file() {
            let file = open(from, name, OFlags::NONBLOCK).map_err(|e| stop(path, "open", e))?;
            let mut bytes = 0;
            let fill = |to: &mut File| contents(&file, to).map(|n| bytes = n);
            self.tree.file(path, &meta, fill).map_err(why(path))?;
            return self.meter.count(bytes);
        }
        self.meter.count(0)?;
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
    Stop::Entry {
        path: shown(path),
        why,
    }
}

fn open(from: &OwnedFd, name: &OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(from, name, flags, Mode::empty())
}

fn meta(from: &OwnedFd, name: &OsStr, stat: &Stat) -> rustix::io::Result<Meta> {
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

/// Copies the data between the holes. Returns the bytes copied.
fn contents(from: &OwnedFd, to: &mut File) -> Result<u64, String> {
    let failed = |e: Errno| format!("cannot copy its contents: {}", std::io::Error::from(e));
    let size = rustix::fs::fstat(from).map_err(failed)?.st_size;
    let size = u64::try_from(size).unwrap_or(0);
    let (mut copied, mut at) = (0, 0);
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
        copied += piece(from, to, start, end).map_err(failed)?;
        at = end.max(at + 1);
    }
    to.set_len(size)
        .map_err(|e| format!("cannot set its size: {e}"))?;
    Ok(copied)
}

/// Copies one piece, inside of the kernel where it can.
fn piece(from: &OwnedFd, to: &File, start: u64, end: u64) -> rustix::io::Result<u64> {
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
                return by_hand(from, to, read_at, end).map(|n| read_at - start + n);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(read_at - start)
}

fn by_hand(from: &OwnedFd, to: &File, start: u64, end: u64) -> rustix::io::Result<u64> {
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
    Ok(at - start)
}

/// Copies all below the directory `from` into the empty directory `to`; owner and mode of `to` become
/// those of `from`.
///
/// # Errors
/// What cannot be read or made.
pub fn copy_directory(from: &OwnedFd, to: OwnedFd) -> Result<(), super::ImageError> {
    let wrong = |what: &str| super::ImageError::Input {
        origin: "the image's directory".to_owned(),
        why: what.to_owned(),
    };
    let mut tree = Tree::new(to);
    // Nothing is to be left out: this directory is not below `from`.
    let nothing = rustix::fs::open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let nothing = nothing.map_err(|errno| wrong(&errno.to_string()))?;
    copy(from, &mut tree, &nothing, ImportLimits::default()).map_err(|stop| match stop {
        Stop::Damage(damage) => wrong(&damage.why),
        Stop::Entry { path, why } => wrong(&format!("{path}: {why}")),
        Stop::Limit(why) => wrong(&why),
    })?;
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
