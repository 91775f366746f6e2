//! File operations as data, and an interpreter of them: the same script runs on a union and on a
//! plain tree, and both results are compared errno for errno.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, OFlags, RawDir, RenameFlags, SeekFrom,
    Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fallocate, linkat, lremovexattr,
    lsetxattr, mknodat, openat, renameat_with, seek, utimensat,
};
use rustix::io::Errno;

use crate::sys;

/// One operation on paths relative to the tree's root.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the names of the system calls say it
pub enum Op {
    Create(PathBuf, u32),
    Write(PathBuf, u64, Vec<u8>),
    Overwrite(PathBuf, Vec<u8>),
    Append(PathBuf, Vec<u8>),
    Truncate(PathBuf, u64),
    Punch(PathBuf, u64, u64),
    Extend(PathBuf, u64, u64),
    Read(PathBuf),
    Readlink(PathBuf),
    List(PathBuf),
    Stat(PathBuf),
    Mkdir(PathBuf, u32),
    Rmdir(PathBuf),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
    RenameNoReplace(PathBuf, PathBuf),
    Exchange(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Symlink(PathBuf, PathBuf),
    Chmod(PathBuf, u32),
    Chown(PathBuf, u32, u32),
    Utimens(PathBuf, i64, i64),
    SetXattr(PathBuf, String, Vec<u8>, Create),
    RemoveXattr(PathBuf, String),
    Fifo(PathBuf, u32),
    Socket(PathBuf, u32),
    Device(PathBuf, u32, u32),
    /// Opens a file for reading and appending, removes the name, writes and reads it on.
    UnlinkOpen(PathBuf),
    /// A file made without a name in the directory of the path, written, and linked to the path.
    Unnamed(PathBuf, Vec<u8>),
    /// Writes through a shared mapping where the file has so many bytes; tells what was there.
    Mapped(PathBuf, u64, Vec<u8>),
    /// Lists a directory, and lists on from each cookie that was given.
    Scan(PathBuf),
}

/// The flags of setxattr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Create {
    Any,
    Must,
    Replace,
}

/// What an operation gave: data worth comparing, or the errno.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer(pub Result<String, Errno>);

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(text) if text.is_empty() => f.write_str("ok"),
            Ok(text) => write!(f, "ok {text}"),
            Err(errno) => write!(f, "{errno:?}"),
        }
    }
}

/// Runs one operation on the tree at `root`.
pub fn apply(root: &Path, op: &Op) -> Answer {
    Answer(run(root, op))
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or_else(|| panic!("an error without errno: {error}"))
}

fn done<T>(result: std::io::Result<T>) -> Result<String, Errno> {
    result.map(|_| String::new()).map_err(|e| errno(&e))
}

fn ok<T>(result: Result<T, Errno>) -> Result<String, Errno> {
    result.map(|_| String::new())
}

fn run(root: &Path, op: &Op) -> Result<String, Errno> {
    let at = |path: &Path| root.join(path);
    match op {
        Op::Create(..)
        | Op::Write(..)
        | Op::Overwrite(..)
        | Op::Append(..)
        | Op::Truncate(..)
        | Op::Punch(..)
        | Op::Extend(..)
        | Op::UnlinkOpen(_)
        | Op::Unnamed(..)
        | Op::Mapped(..) => content(root, op),
        Op::Read(path) => {
            // Never blocks on a pipe and never opens a device.
            let meta = fs::metadata(at(path)).map_err(|e| errno(&e))?;
            if !meta.is_file() {
                return Ok(String::from("no file"));
            }
            fs::read(at(path)).map(|b| text(&b)).map_err(|e| errno(&e))
        }
        Op::Readlink(path) => fs::read_link(at(path))
            .map(|p| p.display().to_string())
            .map_err(|e| errno(&e)),
        Op::List(path) => list(&at(path)).map_err(|e| errno(&e)),
        Op::Scan(path) => scan(&at(path)),
        Op::Stat(path) => stat(&at(path)).map_err(|e| errno(&e)),
        Op::Mkdir(path, mode) => ok(rustix::fs::mkdirat(
            CWD,
            at(path),
            Mode::from_raw_mode(*mode),
        )),
        Op::Rmdir(path) => done(fs::remove_dir(at(path))),
        Op::Unlink(path) => ok(rustix::fs::unlinkat(CWD, at(path), AtFlags::empty())),
        Op::Rename(a, b) => rename(&at(a), &at(b), RenameFlags::empty()),
        Op::RenameNoReplace(a, b) => rename(&at(a), &at(b), RenameFlags::NOREPLACE),
        Op::Exchange(a, b) => rename(&at(a), &at(b), RenameFlags::EXCHANGE),
        Op::Link(a, b) => ok(linkat(CWD, at(a), CWD, at(b), AtFlags::empty())),
        Op::Symlink(target, path) => done(symlink(target, at(path))),
        _ => attributes(root, op),
    }
}

fn rename(from: &Path, to: &Path, flags: RenameFlags) -> Result<String, Errno> {
    ok(renameat_with(CWD, from, CWD, to, flags))
}

fn attributes(root: &Path, op: &Op) -> Result<String, Errno> {
    let at = |path: &Path| root.join(path);
    match op {
        Op::Chmod(path, mode) => ok(chmodat(
            CWD,
            at(path),
            Mode::from_raw_mode(*mode),
            AtFlags::empty(),
        )),
        Op::Chown(path, uid, gid) => {
            let (uid, gid) = (Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)));
            ok(chownat(CWD, at(path), uid, gid, AtFlags::SYMLINK_NOFOLLOW))
        }
        Op::Utimens(path, seconds, nanos) => {
            let time = Timespec {
                tv_sec: *seconds,
                tv_nsec: *nanos,
            };
            let times = Timestamps {
                last_access: time,
                last_modification: time,
            };
            ok(utimensat(CWD, at(path), &times, AtFlags::SYMLINK_NOFOLLOW))
        }
        Op::SetXattr(path, name, value, create) => {
            let flags = match create {
                Create::Any => XattrFlags::empty(),
                Create::Must => XattrFlags::CREATE,
                Create::Replace => XattrFlags::REPLACE,
            };
            ok(lsetxattr(at(path), name.as_str(), value, flags))
        }
        Op::RemoveXattr(path, name) => ok(lremovexattr(at(path), name.as_str())),
        Op::Fifo(path, mode) => make_node(&at(path), FileType::Fifo, *mode, 0),
        Op::Socket(path, mode) => make_node(&at(path), FileType::Socket, *mode, 0),
        Op::Device(path, major, minor) => {
            let device = rustix::fs::makedev(*major, *minor);
            make_node(&at(path), FileType::CharacterDevice, 0o600, device)
        }
        other => unreachable!("not an operation on attributes: {other:?}"),
    }
}

fn make_node(path: &Path, kind: FileType, mode: u32, device: u64) -> Result<String, Errno> {
    ok(mknodat(CWD, path, kind, Mode::from_raw_mode(mode), device))
}

/// Operations on what is in a file. O_NONBLOCK: a pipe or a device answers at once.
fn content(root: &Path, op: &Op) -> Result<String, Errno> {
    let at = |path: &Path| root.join(path);
    let open = |path: &Path, set: &dyn Fn(&mut OpenOptions) -> &mut OpenOptions| {
        let mut options = OpenOptions::new();
        options.custom_flags(libc::O_NONBLOCK);
        set(&mut options).open(at(path)).map_err(|e| errno(&e))
    };
    let write = |path: &Path| open(path, &|o| o.write(true));
    match op {
        Op::Create(path, mode) => {
            open(path, &|o| o.write(true).create_new(true).mode(*mode)).map(|_| String::new())
        }
        Op::Write(path, offset, data) => done(regular(write(path)?)?.write_all_at(data, *offset)),
        Op::Overwrite(path, data) => {
            let file = open(path, &|o| o.write(true).truncate(true))?;
            done(regular(file)?.write_all_at(data, 0))
        }
        Op::Append(path, data) => {
            let file = regular(open(path, &|o| o.append(true))?)?;
            done(std::io::Write::write_all(&mut &file, data))
        }
        Op::Truncate(path, size) => done(regular(write(path)?)?.set_len(*size)),
        Op::Punch(path, offset, length) => {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            ok(fallocate(regular(write(path)?)?, flags, *offset, *length))
        }
        Op::Extend(path, offset, length) => ok(fallocate(
            regular(write(path)?)?,
            FallocateFlags::empty(),
            *offset,
            *length,
        )),
        Op::UnlinkOpen(path) => {
            let file = regular(open(path, &|o| o.read(true).append(true))?)?;
            fs::remove_file(at(path)).map_err(|e| errno(&e))?;
            std::io::Write::write_all(&mut &file, b"after").map_err(|e| errno(&e))?;
            let mut bytes = vec![0; 64];
            let n = file.read_at(&mut bytes, 0).map_err(|e| errno(&e))?;
            let meta = file.metadata().map_err(|e| errno(&e))?;
            Ok(format!(
                "{} nlink={} size={}",
                text(&bytes[..n]),
                meta.nlink(),
                meta.size()
            ))
        }
        Op::Mapped(path, offset, data) => {
            let file = regular(open(path, &|o| o.read(true).write(true))?)?;
            mapped(&file, *offset as usize, data).map_err(|e| errno(&e))
        }
        Op::Unnamed(path, data) => unnamed(&at(path), data),
        other => unreachable!("not an operation on content: {other:?}"),
    }
}

fn mapped(file: &File, offset: usize, data: &[u8]) -> std::io::Result<String> {
    let (size, end) = (file.metadata()?.size() as usize, offset + data.len());
    if end > size || data.is_empty() {
        return Ok(String::from("too short"));
    }
    let mut mapping = sys::Mapping::new(file.as_fd(), size, true)?;
    let there = text(&mapping.bytes()[offset..end]);
    mapping.bytes()[offset..end].copy_from_slice(data);
    mapping.sync()?;
    Ok(there)
}

fn unnamed(path: &Path, data: &[u8]) -> Result<String, Errno> {
    let directory = path.parent().expect("a path below the root of a tree");
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, directory, flags, Mode::from_raw_mode(0o640))?);
    file.write_all_at(data, 0).map_err(|e| errno(&e))?;
    let before = file.metadata().map_err(|e| errno(&e))?.nlink();
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, name, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
    Ok(format!("nlink={before}"))
}

/// Gives up on pipes and devices: what they do with data is not the file system's.
fn regular(file: File) -> Result<File, Errno> {
    if file.metadata().map_err(|e| errno(&e))?.is_file() {
        Ok(file)
    } else {
        Err(Errno::NOSTR)
    }
}

fn list(path: &Path) -> std::io::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // `file_type` is d_type where the file system tells it: it must agree with stat.
        let kind = entry.file_type()?;
        let meta = fs::symlink_metadata(entry.path())?;
        assert_eq!(
            kind,
            meta.file_type(),
            "D1: d_type of {}",
            entry.path().display()
        );
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join(" "))
}

/// One entry at a time, so that the cookie behind each is known; from each the rest must follow.
fn scan(path: &Path) -> Result<String, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = openat(CWD, path, flags, Mode::empty())?;
    let from = |cookie: u64| -> Result<Vec<(String, u64)>, Errno> {
        seek(&fd, SeekFrom::Start(cookie))?;
        let mut buffer = vec![MaybeUninit::uninit(); 2048];
        let mut entries = RawDir::new(&fd, &mut buffer);
        let mut found = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            found.push((name, entry.next_entry_cookie()));
        }
        Ok(found)
    };
    let all = from(0)?;
    for (n, (name, cookie)) in all.iter().enumerate() {
        let rest = from(*cookie)?;
        assert_eq!(rest, all[n + 1..], "D1: {} after {name}", path.display());
    }
    let mut names: Vec<_> = all.into_iter().map(|(name, _)| name).collect();
    names.sort();
    Ok(names.join(" "))
}

fn stat(path: &Path) -> std::io::Result<String> {
    let meta = fs::symlink_metadata(path)?;
    let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
    let size = if meta.is_dir() { 0 } else { meta.size() };
    let nlink = if meta.is_dir() { 0 } else { meta.nlink() };
    let xattrs = sys::xattrs(path)?.len();
    Ok(format!(
        "{mode:o} {uid}:{gid} size={size} nlink={nlink} xattrs={xattrs}"
    ))
}

/// Bytes as answers tell them: how many, and the first.
pub(crate) fn text(bytes: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(32)]).replace('\0', "0");
    format!("{}:{shown}", bytes.len())
}
