//! Reading a packed layer: mapped, never copied, safe against any bytes.
//!
//! ```text
//!   Pack ── map of the index: nodes, entries, extents, sources, blob
//!     ├──── the file, whose first part holds the data
//!     └──── of a merged index: the files of its layers, which do
//! ```
//!
//! Each number that is followed is checked against its section; what leads outside is EIO.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::format::{self, Entry, Extent, Footer, Header, NONE, Node, OPAQUE, OUTSIDE, SPARSE};
use super::sources::{Carrier, read_footer};
use crate::error::{Error, PackError, Result};
use crate::sys::map::Map;
use crate::sys::pieces::{Data, Piece, Pieces};

/// The number of the root.
pub const ROOT: u32 = 0;

/// A packed layer, or a merged index with its layers.
#[derive(Debug)]
pub struct Pack {
    path: PathBuf,
    file: Arc<OwnedFd>,
    /// The layers of a merged index, the lowest first; of a layer none.
    carriers: Box<[Carrier]>,
    footer: Footer,
    header: Header,
    map: Map,
    at: Sections,
}

/// Where the sections begin in the index.
#[derive(Debug, Clone, Copy)]
struct Sections {
    entries: usize,
    extents: usize,
    sources: usize,
    blob: usize,
}

/// A name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The object; `None` for a whiteout.
    pub node: Option<u32>,
    /// The upper four bits of its st_mode.
    pub kind: u8,
}

impl Pack {
    /// Opens and checks what can be checked in a time that does not depend on the size.
    ///
    /// # Errors
    /// It cannot be read; it is no packed layer, cut short, of another version, or damaged.
    pub fn open(path: &Path) -> Result<Self, PackError> {
        let bad = |at: u64, why: &'static str| PackError::Damaged {
            path: path.to_owned(),
            at,
            why,
        };
        let io = |source: io::Error| PackError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let (footer, end) = read_footer(&file, path)?;
        let (start, length) = (footer.at.get(), footer.length.get());
        if start.checked_add(length) != Some(end) || start % format::ALIGN != 0 {
            return Err(bad(end, "the footer points outside of the file"));
        }
        let length = usize::try_from(length).map_err(|_| bad(end, "the index is too large"))?;
        if length < size_of::<Header>() {
            return Err(bad(start, "the index is too short"));
        }
        let map = Map::new(&file, start, length).map_err(io)?;
        let (header, _) =
            Header::read_from_prefix(map.bytes()).map_err(|_| bad(start, "no header"))?;
        let at = check_header(&header, map.bytes(), start).map_err(|why| bad(start, why))?;
        let mut pack = Self {
            path: path.to_owned(),
            file: Arc::new(file.into()),
            carriers: Box::default(),
            footer,
            header,
            map,
            at,
        };
        pack.carriers = pack.open_carriers()?;
        Ok(pack)
    }

    /// The layers of a merged index, opened and known to be those it was made of.
    fn open_carriers(&self) -> Result<Box<[Carrier]>, PackError> {
        let count = self.header.sources.get();
        let carrier = |index| {
            let source = self.item(self.at.sources, count, index);
            let path = source.and_then(|source: &format::Source| {
                let path = self.blob(source.path.get().into(), source.length.get().into())?;
                Ok((source, path))
            });
            let (source, path) = path.map_err(|_| PackError::Damaged {
                path: self.path.clone(),
                at: self.footer.at.get(),
                why: "the list of its layers leads outside of it",
            })?;
            Carrier::open(&self.path, source, path)
        };
        (0..count).map(carrier).collect()
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its index says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its end.
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The layers of a merged index, the lowest first; of a layer none.
    pub fn carriers(&self) -> &[Carrier] {
        &self.carriers
    }

    /// What tells the layers of it from others, the lowest first: the hashes of their indexes.
    pub fn identities(&self) -> Vec<[u8; 32]> {
        match &*self.carriers {
            [] => vec![self.footer.index],
            carriers => carriers.iter().map(|carrier| carrier.index).collect(),
        }
    }

    /// The layer that a node is of, counted from the lowest, and its number there.
    pub fn origin(&self, number: u32) -> Result<(u16, u32)> {
        match self.carriers.len() {
            0 => Ok((0, number)),
            count => {
                let node = self.node(number)?;
                let source = node.source.get();
                match usize::from(source) < count {
                    true => Ok((source, node.origin.get())),
                    false => Err(Error::Damaged),
                }
            }
        }
    }

    /// The inode number of a node: what it is in its own layer, and above 48 bits which layer that is.
    pub fn inode(&self, number: u32) -> Result<u64> {
        let (source, number) = self.origin(number)?;
        Ok(u64::from(source) << 48 | (u64::from(number) + 1))
    }

    /// The file itself.
    pub fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// A node by its number.
    pub fn node(&self, number: u32) -> Result<&Node> {
        self.sound(self.item(size_of::<Header>(), self.header.nodes.get(), number))
    }

    /// The name in a directory.
    pub fn lookup(&self, directory: u32, name: &[u8]) -> Result<Option<Named<'_>>> {
        let (first, count) = self.range(directory)?;
        let wanted = format::hash(name);
        let (mut low, mut high) = self.near(first, count, wanted)?;
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.entry(first + middle)?;
            let order = match entry.hash.get().cmp(&wanted) {
                std::cmp::Ordering::Equal => self.name(entry)?.cmp(name),
                other => other,
            };
            match order {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.named(directory, entry).map(Some),
            }
        }
        self.sound(Ok(None))
    }

    /// A part of `count` entries from `first` that has all of this hash: `low` up to but without `high`.
    ///
    /// Hashes are spread evenly, so the place of one among n is known but for some root of n: that saves
    /// the first steps of the halving, each of which waits for memory. Of an index that is not so, nothing
    /// is lost but a few steps.
    fn near(&self, first: u32, count: u32, wanted: u32) -> Result<(u32, u32)> {
        let hash = |index: u32| Ok::<_, Error>(self.entry(first + index)?.hash.get());
        let (mut low, mut high, mut step) = (0, count, 8_u32);
        if count <= 2 * step {
            return Ok((low, high));
        }
        let mut at = ((u64::from(wanted) * u64::from(count)) >> 32) as u32;
        loop {
            match hash(at)?.cmp(&wanted) {
                std::cmp::Ordering::Less => low = at + 1,
                std::cmp::Ordering::Greater => high = at,
                // There may be more of it on both sides.
                std::cmp::Ordering::Equal => return Ok((low, high)),
            }
            let next = match (low, high) {
                (low, high) if low > 0 && high < count || low == high => return Ok((low, high)),
                (0, high) => high.saturating_sub(step),
                (low, _) => low.saturating_add(step).min(count - 1),
            };
            (at, step) = (next, step.saturating_mul(4));
        }
    }

    /// The names of a directory, in the order of the index.
    pub fn names(&self, directory: u32) -> Result<impl Iterator<Item = Result<Named<'_>>>> {
        let (first, count) = self.range(directory)?;
        Ok((first..first + count).map(move |index| self.named(directory, self.entry(index)?)))
    }

    /// Whether a directory hides what is below.
    pub fn is_opaque(&self, directory: u32) -> Result<bool> {
        Ok(self.node(directory)?.flags.get() & OPAQUE != 0)
    }

    /// The target of a symlink; what can be none is refused.
    pub fn target(&self, node: &Node) -> Result<&[u8]> {
        let target = self.blob(node.data.get(), node.size.get())?;
        match super::builder::is_target(target) {
            true => Ok(target),
            false => Err(Error::Damaged),
        }
    }

    /// The path of an outside link; `None` for everything else.
    pub fn outside(&self, node: &Node) -> Result<Option<&[u8]>> {
        match node.flags.get() & OUTSIDE {
            0 => Ok(None),
            _ => self
                .blob(node.data.get(), u64::from(node.count.get()))
                .map(Some),
        }
    }

    /// The extended attributes of a node: names and values.
    pub fn xattrs(&self, node: &Node) -> Result<Vec<(&[u8], &[u8])>> {
        if node.xattrs.get() == NONE {
            return Ok(Vec::new());
        }
        let mut at = u64::from(node.xattrs.get());
        let mut take = |length: u64| {
            let bytes = self.blob(at, length);
            at += length;
            bytes
        };
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .rev()
                .fold(0, |n, byte| n << 8 | u64::from(*byte))
        };
        let count = number(take(2)?);
        let mut found = Vec::new();
        for _ in 0..count {
            let (name, value) = (number(take(2)?), number(take(4)?));
            found.push((take(name)?, take(value)?));
        }
        Ok(found)
    }

    /// Where the bytes of a regular file lie in the archive of its layer.
    pub fn pieces(&self, node: &Node) -> Result<Box<[Piece]>> {
        let (size, data) = (node.size.get(), node.data.get());
        if node.flags.get() & SPARSE != 0 {
            let piece = |index| {
                let extent: &Extent =
                    self.item(self.at.extents, self.header.extents.get(), index)?;
                Ok(Piece {
                    logical: extent.logical.get(),
                    physical: extent.physical.get(),
                    length: extent.length.get(),
                })
            };
            let first = u32::try_from(data).map_err(|_| Error::Damaged)?;
            let end = first.checked_add(node.count.get()).ok_or(Error::Damaged)?;
            return (first..end).map(piece).collect();
        }
        Ok(match size {
            0 => Box::default(),
            size => Box::from([Piece {
                logical: 0,
                physical: data,
                length: size,
            }]),
        })
    }

    /// The data of a regular file.
    pub fn data(&self, node: &Node) -> Result<Data> {
        let pieces = self.pieces(node)?;
        let (file, length) = match &*self.carriers {
            [] => (&self.file, self.header.tar_length.get()),
            carriers => {
                let carrier = carriers.get(usize::from(node.source.get()));
                let carrier = carrier.ok_or(Error::Damaged)?;
                (&carrier.file, carrier.tar_length)
            }
        };
        let pieces = Pieces::new(node.size.get(), length, pieces).ok_or(Error::Damaged);
        self.sound(pieces.map(|pieces| Data {
            file: file.clone(),
            pieces: Some(Arc::new(pieces)),
        }))
    }

    /// Reads all of it and compares the hashes of tar and index; of a merged index, that of the index. Its
    /// layers are verified by themselves.
    ///
    /// # Errors
    /// A hash is wrong, a number leads outside.
    pub fn verify(&self) -> Result<(), PackError> {
        let bad = |at: u64, why: &'static str| PackError::Damaged {
            path: self.path.clone(),
            at,
            why,
        };
        let start = self.footer.at.get();
        if <[u8; 32]>::from(Sha256::digest(self.map.bytes())) != self.footer.index
            || self.map.is_cut()
        {
            return Err(bad(
                start,
                "the index is not what was written: its hash is wrong",
            ));
        }
        let file = File::from(self.file.try_clone().map_err(|source| PackError::Io {
            path: self.path.clone(),
            source,
        })?);
        let (mut hash, mut at, length) = (Sha256::new(), 0, self.header.tar_length.get());
        let mut buffer = vec![0; 256 << 10];
        while at < length {
            let want = (length - at).min(buffer.len() as u64) as usize;
            let read = file.read_exact_at(&mut buffer[..want], at);
            read.map_err(|_| bad(at, "the archive cannot be read"))?;
            hash.update(&buffer[..want]);
            at += want as u64;
        }
        let tar = <[u8; 32]>::from(hash.finalize());
        if self.carriers.is_empty() && tar != self.header.diff_id {
            return Err(bad(
                0,
                "the archive is not what was written: its hash is wrong",
            ));
        }
        for number in 0..self.header.nodes.get() {
            let whole = || {
                let node = self.node(number)?;
                self.inode(number)?;
                self.xattrs(node)?;
                match node.mode.get() & libc::S_IFMT {
                    libc::S_IFDIR => self.names(number)?.try_for_each(|name| name.map(drop)),
                    libc::S_IFREG if self.outside(node)?.is_none() => self.data(node).map(drop),
                    libc::S_IFLNK => self.target(node).map(drop),
                    _ => Ok(()),
                }
            };
            whole().map_err(|_| bad(start, "the index contradicts itself"))?;
        }
        Ok(())
    }

    fn range(&self, directory: u32) -> Result<(u32, u32)> {
        let node = self.node(directory)?;
        if node.mode.get() & libc::S_IFMT != libc::S_IFDIR {
            return Err(Error::Damaged);
        }
        let first = u32::try_from(node.data.get()).map_err(|_| Error::Damaged)?;
        let count = node.count.get();
        let end = first.checked_add(count).ok_or(Error::Damaged)?;
        match end <= self.header.entries.get() {
            true => Ok((first, count)),
            false => Err(Error::Damaged),
        }
    }

    fn entry(&self, index: u32) -> Result<&Entry> {
        self.item(self.at.entries, self.header.entries.get(), index)
    }

    fn name(&self, entry: &Entry) -> Result<&[u8]> {
        self.blob(entry.name.get().into(), entry.length.into())
    }

    /// An entry as it is shown: its name can be one, its node is there, and a directory lies deeper.
    fn named<'a>(&'a self, directory: u32, entry: &'a Entry) -> Result<Named<'a>> {
        let name = self.name(entry)?;
        let odd =
            matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, 0 | b'/'));
        let node = Some(entry.node.get()).filter(|node| *node != NONE);
        let same = match node {
            Some(number) => {
                let mode = self.node(number)?.mode.get();
                let deeper = number > directory || mode & libc::S_IFMT != libc::S_IFDIR;
                mode >> 12 == u32::from(entry.kind) && deeper
            }
            None => entry.kind == 0,
        };
        let named = Named {
            name,
            node,
            kind: entry.kind,
        };
        self.sound(if odd || !same {
            Err(Error::Damaged)
        } else {
            Ok(named)
        })
    }

    fn blob(&self, at: u64, length: u64) -> Result<&[u8]> {
        let blob = self.map.bytes().get(self.at.blob..).unwrap_or_default();
        let end = at.checked_add(length).ok_or(Error::Damaged)?;
        let range = usize::try_from(at).ok().zip(usize::try_from(end).ok());
        let (at, end) = range.ok_or(Error::Damaged)?;
        self.sound(blob.get(at..end).ok_or(Error::Damaged))
    }

    fn item<T>(&self, section: usize, count: u32, index: u32) -> Result<&T>
    where
        T: FromBytes + Immutable + KnownLayout + Unaligned,
    {
        if index >= count {
            return Err(Error::Damaged);
        }
        let at = section + index as usize * size_of::<T>();
        let bytes = self.map.bytes().get(at..at + size_of::<T>());
        T::ref_from_bytes(bytes.ok_or(Error::Damaged)?).map_err(|_| Error::Damaged)
    }

    /// What was read, unless it was read from a file that has been cut.
    fn sound<T>(&self, read: Result<T>) -> Result<T> {
        if self.map.is_cut() {
            return Err(Error::Damaged);
        }
        read
    }
}

/// Where the sections begin.
fn check_header(header: &Header, index: &[u8], start: u64) -> Result<Sections, &'static str> {
    if header.magic != format::MAGIC {
        return Err("no index where the footer says");
    }
    if header.version.get() != format::VERSION || header.flags.get() != 0 {
        return Err("written by a newer version of layerfs; use that one");
    }
    if format::check(&index[..size_of::<Header>() - 8]) != header.check.get() {
        return Err("the header's checksum is wrong");
    }
    if header.nodes.get() == 0 {
        return Err("the index has no root");
    }
    if header.tar_length.get() > start {
        return Err("the archive is longer than the space before the index");
    }
    if header.sources.get() as usize > format::SOURCES_MAX {
        return Err("more layers than a mount can have");
    }
    if header.sources.get() > 0 && header.tar_length.get() > 0 {
        return Err("a merged index with an archive of its own");
    }
    let behind = |at: usize, count: u32, size: usize| at + count as usize * size;
    let entries = behind(size_of::<Header>(), header.nodes.get(), size_of::<Node>());
    let extents = behind(entries, header.entries.get(), size_of::<Entry>());
    let sources = behind(extents, header.extents.get(), size_of::<Extent>());
    let blob = behind(sources, header.sources.get(), size_of::<format::Source>());
    match (blob as u64).checked_add(header.blob.get()) == Some(index.len() as u64) {
        true => Ok(Sections {
            entries,
            extents,
            sources,
            blob,
        }),
        false => Err("the index is cut short, or longer than it says"),
    }
}
