//! A tree under the model's kernel as a picture, to be compared with those of trees on disk.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::below::{Below, Kind};
use super::kernel::Kernel;
use crate::snapshot::{Object, Snapshot, View, digest};

impl<B: Below> Kernel<B> {
    /// The picture of the whole tree.
    pub fn picture(&mut self, view: &View) -> Result<Snapshot, Errno> {
        let objects = self.walk_all()?;
        Ok(Snapshot::of_objects(objects, view))
    }

    /// All paths but the root, directories before what is in them.
    pub fn paths(&mut self) -> Result<Vec<PathBuf>, Errno> {
        let objects = self.walk_all()?.into_iter().skip(1);
        Ok(objects.map(|(path, _)| path).collect())
    }

    fn walk_all(&mut self) -> Result<Vec<(PathBuf, Object)>, Errno> {
        let mut found = Vec::new();
        // Those known by now have these numbers: what is compared is only which are the same.
        let mut nodes: Vec<B::Node> = Vec::new();
        let mut todo = vec![(PathBuf::from("."), self.below.root())];
        while let Some((path, node)) = todo.pop() {
            let number = nodes.iter().position(|n| *n == node).unwrap_or(nodes.len());
            if number == nodes.len() {
                nodes.push(node);
            }
            let object = self.object(node, number as u64)?;
            if object.letter == 'd' {
                let mut names = self.below.names(node)?;
                names.retain(|name| name != "." && name != "..");
                names.sort();
                for name in names.into_iter().rev() {
                    let child = self.below.lookup((node, &name))?;
                    let below = match path == Path::new(".") {
                        true => PathBuf::from(name),
                        false => path.join(name),
                    };
                    todo.push((below, child));
                }
            }
            found.push((path, object));
        }
        Ok(found)
    }

    fn object(&mut self, node: B::Node, number: u64) -> Result<Object, Errno> {
        let attr = self.below.attr(node)?;
        let (letter, rdev) = match attr.kind {
            Kind::File => ('-', None),
            Kind::Directory => ('d', None),
            Kind::Symlink => ('l', None),
            Kind::Fifo => ('p', None),
            Kind::Socket => ('s', None),
            Kind::Device(number) => ('c', Some(number)),
        };
        let target = match attr.kind {
            Kind::Symlink => Some(self.below.target(node)?),
            _ => None,
        };
        let content = match attr.kind {
            Kind::File => Some(self.below.read(node, 0, attr.size as usize)?),
            _ => None,
        };
        Ok(Object {
            letter,
            mode: attr.mode,
            owner: (attr.uid, attr.gid),
            mtime: attr.mtime,
            size: attr.size,
            nlink: attr.nlink,
            number: (0, number),
            ctime: (0, 0),
            rdev,
            target,
            xattrs: self.below.xattrs(node)?.into_iter().collect(),
            digest: content.map(|content| digest(&content)),
        })
    }
}
