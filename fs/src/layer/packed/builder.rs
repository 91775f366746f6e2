//! The tree of a packed layer while it is made, and its index at the end.
//!
//! ```text
//!   members, in the order of the archive ──put, link, whiteout, opaque──> Builder ──finish──> index bytes
//! ```
//!
//! Paths are names in this tree and nothing else: none is ever looked up on the machine. A later member of
//! the same path takes the place of the earlier one; a directory over a directory renews its attributes.
//! A symlink on the way to a member is followed inside of the tree, as unpacking below a root does it.
//! Memory: some 200 bytes and the name for each file.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::format::{self, Entry, Extent, NONE, Node, OPAQUE, OUTSIDE, SPARSE};
use super::sections::{Index, Sections};
use crate::marks::{WH_OPAQUE, WH_PREFIX, hidden_name};

/// Symlinks followed on the way to one member.
const FOLLOWED: u32 = 40;
/// Longest path of a member, in bytes.
pub(super) const LONGEST_PATH: usize = 4095;
/// The root of the tree.
const ROOT: u32 = 0;

/// Why a member cannot be taken; without its name, which the caller knows.
pub(super) type Reason = String;

/// Everything about an object but its names.
#[derive(Debug, Clone, Default)]
pub(super) struct Object {
    /// Type and permission bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, u32),
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) content: Content,
}

/// What an object holds.
#[derive(Debug, Clone, Default)]
pub(super) enum Content {
    #[default]
    Nothing,
    /// Size, and the pieces in the archive.
    Data(u64, Vec<Extent>),
    /// A symlink's target, or the path of an outside link.
    Path(Vec<u8>),
    /// A device's number.
    Device(u64),
}

#[derive(Debug)]
struct Building {
    object: Object,
    flags: u16,
    links: u32,
    children: HashMap<Box<[u8]>, u32>,
}

/// A tree being made.
#[derive(Debug)]
pub(super) struct Builder {
    nodes: Vec<Building>,
    contents: u64,
}

impl Builder {
    pub(super) fn new() -> Self {
        let mut new = Self {
            nodes: Vec::new(),
            contents: 0,
        };
        // What an archive says about its root is undefined; this is what it is unless it says more.
        new.add(directory(), 0);
        new
    }

    /// Puts an object at a path, in place of what is there.
    pub(super) fn put(&mut self, path: &[u8], object: Object) -> Result<(), Reason> {
        if let Content::Path(target) = &object.content
            && !is_target(target)
        {
            return Err("a symbolic link that leads to no possible path".to_owned());
        }
        let is_directory = object.mode & libc::S_IFMT == libc::S_IFDIR;
        let names = names(path)?;
        let Some((name, above)) = names.split_last() else {
            return match is_directory {
                true => {
                    self.nodes[ROOT as usize].object = object;
                    Ok(())
                }
                false => Err("it is the root, and no directory".to_owned()),
            };
        };
        let parent = self.directory_at(above)?;
        if name.starts_with(WH_PREFIX) {
            return self.whiteout(parent, name);
        }
        if is_directory && let Some(there) = self.subdirectory(parent, name) {
            self.nodes[there as usize].object = object;
            return Ok(());
        }
        let node = self.add(object, 0);
        self.name(parent, name, node);
        Ok(())
    }

    /// Gives the object at `target` one more name; if there is none, an outside link.
    pub(super) fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Reason> {
        let own = names(path)?;
        let (name, above) = own.split_last().ok_or("it is the root, and no directory")?;
        let parent = self.directory_at(above)?;
        if name.starts_with(WH_PREFIX) {
            return self.whiteout(parent, name);
        }
        let to = names(target)?;
        let node = match self.find(&to) {
            Some(node) if self.is_directory(node) => {
                return Err("a hard link to a directory".to_owned());
            }
            Some(node) => node,
            None if to.is_empty() => return Err("a hard link to the root".to_owned()),
            None => {
                let object = Object {
                    mode: libc::S_IFREG,
                    content: Content::Path(to.join(&b'/')),
                    ..Object::default()
                };
                self.add(object, OUTSIDE)
            }
        };
        // A link to itself changes nothing, and must not lose the object.
        if self.nodes[parent as usize].children.get(*name) != Some(&node) {
            self.name(parent, name, node);
        }
        Ok(())
    }

    /// How many objects were made, those that were replaced included: what the memory is for.
    pub(super) fn objects(&self) -> u64 {
        self.nodes.len() as u64
    }

    /// A new object, without a name.
    fn add(&mut self, object: Object, flags: u16) -> u32 {
        let number = self.nodes.len() as u32;
        self.nodes.push(Building {
            object,
            flags,
            links: 0,
            children: HashMap::new(),
        });
        number
    }

    /// Gives an object a name.
    fn name(&mut self, parent: u32, name: &[u8], node: u32) {
        self.nodes[node as usize].links += 1;
        let old = self.nodes[parent as usize]
            .children
            .insert(name.into(), node);
        if let Some(old) = old.filter(|old| *old != NONE) {
            self.nodes[old as usize].links -= 1;
            // Its memory goes at once; its number stays unused.
            if self.is_directory(old) {
                self.drop_below(old);
            }
        }
    }

    fn drop_below(&mut self, node: u32) {
        let mut todo = vec![node];
        while let Some(node) = todo.pop() {
            for (_, child) in std::mem::take(&mut self.nodes[node as usize].children) {
                if child != NONE {
                    self.nodes[child as usize].links -= 1;
                    todo.push(child);
                }
            }
        }
    }

    fn whiteout(&mut self, parent: u32, name: &[u8]) -> Result<(), Reason> {
        if name == WH_OPAQUE {
            self.nodes[parent as usize].flags |= OPAQUE;
        } else if let Some(hidden) = hidden_name(OsStr::from_bytes(name)) {
            // A whiteout hides lower layers, never its sibling, whichever comes first.
            let children = &mut self.nodes[parent as usize].children;
            children.entry(hidden.as_bytes().into()).or_insert(NONE);
        }
        // The rest of AUFS's own names mean nothing here.
        Ok(())
    }

    fn is_directory(&self, node: u32) -> bool {
        self.nodes[node as usize].object.mode & libc::S_IFMT == libc::S_IFDIR
    }

    fn child(&self, parent: u32, name: &[u8]) -> Option<u32> {
        let child = self.nodes[parent as usize].children.get(name);
        child.copied().filter(|child| *child != NONE)
    }

    fn subdirectory(&self, parent: u32, name: &[u8]) -> Option<u32> {
        self.child(parent, name)
            .filter(|child| self.is_directory(*child))
    }

    fn find(&self, names: &[&[u8]]) -> Option<u32> {
        let (name, above) = names.split_last()?;
        let mut here = ROOT;
        for name in above {
            here = self.subdirectory(here, name)?;
        }
        self.child(here, name)
    }

    /// The directory of a path, made where it is missing.
    fn directory_at(&mut self, path: &[&[u8]]) -> Result<u32, Reason> {
        let mut todo: VecDeque<Box<[u8]>> = path.iter().map(|name| Box::from(*name)).collect();
        let mut above: Vec<u32> = Vec::new();
        let mut here = ROOT;
        let mut followed = 0;
        while let Some(name) = todo.pop_front() {
            if &*name == b".." {
                here = above.pop().unwrap_or(ROOT);
                continue;
            }
            if name.starts_with(WH_PREFIX) {
                return Err("it lies below a whiteout".to_owned());
            }
            let next = match self.child(here, &name) {
                Some(child) if self.is_directory(child) => child,
                Some(child) => {
                    let node = &self.nodes[child as usize];
                    let Content::Path(target) = &node.object.content else {
                        return Err("its path leads through what is no directory".to_owned());
                    };
                    if node.flags & OUTSIDE != 0 {
                        return Err("its path leads through a hard link".to_owned());
                    }
                    followed += 1;
                    if followed > FOLLOWED {
                        return Err("its path leads through too many symbolic links".to_owned());
                    }
                    if target.first() == Some(&b'/') {
                        above.clear();
                        here = ROOT;
                    }
                    let parts = target.split(|byte| *byte == b'/');
                    let parts = parts.filter(|part| !part.is_empty() && *part != b".");
                    for part in parts.map(Box::from).collect::<Vec<_>>().into_iter().rev() {
                        todo.push_front(part);
                    }
                    continue;
                }
                None if name.len() > 255 => return Err("a name of more than 255 bytes".to_owned()),
                None => {
                    let made = self.add(directory(), 0);
                    self.name(here, &name, made);
                    made
                }
            };
            above.push(here);
            here = next;
        }
        Ok(here)
    }

    /// The index of the tree. `length` and `diff_id` (SHA-256) are those of the archive in front of it.
    pub(super) fn finish(mut self, length: u64, diff_id: [u8; 32]) -> Result<Index, Reason> {
        let mut out = Sections::default();
        let mut numbers: HashMap<u32, u32> = HashMap::from([(ROOT, 0)]);
        let mut order = VecDeque::from([ROOT]);
        self.nodes[ROOT as usize].links = 1;
        let root = self.node(ROOT, &mut out)?;
        out.nodes.push(root);
        while let Some(node) = order.pop_front() {
            let place = numbers[&node] as usize;
            let children = std::mem::take(&mut self.nodes[node as usize].children);
            let mut children: Vec<_> = children
                .into_iter()
                .map(|(name, child)| (format::hash(&name), name, child))
                .collect();
            children.sort_unstable();
            let first = out.entries.len();
            let mut subdirectories = 0;
            for (hash, name, child) in children {
                let mut entry = Entry {
                    hash: hash.into(),
                    name: out.put(&name)?.into(),
                    node: NONE.into(),
                    length: name.len() as u8,
                    kind: 0,
                    reserved: 0.into(),
                };
                if child != NONE {
                    let number = match numbers.get(&child) {
                        Some(number) => *number,
                        None => {
                            let number = out.nodes.len() as u32;
                            numbers.insert(child, number);
                            let record = self.node(child, &mut out)?;
                            out.nodes.push(record);
                            if self.is_directory(child) {
                                order.push_back(child);
                            }
                            number
                        }
                    };
                    subdirectories += u32::from(self.is_directory(child));
                    entry.node = number.into();
                    entry.kind = (self.nodes[child as usize].object.mode >> 12) as u8;
                }
                out.entries.push(entry);
            }
            out.nodes[place].data = (first as u64).into();
            out.nodes[place].count = ((out.entries.len() - first) as u32).into();
            out.nodes[place].nlink = (subdirectories + 2).into();
        }
        out.index(length, diff_id, self.contents)
    }

    /// The record of a node; a directory's entries come later.
    fn node(&mut self, number: u32, out: &mut Sections) -> Result<Node, Reason> {
        let node = &mut self.nodes[number as usize];
        let object = &mut node.object;
        let (mut size, mut data, mut count, mut flags) = (0, 0, 0, node.flags);
        match std::mem::take(&mut object.content) {
            Content::Nothing => {}
            Content::Device(device) => data = device,
            Content::Path(path) => {
                data = u64::from(out.put(&path)?);
                (size, count) = (path.len() as u64, path.len() as u32);
            }
            Content::Data(length, pieces) => {
                size = length;
                self.contents += pieces.iter().map(|piece| piece.length.get()).sum::<u64>();
                match pieces.as_slice() {
                    [] if length == 0 => {}
                    [all] if all.logical == 0 && all.length.get() == length => {
                        data = all.physical.get()
                    }
                    _ => {
                        flags |= SPARSE;
                        (data, count) = (out.extents.len() as u64, pieces.len() as u32);
                        out.extents.extend(pieces);
                    }
                }
            }
        }
        let xattrs = std::mem::take(&mut object.xattrs);
        Ok(Node {
            size: size.into(),
            data: data.into(),
            mtime: object.mtime.0.into(),
            mode: object.mode.into(),
            nanos: object.mtime.1.into(),
            uid: object.uid.into(),
            gid: object.gid.into(),
            nlink: node.links.into(),
            xattrs: out.put_xattrs(&xattrs)?.into(),
            count: count.into(),
            source: 0.into(),
            flags: flags.into(),
            origin: 0.into(),
            reserved: 0.into(),
        })
    }
}

fn directory() -> Object {
    Object {
        mode: libc::S_IFDIR | 0o755,
        ..Object::default()
    }
}

/// Whether symlink(2) would take it.
pub(super) fn is_target(target: &[u8]) -> bool {
    !target.is_empty() && target.len() <= LONGEST_PATH && !target.contains(&0)
}

/// The names of a path; empty for the root.
pub(super) fn names(path: &[u8]) -> Result<Vec<&[u8]>, Reason> {
    if path.contains(&0) {
        return Err("a NUL byte in a name".to_owned());
    }
    if path.len() > LONGEST_PATH {
        return Err(format!("its path is longer than {LONGEST_PATH} bytes"));
    }
    let names: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .collect();
    if names.contains(&b"..".as_slice()) {
        return Err("'..' in its path; nothing may lie outside of the tree".to_owned());
    }
    if names.iter().any(|name| name.len() > 255) {
        return Err("a name of more than 255 bytes".to_owned());
    }
    Ok(names)
}
