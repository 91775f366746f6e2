//! New names: mknod, mkdir, symlink, create, link.
//!
//! ```text
//!   the name is free            made in place: one exclusive system call, as the caller
//!   a whiteout is in the way    made in the stage, dressed, moved over the whiteout in one step;
//!                               directories are opaque from before they appear (N1)
//! ```

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Dev, FileType, Mode, OFlags, XattrFlags, mkdirat, mknodat, openat, symlinkat};
use rustix::io::Errno;

use super::counting::Names;
use super::lookup::Resolved;
use super::raise::Need;
use super::{FileSystem, check_name};
use crate::error::{Error, Result};
use crate::inode::{Anchor, How, Node, OpenFile, Place, Source, UpperPlace};
use crate::marks::Found;
use crate::sys::at::At;
use crate::sys::creds::ActingAs;
use crate::sys::lock::RwLock;
use crate::sys::pieces::Data;
use crate::types::{Caller, Entry, Handle, Kind, NodeId};
use crate::union::birth::{ACL_ACCESS, ACL_DEFAULT, Born, Inheritance};
use crate::union::lower::{Lower, Stack};
use crate::union::numbers::number;
use crate::upper::stage::Staged;
use crate::upper::{Form, PRESENT, Upper};

/// What is to be made.
#[derive(Debug, Clone, Copy)]
enum New<'a> {
    File,
    Directory,
    Symlink(&'a OsStr),
    Node(FileType, u64),
    /// A char 0/0 node, which the upper can only hold as a stand-in (R6).
    Char00,
}

/// An object to be made, and for whom.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    caller: &'a Caller,
    new: New<'a>,
    mode: u32,
    umask: u32,
}

/// What became of the attempt to make an object by one system call.
enum Attempt {
    /// It is there; files are open.
    Made(Option<OwnedFd>),
    /// Something is in the way, or one call is not enough.
    NotSo,
}

/// What stands at a name where something is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    Free,
    Whiteout,
}

impl FileSystem {
    /// Makes a file, fifo, socket or device node. `rdev` is in `makedev` form.
    pub fn mknod(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u64,
    ) -> Result<Entry> {
        let new = match FileType::from_raw_mode(mode) {
            FileType::RegularFile => New::File,
            FileType::CharacterDevice if rdev == 0 => New::Char00,
            kind @ (FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice) => New::Node(kind, rdev),
            _ => return Err(Error::Invalid),
        };
        let mode = mode & 0o7777;
        let wanted = Wanted {
            caller,
            new,
            mode,
            umask,
        };
        Ok(self.make(parent, name, &wanted)?.0)
    }

    /// Makes a directory.
    pub fn mkdir(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        umask: u32,
    ) -> Result<Entry> {
        let wanted = Wanted {
            caller,
            new: New::Directory,
            mode: mode & 0o7777,
            umask,
        };
        Ok(self.make(parent, name, &wanted)?.0)
    }

    /// Makes a symlink.
    pub fn symlink(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &OsStr,
        target: &OsStr,
    ) -> Result<Entry> {
        let wanted = Wanted {
            caller,
            new: New::Symlink(target),
            mode: 0o777,
            umask: 0,
        };
        Ok(self.make(parent, name, &wanted)?.0)
    }

    /// Makes a file and opens it; EEXIST if the name is taken.
    pub fn create(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
    ) -> Result<(Entry, Handle)> {
        let wanted = Wanted {
            caller,
            new: New::File,
            mode: mode & 0o7777,
            umask,
        };
        let (entry, file) = self.make(parent, name, &wanted)?;
        let node = self.node(entry.node)?;
        let Some(file) = file else {
            return Ok((entry, self.open_file(entry.node, flags)?));
        };
        let source = Source {
            epoch: node.epoch(),
            data: Data::whole(file),
            writable: true,
            appends: false,
        };
        let handle = self.files.insert(OpenFile {
            node,
            how: How {
                writable: true,
                append: flags & libc::O_APPEND != 0,
                noatime: self.noatime,
            },
            source: RwLock::new(source),
        });
        Ok((entry, handle))
    }

    fn make(
        &self,
        parent: NodeId,
        name: &OsStr,
        wanted: &Wanted<'_>,
    ) -> Result<(Entry, Option<OwnedFd>)> {
        let upper = self.upper()?;
        let new = wanted.new;
        let parent = self.directory_to_change(parent, name)?;
        let _names = parent.as_directory()?.names.write();
        let dir = self.upper_dir(&parent)?;
        let dir = dir.as_fd();
        let file = match self.make_in_place(&parent, dir, name, wanted)? {
            Attempt::Made(file) => file,
            Attempt::NotSo => {
                let ground = self.ground(upper, &parent, dir, name)?;
                let given = Inheritance::of(At::Fd(dir), &At::Fd(dir).stat()?)?;
                let a_directory = matches!(new, New::Directory);
                let born = given.born(wanted.mode, wanted.umask, a_directory);
                let staged = stage(upper, wanted.caller, new, &born)?;
                if matches!(new, New::Char00) {
                    self.mark_impure(upper, &parent)?;
                }
                self.before_change(&parent)?;
                replace_whiteout(upper, staged, dir, name, new, ground)?;
                None
            }
        };
        if matches!(new, New::Directory) {
            parent.as_directory()?.count_subdirectories(1);
        }
        self.note_name(upper, &parent, name);
        self.touched(&parent);
        let entry = self.lookup_new(&parent, dir, name, new, file.as_ref())?;
        Ok((entry, file))
    }

    /// Makes the object by one exclusive system call, where no layer shows the name.
    fn make_in_place(
        &self,
        parent: &Node,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        wanted: &Wanted<'_>,
    ) -> Result<Attempt> {
        let directory = parent.as_directory()?;
        let free = !parent.is_removed()
            && matches!(
                self.layers.lookup(&directory.lowers, name),
                Ok(Lower::Absent)
            )
            && !self.upper()?.form.hides(dir, name)?;
        if !free || matches!(wanted.new, New::Char00) {
            return Ok(Attempt::NotSo);
        }
        let known = *directory.passes_acl.lock();
        let passes_acl = match known {
            Some(known) => known,
            None => {
                let passes = Inheritance::passes_acl(At::Fd(dir))?;
                *directory.passes_acl.lock() = Some(passes);
                passes
            }
        };
        let umask = if passes_acl { 0 } else { wanted.umask };
        self.before_change(parent)?;
        match exclusively(wanted.caller, dir, name, wanted.new, wanted.mode & !umask) {
            Ok(file) => Ok(Attempt::Made(file)),
            Err(Errno::EXIST) => Ok(Attempt::NotSo),
            Err(error) => Err(error.into()),
        }
    }

    /// The directory in which a name is to be made or changed, in the upper.
    pub(super) fn directory_to_change(&self, parent: NodeId, name: &OsStr) -> Result<Arc<Node>> {
        let upper = self.upper()?;
        check_name(name)?;
        if upper.form.owns_name(name) {
            return Err(Error::NotPermitted);
        }
        let parent = self.directory(parent)?;
        self.raise_directory(&parent)?;
        Ok(parent)
    }

    /// What stands at a name where something is to be made; EEXIST if anything shows there, ENOENT if
    /// the directory is removed. The parent's names are held.
    fn ground(
        &self,
        upper: &Upper,
        parent: &Node,
        dir: BorrowedFd<'_>,
        name: &OsStr,
    ) -> Result<Ground> {
        if parent.is_removed() {
            return Err(Error::NotFound);
        }
        match upper.lookup(dir, name, false)? {
            Found::Object(_) => Err(Error::Exists),
            Found::Whiteout => Ok(Ground::Whiteout),
            Found::Absent => match self.layers.lookup(&parent.as_directory()?.lowers, name)? {
                Lower::Absent => Ok(Ground::Free),
                _ => Err(Error::Exists),
            },
        }
    }

    /// The entry of an object that was just made in the upper.
    fn lookup_new(
        &self,
        parent: &Arc<Node>,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        new: New<'_>,
        file: Option<&OwnedFd>,
    ) -> Result<Entry> {
        let upper = self.upper()?;
        let char00 = matches!(new, New::Char00);
        let stat = match file {
            Some(file) => rustix::fs::fstat(file)?,
            None => upper.stat(At::Name(dir, name), char00)?,
        };
        let mut place = UpperPlace::plain(Anchor::Name);
        place.char00 = char00;
        let found = Resolved {
            ino: number(0, stat.st_ino, None),
            stat,
            place: Place::Upper(Box::new(place)),
            lowers: Stack::from([]),
            in_upper: true,
        };
        let node = self.admit(parent, name, found);
        self.entry(&node, &stat)
    }

    /// Gives an object one more name; counts one lookup.
    ///
    /// # Errors
    /// EPERM for directories, EEXIST, ENOENT for a file without names, EMLINK.
    pub fn link(&self, node: NodeId, new_parent: NodeId, new_name: &OsStr) -> Result<Entry> {
        let node = self.node(node)?;
        if node.kind == Kind::Directory {
            return Err(Error::NotPermitted);
        }
        let upper = self.upper()?;
        let parent = self.directory_to_change(new_parent, new_name)?;
        self.raise(&node, Need::Metadata)?;
        let _names = parent.as_directory()?.names.write();
        let dir = self.upper_dir(&parent)?;
        let ground = self.ground(upper, &parent, dir.as_fd(), new_name)?;
        // A file without a name is one of O_TMPFILE, or removed: linkat(2) below knows, and says ENOENT.
        let nameless = node.is_removed();
        if nameless && !node.in_upper() {
            return Err(Error::NotFound);
        }
        let from_elsewhere = node
            .state
            .read()
            .upper()
            .is_some_and(UpperPlace::is_from_elsewhere);
        if from_elsewhere {
            self.mark_impure(upper, &parent)?;
        }
        self.point_to_source(upper, &mut node.state.write())?;
        self.before_change(&parent)?;
        self.counted(upper, &node, Names::Comes, || {
            self.with_upper(&node, |at| match ground {
                Ground::Free => Ok(at.link_to(dir.as_fd(), new_name)?),
                Ground::Whiteout => upper.stage_link(at)?.publish(dir.as_fd(), new_name),
            })
        })?;
        if ground == Ground::Whiteout {
            upper.clear_whiteout(dir.as_fd(), new_name);
        }
        {
            let mut state = node.state.write();
            state.add_link(&parent, new_name);
            if let Some(place) = state.upper_mut().filter(|_| nameless) {
                place.anchor = Anchor::Name;
            }
        }
        self.note_name(upper, &parent, new_name);
        self.touched(&parent);
        let attr = self.attr(&node)?;
        self.table.count(node.id);
        Ok(Entry {
            node: node.id,
            attr,
        })
    }
}

/// One exclusive system call, as the caller.
fn exclusively(
    caller: &Caller,
    dir: BorrowedFd<'_>,
    name: &OsStr,
    new: New<'_>,
    mode: u32,
) -> rustix::io::Result<Option<OwnedFd>> {
    let _acting = ActingAs::new(caller.uid, caller.gid);
    let mode = Mode::from_raw_mode(mode);
    match new {
        New::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW;
            return Ok(Some(openat(dir, name, flags | OFlags::CLOEXEC, mode)?));
        }
        New::Directory => mkdirat(dir, name, mode)?,
        New::Symlink(target) => symlinkat(target, dir, name)?,
        New::Node(kind, rdev) => mknodat(dir, name, kind, mode, rdev as Dev)?,
        New::Char00 => return Err(Errno::INVAL),
    }
    Ok(None)
}

/// The object in the stage, with all that its directory gives it.
fn stage<'a>(upper: &'a Upper, caller: &Caller, new: New<'_>, born: &Born) -> Result<Staged<'a>> {
    let staged = {
        let _acting = ActingAs::new(caller.uid, born.gid.unwrap_or(caller.gid));
        match new {
            New::File | New::Char00 => upper.stage_file(born.mode)?.0,
            New::Directory => upper.stage_directory(born.mode)?,
            New::Symlink(target) => upper.stage_symlink(target)?,
            New::Node(kind, rdev) => upper.stage_node(kind, born.mode, rdev)?,
        }
    };
    let at = staged.at();
    if matches!(new, New::Symlink(_)) {
        return Ok(staged);
    }
    if born.mode & 0o7000 != 0 {
        at.chmod(born.mode)?;
    }
    for (name, acl) in [
        (ACL_ACCESS, &born.access_acl),
        (ACL_DEFAULT, &born.default_acl),
    ] {
        if let Some(acl) = acl {
            at.set_xattr(name, acl, XattrFlags::empty())?;
        }
    }
    match new {
        New::Char00 => upper.mark(at, "layerfs.char00", PRESENT)?,
        New::Directory => upper.mark(at, "opaque", PRESENT)?,
        _ => {}
    }
    Ok(staged)
}

/// Moves a staged object to its name, over the whiteout that may be there.
fn replace_whiteout(
    upper: &Upper,
    staged: Staged<'_>,
    dir: BorrowedFd<'_>,
    name: &OsStr,
    new: New<'_>,
    ground: Ground,
) -> Result<()> {
    let over_char = ground == Ground::Whiteout && upper.form == Form::Overlay;
    if over_char && matches!(new, New::Directory) {
        // A directory cannot replace a device by a plain rename: swap, and the whiteout goes.
        return staged.exchange(dir, name);
    }
    staged.publish(dir, name)?;
    if ground == Ground::Whiteout {
        upper.clear_whiteout(dir, name);
    }
    Ok(())
}
