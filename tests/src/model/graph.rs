//! One ordinary file system in memory: objects, and directories that name them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::acl::Acl;
use super::below::{Attr, Below, Kind, Place, Xattrs};
use super::contents::{ACCESS, DEFAULT};
use crate::operations::Create;

/// When everything happens that happens now: later than any time that a layer or a test gives.
pub(super) const NOW: (i64, i64) = (4_000_000_000, 0);

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const GROUP_EXECUTES: u32 = 0o0010;

/// An object.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) body: Body,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, i64),
    pub(super) xattrs: Xattrs,
    /// Names of it; of directories not kept.
    nlink: u64,
}

/// What it is, and holds.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Directory(BTreeMap<OsString, usize>),
    File(Vec<u8>),
    Symlink(PathBuf),
    Special(Kind),
}

impl Object {
    /// Root's, of now.
    pub(super) fn new(body: Body, mode: u32) -> Self {
        Self {
            body,
            mode,
            uid: 0,
            gid: 0,
            mtime: NOW,
            xattrs: Xattrs::new(),
            nlink: 0,
        }
    }

    fn kind(&self) -> Kind {
        match self.body {
            Body::Directory(_) => Kind::Directory,
            Body::File(_) => Kind::File,
            Body::Symlink(_) => Kind::Symlink,
            Body::Special(kind) => kind,
        }
    }
}

/// Objects by number; the root is the first. What has no name any more stays, it may be open.
#[derive(Debug, Clone)]
pub struct Graph {
    objects: Vec<Object>,
}

impl Graph {
    /// An empty root.
    pub(super) fn new() -> Self {
        let root = Object::new(Body::Directory(BTreeMap::new()), 0o755);
        Self {
            objects: vec![root],
        }
    }

    pub(super) fn object(&mut self, node: usize) -> &mut Object {
        &mut self.objects[node]
    }

    pub(super) fn entries(&mut self, directory: usize) -> &mut BTreeMap<OsString, usize> {
        match &mut self.objects[directory].body {
            Body::Directory(entries) => entries,
            other => unreachable!("not a directory: {other:?}"),
        }
    }

    /// Adds an object without a name.
    pub(super) fn add(&mut self, object: Object) -> usize {
        self.objects.push(object);
        self.objects.len() - 1
    }

    /// Gives an object a name.
    pub(super) fn enter(&mut self, (directory, name): Place<'_, usize>, node: usize) {
        self.entries(directory).insert(name.to_owned(), node);
        self.objects[node].nlink += 1;
        self.touch(directory);
    }

    /// Takes a name away, if there is one.
    pub(super) fn leave(&mut self, (directory, name): Place<'_, usize>) -> Option<usize> {
        let node = self.entries(directory).remove(name)?;
        self.objects[node].nlink -= 1;
        self.touch(directory);
        Some(node)
    }

    fn touch(&mut self, node: usize) {
        self.objects[node].mtime = NOW;
    }

    fn content(&mut self, node: usize) -> &mut Vec<u8> {
        match &mut self.objects[node].body {
            Body::File(content) => content,
            other => unreachable!("not a file: {other:?}"),
        }
    }

    /// A new object as it comes into being in `directory`: group, set-gid bit and ACLs from there.
    fn born(&mut self, directory: usize, body: Body, mode: u32) -> Object {
        let parent = &self.objects[directory];
        let mut object = Object::new(body, mode);
        let is_directory = object.kind() == Kind::Directory;
        if parent.mode & SET_GID != 0 {
            object.gid = parent.gid;
            if is_directory {
                object.mode |= SET_GID;
            }
        }
        if object.kind() == Kind::Symlink {
            return object;
        }
        if let Some(default) = parent.xattrs.get(DEFAULT.as_bytes()) {
            let acl = Acl::parse(default).inherited(object.mode);
            object.mode = object.mode & !0o777 | acl.mode();
            if acl.says_more() {
                object.xattrs.insert(ACCESS.into(), acl.bytes());
            }
            if is_directory {
                object.xattrs.insert(DEFAULT.into(), default.clone());
            }
        }
        object
    }

    fn is_empty(&mut self, directory: usize) -> bool {
        self.entries(directory).is_empty()
    }
}

impl Below for Graph {
    type Node = usize;

    fn root(&self) -> usize {
        0
    }

    fn lookup(&mut self, (directory, name): Place<'_, usize>) -> Result<usize, Errno> {
        match &self.objects[directory].body {
            Body::Directory(entries) => entries.get(name).copied().ok_or(Errno::NOENT),
            _ => Err(Errno::NOTDIR),
        }
    }

    fn attr(&mut self, node: usize) -> Result<Attr, Errno> {
        let object = &self.objects[node];
        let size = match &object.body {
            Body::File(content) => content.len() as u64,
            Body::Symlink(target) => target.as_os_str().len() as u64,
            Body::Directory(_) | Body::Special(_) => 0,
        };
        Ok(Attr {
            kind: object.kind(),
            mode: object.mode,
            uid: object.uid,
            gid: object.gid,
            size,
            nlink: object.nlink,
            mtime: object.mtime,
        })
    }

    fn target(&mut self, node: usize) -> Result<PathBuf, Errno> {
        match &self.objects[node].body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::INVAL),
        }
    }

    fn names(&mut self, directory: usize) -> Result<Vec<OsString>, Errno> {
        let dots = [".", ".."].map(OsString::from).into_iter();
        Ok(dots
            .chain(self.entries(directory).keys().cloned())
            .collect())
    }

    fn make(&mut self, at: Place<'_, usize>, kind: Kind, mode: u32) -> Result<(), Errno> {
        let body = match kind {
            Kind::Directory => Body::Directory(BTreeMap::new()),
            Kind::File => Body::File(Vec::new()),
            other => Body::Special(other),
        };
        let object = self.born(at.0, body, mode);
        let node = self.add(object);
        self.enter(at, node);
        Ok(())
    }

    fn symlink(&mut self, at: Place<'_, usize>, target: &Path) -> Result<(), Errno> {
        let object = self.born(at.0, Body::Symlink(target.to_owned()), 0o777);
        let node = self.add(object);
        self.enter(at, node);
        Ok(())
    }

    fn unnamed(&mut self, directory: usize, mode: u32) -> Result<usize, Errno> {
        let object = self.born(directory, Body::File(Vec::new()), mode);
        Ok(self.add(object))
    }

    fn link(&mut self, node: usize, at: Place<'_, usize>) -> Result<(), Errno> {
        self.enter(at, node);
        Ok(())
    }

    fn unlink(&mut self, at: Place<'_, usize>) -> Result<(), Errno> {
        self.leave(at).map(|_| ()).ok_or(Errno::NOENT)
    }

    fn rmdir(&mut self, at: Place<'_, usize>) -> Result<(), Errno> {
        let node = self.lookup(at)?;
        if !self.is_empty(node) {
            return Err(Errno::NOTEMPTY);
        }
        self.leave(at);
        Ok(())
    }

    fn rename(
        &mut self,
        from: Place<'_, usize>,
        to: Place<'_, usize>,
        exchange: bool,
    ) -> Result<(), Errno> {
        let source = self.lookup(from)?;
        let target = self.lookup(to).ok();
        let replaces_directory =
            target.is_some_and(|t| self.objects[t].kind() == Kind::Directory) && !exchange;
        if replaces_directory && !target.is_some_and(|t| self.is_empty(t)) {
            return Err(Errno::NOTEMPTY);
        }
        self.leave(from);
        self.leave(to);
        self.enter(to, source);
        if let Some(target) = target.filter(|_| exchange) {
            self.enter(from, target);
        }
        Ok(())
    }

    fn read(&mut self, node: usize, offset: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let content = self.content(node).iter().skip(offset as usize);
        Ok(content.take(length).copied().collect())
    }

    fn write(&mut self, node: usize, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let (start, end) = (offset as usize, offset as usize + data.len());
        let content = self.content(node);
        if content.len() < end {
            content.resize(end, 0);
        }
        content[start..end].copy_from_slice(data);
        self.touch(node);
        Ok(())
    }

    fn resize(&mut self, node: usize, size: u64) -> Result<(), Errno> {
        self.content(node).resize(size as usize, 0);
        self.touch(node);
        Ok(())
    }

    fn punch(&mut self, node: usize, offset: u64, length: u64) -> Result<(), Errno> {
        let content = self.content(node).iter_mut().skip(offset as usize);
        content.take(length as usize).for_each(|byte| *byte = 0);
        self.touch(node);
        Ok(())
    }

    fn extend(&mut self, node: usize, offset: u64, length: u64) -> Result<(), Errno> {
        let end = (offset + length) as usize;
        let content = self.content(node);
        content.resize(content.len().max(end), 0);
        self.touch(node);
        Ok(())
    }

    fn chmod(&mut self, node: usize, mode: u32) -> Result<(), Errno> {
        let object = self.object(node);
        object.mode = mode;
        if let Some(access) = object.xattrs.get_mut(ACCESS.as_bytes()) {
            let mut acl = Acl::parse(access);
            acl.set_mode(mode);
            *access = acl.bytes();
        }
        Ok(())
    }

    /// Set-id bits go even if root asks; the set-gid bit only where it is one.
    fn chown(&mut self, node: usize, uid: u32, gid: u32) -> Result<(), Errno> {
        let object = self.object(node);
        if object.kind() != Kind::Directory {
            object.mode &= !SET_UID;
            if object.mode & GROUP_EXECUTES != 0 {
                object.mode &= !SET_GID;
            }
        }
        (object.uid, object.gid) = (uid, gid);
        Ok(())
    }

    fn set_mtime(&mut self, node: usize, time: (i64, i64)) -> Result<(), Errno> {
        self.object(node).mtime = time;
        Ok(())
    }

    fn xattrs(&mut self, node: usize) -> Result<Xattrs, Errno> {
        Ok(self.object(node).xattrs.clone())
    }

    fn set_xattr(
        &mut self,
        node: usize,
        name: &str,
        value: &[u8],
        how: Create,
    ) -> Result<(), Errno> {
        let object = self.object(node);
        match (how, object.xattrs.contains_key(name.as_bytes())) {
            (Create::Must, true) => return Err(Errno::EXIST),
            (Create::Replace, false) => return Err(Errno::NODATA),
            _ => {}
        }
        if name == ACCESS {
            let acl = Acl::parse(value);
            object.mode = object.mode & !0o777 | acl.mode();
            if !acl.says_more() {
                object.xattrs.remove(ACCESS.as_bytes());
                return Ok(());
            }
        }
        object.xattrs.insert(name.into(), value.to_vec());
        Ok(())
    }

    fn remove_xattr(&mut self, node: usize, name: &str) -> Result<(), Errno> {
        let was = self.object(node).xattrs.remove(name.as_bytes());
        match (name, was) {
            // No ACL is an ACL, too.
            (ACCESS | DEFAULT, _) | (_, Some(_)) => Ok(()),
            (_, None) => Err(Errno::NODATA),
        }
    }
}
