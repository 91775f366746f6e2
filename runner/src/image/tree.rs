//! Writing a file tree from untrusted names: a layer directory under construction.
//!
//! ```text
//! entry path --check_path--> components without "..", relative
//!            --parent------> descriptor of its directory, by openat2 below the root,
//!                            no symbolic link followed anywhere
//!            --*at calls---> made by a single name in that directory, never over what is there
//! finish ------------------> owners, modes and times of directories, deepest first
//! ```
//!
//! Nothing outside the root can be reached: every path is walked by the kernel with
//! RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, and the last name is created exclusively. What would
//! make a union file system lie (whiteouts, overlay's own attributes) is refused or stripped: a
//! layer is data, not instructions.

pub(super) use archive::Meta;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Longest path of an entry, in bytes: the kernel's own limit for one call.
const LONGEST_PATH: usize = 4095;

/// A node without contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Fifo,
    Char(u32, u32),
    Block(u32, u32),
}

/// Why an entry could not be made, without its name: the caller knows it.
pub(super) type Reason = String;

/// A tree being written below one directory that nobody else uses.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    /// Directory of the entry before, by path: entries come in runs.
    last: Option<(Vec<u8>, OwnedFd)>,
    directories: BTreeMap<Vec<u8>, Meta>,
}

impl Tree {
    /// Starts in an empty directory.
    pub(super) fn new(root: OwnedFd) -> Self {
        Self {
            root,
            last: None,
            directories: BTreeMap::new(),
        }
    }

    /// Makes a directory, or gives an existing one new attributes. The root's own are fixed.
    pub(super) fn directory(&mut self, path: &[u8], meta: Meta) -> Result<(), Reason> {
        let path = check_path(path)?;
        if path.is_empty() {
            return Ok(());
        }
        check_name(&path)?;
        let (parent, name) = self.place(&path)?;
        match rustix::fs::mkdirat(parent, &name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) if is_directory(parent, &name) => {}
            Err(Errno::EXIST) => {
                self.clear(&path)?;
                let (parent, name) = self.place(&path)?;
                rustix::fs::mkdirat(parent, &name, Mode::RWXU).map_err(why("make directory"))?;
            }
            Err(errno) => return Err(why("make directory")(errno)),
        }
        self.directories.insert(path, meta);
        Ok(())
    }

    /// Makes a regular file: `fill` writes the contents.
    pub(super) fn file<E: From<Reason>>(
        &mut self,
        path: &[u8],
        meta: &Meta,
        fill: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = self.vacate(path)?;
        let (parent, name) = self.place(&path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW;
        let created = rustix::fs::openat(parent, &name, flags | OFlags::CLOEXEC, Mode::RUSR);
        let mut file = File::from(created.map_err(why("make file"))?);
        fill(&mut file)?;
        let owner = (Some(uid(meta)), Some(gid(meta)));
        rustix::fs::fchown(&file, owner.0, owner.1).map_err(why("set owner"))?;
        rustix::fs::fchmod(&file, mode(meta)).map_err(why("set mode"))?;
        // After the owner: changing it removes capabilities.
        for (key, value) in kept(&meta.xattrs) {
            rustix::fs::fsetxattr(&file, OsStr::from_bytes(key), value, XattrFlags::empty())
                .map_err(why("set extended attribute"))?;
        }
        rustix::fs::futimens(&file, &times(meta)).map_err(why("set times"))?;
        Ok(())
    }

    /// Makes a symbolic link; where it points is its reader's business.
    pub(super) fn symlink(
        &mut self,
        path: &[u8],
        target: &[u8],
        meta: &Meta,
    ) -> Result<(), Reason> {
        if target.is_empty() || target.contains(&0) {
            return Err("symbolic link without a usable target".to_owned());
        }
        let path = self.vacate(path)?;
        let (parent, name) = self.place(&path)?;
        rustix::fs::symlinkat(OsStr::from_bytes(target), parent, &name)
            .map_err(why("make symbolic link"))?;
        adorn(parent, &name, meta)
    }

    /// Makes a fifo or device node: inert, since layers are mounted nodev where it matters.
    pub(super) fn node(&mut self, path: &[u8], node: Node, meta: &Meta) -> Result<(), Reason> {
        use rustix::fs::FileType;
        let (kind, device) = match node {
            Node::Fifo => (FileType::Fifo, 0),
            Node::Char(0, 0) => {
                return Err(
                    "character device 0:0, which union file systems read as a deletion; \
                            import a whole tree, not a difference"
                        .to_owned(),
                );
            }
            Node::Char(major, minor) => {
                (FileType::CharacterDevice, rustix::fs::makedev(major, minor))
            }
            Node::Block(major, minor) => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
        };
        let path = self.vacate(path)?;
        let (parent, name) = self.place(&path)?;
        rustix::fs::mknodat(parent, &name, kind, Mode::RUSR, device).map_err(why("make node"))?;
        adorn(parent, &name, meta)?;
        // Never a symbolic link: made by the line above, and nobody else is here.
        rustix::fs::chmodat(parent, &name, mode(meta), AtFlags::empty())
            .map_err(why("set mode"))?;
        rustix::fs::utimensat(parent, &name, &times(meta), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(why("set times"))
    }

    /// Makes a hard link to an entry made before.
    pub(super) fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Reason> {
        let target = check_path(target).map_err(|why| format!("hard link target: {why}"))?;
        let path = check_path(path)?;
        if target.is_empty() || target == path {
            return Err("hard link to itself or to the root".to_owned());
        }
        let missing = || format!("hard link to {}, which is not there", shown(&target));
        let (from, from_name) = self.open_parent(&target, false).map_err(|_| missing())?;
        let at = |name: &OsStr| rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW);
        let wanted = at(&from_name).map_err(|_| missing())?;
        let (there, name) = self.place(&path)?;
        let existing = rustix::fs::statat(there, &name, AtFlags::SYMLINK_NOFOLLOW);
        if existing.is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (wanted.st_dev, wanted.st_ino)) {
            return Ok(());
        }
        if target.starts_with(&[path.as_slice(), b"/"].concat()) {
            return Err("hard link to something below itself".to_owned());
        }
        let path = self.vacate(&path)?;
        let (parent, name) = self.place(&path)?;
        rustix::fs::linkat(&from, &from_name, parent, &name, AtFlags::empty())
            .map_err(why("make hard link"))
    }

    /// Sets the attributes of all directories and flushes the file system.
    pub(super) fn finish(mut self) -> Result<OwnedFd, Reason> {
        self.last = None;
        let fix = |fd: BorrowedFd<'_>, meta: &Meta| -> Result<(), Reason> {
            rustix::fs::fchown(fd, Some(uid(meta)), Some(gid(meta))).map_err(why("set owner"))?;
            rustix::fs::fchmod(fd, mode(meta)).map_err(why("set mode"))?;
            for (key, value) in kept(&meta.xattrs) {
                rustix::fs::fsetxattr(fd, OsStr::from_bytes(key), value, XattrFlags::empty())
                    .map_err(why("set extended attribute"))?;
            }
            rustix::fs::futimens(fd, &times(meta)).map_err(why("set times"))
        };
        for (path, meta) in self.directories.iter().rev() {
            let directory = open_below(&self.root, path, OFlags::RDONLY)
                .and_then(|fd| fix(rustix::fd::AsFd::as_fd(&fd), meta));
            directory.map_err(|why| format!("{}: {why}", shown(path)))?;
        }
        rustix::fs::fchmod(&self.root, Mode::from_raw_mode(0o755)).map_err(why("set mode"))?;
        rustix::fs::syncfs(&self.root).map_err(why("flush"))?;
        Ok(self.root)
    }

    /// A checked path at which nothing exists any more.
    fn vacate(&mut self, path: &[u8]) -> Result<Vec<u8>, Reason> {
        let path = check_path(path)?;
        if path.is_empty() {
            return Err("the root can only be a directory".to_owned());
        }
        check_name(&path)?;
        let (parent, name) = self.place(&path)?;
        match rustix::fs::statat(parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Ok(_) => self.clear(&path)?,
            Err(errno) => return Err(why("look at")(errno)),
        }
        Ok(path)
    }

    /// Removes what is at a path, with everything below it.
    fn clear(&mut self, path: &[u8]) -> Result<(), Reason> {
        self.last = None;
        let (parent, name) = self.open_parent(path, false)?;
        remove_all(&parent, &name).map_err(why("replace"))?;
        self.directories.remove(path);
        let (from, to) = ([path, b"/"].concat(), [path, b"0"].concat()); // '0' follows '/'
        let gone: Vec<_> = self
            .directories
            .range(from..to)
            .map(|(key, _)| key.clone())
            .collect();
        gone.iter()
            .for_each(|key| drop(self.directories.remove(key)));
        Ok(())
    }

    /// The directory and name of a path, from the cache when it fits; missing directories are
    /// made as root's own, 0755.
    fn place(&mut self, path: &[u8]) -> Result<(BorrowedFd<'_>, OsString), Reason> {
        let (directory, name) = split(path);
        if self
            .last
            .as_ref()
            .is_none_or(|(cached, _)| cached != directory)
        {
            let (fd, _) = self.open_parent(path, true)?;
            self.last = Some((directory.to_vec(), fd));
        }
        let (_, fd) = self
            .last
            .as_ref()
            .ok_or_else(|| "lost its directory".to_owned())?;
        Ok((
            rustix::fd::AsFd::as_fd(fd),
            OsString::from_vec(name.to_vec()),
        ))
    }

    fn open_parent(&mut self, path: &[u8], make: bool) -> Result<(OwnedFd, OsString), Reason> {
        let (directory, name) = split(path);
        let name = OsString::from_vec(name.to_vec());
        match rustix_open(&self.root, directory, OFlags::PATH) {
            Err(Errno::NOENT) if make => self.make_missing(directory)?,
            Err(errno) => return Err(walk_error(errno)),
            Ok(fd) => return Ok((fd, name)),
        }
        Ok((open_below(&self.root, directory, OFlags::PATH)?, name))
    }

    fn make_missing(&mut self, directory: &[u8]) -> Result<(), Reason> {
        let ends = directory
            .iter()
            .enumerate()
            .filter(|(_, b)| **b == b'/')
            .map(|(n, _)| n);
        for end in ends.chain([directory.len()]) {
            let path = &directory[..end];
            check_name(path)?;
            let (parent, name) = split(path);
            let parent = open_below(&self.root, parent, OFlags::PATH)?;
            match rustix::fs::mkdirat(&parent, OsStr::from_bytes(name), Mode::RWXU) {
                Ok(()) => {
                    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
                    let meta = Meta {
                        mode: 0o755,
                        mtime: (now.tv_sec, 0),
                        ..Meta::default()
                    };
                    self.directories.insert(path.to_vec(), meta);
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(why("make directory")(errno)),
            }
        }
        Ok(())
    }
}

/// The path without leading `/`, `.` and double slashes; empty for the root.
fn check_path(path: &[u8]) -> Result<Vec<u8>, Reason> {
    if path.contains(&0) {
        return Err("a NUL byte in a name".to_owned());
    }
    let parts: Vec<&[u8]> = path
        .split(|&b| b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&b"..".as_slice()) {
        return Err("'..' in its path; nothing may lie outside of the tree".to_owned());
    }
    let path = parts.join(&b'/');
    if path.len() > LONGEST_PATH {
        return Err(format!("its path is longer than {LONGEST_PATH} bytes"));
    }
    Ok(path)
}

/// Refuses the names that union file systems give a meaning.
fn check_name(path: &[u8]) -> Result<(), Reason> {
    if split(path).1.starts_with(b".wh.") {
        return Err(
            "its name begins with .wh., which union file systems read as a deletion; \
                    import a whole tree, not a difference"
                .to_owned(),
        );
    }
    Ok(())
}

/// Directory (empty for the root) and last name of a checked path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

fn rustix_open(root: &OwnedFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, OsStr::from_bytes(path), flags, Mode::empty(), resolve)
}

fn open_below(root: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Reason> {
    rustix_open(root, path, flags).map_err(walk_error)
}

fn walk_error(errno: Errno) -> Reason {
    match errno {
        Errno::LOOP => "its path goes through a symbolic link".to_owned(),
        Errno::NOTDIR => "its path goes through something that is not a directory".to_owned(),
        Errno::XDEV => "its path leaves the tree".to_owned(),
        errno => why("walk to")(errno),
    }
}

fn is_directory(parent: BorrowedFd<'_>, name: &OsStr) -> bool {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
}

/// Removes a name and all below it, following nothing.
fn remove_all(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        other => return other,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let child = entry.file_name().to_bytes();
        if child != b"." && child != b".." {
            remove_all(&directory, OsStr::from_bytes(child))?;
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Owner, attributes and times of something that must not be opened or followed.
fn adorn(parent: BorrowedFd<'_>, name: &OsStr, meta: &Meta) -> Result<(), Reason> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(parent, name, Some(uid(meta)), Some(gid(meta)), nofollow)
        .map_err(why("set owner"))?;
    let mut through = OsString::from(format!("/proc/self/fd/{}/", parent.as_raw_fd()));
    through.push(name);
    for (key, value) in kept(&meta.xattrs) {
        rustix::fs::lsetxattr(&through, OsStr::from_bytes(key), value, XattrFlags::empty())
            .map_err(why("set extended attribute"))?;
    }
    rustix::fs::utimensat(parent, name, &times(meta), nofollow).map_err(why("set times"))
}

fn kept(xattrs: &[(Vec<u8>, Vec<u8>)]) -> impl Iterator<Item = (&[u8], &[u8])> {
    xattrs
        .iter()
        .map(|(key, value)| (key.as_slice(), value.as_slice()))
        .filter(|(key, _)| !archive::is_instruction(key))
}

fn uid(meta: &Meta) -> rustix::fs::Uid {
    rustix::fs::Uid::from_raw(meta.uid)
}

fn gid(meta: &Meta) -> rustix::fs::Gid {
    rustix::fs::Gid::from_raw(meta.gid)
}

fn mode(meta: &Meta) -> Mode {
    Mode::from_raw_mode(meta.mode & 0o7777)
}

fn times(meta: &Meta) -> Timestamps {
    let time = Timespec {
        tv_sec: meta.mtime.0,
        tv_nsec: meta.mtime.1.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn why(what: &'static str) -> impl Fn(Errno) -> Reason {
    move |errno| format!("cannot {what}: {}", std::io::Error::from(errno))
}

/// A path for a message: on one line whatever it contains.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path)
        .escape_debug()
        .take(300)
        .collect()
}
