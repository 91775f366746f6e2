//! Carries a plan out, inside the child's own mount namespace; then makes it the root.
//!
//! ```text
//!   begin  ── all mounts private; the union's root found, without device nodes
//!   ops    ── in the plan's order, every target a descriptor below the root
//!   enter  ── pivot_root; the host's tree is unmounted: no path leads there any more
//!   seal   ── the root read-only if asked for, last, when nothing has to be made any more
//! ```

use super::MountError;
use super::inroot::{InRootError, Links, Missing, PROC_MAGIC, Root, is_directory};
use super::plan::{Bind, Device, Filesystem, Op, Plan};
use super::source::Sources;
use crate::sys::mount;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid, chownat, fchmod, fstat, fstatfs, mknodat,
    openat, symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{chdir, fchdir, pivot_root};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use std::path::Path;

const DEVPTS_MAGIC: i64 = 0x1cd1;

fn find(root: &Root, path: &Path, missing: Missing, links: Links) -> Result<OwnedFd, MountError> {
    let found = root.resolve(path, missing, links);
    found.map_err(|source| MountError::Target {
        path: path.to_owned(),
        source,
    })
}

/// Both ends of the container's pseudo terminal.
#[derive(Debug)]
pub struct Terminal {
    /// The side of the user.
    pub master: OwnedFd,
    /// The side of the container's processes.
    pub slave: OwnedFd,
}

impl Terminal {
    /// A new one of the devpts at `/dev/pts` below `root`.
    ///
    /// # Errors
    /// There is no devpts, or it has no terminal left (ENOSPC).
    pub fn open(root: &Root) -> Result<Self, MountError> {
        let pts = Path::new("/dev/pts");
        let directory = find(root, pts, Missing::Fail, Links::Refuse)?;
        expect_magic(&directory, pts, DEVPTS_MAGIC)?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let master = openat(&directory, "ptmx", flags, Mode::empty());
        let master = kernel("open a terminal in", pts, master)?;
        expect_magic(&master, pts, DEVPTS_MAGIC)?;
        kernel("unlock a terminal in", pts, unlockpt(&master))?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags);
        let slave = kernel("open the terminal's other side in", pts, slave)?;
        expect_magic(&slave, pts, DEVPTS_MAGIC)?;
        Ok(Self { master, slave })
    }
}

/// A tree under construction.
#[derive(Debug)]
pub struct Tree {
    root: Root,
    /// Our own `/dev/null`, taken when it was made: what masks are made of.
    null: Option<OwnedFd>,
    /// The terminal, if the plan made one.
    pub terminal: Option<Terminal>,
}

impl Tree {
    /// Does all of the plan. The caller is alone in a new mount namespace.
    pub fn build(plan: &Plan, sources: Sources) -> Result<Self, MountError> {
        let everything = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        kernel(
            "make private",
            Path::new("/"),
            mount_change("/", everything),
        )?;
        let root = kernel("open", &plan.rootfs, Root::open(&plan.rootfs))?;
        kernel(
            "refuse devices on",
            Path::new("/"),
            mount::set_attributes(
                root.directory(),
                MountAttrFlags::MOUNT_ATTR_NODEV,
                None,
                false,
            ),
        )?;
        let mut tree = Self {
            root,
            null: None,
            terminal: None,
        };
        let mut sources = sources.into_queue();
        for op in &plan.ops {
            tree.apply(op, &mut sources)?;
        }
        Ok(tree)
    }

    /// The root directory, for names below it.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Makes the tree the root of the process and lets go of the host's.
    pub fn enter(&self) -> Result<(), MountError> {
        let slash = Path::new("/");
        kernel("change to", slash, fchdir(self.root.directory()))?;
        kernel("pivot to", slash, pivot_root(".", "."))?;
        // The old root now lies on top of the new one, at ".".
        kernel("let go of", slash, unmount(".", UnmountFlags::DETACH))?;
        kernel("change to", slash, chdir("/"))
    }

    /// Makes the root read-only if the plan says so.
    pub fn seal(&self, plan: &Plan) -> Result<(), MountError> {
        if !plan.read_only_root {
            return Ok(());
        }
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
        let done = mount::set_attributes(self.root.directory(), attributes, None, false);
        kernel("make read-only", Path::new("/"), done)
    }

    fn apply(
        &mut self,
        op: &Op,
        sources: &mut impl Iterator<Item = OwnedFd>,
    ) -> Result<(), MountError> {
        match op {
            Op::Filesystem(wanted) => self.filesystem(wanted),
            Op::Bind(wanted) => match sources.next() {
                Some(source) => self.bind(wanted, &source),
                None => Err(MountError::Source {
                    path: wanted.source.clone(),
                    errno: Errno::NOENT,
                }),
            },
            Op::Device(device) => self.device(device),
            Op::Link { at, to } => {
                let (directory, name) = self.parent(at)?;
                kernel("make the link", at, symlinkat(to, directory, name))
            }
            Op::Console => self.console(),
            Op::Seal { at, attributes } => {
                let target = self.find(at, Missing::Fail, Links::Refuse)?;
                let done = mount::set_attributes(target, *attributes, None, false);
                kernel("seal", at, done)
            }
            Op::Mask(path) => self.mask(path),
            Op::MaskPerProcessor { directory, name } => self.mask_processors(directory, name),
            Op::ReadOnly(path) => self.read_only(path),
        }
    }

    fn filesystem(&self, wanted: &Filesystem) -> Result<(), MountError> {
        let links = if wanted.strict {
            Links::Refuse
        } else {
            Links::Follow
        };
        let target = self.find(&wanted.target, Missing::Directory, links)?;
        expect_kind(&target, &wanted.target, true)?;
        refuse_procfs(&target, &wanted.target)?;
        let made = mount::new_filesystem(wanted.kind, &wanted.options, wanted.attributes);
        let made = kernel("make the file system for", &wanted.target, made)?;
        kernel("mount", &wanted.target, mount::attach(made, target))
    }

    fn bind(&self, wanted: &Bind, source: &OwnedFd) -> Result<(), MountError> {
        let directory = kernel("look at", &wanted.source, is_directory(source))?;
        let missing = if directory {
            Missing::Directory
        } else {
            Missing::File
        };
        let target = self.find(&wanted.target, missing, Links::Follow)?;
        expect_kind(&target, &wanted.target, directory)?;
        refuse_procfs(&target, &wanted.target)?;
        kernel("mount", &wanted.target, mount::attach(source, target))
    }

    fn device(&mut self, device: &Device) -> Result<(), MountError> {
        let path = &device.path;
        let (directory, name) = self.parent(path)?;
        let kind = if device.block {
            FileType::BlockDevice
        } else {
            FileType::CharacterDevice
        };
        let mode = Mode::from_raw_mode(device.mode);
        let made = mknodat(&directory, &name, kind, mode, device.number);
        kernel("make the device", path, made)?;
        let (uid, gid) = device.owner;
        if (uid, gid) != (0, 0) {
            let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let done = chownat(&directory, &name, owner.0, owner.1, flags);
            kernel("give away", path, done)?;
        }
        let found = self.find(path, Missing::Fail, Links::Refuse)?;
        if kernel("look at", path, fstat(&found))?.st_rdev != device.number {
            return Err(MountError::Foreign { path: path.clone() });
        }
        if path == Path::new("/dev/null") {
            self.null = Some(found);
        }
        Ok(())
    }

    fn console(&mut self) -> Result<(), MountError> {
        let at = Path::new("/dev/console");
        let terminal = Terminal::open(&self.root)?;
        let slave = &terminal.slave;
        let target = self.find(at, Missing::File, Links::Refuse)?;
        expect_kind(&target, at, false)?;
        kernel(
            "set the mode of",
            at,
            fchmod(slave, Mode::from_raw_mode(0o620)),
        )?;
        let copy = kernel("copy", at, mount::copy_object(slave, false))?;
        kernel("mount", at, mount::attach(copy, target))?;
        self.terminal = Some(terminal);
        Ok(())
    }

    fn mask(&self, path: &Path) -> Result<(), MountError> {
        let Some(target) = self.find_hidden(path)? else {
            return Ok(());
        };
        let cover = if kernel("look at", path, is_directory(&target))? {
            let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
                | MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            mount::new_filesystem("tmpfs", &[], attributes)
        } else {
            let null = self.null.as_ref().ok_or(MountError::Foreign {
                path: path.to_owned(),
            })?;
            mount::copy_object(null, false)
        };
        let cover = kernel("make the mask of", path, cover)?;
        kernel("mask", path, mount::attach(cover, target))
    }

    fn mask_processors(&self, directory: &Path, name: &Path) -> Result<(), MountError> {
        let Some(found) = self.find_hidden(directory)? else {
            return Ok(());
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let listed = openat(&found, ".", flags, Mode::empty()).and_then(Dir::read_from);
        for entry in kernel("list", directory, listed)? {
            let entry = kernel("list", directory, entry)?;
            let Ok(processor) = entry.file_name().to_str() else {
                continue;
            };
            let number = processor.strip_prefix("cpu").unwrap_or_default();
            if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
                self.mask(&directory.join(processor).join(name))?;
            }
        }
        Ok(())
    }

    fn read_only(&self, path: &Path) -> Result<(), MountError> {
        let Some(target) = self.find_hidden(path)? else {
            return Ok(());
        };
        let copy = kernel("copy", path, mount::copy_object(&target, true))?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
        let done = mount::set_attributes(&copy, attributes, None, true);
        kernel("make read-only", path, done)?;
        kernel("mount", path, mount::attach(copy, target))
    }

    /// A path of `/proc` or `/sys` that this kernel may lack; below `/proc` it must be procfs.
    fn find_hidden(&self, path: &Path) -> Result<Option<OwnedFd>, MountError> {
        match self.root.resolve(path, Missing::Fail, Links::Refuse) {
            Ok(found) => {
                if path.starts_with("/proc") {
                    expect_magic(&found, path, PROC_MAGIC)?;
                }
                Ok(Some(found))
            }
            Err(InRootError::Kernel(Errno::NOENT | Errno::NOTDIR)) => Ok(None),
            Err(source) => Err(MountError::Target {
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn find(&self, path: &Path, missing: Missing, links: Links) -> Result<OwnedFd, MountError> {
        find(&self.root, path, missing, links)
    }

    fn parent(&self, path: &Path) -> Result<(OwnedFd, std::ffi::OsString), MountError> {
        let found = self.root.parent(path, Links::Refuse);
        found.map_err(|source| MountError::Target {
            path: path.to_owned(),
            source,
        })
    }
}

fn kernel<T>(what: &'static str, path: &Path, done: Result<T, Errno>) -> Result<T, MountError> {
    done.map_err(|errno| MountError::Kernel {
        what,
        path: path.to_owned(),
        errno,
    })
}

fn expect_kind(target: &OwnedFd, path: &Path, directory: bool) -> Result<(), MountError> {
    let name = |directory| {
        if directory {
            "a directory"
        } else {
            "no directory"
        }
    };
    let found = kernel("look at", path, is_directory(target))?;
    if found == directory {
        return Ok(());
    }
    Err(MountError::Mismatch {
        path: path.to_owned(),
        found: name(found),
        wanted: name(directory),
    })
}

fn expect_magic(object: impl AsFd, path: &Path, magic: i64) -> Result<(), MountError> {
    if kernel("look at", path, fstatfs(object))?.f_type == magic {
        return Ok(());
    }
    Err(MountError::Foreign {
        path: path.to_owned(),
    })
}

fn refuse_procfs(target: &OwnedFd, path: &Path) -> Result<(), MountError> {
    if kernel("look at", path, fstatfs(target))?.f_type != PROC_MAGIC {
        return Ok(());
    }
    Err(MountError::Procfs {
        path: path.to_owned(),
    })
}
