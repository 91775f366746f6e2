//! The merged tree, read as it lies on disk.
//!
//! ```text
//!   Tree ── upper: root, form, index      layers
//!    └─ Dir   one directory of the merged tree
//!         ├─ upper    its part in the upper      ── lines: whiteouts and objects, sorted by name
//!         ├─ lowers   its part in the layers     ── below: what they have for a name
//!         └─ before   the path at which the layers alone show `lowers`
//! ```
//!
//! A live mount may change the upper meanwhile: what is gone when it is looked at counts as absent.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, RawDir, Stat, openat};
use rustix::io::Errno;

use crate::error::{Error, InspectError, OpenError, Result};
use crate::layer::Trust;
use crate::layer::packed::expand;
use crate::marks::{self, Marks, Opaque};
use crate::sys::at::At;
use crate::sys::fdcache::{FdCache, FdKey};
use crate::sys::mounts::open_directory;
use crate::union::lower::{Layers, Lower, LowerFile, Stack};
use crate::union::stack::{Source, check_apart};
use crate::upper::Form;
use crate::upper::open::{HOME, INDEX};

/// Where the parts of a union lie.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The upper.
    pub upper: Option<PathBuf>,
    /// The upper's workdir.
    pub work: Option<PathBuf>,
    /// The layers, topmost first.
    pub lowers: Vec<PathBuf>,
    /// Whether the layers' redirects and metadata-only copies are followed.
    pub trust: Trust,
}

/// A union on disk; see the module.
#[derive(Debug)]
pub struct Tree {
    /// The layers; none if they are not known.
    pub layers: Layers,
    /// The upper, if there is one.
    pub upper: Option<UpperTree>,
    roots: Stack,
}

/// The upper of a [`Tree`].
#[derive(Debug)]
pub struct UpperTree {
    /// How its whiteouts and marks are written.
    pub form: Form,
    /// The index of hard-linked files, if there is one.
    pub index: Option<OwnedFd>,
    root: Arc<UpperDir>,
}

/// A directory of the upper: an fd is opened when it is asked for, so that any depth can be walked.
#[derive(Debug)]
pub struct UpperDir {
    above: Option<(Arc<UpperDir>, OsString)>,
    root: Arc<OwnedFd>,
    key: FdKey,
    fds: Arc<FdCache>,
}

/// A directory of the merged tree.
#[derive(Debug, Clone)]
pub struct Dir {
    /// Its path in the merged tree, without a leading `/`; empty for the root.
    pub path: PathBuf,
    /// The path at which the layers alone show what it merges. `None`: they have nothing for it.
    pub before: Option<PathBuf>,
    /// Its part in the upper.
    pub upper: Option<Arc<UpperDir>>,
    /// Its part in the layers.
    pub lowers: Stack,
}

/// What stands at one name of the upper.
#[derive(Debug)]
pub enum Line {
    /// The name is deleted.
    Whiteout(Whiteout),
    /// An object.
    Object(Box<Entry>),
}

/// A whiteout of the upper.
#[derive(Debug)]
pub struct Whiteout {
    /// The name it hides.
    pub name: OsString,
    /// The name it has on disk.
    pub file: OsString,
    /// Its own attributes.
    pub stat: Stat,
}

/// An object of the upper.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// Its attributes, with the type it shows.
    pub stat: Stat,
    /// Its marks, the AUFS form of opaque included.
    pub marks: Marks,
}

/// What the layers have for a name.
#[derive(Debug)]
pub enum Below {
    /// Nothing, or the layers are not known.
    Absent,
    /// A directory, merged.
    Directory(Stack, Box<Stat>),
    /// Anything else.
    File(Box<LowerFile>, Box<Stat>),
    /// Something that points nowhere, or elsewhere in an untrusted layer.
    Broken,
}

/// How a directory of the upper is tied to the layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tie {
    /// Not at all: it is opaque, or the layers have no directory for it.
    None,
    /// By its name.
    Name,
    /// By a redirect, to this path of the layers.
    Redirect(PathBuf),
    /// By a redirect that leads to no directory of the layers.
    Dangling,
}

impl Line {
    /// The name in question.
    pub fn name(&self) -> &OsStr {
        match self {
            Self::Whiteout(whiteout) => &whiteout.name,
            Self::Object(entry) => &entry.name,
        }
    }
}

impl Entry {
    /// The type it shows.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

impl Tree {
    /// Opens the parts. The form of the upper is told from what it holds.
    ///
    /// # Errors
    /// [`OpenError`] for a part that cannot be opened or that lies in another.
    pub fn open(places: &Places) -> Result<Self, InspectError> {
        let fds = Arc::new(FdCache::new());
        let ours = [("upper", &places.upper), ("work", &places.work)];
        let ours: Vec<(&'static str, &Path)> = ours
            .into_iter()
            .filter_map(|(role, path)| Some((role, path.as_deref()?)))
            .collect();
        // Each layer is to be told by itself.
        let lowers = expand(&places.lowers).map_err(OpenError::Packed)?;
        let hidden = check_apart(&lowers, &ours)?;
        let sources = lowers.iter().map(|path| Source {
            path,
            trust: places.trust,
            hidden: hidden.clone(),
        });
        let layers = Layers::open(sources.collect(), &fds)?;
        let upper = match &places.upper {
            Some(path) => Some(UpperTree::open(path, places.work.as_deref(), &fds)?),
            None => None,
        };
        let roots = layers.merged_root().map_err(InspectError::at("/"))?;
        Ok(Self {
            layers,
            upper,
            roots,
        })
    }

    /// The merged root.
    pub fn root(&self) -> Result<Dir> {
        let mut root = Dir {
            path: PathBuf::new(),
            before: Some(PathBuf::new()),
            upper: None,
            lowers: self.roots.clone(),
        };
        if let Some(upper) = &self.upper {
            let marks = upper.marks_of(At::Fd(upper.root.fd()?.as_fd()), true)?;
            if marks.opaque == Opaque::Yes {
                (root.before, root.lowers) = (None, Stack::from([]));
            }
            root.upper = Some(upper.root.clone());
        }
        Ok(root)
    }

    /// Whether the layers are known.
    pub fn knows_layers(&self) -> bool {
        !self.layers.0.is_empty()
    }

    /// What the upper holds in a directory, sorted by name.
    pub fn lines(&self, dir: &Dir) -> Result<Vec<Line>> {
        let (Some(upper), Some(part)) = (&self.upper, &dir.upper) else {
            return Ok(Vec::new());
        };
        let fd = part.fd()?;
        let mut lines = Vec::new();
        for name in names(fd.as_fd())? {
            lines.extend(upper.line(fd.as_fd(), &name)?);
        }
        // In the AUFS form an object goes before a whiteout of its name, which means nothing beside it.
        let whiteout = |line: &Line| matches!(line, Line::Whiteout(_));
        lines.sort_by(|a, b| (a.name(), whiteout(a)).cmp(&(b.name(), whiteout(b))));
        lines.dedup_by(|later, first| later.name() == first.name());
        Ok(lines)
    }

    /// What the upper holds at one name of a directory.
    pub fn line(&self, dir: &Dir, name: &OsStr) -> Result<Option<Line>> {
        let (Some(upper), Some(part)) = (&self.upper, &dir.upper) else {
            return Ok(None);
        };
        let fd = part.fd()?;
        if upper.form.owns_name(name) {
            return Ok(None);
        }
        match upper.line(fd.as_fd(), name)? {
            None if upper.form.hides(fd.as_fd(), name)? => {
                upper.line(fd.as_fd(), &crate::upper::form::wh_name(name))
            }
            found => Ok(found),
        }
    }

    /// What the layers have for a name of a directory.
    pub fn below(&self, dir: &Dir, name: &OsStr) -> Result<Below> {
        Ok(match self.layers.lookup(&dir.lowers, name) {
            Ok(Lower::Absent) => Below::Absent,
            Ok(Lower::Directory(stack, stat)) => Below::Directory(stack, stat),
            Ok(Lower::File(file, stat)) => Below::File(file, stat),
            Err(Error::Damaged | Error::NotPermitted) => Below::Broken,
            Err(error) => return Err(error),
        })
    }

    /// The layer's file that has the data of a metadata-only copy; `None` if no layer has it.
    pub fn data_of(&self, dir: &Dir, entry: &Entry) -> Result<Option<Box<LowerFile>>> {
        match self.layers.behind(&entry.marks, &entry.name, &dir.lowers) {
            Ok(Lower::File(file, stat)) if is_regular(&stat) => Ok(Some(file)),
            Ok(_) | Err(Error::Damaged | Error::NotPermitted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The directory behind a line that is one.
    pub fn enter(&self, dir: &Dir, entry: &Entry) -> Result<(Dir, Tie)> {
        let part = dir.upper.as_ref().ok_or(Error::Damaged)?;
        let mut inner = Dir {
            path: dir.path.join(&entry.name),
            before: None,
            upper: Some(part.child(&entry.name)),
            lowers: Stack::from([]),
        };
        if entry.marks.opaque == Opaque::Yes {
            return Ok((inner, Tie::None));
        }
        let (before, tie) = match &entry.marks.redirect {
            None => (dir.before.as_ref().map(|b| b.join(&entry.name)), Tie::Name),
            Some(target) => match redirected(dir, target) {
                Some(path) => (Some(path.clone()), Tie::Redirect(path)),
                None => return Ok((inner, Tie::Dangling)),
            },
        };
        if !self.knows_layers() {
            inner.before = before;
            return Ok((inner, tie));
        }
        match self.layers.behind(&entry.marks, &entry.name, &dir.lowers) {
            Ok(Lower::Directory(stack, _)) => {
                (inner.lowers, inner.before) = (stack, before);
                Ok((inner, tie))
            }
            Ok(_) | Err(Error::Damaged | Error::NotPermitted) => match tie {
                Tie::Redirect(_) => Ok((inner, Tie::Dangling)),
                _ => Ok((inner, Tie::None)),
            },
            Err(error) => Err(error),
        }
    }

    /// The directory that only the layers have at a name.
    pub fn enter_below(&self, dir: &Dir, name: &OsStr, lowers: Stack) -> Dir {
        Dir {
            path: dir.path.join(name),
            before: dir.before.as_ref().map(|before| before.join(name)),
            upper: None,
            lowers,
        }
    }
}

/// The path in the layers that a redirect in `dir` leads to; `None` if it is out of grammar or the layers
/// have nothing for `dir`.
pub fn redirected(dir: &Dir, target: &OsStr) -> Option<PathBuf> {
    let bytes = target.as_bytes();
    match bytes.strip_prefix(b"/") {
        Some(path) => {
            let names = path.split(|byte| *byte == b'/').filter(|n| !n.is_empty());
            let mut place = PathBuf::new();
            for name in names {
                if matches!(name, b"." | b"..") {
                    return None;
                }
                place.push(OsStr::from_bytes(name));
            }
            Some(place)
        }
        None if matches!(bytes, b"" | b"." | b"..") || bytes.contains(&b'/') => None,
        None => dir.before.as_ref().map(|before| before.join(target)),
    }
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

impl UpperTree {
    fn open(path: &Path, work: Option<&Path>, fds: &Arc<FdCache>) -> Result<Self, InspectError> {
        let error = |role, path: &Path, error: Errno| OpenError::Path {
            role,
            path: path.to_owned(),
            source: error.into(),
        };
        let root = open_directory(path).map_err(|e| error("upper", path, e))?;
        let root = Arc::new(UpperDir {
            above: None,
            root: Arc::new(root),
            key: fds.key(),
            fds: fds.clone(),
        });
        let index = match work {
            None => None,
            Some(work) => match open_directory(&work.join(HOME).join(INDEX)) {
                Ok(index) => Some(index),
                Err(Errno::NOENT) => None,
                Err(other) => return Err(error("work", work, other).into()),
            },
        };
        let form = form_of(&root).map_err(InspectError::at(path))?;
        Ok(Self { form, index, root })
    }

    /// The marks of an object; for a directory also the opaque mark by name.
    fn marks_of(&self, at: At<'_>, directory: bool) -> Result<Marks> {
        let mut marks = Marks::read(at)?;
        if directory && self.form == Form::Aufs && marks.opaque != Opaque::Yes {
            let dir = at.open(OFlags::PATH | OFlags::DIRECTORY)?;
            if self.form.opaque_by_name(dir.as_fd())? {
                marks.opaque = Opaque::Yes;
            }
        }
        Ok(marks)
    }

    /// What a name on disk says; nothing if it is gone, or a mark of AUFS.
    fn line(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Line>> {
        let at = At::Name(dir, name);
        let mut stat = match at.stat() {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let whiteout = |hidden: &OsStr| {
            Some(Line::Whiteout(Whiteout {
                name: hidden.to_owned(),
                file: name.to_owned(),
                stat,
            }))
        };
        if self.form.owns_name(name) {
            return Ok(marks::hidden_name(name).and_then(whiteout));
        }
        if marks::is_char00(&stat) {
            return Ok(whiteout(name));
        }
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let marks = match self.marks_of(at, directory) {
            Err(Error::NotFound) => return Ok(None),
            other => other?,
        };
        if marks.char00 && stat.st_size == 0 && !directory {
            stat.st_mode = (stat.st_mode & 0o7777) | libc::S_IFCHR;
        }
        Ok(Some(Line::Object(Box::new(Entry {
            name: name.to_owned(),
            stat,
            marks,
        }))))
    }
}

impl UpperDir {
    /// The directory `name` in it.
    pub fn child(self: &Arc<Self>, name: &OsStr) -> Arc<Self> {
        Arc::new(Self {
            above: Some((self.clone(), name.to_owned())),
            root: self.root.clone(),
            key: self.fds.key(),
            fds: self.fds.clone(),
        })
    }

    /// An `O_PATH` fd of it.
    pub fn fd(&self) -> Result<Arc<OwnedFd>> {
        let Some((above, name)) = &self.above else {
            return Ok(self.root.clone());
        };
        self.fds.get(self.key, || {
            let above = above.fd()?;
            Ok(At::Name(above.as_fd(), name).open(OFlags::PATH | OFlags::DIRECTORY)?)
        })
    }
}

impl Drop for UpperDir {
    fn drop(&mut self) {
        self.fds.forget(self.key);
    }
}

/// The form in which an upper is written, by what it holds: one whiteout or mark of overlayfs decides for
/// that form. `.wh.` names alone are AUFS's; beside marks of overlayfs they are files as any.
fn form_of(root: &Arc<UpperDir>) -> Result<Form> {
    let mut form = Form::Overlay;
    let mut todo = vec![root.clone()];
    while let Some(dir) = todo.pop() {
        let fd = match dir.fd() {
            Err(Error::NotFound) => continue,
            other => other?,
        };
        if has_overlay_mark(At::Fd(fd.as_fd()))? {
            return Ok(Form::Overlay);
        }
        for name in names(fd.as_fd())? {
            let at = At::Name(fd.as_fd(), &name);
            let Ok(stat) = at.stat() else { continue };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if marks::is_char00(&stat) || (kind != FileType::Directory && has_overlay_mark(at)?) {
                return Ok(Form::Overlay);
            }
            if marks::is_wh_name(&name) {
                form = Form::Aufs;
            }
            if kind == FileType::Directory {
                todo.push(dir.child(&name));
            }
        }
    }
    Ok(form)
}

fn has_overlay_mark(at: At<'_>) -> Result<bool> {
    let list = match at.list_xattrs() {
        Err(Errno::NOENT) => return Ok(false),
        other => other?,
    };
    let trusted = marks::PREFIXES[0].as_bytes();
    let mut names = crate::sys::at::xattr_names(&list);
    Ok(names.any(|name| name.starts_with(trusted) && marks::key_of(name).is_some()))
}

/// The names in a directory but `.` and `..`.
pub fn names(dir: BorrowedFd<'_>) -> Result<Vec<OsString>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(dir, c".", flags, Mode::empty())?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}
