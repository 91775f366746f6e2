//! A layer and its directories: a directory tree in overlay or AUFS form, or a packed layer.
//!
//! ```text
//!   Layer ── root LayerDir ── child LayerDir ── ...      (each knows its parent and name,
//!              │                                          never changes, opens its fd when asked)
//!              └─ listing: names by type, read at the first lookup (of a huge directory: at the first
//!                 readdir); from then on "no such name", `.wh.` and readdir are answered from it
//! ```
//!
//! The tree below is immutable while it is a layer; where somebody changes it all the same (`/` as a
//! layer), an object that is gone is absent, and nothing worse happens. No lock guards anything here
//! but the once-filled cells.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, openat2};
use rustix::io::Errno;

use super::aliases::Aliases;
use super::listing::{Listed, Listing};
use super::packed::Pack;
use super::packed::format::NONE;
use super::reading::{Reading, packed_marks};
use crate::error::{Error, Result};
use crate::marks::{self, Found, Marks, Object, Opaque};
use crate::sys::at::At;
use crate::sys::fdcache::{FdCache, FdKey};
use crate::sys::mounts::{clone_read_only, open_directory};
use crate::sys::pieces::Data;

/// A directory of more bytes than this (some 100 000 names on ext4) is not read for the sake of one
/// lookup.
const HUGE: i64 = 4 << 20;

/// What we believe a layer (R4): each could make it show another layer's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trust {
    /// Follow `overlay.redirect`.
    pub redirect: bool,
    /// Follow `overlay.metacopy`.
    pub metacopy: bool,
}

impl Trust {
    /// Believe everything: the layer is ours.
    pub const ALL: Self = Self {
        redirect: true,
        metacopy: true,
    };
}

/// One read-only layer.
#[derive(Debug)]
pub struct Layer {
    /// 1 for the lowest layer, counting upwards: part of inode numbers, constant when layers are
    /// added on top. Of a merged index: that of the lowest layer it is of.
    pub position: u16,
    /// Where it lies, for messages.
    pub path: PathBuf,
    /// The top directory, or the file of a packed layer.
    root: Arc<OwnedFd>,
    /// The stat of `root`.
    stat: Box<Stat>,
    pack: Option<Pack>,
    /// Whether its redirects and metadata-only copies are followed (R4).
    pub trust: Trust,
    /// Directories that are not of the layer though they lie in it: the upper and the workdir.
    hidden: Vec<(u64, u64)>,
    fds: Arc<FdCache>,
    aliases: OnceLock<Aliases>,
}

/// A directory of a layer.
#[derive(Debug)]
pub struct LayerDir {
    layer: Arc<Layer>,
    parent: Option<Arc<LayerDir>>,
    name: Box<OsStr>,
    key: FdKey,
    /// Its number in a packed layer.
    node: u32,
    listing: OnceLock<Listing>,
    huge: OnceLock<bool>,
    marks: OnceLock<Marks>,
}

/// What a line of a listing shows, looked at where the line alone cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// Nothing: the lines of lower layers count.
    Nothing,
    /// Nothing, and hides what is below.
    Whiteout,
    /// An object of this type.
    Object(FileType),
}

impl Layer {
    /// Opens the directory at `path`; `position` counts from 1 at the bottom, `hidden` are (device,
    /// inode) of directories to leave out. Gives the layer's root.
    pub fn open(
        path: &Path,
        position: u16,
        trust: Trust,
        hidden: Vec<(u64, u64)>,
        fds: Arc<FdCache>,
    ) -> rustix::io::Result<Arc<LayerDir>> {
        let root = match clone_read_only(path) {
            // Not allowed to clone mounts: read the directory as it stands.
            Err(Errno::PERM | Errno::NOSYS | Errno::INVAL) => open_directory(path)?,
            other => other?,
        };
        let stat = Box::new(At::Fd(root.as_fd()).stat()?);
        Ok(Self::root(Self {
            position,
            path: path.to_owned(),
            root: Arc::new(root),
            stat,
            pack: None,
            trust,
            hidden,
            fds,
            aliases: OnceLock::new(),
        }))
    }

    /// A packed layer.
    pub fn packed(
        pack: Pack,
        position: u16,
        trust: Trust,
        fds: Arc<FdCache>,
    ) -> rustix::io::Result<Arc<LayerDir>> {
        let stat = Box::new(At::Fd(pack.file().as_fd()).stat()?);
        Ok(Self::root(Self {
            position,
            path: pack.path().to_owned(),
            root: pack.file().clone(),
            stat,
            pack: Some(pack),
            trust,
            hidden: Vec::new(),
            fds,
            aliases: OnceLock::new(),
        }))
    }

    fn root(self) -> Arc<LayerDir> {
        let key = self.fds.key();
        Arc::new(LayerDir {
            layer: Arc::new(self),
            parent: None,
            name: Box::from(OsStr::new("")),
            key,
            node: super::packed::reader::ROOT,
            listing: OnceLock::new(),
            huge: OnceLock::new(),
            marks: OnceLock::new(),
        })
    }

    /// Something on the file system it lies on, for statfs(2).
    pub fn on(&self) -> &Arc<OwnedFd> {
        &self.root
    }

    /// What tells the layer from others: the inode of a directory, the hash of a packed layer. Of a merged
    /// index those of its layers, the lowest first.
    pub fn identities(&self) -> Vec<u64> {
        let Some(pack) = &self.pack else {
            return vec![self.stat.st_ino];
        };
        let number = |hash: [u8; 32]| {
            let first = hash.iter().take(8);
            first.fold(0, |n, byte| n << 8 | u64::from(*byte))
        };
        pack.identities().into_iter().map(number).collect()
    }

    /// Whether it is the layer at a position, or a merged index of that layer and others.
    pub fn covers(&self, position: u16) -> bool {
        let layers = self.pack.as_ref().map_or(1, |pack| pack.carriers().len());
        (usize::from(self.position)..usize::from(self.position) + layers.max(1))
            .contains(&usize::from(position))
    }

    /// The position and inode number of an object whose st_ino here is `ino`: in a merged index each object
    /// is where it would be without it.
    pub fn place(&self, ino: u64) -> (u16, u64) {
        match self.is_merged() {
            true => (self.position + (ino >> 48) as u16, ino & ((1 << 48) - 1)),
            false => (self.position, ino),
        }
    }

    /// The st_ino here of the object at a position; the other way round than [`Self::place`].
    pub fn inode(&self, position: u16, ino: u64) -> u64 {
        match self.is_merged() {
            true => u64::from(position - self.position) << 48 | ino,
            false => ino,
        }
    }

    /// Whether it is one file.
    pub fn is_packed(&self) -> bool {
        self.pack.is_some()
    }

    fn is_merged(&self) -> bool {
        let merged = |pack: &Pack| !pack.carriers().is_empty();
        self.pack.as_ref().is_some_and(merged)
    }

    /// The st_dev of its objects (a btrfs subvolume inside may have another).
    pub fn device(&self) -> u64 {
        self.stat.st_dev
    }
}

impl LayerDir {
    /// The layer it is of.
    pub fn layer(&self) -> &Arc<Layer> {
        &self.layer
    }

    /// Its name in its parent; empty for the root.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// The hard-linked files of the layer, found once. `self` must be its root.
    pub fn aliases(self: &Arc<Self>) -> Result<&Aliases> {
        if let Some(aliases) = self.layer.aliases.get() {
            return Ok(aliases);
        }
        let found = Aliases::find(self)?;
        Ok(self.layer.aliases.get_or_init(|| found))
    }

    /// The directory `name` in this one; the caller knows that it is one.
    pub fn child(self: &Arc<Self>, name: &OsStr) -> Arc<Self> {
        let in_pack = |pack: &Pack| pack.lookup(self.node, name.as_bytes()).ok().flatten()?.node;
        let node = self.layer.pack.as_ref().and_then(in_pack);
        Arc::new(Self {
            layer: self.layer.clone(),
            parent: Some(self.clone()),
            name: Box::from(name),
            key: self.layer.fds.key(),
            // No number finds nothing later: the layer was damaged meanwhile.
            node: node.unwrap_or(NONE),
            listing: OnceLock::new(),
            huge: OnceLock::new(),
            marks: OnceLock::new(),
        })
    }

    /// Its path from the layer's root, with a leading `/`.
    pub fn path(&self) -> OsString {
        let mut names = Vec::new();
        let mut here = self;
        while let Some(parent) = &here.parent {
            names.push(&here.name);
            here = parent;
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name.as_bytes());
        }
        OsString::from_vec(if path.is_empty() { b"/".to_vec() } else { path })
    }

    /// An `O_PATH` fd of it; ENOTTY in a packed layer.
    pub fn fd(&self) -> Result<Arc<OwnedFd>> {
        if self.layer.pack.is_some() {
            return Err(Error::UnknownIoctl);
        }
        let Some(parent) = &self.parent else {
            return Ok(self.layer.root.clone());
        };
        self.layer.fds.get(self.key, || {
            let parent = parent.fd()?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(openat2(
                &parent,
                &*self.name,
                flags,
                Mode::empty(),
                ResolveFlags::NO_XDEV,
            )?)
        })
    }

    /// lstat(2) of a name in it.
    pub fn stat(&self, name: &OsStr) -> Result<Stat> {
        self.reading(name, |from| from.stat())
    }

    /// Its own attributes.
    pub fn own_stat(&self) -> Result<Stat> {
        self.reading_itself(|from| from.stat())
    }

    /// Does something with it.
    pub fn reading_itself<R>(&self, act: impl FnOnce(Reading<'_>) -> Result<R>) -> Result<R> {
        match &self.layer.pack {
            Some(pack) => act(Reading::Packed(pack, self.node, &self.layer.stat)),
            None => act(Reading::Disk(At::Fd(self.fd()?.as_fd()))),
        }
    }

    /// Does something with the object of that name.
    pub fn reading<R>(
        &self,
        name: &OsStr,
        act: impl FnOnce(Reading<'_>) -> Result<R>,
    ) -> Result<R> {
        match &self.layer.pack {
            Some(pack) => {
                let found = pack.lookup(self.node, name.as_bytes())?;
                let node = found.and_then(|found| found.node).ok_or(Error::NotFound)?;
                act(Reading::Packed(pack, node, &self.layer.stat))
            }
            None => act(Reading::Disk(At::Name(self.fd()?.as_fd(), name))),
        }
    }

    /// The data of the regular file of that name.
    pub fn data(&self, name: &OsStr) -> Result<Data> {
        self.reading(name, |from| match from {
            Reading::Packed(pack, node, _) => pack.data(pack.node(node)?),
            // Reading must not change a layer: where it was not cloned, at least no access times.
            Reading::Disk(at) => Ok(Data::whole(at.open_unseen()?)),
        })
    }

    /// Its marks, read once; the AUFS form of opaque included.
    pub fn marks(&self) -> Result<&Marks> {
        if let Some(marks) = self.marks.get() {
            return Ok(marks);
        }
        if let Some(pack) = &self.layer.pack {
            let mut marks = packed_marks(pack, self.node, &self.layer.stat)?;
            if pack.is_opaque(self.node)? {
                marks.opaque = Opaque::Yes;
            }
            return Ok(self.marks.get_or_init(|| marks));
        }
        let mut marks = Marks::read(At::Fd(self.fd()?.as_fd()))?;
        if self.exists(OsStr::from_bytes(marks::WH_OPAQUE))? {
            marks.opaque = Opaque::Yes;
        }
        Ok(self.marks.get_or_init(|| marks))
    }

    /// What `name` means here.
    pub fn lookup(&self, name: &OsStr) -> Result<Found> {
        // Names also come from redirects, which could say anything: one that would leave the directory
        // must not be asked below.
        if matches!(name.as_bytes(), b"" | b"." | b"..") || name.as_bytes().contains(&b'/') {
            return Err(Error::Damaged);
        }
        if marks::is_wh_name(name) {
            return Ok(Found::Absent);
        }
        if let Some(pack) = &self.layer.pack {
            return match pack.lookup(self.node, name.as_bytes())? {
                None => Ok(Found::Absent),
                Some(found) => self.packed_object(pack, found.node),
            };
        }
        let (present, whiteout) = if self.is_huge()? {
            let wh: OsString = OsString::from_vec([marks::WH_PREFIX, name.as_bytes()].concat());
            (true, self.exists(&wh)?)
        } else {
            match self.listing()?.find(name) {
                Some(listed) => (listed.kind.is_some(), listed.kind.is_none()),
                None => return Ok(Found::Absent),
            }
        };
        // A whiteout hides lower layers only, never its sibling: look for the object first.
        let object = if present {
            self.object(name)?
        } else {
            Found::Absent
        };
        match object {
            Found::Absent if whiteout => Ok(Found::Whiteout),
            found => Ok(found),
        }
    }

    /// What a line of [`Self::listing`] shows.
    pub fn shows(&self, listed: &Listed<'_>) -> Result<Shows> {
        let Some(kind) = listed.kind else {
            return Ok(Shows::Whiteout);
        };
        let marks = self.marks()?;
        let marked_files = marks.impure || marks.opaque == Opaque::XWhiteouts;
        if !self.needs_a_look(kind, marked_files) {
            return Ok(Shows::Object(kind));
        }
        let found = match &self.layer.pack {
            Some(_) => self.lookup(listed.name)?,
            None => self.object(listed.name)?,
        };
        Ok(match found {
            Found::Absent => Shows::Nothing,
            Found::Whiteout => Shows::Whiteout,
            Found::Object(object) => Shows::Object(FileType::from_raw_mode(object.stat.st_mode)),
        })
    }

    /// Types that a listing alone cannot tell: whiteouts among devices, stand-ins and xattr
    /// whiteouts among files, our own trees among directories.
    fn needs_a_look(&self, kind: FileType, marked_files: bool) -> bool {
        match kind {
            FileType::CharacterDevice | FileType::Unknown => true,
            FileType::Directory => !self.layer.hidden.is_empty(),
            FileType::RegularFile => marked_files,
            _ => false,
        }
    }

    /// The object of that name, not minding `.wh.` names.
    fn object(&self, name: &OsStr) -> Result<Found> {
        let fd = self.fd()?;
        let at = At::Name(fd.as_fd(), name);
        let mut stat = match at.stat() {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Found::Absent),
            Err(error) => return Err(error.into()),
        };
        if marks::is_char00(&stat) {
            return Ok(Found::Whiteout);
        }
        let mut found = Marks::default();
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if self.layer.hidden.contains(&(stat.st_dev, stat.st_ino)) => {
                return Ok(Found::Absent);
            }
            FileType::RegularFile if may_be_marked(&stat) => {
                found = Marks::read(at)?;
                if stat.st_size == 0 && found.whiteout && self.shows_x_whiteouts()? {
                    return Ok(Found::Whiteout);
                }
                if stat.st_size == 0 && found.char00 {
                    stat.st_mode = (stat.st_mode & 0o7777) | libc::S_IFCHR;
                }
            }
            _ => {}
        }
        Ok(Found::Object(Box::new(Object { stat, marks: found })))
    }

    /// What a node of a packed layer shows; none is a whiteout.
    fn packed_object(&self, pack: &Pack, node: Option<u32>) -> Result<Found> {
        let Some(node) = node else {
            return Ok(Found::Whiteout);
        };
        let stat = Reading::Packed(pack, node, &self.layer.stat).stat()?;
        if marks::is_char00(&stat) {
            return Ok(Found::Whiteout);
        }
        let marks = packed_marks(pack, node, &self.layer.stat)?;
        Ok(Found::Object(Box::new(Object { stat, marks })))
    }

    fn shows_x_whiteouts(&self) -> Result<bool> {
        Ok(self.marks()?.opaque == Opaque::XWhiteouts)
    }

    fn exists(&self, name: &OsStr) -> Result<bool> {
        match At::Name(self.fd()?.as_fd(), name).stat() {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Its names without `.`, `..` and those of AUFS, whiteouts told as such; read once.
    pub fn listing(&self) -> Result<&Listing> {
        if let Some(listing) = self.listing.get() {
            return Ok(listing);
        }
        let mut listing = Listing::default();
        if let Some(pack) = &self.layer.pack {
            for named in pack.names(self.node)? {
                let named = named?;
                let kind = FileType::from_raw_mode(u32::from(named.kind) << 12);
                let (kind, ino) = match named.node {
                    Some(node) => (Some(kind), pack.inode(node)?),
                    None => (None, 0),
                };
                listing.push(OsStr::from_bytes(named.name), kind, ino);
            }
            listing.finish();
            return Ok(self.listing.get_or_init(|| listing));
        }
        self.scan(|name, kind, ino| {
            if let Some(target) = marks::hidden_name(name) {
                listing.push(target, None, 0);
            } else if !marks::is_wh_name(name) {
                listing.push(name, Some(kind), ino);
            }
        })?;
        listing.finish();
        Ok(self.listing.get_or_init(|| listing))
    }

    /// Whether it has too many names to be read for one lookup, and was not read yet.
    fn is_huge(&self) -> Result<bool> {
        if self.listing.get().is_some() {
            return Ok(false);
        }
        if let Some(huge) = self.huge.get() {
            return Ok(*huge);
        }
        let huge = self.own_stat()?.st_size > HUGE;
        Ok(*self.huge.get_or_init(|| huge))
    }

    /// Calls `take` for every name but `.` and `..`.
    fn scan(&self, mut take: impl FnMut(&OsStr, FileType, u64)) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.fd()?, c".", flags, Mode::empty())?;
        let mut buffer = Vec::with_capacity(32 << 10);
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                take(name, entry.file_type(), entry.ino());
            }
        }
        Ok(())
    }
}

impl Drop for LayerDir {
    fn drop(&mut self) {
        self.layer.fds.forget(self.key);
    }
}

/// Whether a regular file can carry a mark: a file whose data is all there cannot be a metadata-only
/// copy, and an xattr block alone takes at most 16 sectors.
fn may_be_marked(stat: &Stat) -> bool {
    stat.st_blocks <= 16 || stat.st_blocks * 512 < stat.st_size
}
