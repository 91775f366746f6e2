//! Names below the container's root, resolved by hand so that nothing leads outside.
//!
//! ```text
//!   /a/link/../b      stack of open directories:  root  a  (link → /x/y: back to root, x, y)
//! ```
//!
//! Each component is opened alone, below an open directory, with
//! `openat2(O_PATH | O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)`; a symbolic link is
//! read and its text walked from the root of the container (or from here, if relative); `..` is
//! one step back in the stack and stops at the root. So a swap of a component while we walk can
//! change what we find, never whether it lies below the root. Nothing is opened for reading or
//! writing: a fifo or a device in the way cannot block or act.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, mkdirat, openat2,
    readlinkat, statat,
};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// File system type of procfs.
pub(super) const PROC_MAGIC: i64 = 0x9fa0;

/// Symbolic links followed in one walk before it is a loop, as in the kernel.
const MOST_LINKS: u32 = 40;

/// Why a name could not be resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InRootError {
    /// A symbolic link climbs above the root (only told when [`Links::Strict`]).
    #[error("a symbolic link in it leads out of the container's root")]
    LeavesRoot,
    /// A symbolic link points at nothing (only told when [`Links::Strict`]).
    #[error("a symbolic link in it points at nothing in the container")]
    Dangling,
    /// It is a symbolic link and none is allowed ([`Links::Refuse`]).
    #[error("is a symbolic link in the image")]
    Link,
    /// A link of procfs: it can mean another object than its text says.
    #[error("leads through a link of /proc")]
    Magic,
    /// The kernel refused.
    #[error("{0}")]
    Kernel(#[from] Errno),
}

/// What to do with a name that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Tell it (`ENOENT`).
    Fail,
    /// Make it, and the directories above it, as an empty directory.
    Directory,
    /// Make it as an empty file, in directories made as needed.
    File,
}

/// How symbolic links are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// As a process inside would see them; what a link points at is made if missing.
    Follow,
    /// As [`Links::Follow`], but a link that climbs above the root or dangles is an error.
    Strict,
    /// The walk may meet none.
    Refuse,
}

/// The root directory below which everything is resolved.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
}

/// One component still to walk; `linked` if it came out of a symbolic link.
struct Pending {
    name: OsString,
    linked: bool,
}

impl Root {
    /// The directory at `path` of the current mount namespace.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(Self { directory })
    }

    /// The descriptor of the root itself.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Finds `path` and gives an `O_PATH` descriptor of it, never of a symbolic link.
    pub fn resolve(
        &self,
        path: &Path,
        missing: Missing,
        links: Links,
    ) -> Result<OwnedFd, InRootError> {
        let mut stack = vec![self.directory.try_clone().map_err(errno)?];
        let mut todo = components(path, false);
        let mut followed = 0;
        while let Some(next) = todo.pop() {
            let here = stack.last().unwrap_or(&self.directory);
            if next.name == OsStr::new("..") {
                if stack.len() > 1 {
                    stack.pop();
                } else if links == Links::Strict && next.linked {
                    return Err(InRootError::LeavesRoot);
                }
                continue;
            }
            let found = match open_one(here, &next.name) {
                Err(Errno::NOENT) if missing != Missing::Fail => {
                    if links == Links::Strict && next.linked {
                        return Err(InRootError::Dangling);
                    }
                    make_one(here, &next.name, missing, todo.is_empty())?
                }
                Err(Errno::NOENT) if links == Links::Strict && next.linked => {
                    return Err(InRootError::Dangling);
                }
                other => other?,
            };
            if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::Symlink {
                stack.push(found);
                continue;
            }
            followed += 1;
            if links == Links::Refuse {
                return Err(InRootError::Link);
            }
            if fstatfs(&found)?.f_type == PROC_MAGIC {
                return Err(InRootError::Magic);
            }
            if followed > MOST_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = readlinkat(&found, "", Vec::new())?;
            let target = PathBuf::from(OsStr::from_bytes(target.as_bytes()));
            if target.is_absolute() {
                stack.truncate(1);
            }
            todo.extend(components(&target, true));
        }
        stack.pop().ok_or(InRootError::Kernel(Errno::NOENT))
    }

    /// Finds the directory that holds the last component of `path`, making directories as
    /// needed; gives it with that component.
    pub fn parent(&self, path: &Path, links: Links) -> Result<(OwnedFd, OsString), InRootError> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        let directory = self.resolve(parent, Missing::Directory, links)?;
        Ok((directory, name.to_owned()))
    }

    /// Opens a regular file below the root for reading; anything else is `ENOENT`-like.
    /// Never blocks on a fifo and never opens a device.
    pub fn open_file(&self, path: &Path) -> Result<OwnedFd, InRootError> {
        let found = self.resolve(path, Missing::Fail, Links::Follow)?;
        let before = fstat(&found)?;
        if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL.into());
        }
        // Through our own descriptor: the same object, whatever the names have become.
        let path = format!(
            "/proc/self/fd/{}",
            rustix::fd::AsRawFd::as_raw_fd(&found.as_fd())
        );
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
    }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// The components of a path, last first, without `.`.
fn components(path: &Path, linked: bool) -> Vec<Pending> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .map(|name| Pending { name, linked })
        .collect()
}

fn open_one(directory: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(directory, name, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

fn make_one(
    directory: &OwnedFd,
    name: &OsStr,
    missing: Missing,
    last: bool,
) -> Result<OwnedFd, Errno> {
    if last && missing == Missing::File {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(directory, name, flags, Mode::from_raw_mode(0o644), resolve) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    } else {
        match mkdirat(directory, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    open_one(directory, name)
}

/// Whether the object behind a descriptor is a directory.
pub fn is_directory(object: impl AsFd) -> Result<bool, Errno> {
    let stat = statat(object, "", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    struct Tree {
        base: tempfile::TempDir,
        root: Root,
    }

    impl Tree {
        fn new() -> Self {
            let base = tempfile::tempdir().unwrap();
            let top = base.path().join("root");
            fs::create_dir_all(top.join("etc")).unwrap();
            fs::create_dir(base.path().join("outside")).unwrap();
            let root = Root::open(&top).unwrap();
            Self { base, root }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.base.path().join(path)
        }

        fn same(&self, fd: &OwnedFd, path: &str) -> bool {
            let found = fstat(fd).unwrap();
            let wanted = fs::metadata(self.path(path)).unwrap();
            (found.st_dev, found.st_ino) == (wanted.dev(), wanted.ino())
        }
    }

    #[test]
    fn links_stay_inside() {
        let tree = Tree::new();
        symlink("../../outside", tree.path("root/up")).unwrap();
        symlink("/etc", tree.path("root/abs")).unwrap();
        symlink("/", tree.path("root/self")).unwrap();
        let at = |path: &str, links| tree.root.resolve(Path::new(path), Missing::Fail, links);
        assert!(tree.same(&at("/abs", Links::Follow).unwrap(), "root/etc"));
        assert!(tree.same(&at("/abs/../../..", Links::Follow).unwrap(), "root"));
        assert!(tree.same(&at("/self/self/etc", Links::Strict).unwrap(), "root/etc"));
        let missing = at("/up", Links::Follow).unwrap_err();
        assert_eq!(missing, InRootError::Kernel(Errno::NOENT));
        assert_eq!(
            at("/up", Links::Strict).unwrap_err(),
            InRootError::LeavesRoot
        );
        assert_eq!(at("/abs", Links::Refuse).unwrap_err(), InRootError::Link);
        tree.root
            .resolve(Path::new("/up/made"), Missing::Directory, Links::Follow)
            .unwrap();
        assert!(tree.path("root/outside/made").is_dir());
        assert!(!tree.path("outside/made").exists());
    }

    #[test]
    fn what_is_missing_is_made() {
        let tree = Tree::new();
        symlink("../run/resolv", tree.path("root/etc/resolv.conf")).unwrap();
        let at = |path: &str, missing, links| tree.root.resolve(Path::new(path), missing, links);
        at("/etc/resolv.conf", Missing::File, Links::Follow).unwrap();
        assert!(tree.path("root/run/resolv").is_file());
        at("a/b/c", Missing::Directory, Links::Strict).unwrap();
        assert!(tree.path("root/a/b/c").is_dir());
        symlink("/nowhere", tree.path("root/dangling")).unwrap();
        let dangling = at("/dangling", Missing::Directory, Links::Strict).unwrap_err();
        assert_eq!(dangling, InRootError::Dangling);
        symlink("loop", tree.path("root/loop")).unwrap();
        let endless = at("/loop", Missing::Directory, Links::Follow).unwrap_err();
        assert_eq!(endless, InRootError::Kernel(Errno::LOOP));
    }

    #[test]
    fn only_regular_files_are_read() {
        let tree = Tree::new();
        fs::write(tree.path("root/etc/passwd"), "x").unwrap();
        assert!(tree.root.open_file(Path::new("/etc/passwd")).is_ok());
        assert!(tree.root.open_file(Path::new("/etc")).is_err());
        rustix::fs::mknodat(
            CWD,
            tree.path("root/etc/group"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(tree.root.open_file(Path::new("/etc/group")).is_err());
    }
}
