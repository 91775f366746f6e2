//! One index of a whole stack of packed layers.
//!
//! ```text
//!   a.lfs  /bin  /etc/x           ┐                  /bin  of a
//!   b.lfs  /etc  .wh.y            ├──merge──> idx    /etc  of b and c: x of a, z of c
//!   c.lfs  /etc/y  /etc/z         ┘
//! ```
//!
//! It answers what the union of the layers would (`union/lower.rs` is the other place that says what a
//! stack shows), so a mount looks a name up once, however many layers there are. Each object keeps the
//! layer and the number it has there, and so its inode number: a stack is the same stack with the index
//! and without. Whiteouts and opaque directories stay, for layers that may lie below.
//!
//! Memory: 80 bytes and the name for each file.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::builder::{Reason, names};
use super::format::{Entry, Extent, NONE, Node, OPAQUE, OUTSIDE, SPARSE, Source};
use super::reader::{Named, Pack, ROOT};
use super::sections::Sections;
use super::sources::relative;
use crate::error::{Error, PackError, Result};
use crate::sys::pieces::Piece;

/// What was merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged {
    /// The chain id of the layers (OCI image specification, config.md).
    pub chain_id: [u8; 32],
    /// Packed layers it is of.
    pub layers: u32,
    /// Objects it shows.
    pub objects: u32,
    /// Bytes of file contents.
    pub contents: u64,
}

/// Merges packed layers, topmost first, into the empty file `output`, which will lie in `directory`: the
/// layers are named by their paths from there. A merged index counts as the layers it is of. Nothing is
/// flushed to disk.
///
/// # Errors
/// A layer is damaged; there are too many; the output cannot be written.
pub fn merge(layers: &[Pack], directory: &Path, output: &mut File) -> Result<Merged, PackError> {
    let input = |why: String| PackError::Input {
        origin: "the layers".to_owned(),
        why,
    };
    let mut merger = Merger::new(layers);
    merger.sources(directory)?;
    merger.tree().map_err(|failed| match failed {
        Failed::Layer(layer, error) => PackError::Input {
            origin: layers[layer].path().display().to_string(),
            why: format!("{error}; layerfs verify tells more"),
        },
        Failed::Size(why) => input(why),
    })?;
    let chain_id = chain_id(&merger.out.sources);
    let (layers, objects) = (
        merger.out.sources.len() as u32,
        merger.out.nodes.len() as u32,
    );
    let index = merger
        .out
        .index(0, chain_id, merger.contents)
        .map_err(input)?;
    let written = index.write(output);
    written.map_err(|source| PackError::Write { source })?;
    Ok(Merged {
        chain_id,
        layers,
        objects,
        contents: index.contents,
    })
}

/// The chain id of layers, the lowest first.
fn chain_id(sources: &[Source]) -> [u8; 32] {
    let text = |digest: &[u8; 32]| {
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{digits}")
    };
    let ids = sources.iter().map(|source| source.diff_id);
    let above = |chain: [u8; 32], id: [u8; 32]| {
        Sha256::digest(format!("{} {}", text(&chain), text(&id))).into()
    };
    ids.reduce(above).unwrap_or_default()
}

enum Failed {
    /// Reading a layer, by its place in the list.
    Layer(usize, Error),
    Size(Reason),
}

impl From<Reason> for Failed {
    fn from(why: Reason) -> Self {
        Self::Size(why)
    }
}

/// An object of a layer: the layer's place in the list, and its number there.
type At = (usize, u32);

/// What a name shows in a stack.
enum Shown {
    /// No layer has it.
    Nothing,
    /// Hidden, also from layers further down.
    Whiteout,
    Leaf(At),
    /// The directories that merge, and whether what is further down is hidden.
    Directory(Vec<At>, bool),
}

struct Merger<'a> {
    /// Topmost first.
    layers: &'a [Pack],
    /// Number of the lowest source of each.
    first: Vec<u16>,
    out: Sections,
    /// Numbers of objects that may have several names.
    numbers: HashMap<At, u32>,
    /// Directories that are in. An index that lies could show one under many names.
    entered: HashSet<At>,
    /// Entries that may still come: no more than the layers have.
    left: u64,
    contents: u64,
}

impl<'a> Merger<'a> {
    fn new(layers: &'a [Pack]) -> Self {
        let mut next = 0_usize;
        let mut first: Vec<u16> = Vec::new();
        for layer in layers.iter().rev() {
            first.push(u16::try_from(next).unwrap_or(u16::MAX));
            next += layer.carriers().len().max(1);
        }
        first.reverse();
        Self {
            layers,
            first,
            out: Sections::default(),
            numbers: HashMap::new(),
            entered: HashSet::new(),
            left: layers
                .iter()
                .map(|layer| u64::from(layer.header().entries.get()))
                .sum(),
            contents: 0,
        }
    }

    /// The list of the layers, the lowest first.
    fn sources(&mut self, directory: &Path) -> Result<(), PackError> {
        let real = |path: &Path| {
            path.canonicalize().map_err(|source| PackError::Io {
                path: path.to_owned(),
                source,
            })
        };
        // A layer that is a symlink stays one: that is the name it was given.
        let absolute = |path: &Path| {
            let parent = path.parent().filter(|parent| *parent != Path::new(""));
            let parent = real(parent.unwrap_or(Path::new(".")))?;
            Ok(parent.join(path.file_name().unwrap_or_default()))
        };
        let directory = real(directory)?;
        for layer in self.layers.iter().rev() {
            match layer.carriers() {
                [] => {
                    let (index, header) = (layer.footer().index, layer.header());
                    let tar = (header.diff_id, header.tar_length.get());
                    self.source(&relative(&directory, &absolute(layer.path())?), index, tar)?;
                }
                carriers => {
                    for carrier in carriers {
                        let tar = (carrier.diff_id, carrier.tar_length);
                        let path = relative(&directory, &absolute(&carrier.path)?);
                        self.source(&path, carrier.index, tar)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn source(
        &mut self,
        path: &Path,
        index: [u8; 32],
        (diff_id, tar_length): ([u8; 32], u64),
    ) -> Result<(), PackError> {
        let path = path.as_os_str().as_encoded_bytes();
        let refused = |why: String| PackError::Input {
            origin: "the layers".to_owned(),
            why,
        };
        if self.out.sources.len() == super::format::SOURCES_MAX {
            let most = super::format::SOURCES_MAX;
            return Err(refused(format!("more than {most} of them")));
        }
        let at = self.out.put(path).map_err(refused)?;
        self.out.sources.push(Source {
            index,
            diff_id,
            tar_length: tar_length.into(),
            path: at.into(),
            length: (path.len() as u32).into(),
        });
        Ok(())
    }

    /// The whole tree, breadth first: the same layers give the same index.
    fn tree(&mut self) -> Result<(), Failed> {
        let roots: Vec<At> = (0..self.layers.len()).map(|layer| (layer, ROOT)).collect();
        let (roots, closed) = self.down_to_opaque(roots)?;
        let root = self.directory(&roots, closed)?;
        let mut todo = VecDeque::from([(root, roots)]);
        while let Some((number, directories)) = todo.pop_front() {
            self.entries(number, &directories, &mut todo)?;
        }
        Ok(())
    }

    /// The directories down to an opaque one.
    fn down_to_opaque(&self, mut directories: Vec<At>) -> Result<(Vec<At>, bool), Failed> {
        for (depth, &at) in directories.iter().enumerate() {
            if self.node(at)?.flags.get() & OPAQUE != 0 {
                directories.truncate(depth + 1);
                return Ok((directories, true));
            }
        }
        Ok((directories, false))
    }

    /// The names of a merged directory.
    fn entries(
        &mut self,
        number: u32,
        directories: &[At],
        todo: &mut VecDeque<(u32, Vec<At>)>,
    ) -> Result<(), Failed> {
        let mut lines: Vec<(u32, Named<'a>, usize)> = Vec::new();
        for &(layer, node) in directories {
            if !self.entered.insert((layer, node)) {
                return Err(Failed::Layer(layer, Error::Damaged));
            }
            let damaged = |error| Failed::Layer(layer, error);
            let count = u64::from(self.node((layer, node))?.count.get());
            let left = self.left.checked_sub(count);
            self.left = left.ok_or(Failed::Layer(layer, Error::Damaged))?;
            for named in self.layers[layer].names(node).map_err(damaged)? {
                let named = named.map_err(damaged)?;
                lines.push((super::format::hash(named.name), named, layer));
            }
        }
        lines.sort_unstable_by(|a, b| (a.0, a.1.name, a.2).cmp(&(b.0, b.1.name, b.2)));
        let first = self.out.entries.len();
        let mut subdirectories = 0;
        for lines in lines.chunk_by(|a, b| a.1.name == b.1.name) {
            let (hash, named, _) = &lines[0];
            let mut entry = Entry {
                hash: (*hash).into(),
                name: self.out.put(named.name)?.into(),
                node: NONE.into(),
                length: named.name.len() as u8,
                kind: 0,
                reserved: 0.into(),
            };
            let found = lines.iter().map(|(_, named, layer)| (*layer, named.node));
            let child = match self.decide(found)? {
                Shown::Nothing | Shown::Whiteout => None,
                Shown::Leaf(at) => Some(self.leaf(at)?),
                Shown::Directory(merged, closed) => {
                    let child = self.directory(&merged, closed)?;
                    todo.push_back((child, merged));
                    subdirectories += 1;
                    Some(child)
                }
            };
            if let Some(child) = child {
                entry.node = child.into();
                entry.kind = (self.out.nodes[child as usize].mode.get() >> 12) as u8;
            }
            self.out.entries.push(entry);
        }
        let count = (self.out.entries.len() - first) as u32;
        let node = &mut self.out.nodes[number as usize];
        (node.data, node.count) = ((first as u64).into(), count.into());
        node.nlink = (subdirectories + 2).into();
        Ok(())
    }

    /// What a name shows, by what the layers have of it, topmost first (contract R1).
    fn decide(&self, found: impl Iterator<Item = (usize, Option<u32>)>) -> Result<Shown, Failed> {
        let mut merged: Vec<At> = Vec::new();
        for (layer, node) in found {
            let at = match node {
                Some(node) if !self.is_char00((layer, node))? => (layer, node),
                _ if merged.is_empty() => return Ok(Shown::Whiteout),
                _ => return Ok(Shown::Directory(merged, true)),
            };
            let node = self.node(at)?;
            if node.mode.get() & libc::S_IFMT != libc::S_IFDIR {
                return match merged.is_empty() {
                    true => self.behind(at),
                    false => Ok(Shown::Directory(merged, true)),
                };
            }
            merged.push(at);
            if node.flags.get() & OPAQUE != 0 {
                return Ok(Shown::Directory(merged, true));
            }
        }
        Ok(match merged.is_empty() {
            true => Shown::Nothing,
            false => Shown::Directory(merged, false),
        })
    }

    /// A non-directory, or what it is a link to. A link whose target may lie below all layers stays one.
    fn behind(&self, at: At) -> Result<Shown, Failed> {
        let (layer, _) = at;
        let outside = self.layers[layer].outside(self.node(at)?);
        let Some(path) = outside.map_err(|error| Failed::Layer(layer, error))? else {
            return Ok(Shown::Leaf(at));
        };
        match self.resolve(layer, path)? {
            Shown::Nothing => Ok(Shown::Leaf(at)),
            // There are no hard links to directories.
            Shown::Directory(..) => Ok(Shown::Whiteout),
            found => Ok(found),
        }
    }

    /// What a path shows in the layers below the one of that place.
    fn resolve(&self, above: usize, path: &[u8]) -> Result<Shown, Failed> {
        let damaged = |_| Failed::Layer(above, Error::Damaged);
        let roots = (above + 1..self.layers.len()).map(|layer| (layer, ROOT));
        let (mut here, mut closed) = self.down_to_opaque(roots.collect())?;
        let path = names(path).map_err(damaged)?;
        let Some((last, on_the_way)) = path.split_last() else {
            return Ok(Shown::Directory(here, closed));
        };
        // What nobody has is hidden all the same if a directory on the way hides what is below.
        let nothing = |closed| {
            if closed {
                Shown::Whiteout
            } else {
                Shown::Nothing
            }
        };
        for name in on_the_way {
            match self.find(&here, name)? {
                Shown::Directory(merged, hides) => (here, closed) = (merged, closed || hides),
                Shown::Nothing => return Ok(nothing(closed)),
                _ => return Ok(Shown::Whiteout),
            }
        }
        match self.find(&here, last)? {
            Shown::Nothing => Ok(nothing(closed)),
            found => Ok(found),
        }
    }

    /// What a name shows in directories that merge.
    fn find(&self, directories: &[At], name: &[u8]) -> Result<Shown, Failed> {
        let mut found = Vec::new();
        for &(layer, node) in directories {
            let named = self.layers[layer].lookup(node, name);
            if let Some(named) = named.map_err(|error| Failed::Layer(layer, error))? {
                found.push((layer, named.node));
            }
        }
        self.decide(found.into_iter())
    }

    fn node(&self, (layer, node): At) -> Result<&'a Node, Failed> {
        let found = self.layers[layer].node(node);
        found.map_err(|error| Failed::Layer(layer, error))
    }

    /// A device 0/0 of the archive itself reads as a whiteout.
    fn is_char00(&self, at: At) -> Result<bool, Failed> {
        let node = self.node(at)?;
        Ok(node.mode.get() & libc::S_IFMT == libc::S_IFCHR && node.data.get() == 0)
    }

    /// A new directory; its entries come later.
    fn directory(&mut self, merged: &[At], closed: bool) -> Result<u32, Failed> {
        let mut node = self.copy(merged[0])?;
        node.flags = (if closed { OPAQUE } else { 0 }).into();
        self.add(node)
    }

    /// The number of a non-directory, new at its first name.
    fn leaf(&mut self, at: At) -> Result<u32, Failed> {
        if let Some(number) = self.numbers.get(&at) {
            return Ok(*number);
        }
        let mut node = self.copy(at)?;
        let (layer, damaged) = (at.0, |error| Failed::Layer(at.0, error));
        let pack = &self.layers[layer];
        let record = self.node(at)?;
        if let Some(path) = pack.outside(record).map_err(damaged)? {
            node.data = u64::from(self.out.put(path)?).into();
        } else if record.mode.get() & libc::S_IFMT == libc::S_IFLNK {
            let target = pack.target(record).map_err(damaged)?;
            node.data = u64::from(self.out.put(target)?).into();
        } else if record.mode.get() & libc::S_IFMT == libc::S_IFREG {
            let pieces = pack.pieces(record).map_err(damaged)?;
            let add = |all: u64, piece: &Piece| all.saturating_add(piece.length);
            self.contents = pieces.iter().fold(self.contents, add);
            if record.flags.get() & SPARSE != 0 {
                node.data = (self.out.extents.len() as u64).into();
                self.out.extents.extend(pieces.iter().map(|piece| Extent {
                    logical: piece.logical.into(),
                    physical: piece.physical.into(),
                    length: piece.length.into(),
                }));
            }
        }
        let number = self.add(node)?;
        // An object of one name may have another by a link from above.
        self.numbers.insert(at, number);
        Ok(number)
    }

    /// A node as it is, but for what lies in other sections; those of its attributes are here already.
    fn copy(&mut self, at: At) -> Result<Node, Failed> {
        let (layer, number) = at;
        let damaged = |error| Failed::Layer(layer, error);
        let pack = &self.layers[layer];
        let node = self.node(at)?;
        let (source, origin) = pack.origin(number).map_err(damaged)?;
        let xattrs = pack.xattrs(node).map_err(damaged)?;
        Ok(Node {
            xattrs: self.out.put_xattrs(&xattrs)?.into(),
            source: (self.first[layer] + source).into(),
            origin: origin.into(),
            flags: (node.flags.get() & (SPARSE | OUTSIDE)).into(),
            ..*node
        })
    }

    fn add(&mut self, node: Node) -> Result<u32, Failed> {
        let number = u32::try_from(self.out.nodes.len()).ok();
        let number = number.filter(|number| *number != NONE);
        self.out.nodes.push(node);
        number.ok_or_else(|| Failed::Size("more than four thousand million objects".to_owned()))
    }
}
