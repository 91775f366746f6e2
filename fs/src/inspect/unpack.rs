//! A packed layer as a directory again.
//!
//! ```text
//!   walk ── each directory before what is in it: made, 0700, by its path below the root
//!    ├─ files, symlinks, nodes    made anew (nothing there is ever replaced), data, then dressed
//!    ├─ further names             linkat of the first one
//!    └─ whiteouts                 char 0/0, or .wh.NAME
//!   then all directories, the last first: opaque marks, owner, mode, attributes, times
//!   then the flush to disk, and a new directory gets its name
//! ```
//!
//! Nothing can be written elsewhere: names have no `/` and are not `..`, each directory is opened below the
//! root without following symlinks ([`ResolveFlags::BENEATH`]), and everything else is created exclusively.
//!
//! A directory that is not there appears when it is whole, under its name, or not at all; killed, it is left
//! as `.NAME.PID` beside it. An empty one that is there is filled in place, since it may be mounted or
//! somebody's working directory, and emptied again after a failure.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, XattrFlags, linkat,
    mkdirat, mknodat, openat, openat2, symlinkat,
};
use rustix::io::Errno;

use crate::error::{Error, Result, UnpackError};
use crate::layer::packed::Pack;
use crate::layer::packed::format::Node;
use crate::layer::packed::reader::ROOT;
use crate::layer::packed::walk::{Met, walk};
use crate::marks::{WH_OPAQUE, WH_PREFIX};
use crate::sys::at::At;
use crate::upper::{Form, data};

/// Unpacks `pack` into the directory `to`, which is not there or is empty, whiteouts and opaque directories
/// in `form`; `written` is told of the bytes of each file, holes not counted. All is on disk when it
/// returns. Memory: the paths of all directories, and of files with several names.
///
/// # Errors
/// `to` is neither, an object cannot be made, the layer is damaged or needs another one. A `to` that was not
/// there is not there then; one that was there is empty.
pub fn unpack(
    pack: &Pack,
    to: &Path,
    form: Form,
    written: &mut dyn FnMut(u64),
) -> Result<(), UnpackError> {
    let target = |why| UnpackError::Target {
        path: to.to_owned(),
        why,
    };
    let at = |path: &Path, what| {
        let path = path.to_owned();
        move |source: std::io::Error| UnpackError::Object {
            path,
            what,
            source: source.into(),
        }
    };
    match fs::read_dir(to) {
        Ok(mut names) => {
            if names.next().is_some() {
                return Err(target("not empty; name a new or an empty directory"));
            }
            let was = fs::metadata(to).map_err(at(to, "cannot look at it"))?;
            let done = fill(pack, to, to, form, written);
            if done.is_err() {
                // It is the failure before that is told.
                let _ = empty(to)
                    .and_then(|()| std::os::unix::fs::chown(to, Some(was.uid()), Some(was.gid())))
                    .and_then(|()| fs::set_permissions(to, was.permissions()));
            }
            return done;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(to, "cannot look into it")(error)),
    }
    let name = to
        .file_name()
        .ok_or_else(|| target("no name for a directory"))?;
    let hidden = format!(".{}.{}", name.to_string_lossy(), std::process::id());
    let scratch = to.with_file_name(hidden);
    fs::create_dir(&scratch).map_err(at(to, "cannot make it"))?;
    let done = fill(pack, &scratch, to, form, written).and_then(|()| {
        // Not over anything that came meanwhile, but an empty directory.
        fs::rename(&scratch, to).map_err(at(to, "cannot give it its name"))
    });
    if done.is_err() {
        // The same.
        let _ = fs::remove_dir_all(&scratch);
        return done;
    }
    let above = to.parent().filter(|above| !above.as_os_str().is_empty());
    let above = above.unwrap_or(Path::new("."));
    let synced = fs::File::open(above).and_then(|above| above.sync_all());
    synced.map_err(at(above, "cannot flush it to disk"))
}

/// Removes all that is in a directory.
fn empty(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// Unpacks into `at`, an empty directory, which is called `to` in messages.
fn fill(
    pack: &Pack,
    at: &Path,
    to: &Path,
    form: Form,
    written: &mut dyn FnMut(u64),
) -> Result<(), UnpackError> {
    let failed = |what| {
        move |errno: Errno| UnpackError::Object {
            path: to.to_owned(),
            what,
            source: errno.into(),
        }
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(at, flags, Mode::empty()).map_err(failed("cannot open it"))?;
    // What is made in it shall inherit nothing, and nobody shall look in, or change a name under our hands,
    // before all is as it should be: not even whose directory it was.
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    rustix::fs::fchown(&root, Some(uid), Some(gid)).map_err(failed("cannot set its owner"))?;
    rustix::fs::fchmod(&root, Mode::RWXU).map_err(failed("cannot set its mode"))?;
    match At::Fd(root.as_fd()).remove_xattr(c"system.posix_acl_default") {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
        Err(errno) => return Err(failed("cannot remove its default ACL")(errno)),
    }
    let mut unpacking = Unpacking {
        pack,
        to,
        root,
        form,
        first: HashMap::new(),
        directories: vec![(Vec::new(), ROOT)],
        written,
    };
    for met in walk(pack, b"", ROOT) {
        let met = met.map_err(|error| unpacking.damaged(b"", error))?;
        unpacking.object(met)?;
    }
    unpacking.dress_directories()?;
    let root = &unpacking.root;
    rustix::fs::syncfs(root).map_err(failed("cannot flush it to disk"))
}

struct Unpacking<'a> {
    pack: &'a Pack,
    to: &'a Path,
    root: OwnedFd,
    form: Form,
    /// The first name of each file that has several.
    first: HashMap<u32, Vec<u8>>,
    directories: Vec<(Vec<u8>, u32)>,
    written: &'a mut dyn FnMut(u64),
}

impl Unpacking<'_> {
    fn object(&mut self, met: Met) -> Result<(), UnpackError> {
        let directory = self.directory(above(&met.path));
        let directory =
            directory.map_err(|error| self.failed(&met.path, "its directory", error))?;
        let name = OsStr::from_bytes(met.name());
        let Some(number) = met.node else {
            let made = self.whiteout(directory.as_fd(), name);
            return made.map_err(|error| self.failed(&met.path, "cannot make a whiteout", error));
        };
        let node = *self
            .pack
            .node(number)
            .map_err(|error| self.damaged(&met.path, error))?;
        if met.kind == libc::S_IFDIR {
            let made = mkdirat(&directory, name, Mode::RWXU);
            made.map_err(|errno| self.failed(&met.path, "cannot make it", errno.into()))?;
            self.directories.push((met.path, number));
            return Ok(());
        }
        if let Some(first) = self.first.get(&number) {
            let linked = self.link(first, directory.as_fd(), name);
            return linked.map_err(|error| self.failed(&met.path, "cannot link it", error));
        }
        let outside = self.pack.outside(&node);
        if let Some(target) = outside.map_err(|error| self.damaged(&met.path, error))? {
            return Err(UnpackError::Outside {
                layer: self.pack.path().to_owned(),
                path: path(&met.path),
                target: path(target),
            });
        }
        self.make(directory.as_fd(), name, &met, &node)?;
        if node.nlink.get() > 1 {
            self.first.insert(number, met.path);
        }
        Ok(())
    }

    /// Makes anything that is no directory, with all it has.
    fn make(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        met: &Met,
        node: &Node,
    ) -> Result<(), UnpackError> {
        let failed = |what, error: Error| self.failed(&met.path, what, error);
        let made = |errno: Errno| failed("cannot make it", errno.into());
        let damaged = |error| self.damaged(&met.path, error);
        let dressed = |error| failed("cannot set owner, mode, attributes or times", error);
        match met.kind {
            libc::S_IFREG => {
                let data = self.pack.data(node).map_err(damaged)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let file = openat(directory, name, flags, Mode::RUSR | Mode::WUSR).map_err(made)?;
                let size = node.size.get();
                data::copy(&data, file.as_fd(), size, size)
                    .map_err(|error| failed("cannot write its data", error))?;
                self.dress(At::Fd(file.as_fd()), node).map_err(dressed)?;
                let pieces = data.pieces.iter().flat_map(|pieces| pieces.until(size));
                (self.written)(pieces.map(|piece| piece.length).sum());
                return Ok(());
            }
            libc::S_IFLNK => {
                let target = self.pack.target(node).map_err(damaged)?;
                symlinkat(OsStr::from_bytes(target), directory, name).map_err(made)?;
            }
            kind => {
                let device = match kind {
                    libc::S_IFCHR | libc::S_IFBLK => node.data.get(),
                    _ => 0,
                };
                let kind = FileType::from_raw_mode(kind);
                mknodat(directory, name, kind, Mode::RUSR, device).map_err(made)?;
            }
        }
        self.dress(At::Name(directory, name), node).map_err(dressed)
    }

    fn whiteout(&self, directory: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        match self.form {
            Form::Overlay => {
                let kind = FileType::CharacterDevice;
                Ok(mknodat(directory, name, kind, Mode::empty(), 0)?)
            }
            Form::Aufs => {
                let name = [WH_PREFIX, name.as_bytes()].concat();
                mark(directory, &name)
            }
        }
    }

    fn link(&self, first: &[u8], directory: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        let from = self.directory(above(first))?;
        let old = OsStr::from_bytes(last(first));
        Ok(linkat(&from, old, directory, name, AtFlags::empty())?)
    }

    /// Opaque marks, attributes and times of all directories; making what is in them has changed the times.
    fn dress_directories(&mut self) -> Result<(), UnpackError> {
        for (path, number) in std::mem::take(&mut self.directories).into_iter().rev() {
            let dressed = self.dress_directory(&path, number);
            dressed.map_err(|error| {
                self.failed(&path, "cannot set owner, mode, attributes or times", error)
            })?;
        }
        Ok(())
    }

    fn dress_directory(&self, path: &[u8], number: u32) -> Result<()> {
        let directory = self.directory(path)?;
        let at = At::Fd(directory.as_fd());
        if self.pack.is_opaque(number)? {
            match self.form {
                Form::Overlay => {
                    at.set_xattr(c"trusted.overlay.opaque", b"y", XattrFlags::empty())?;
                }
                Form::Aufs => mark(directory.as_fd(), WH_OPAQUE)?,
            }
        }
        self.dress(at, self.pack.node(number)?)
    }

    /// Order: the owner's change clears set-id bits and capabilities, everything changes times.
    fn dress(&self, at: At<'_>, node: &Node) -> Result<()> {
        at.chown(Some(node.uid.get()), Some(node.gid.get()))?;
        let mode = node.mode.get();
        if mode & libc::S_IFMT != libc::S_IFLNK {
            at.chmod(mode & 0o7777)?;
        }
        for (name, value) in self.pack.xattrs(node)? {
            let name = CString::new(name).map_err(|_| Error::Damaged)?;
            at.set_xattr(&name, value, XattrFlags::empty())?;
        }
        let time = Timespec {
            tv_sec: node.mtime.get(),
            tv_nsec: i64::from(node.nanos.get() % 1_000_000_000),
        };
        Ok(at.set_times(&Timestamps {
            last_access: time,
            last_modification: time,
        })?)
    }

    /// A directory below the root; symlinks are not followed.
    fn directory(&self, path: &[u8]) -> Result<OwnedFd> {
        let path = OsStr::from_bytes(if path.is_empty() { b"." } else { path });
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        Ok(openat2(&self.root, path, flags, Mode::empty(), resolve)?)
    }

    fn failed(&self, below: &[u8], what: &'static str, source: Error) -> UnpackError {
        UnpackError::Object {
            path: self.to.join(path(below)),
            what,
            source,
        }
    }

    fn damaged(&self, below: &[u8], source: Error) -> UnpackError {
        UnpackError::Layer {
            layer: self.pack.path().to_owned(),
            path: path(below),
            source,
        }
    }
}

/// An empty file of AUFS's.
fn mark(directory: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    openat(directory, OsStr::from_bytes(name), flags, Mode::RUSR)?;
    Ok(())
}

fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// The path of the directory; empty for the root.
fn above(path: &[u8]) -> &[u8] {
    let cut = path.iter().rposition(|byte| *byte == b'/');
    &path[..cut.unwrap_or(0)]
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
