//! Builds layers: objects with every attribute, whiteouts and opaques in every form of rule R2.
//!
//! One logical [`Layer`] can be written in each [`Form`]; the form that the kernel's overlayfs
//! reads is the oracle for the others.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, chmodat, chownat, mknodat,
    utimensat,
};

use crate::sys;

/// How whiteouts and opaque directories are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Character device 0/0 and `trusted.overlay.opaque=y`: what the kernel reads and writes.
    Kernel,
    /// Character device 0/0 and `user.overlay.opaque=y`.
    KernelUser,
    /// Character device 0/0 and `user.fuseoverlayfs.opaque=y`.
    FuseOverlayfs,
    /// `.wh.NAME` and `.wh..wh..opq`: AUFS and OCI layers.
    Oci,
    /// Zero-size file with `trusted.overlay.whiteout` in a directory with opaque `x`.
    Xattr,
    /// The same in the `user.` name space.
    XattrUser,
    /// As `Kernel`, all whiteouts of the layer hard links of one another.
    HardLink,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Kernel,
        Self::KernelUser,
        Self::FuseOverlayfs,
        Self::Oci,
        Self::Xattr,
        Self::XattrUser,
        Self::HardLink,
    ];
}

/// What stands at a path.
#[derive(Clone)]
pub(crate) enum What {
    Directory { opaque: bool },
    File(Vec<u8>),
    Symlink(PathBuf),
    Node(FileType, u64),
    Link(PathBuf),
    Whiteout,
}

impl fmt::Debug for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { opaque: false } => f.write_str("directory"),
            Self::Directory { opaque: true } => f.write_str("opaque directory"),
            Self::File(content) => write!(f, "file of {} bytes", content.len()),
            Self::Symlink(target) => write!(f, "symlink to {target:?}"),
            Self::Node(kind, device) => write!(f, "{kind:?} {device:#x}"),
            Self::Link(first) => write!(f, "link of {first:?}"),
            Self::Whiteout => f.write_str("whiteout"),
        }
    }
}

/// One object of a layer.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) path: PathBuf,
    pub(crate) what: What,
    pub(crate) mode: Option<u32>,
    pub(crate) owner: (u32, u32),
    pub(crate) time: Option<(i64, i64)>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.path, self.what)?;
        if let Some(mode) = self.mode {
            write!(f, " mode {mode:o}")?;
        }
        if self.owner != (0, 0) {
            write!(f, " owner {:?}", self.owner)?;
        }
        for (name, value) in &self.xattrs {
            write!(f, " {}={value:?}", String::from_utf8_lossy(name))?;
        }
        Ok(())
    }
}

/// A layer to be written; objects in the order given, parents made as needed.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    items: Vec<Item>,
}

impl Layer {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn add(mut self, path: impl AsRef<Path>, what: What) -> Self {
        let path = path.as_ref().to_owned();
        self.items.push(Item {
            path,
            what,
            mode: None,
            owner: (0, 0),
            time: None,
            xattrs: vec![],
        });
        self
    }

    /// A directory.
    pub fn dir(self, path: impl AsRef<Path>) -> Self {
        self.add(path, What::Directory { opaque: false })
    }

    /// A directory that hides all lower content.
    pub fn opaque(self, path: impl AsRef<Path>) -> Self {
        self.add(path, What::Directory { opaque: true })
    }

    /// A file.
    pub fn file(self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Self {
        self.add(path, What::File(content.as_ref().to_vec()))
    }

    /// A symbolic link.
    pub fn symlink(self, path: impl AsRef<Path>, target: impl AsRef<Path>) -> Self {
        self.add(path, What::Symlink(target.as_ref().to_owned()))
    }

    /// A named pipe.
    pub fn fifo(self, path: impl AsRef<Path>) -> Self {
        self.add(path, What::Node(FileType::Fifo, 0))
    }

    /// A socket node.
    pub fn socket(self, path: impl AsRef<Path>) -> Self {
        self.add(path, What::Node(FileType::Socket, 0))
    }

    /// A character device.
    pub fn char_device(self, path: impl AsRef<Path>, major: u32, minor: u32) -> Self {
        self.add(
            path,
            What::Node(FileType::CharacterDevice, rustix::fs::makedev(major, minor)),
        )
    }

    /// A block device.
    pub fn block_device(self, path: impl AsRef<Path>, major: u32, minor: u32) -> Self {
        self.add(
            path,
            What::Node(FileType::BlockDevice, rustix::fs::makedev(major, minor)),
        )
    }

    /// Another name of an object given before.
    pub fn link(self, path: impl AsRef<Path>, first: impl AsRef<Path>) -> Self {
        self.add(path, What::Link(first.as_ref().to_owned()))
    }

    /// Marks a name as deleted.
    pub fn whiteout(self, path: impl AsRef<Path>) -> Self {
        self.add(path, What::Whiteout)
    }

    fn last(&mut self) -> &mut Item {
        self.items
            .last_mut()
            .expect("attributes belong to an object given before")
    }

    /// Permission bits of the last object.
    pub fn mode(mut self, mode: u32) -> Self {
        self.last().mode = Some(mode);
        self
    }

    /// Owner and group of the last object.
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.last().owner = (uid, gid);
        self
    }

    /// Modification time of the last object.
    pub fn time(mut self, seconds: i64, nanos: i64) -> Self {
        self.last().time = Some((seconds, nanos));
        self
    }

    /// An xattr of the last object.
    pub fn xattr(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.last()
            .xattrs
            .push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Its objects, in the order given.
    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// The same without the object given as number `n`, what is below it, and other names of these.
    pub fn without(&self, n: usize) -> Self {
        let mut gone: Vec<&Path> = Vec::new();
        let mut items = Vec::new();
        for (index, item) in self.items.iter().enumerate() {
            let below = gone.iter().any(|path| item.path.starts_with(path));
            let linked = matches!(&item.what, What::Link(first) if gone.contains(&first.as_path()));
            match index == n || below || linked {
                true => gone.push(&item.path),
                false => items.push(item.clone()),
            }
        }
        Self { items }
    }

    /// How many objects were given.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether some object has two names.
    pub fn has_links(&self) -> bool {
        self.items
            .iter()
            .any(|item| matches!(item.what, What::Link(_)))
    }

    /// The same without its sockets, which no archive can hold.
    pub fn without_sockets(mut self) -> Self {
        let socket = |item: &Item| matches!(item.what, What::Node(FileType::Socket, _));
        self.items.retain(|item| !socket(item));
        self
    }

    /// Writes it into the directory `root` (made if missing) in the kernel's form.
    pub fn write(&self, root: impl AsRef<Path>) -> PathBuf {
        self.write_as(root, Form::Kernel)
    }

    /// Writes it in `form`; gives `root`.
    pub fn write_as(&self, root: impl AsRef<Path>, form: Form) -> PathBuf {
        let root = root.as_ref().to_owned();
        fs::create_dir_all(&root).unwrap();
        let mut writer = Writer {
            root: &root,
            form,
            first_whiteout: None,
        };
        for item in &self.items {
            writer.make(item);
        }
        // Attributes after all objects: making a child changes the parent's time.
        for (index, item) in self.items.iter().enumerate() {
            writer.dress(item, index);
        }
        writer.settle_times(&self.items);
        root
    }
}

/// What a union of `layers` (topmost first) must show, written as a plain tree into `root`: an
/// oracle that shares no code with any union. Only for layers that name every directory they use.
pub fn flatten(layers: &[Layer], root: &Path) {
    fs::create_dir_all(root).unwrap();
    for layer in layers.iter().rev() {
        let mut writer = Writer {
            root,
            form: Form::Kernel,
            first_whiteout: None,
        };
        for item in &layer.items {
            let path = root.join(&item.path);
            let keeps = matches!(item.what, What::Directory { opaque: false }) && is_dir(&path);
            if !keeps {
                clear(&path);
            }
            match item.what {
                What::Whiteout => {}
                What::Directory { .. } if keeps => {
                    for name in sys::xattr_names(&path).unwrap() {
                        sys::remove_xattr(&path, &name).unwrap();
                    }
                }
                What::Directory { .. } => fs::create_dir(&path).unwrap(),
                _ => writer.make(item),
            }
        }
        for (index, item) in layer.items.iter().enumerate() {
            writer.dress(item, index);
        }
    }
    let all: Vec<_> = layers
        .iter()
        .flat_map(|layer| layer.items.clone())
        .collect();
    Writer {
        root,
        form: Form::Kernel,
        first_whiteout: None,
    }
    .settle_times(&all);
}

fn is_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.is_dir())
}

fn clear(path: &Path) {
    if is_dir(path) {
        fs::remove_dir_all(path).unwrap();
    } else {
        let _ = fs::remove_file(path);
    }
}

struct Writer<'a> {
    root: &'a Path,
    form: Form,
    first_whiteout: Option<PathBuf>,
}

impl Writer<'_> {
    fn make(&mut self, item: &Item) {
        let path = self.root.join(&item.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match &item.what {
            What::Directory { opaque } => {
                fs::create_dir_all(&path).unwrap();
                if *opaque {
                    self.mark_opaque(&path);
                }
            }
            What::File(content) => fs::write(&path, content).unwrap(),
            What::Symlink(target) => symlink(target, &path).unwrap(),
            What::Node(kind, device) => node(&path, *kind, *device),
            What::Link(first) => fs::hard_link(self.root.join(first), &path).unwrap(),
            What::Whiteout => self.make_whiteout(&path),
        }
    }

    fn mark_opaque(&self, path: &Path) {
        let set = |name: &[u8], value: &[u8]| sys::set_xattr(path, name, value).unwrap();
        match self.form {
            Form::Kernel | Form::HardLink | Form::Xattr => set(b"trusted.overlay.opaque", b"y"),
            Form::KernelUser | Form::XattrUser => set(b"user.overlay.opaque", b"y"),
            Form::FuseOverlayfs => set(b"user.fuseoverlayfs.opaque", b"y"),
            Form::Oci => fs::write(path.join(".wh..wh..opq"), "").unwrap(),
        }
    }

    fn make_whiteout(&mut self, path: &Path) {
        let parent = path.parent().unwrap();
        match (self.form, &self.first_whiteout) {
            (Form::HardLink, Some(first)) => fs::hard_link(first, path).unwrap(),
            (Form::Kernel | Form::KernelUser | Form::FuseOverlayfs | Form::HardLink, _) => {
                node(path, FileType::CharacterDevice, 0);
                self.first_whiteout = Some(path.to_owned());
            }
            (Form::Oci, _) => {
                let mut name = b".wh.".to_vec();
                name.extend(path.file_name().unwrap().as_bytes());
                fs::write(parent.join(OsStr::from_bytes(&name)), "").unwrap();
            }
            (Form::Xattr, _) => xattr_whiteout(path, parent, "trusted"),
            (Form::XattrUser, _) => xattr_whiteout(path, parent, "user"),
        }
    }

    fn dress(&self, item: &Item, index: usize) {
        if matches!(item.what, What::Whiteout | What::Link(_)) {
            return;
        }
        let path = self.root.join(&item.path);
        let (uid, gid) = item.owner;
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        chownat(CWD, &path, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        if !matches!(item.what, What::Symlink(_)) {
            let usual = if matches!(item.what, What::Directory { .. }) {
                0o755
            } else {
                0o644
            };
            let mode = Mode::from_raw_mode(item.mode.unwrap_or(usual));
            chmodat(CWD, &path, mode, AtFlags::empty()).unwrap();
        }
        for (name, value) in &item.xattrs {
            sys::set_xattr(&path, name, value)
                .unwrap_or_else(|e| panic!("{}: {}: {e}", path.display(), index));
        }
    }

    /// Gives every object a time of its own, long past, with nanoseconds.
    fn settle_times(&self, items: &[Item]) {
        let mut all = vec![self.root.to_owned()];
        let mut i = 0;
        while i < all.len() {
            if fs::symlink_metadata(&all[i]).unwrap().is_dir() {
                let mut children: Vec<_> = fs::read_dir(&all[i])
                    .unwrap()
                    .map(|e| e.unwrap().path())
                    .collect();
                children.sort();
                all.extend(children);
            }
            i += 1;
        }
        for path in all.iter().rev() {
            let given = items
                .iter()
                .find(|item| self.root.join(&item.path) == *path);
            let usual = usual_time(path.strip_prefix(self.root).unwrap());
            let (seconds, nanos) = given.and_then(|item| item.time).unwrap_or(usual);
            set_time(path, seconds, nanos);
        }
    }
}

/// A time that only the path decides: the same layer in another form has the same times.
pub(crate) fn usual_time(path: &Path) -> (i64, i64) {
    let bytes = path.as_os_str().as_bytes().iter();
    let sum = bytes.fold(7_i64, |sum, byte| {
        (sum * 31 + i64::from(*byte)) % 100_000_007
    });
    (1_000_000_000 + sum, sum * 9)
}

/// Sets both times of an object, never following.
pub fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn node(path: &Path, kind: FileType, device: u64) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o644), device)
        .unwrap_or_else(|e| panic!("mknod {}: {e}", path.display()));
}

fn xattr_whiteout(path: &Path, parent: &Path, space: &str) {
    let opaque = format!("{space}.overlay.opaque");
    // A directory that is opaque already stays so: `x` says only "look for whiteouts here".
    if sys::xattr(parent, opaque.as_bytes()).unwrap().as_deref() != Some(b"y") {
        sys::set_xattr(parent, opaque.as_bytes(), b"x").unwrap();
    }
    fs::write(path, "").unwrap();
    sys::set_xattr(path, format!("{space}.overlay.whiteout").as_bytes(), b"y").unwrap();
}
