//! A picture of a tree with every attribute, and readable differences between two.
//!
//! Two trees that hold the same must give the same picture, so numbers that legitimately differ
//! (inode and device numbers, directory sizes, ctime, atime) are left out; hard links are told by
//! the first name of their group. [`View`] leaves out more where a comparison calls for it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::sys;

/// What a picture holds.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Modification times at or after this (seconds) read `recent`: for trees changed by the same
    /// operations at different moments.
    pub recent: Option<i64>,
    /// Leave out modification times of directories.
    pub no_dir_times: bool,
    /// Leave out link counts and hard-link groups of files.
    pub no_links: bool,
    /// Add inode number, ctime and directory link count: for a tree compared with itself.
    pub identity: bool,
    /// Pass over names that are listed and cannot be found: the kernel's overlayfs lists whiteouts
    /// of directories that it need not merge.
    pub ghosts: bool,
    /// Tell of `.wh.` files only that they are there: an index does not keep their attributes.
    pub bare_whiteouts: bool,
    /// Paths (relative) not looked at, with all below.
    pub skip: Vec<PathBuf>,
}

impl View {
    /// All but what two equal trees cannot share.
    pub fn plain() -> Self {
        Self::default()
    }

    /// For a tree compared with itself later.
    pub fn everything() -> Self {
        Self {
            identity: true,
            ..Self::default()
        }
    }

    /// Times since `start` (seconds) all count as the same.
    pub fn since(start: i64) -> Self {
        Self {
            recent: Some(start),
            ..Self::default()
        }
    }
}

/// A tree's picture: path → one line that tells all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    entries: BTreeMap<OsString, String>,
}

impl Snapshot {
    /// Takes the picture of the tree at `root`, the root itself included as `.`.
    ///
    /// # Panics
    /// If anything cannot be read: a tree that cannot be read is a failure of its own.
    #[track_caller]
    pub fn of(root: &Path, view: &View) -> Self {
        let mut walk = Walk {
            root,
            view,
            picture: Picture::new(view),
            entries: BTreeMap::new(),
        };
        walk.visit(Path::new("."));
        Self {
            entries: walk.entries,
        }
    }

    /// The picture of a tree that is not on disk. Objects are given as a walk meets them: the root
    /// as `.` first, the names of each directory sorted, what is below a directory right after it.
    pub fn of_objects(objects: impl IntoIterator<Item = (PathBuf, Object)>, view: &View) -> Self {
        let mut picture = Picture::new(view);
        let entries = objects.into_iter().map(|(path, object)| {
            let line = picture.line(&path, &object);
            (path.into_os_string(), line)
        });
        Self {
            entries: entries.collect(),
        }
    }

    /// Names in it.
    pub fn names(&self) -> Vec<String> {
        self.entries
            .keys()
            .map(|k| k.to_string_lossy().into_owned())
            .collect()
    }

    /// The line of one path.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.entries
            .get(std::ffi::OsStr::new(path))
            .map(String::as_str)
    }

    /// The differences as text, empty if there are none: `-` lines are only in `self`.
    pub fn diff(&self, other: &Self) -> String {
        let mut out = String::new();
        for (path, line) in &self.entries {
            match other.entries.get(path) {
                None => writeln!(out, "- {path:?}: {line}").unwrap(),
                Some(there) if there != line => {
                    writeln!(out, "- {path:?}: {line}\n+ {path:?}: {there}").unwrap();
                }
                Some(_) => {}
            }
        }
        for (path, line) in &other.entries {
            if !self.entries.contains_key(path) {
                writeln!(out, "+ {path:?}: {line}").unwrap();
            }
        }
        out
    }

    /// Panics with the differences if there are any.
    #[track_caller]
    pub fn assert_same(&self, other: &Self, what: &str) {
        let diff = self.diff(other);
        assert!(
            diff.is_empty(),
            "{what}: the trees differ (- wanted, + found):\n{diff}"
        );
    }
}

struct Walk<'a> {
    root: &'a Path,
    view: &'a View,
    picture: Picture<'a>,
    entries: BTreeMap<OsString, String>,
}

impl Walk<'_> {
    fn visit(&mut self, path: &Path) {
        if self.view.skip.iter().any(|s| s == path) {
            return;
        }
        let full = match path == Path::new(".") {
            // Of a file, there is no `/.`.
            true => self.root.to_owned(),
            false => self.root.join(path),
        };
        let meta = match fs::symlink_metadata(&full) {
            Ok(meta) => meta,
            Err(e) if self.view.ghosts && e.raw_os_error() == Some(libc::ENOENT) => return,
            Err(e) => panic!("picture of {}: {e}", full.display()),
        };
        let name = path.file_name().unwrap_or_default().as_bytes();
        let line = match self.view.bare_whiteouts && name.starts_with(b".wh.") {
            true => "a whiteout".to_owned(),
            false => self.line(path, &full, &meta),
        };
        self.entries.insert(path.as_os_str().to_owned(), line);
        if meta.is_dir() {
            let mut names: Vec<_> = fs::read_dir(&full)
                .unwrap_or_else(|e| panic!("picture of {}: {e}", full.display()))
                .map(|e| e.unwrap_or_else(|e| panic!("listing {}: {e}", full.display())))
                .map(|e| e.file_name())
                .collect();
            names.sort();
            for pair in names.windows(2) {
                assert_ne!(pair[0], pair[1], "D1: listed twice in {}", full.display());
            }
            for name in names {
                let child = if path == Path::new(".") {
                    name.into()
                } else {
                    path.join(name)
                };
                self.visit(&child);
            }
        }
    }

    fn line(&mut self, path: &Path, full: &Path, meta: &fs::Metadata) -> String {
        let kind = meta.file_type();
        let xattrs = sys::xattrs(full).unwrap_or_else(|e| panic!("{}: {e}", full.display()));
        let is_device = kind.is_char_device() || kind.is_block_device();
        let object = Object {
            letter: letter(kind),
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            size: meta.size(),
            nlink: meta.nlink(),
            number: (meta.dev(), meta.ino()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
            rdev: is_device.then(|| meta.rdev()),
            target: kind.is_symlink().then(|| fs::read_link(full).unwrap()),
            xattrs,
            digest: kind.is_file().then(|| hash(full)),
        };
        self.picture.line(path, &object)
    }
}

fn letter(kind: fs::FileType) -> char {
    match () {
        () if kind.is_dir() => 'd',
        () if kind.is_symlink() => 'l',
        () if kind.is_fifo() => 'p',
        () if kind.is_socket() => 's',
        () if kind.is_char_device() => 'c',
        () if kind.is_block_device() => 'b',
        () => '-',
    }
}

/// What there is to tell of one object, wherever it was read from.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // stat(2) says it
pub struct Object {
    /// As `ls -l` has it.
    pub letter: char,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    pub size: u64,
    pub nlink: u64,
    /// Device and inode: the same for all names of one object.
    pub number: (u64, u64),
    pub ctime: (i64, i64),
    pub rdev: Option<u64>,
    pub target: Option<PathBuf>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of a file: [`digest`] of its content.
    pub digest: Option<String>,
}

/// Makes the lines of one picture; objects come in the order of a walk with sorted names.
struct Picture<'a> {
    view: &'a View,
    /// (device, inode) → first path seen.
    groups: HashMap<(u64, u64), PathBuf>,
}

impl<'a> Picture<'a> {
    fn new(view: &'a View) -> Self {
        Self {
            view,
            groups: HashMap::new(),
        }
    }

    fn line(&mut self, path: &Path, object: &Object) -> String {
        let mut line = String::new();
        let (uid, gid) = object.owner;
        write!(line, "{}{:04o} {uid}:{gid}", object.letter, object.mode).unwrap();
        let is_dir = object.letter == 'd';
        if !(is_dir && self.view.no_dir_times) {
            self.time(&mut line, object.mtime);
        }
        if !is_dir {
            write!(line, " size={}", object.size).unwrap();
            if !self.view.no_links {
                self.links(&mut line, path, object);
            }
        }
        if self.view.identity {
            let (seconds, nanos) = object.ctime;
            write!(line, " ino={} ctime={seconds}.{nanos:09}", object.number.1).unwrap();
        }
        if let Some(rdev) = object.rdev {
            write!(line, " rdev={rdev:#x}").unwrap();
        }
        if let Some(target) = &object.target {
            write!(line, " -> {target:?}").unwrap();
        }
        for (name, value) in &object.xattrs {
            write!(line, " {}={}", String::from_utf8_lossy(name), hex(value)).unwrap();
        }
        if let Some(digest) = &object.digest {
            write!(line, " sha={digest}").unwrap();
        }
        line
    }

    fn time(&self, line: &mut String, (seconds, nanos): (i64, i64)) {
        match self.view.recent {
            Some(start) if seconds >= start => line.push_str(" mtime=recent"),
            _ => write!(line, " mtime={seconds}.{nanos:09}").unwrap(),
        }
    }

    fn links(&mut self, line: &mut String, path: &Path, object: &Object) {
        write!(line, " nlink={}", object.nlink).unwrap();
        if object.nlink > 1 {
            let first = self.groups.entry(object.number);
            let first = first.or_insert_with(|| path.to_owned());
            if first != path {
                write!(line, " same-as={first:?}").unwrap();
            }
        }
    }
}

fn hash(path: &Path) -> String {
    let mut file = fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        let n = file
            .read(&mut buffer)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
    }
    hex(&hasher.finalize()[..8])
}

/// How content is told in a picture.
pub fn digest(content: &[u8]) -> String {
    hex(&Sha256::digest(content)[..8])
}

fn hex(bytes: &[u8]) -> String {
    let shown = bytes.iter().take(48).fold(String::new(), |mut s, b| {
        write!(s, "{b:02x}").unwrap();
        s
    });
    if bytes.len() > 48 {
        format!("{shown}+{}", bytes.len() - 48)
    } else {
        shown
    }
}

/// Copies a tree with every attribute (`cp -a`): the plain tree that a union is compared with.
pub fn plain_copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let mut source = from.as_os_str().to_owned();
    source.push("/.");
    let to_text = to.as_os_str();
    assert!(!to_text.as_bytes().is_empty());
    crate::process::call("cp", &["-a".as_ref(), source.as_os_str(), to_text]).ok();
}
