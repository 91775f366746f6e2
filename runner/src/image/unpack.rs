//! From a tar archive to a layer directory: members in, tree calls out.

use super::tree::{Meta, Node, Tree, shown};
use archive::{Archive, Damage, Kind, Member};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

/// What an import may bring in at most; generous, against bombs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportLimits {
    /// Members of an archive, or files of a directory.
    pub entries: u64,
    /// Bytes of file contents, holes not counted.
    pub bytes: u64,
}

impl Default for ImportLimits {
    fn default() -> Self {
        Self {
            entries: 20_000_000,
            bytes: 1 << 40,
        }
    }
}

/// What stopped an import.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The archive itself is wrong.
    Damage(Damage),
    /// One entry cannot be taken.
    Entry {
        /// Its path, fit for a message.
        path: String,
        why: String,
    },
    /// The whole is too large.
    Limit(String),
}

impl From<Damage> for Stop {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

/// Inside of one entry: its reason, or what stops everything.
enum Trouble {
    Reason(String),
    Damage(Damage),
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Self::Reason(reason)
    }
}

impl From<Damage> for Trouble {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

/// Counts what came in.
#[derive(Debug)]
pub(super) struct Meter {
    limits: ImportLimits,
    entries: u64,
    pub(super) bytes: u64,
}

impl Meter {
    pub(super) fn new(limits: ImportLimits) -> Self {
        Self {
            limits,
            entries: 0,
            bytes: 0,
        }
    }

    /// Counts an entry with so many bytes of contents.
    pub(super) fn count(&mut self, bytes: u64) -> Result<(), Stop> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.entries > self.limits.entries {
            return Err(Stop::Limit(format!(
                "more than {} entries",
                self.limits.entries
            )));
        }
        if self.bytes > self.limits.bytes {
            return Err(Stop::Limit(format!(
                "more than {} bytes of files",
                self.limits.bytes
            )));
        }
        Ok(())
    }
}

/// Reads the whole archive into the tree, to its very last byte. Returns the bytes of contents.
pub(super) fn unpack(input: impl Read, tree: &mut Tree, limits: ImportLimits) -> Result<u64, Stop> {
    let mut archive = Archive::new(input);
    let mut meter = Meter::new(limits);
    let mut buffer = vec![0; 256 << 10];
    while let Some(mut member) = archive.next()? {
        meter.count(member.extents.iter().map(|(_, length)| length).sum())?;
        take(&mut archive, &mut member, tree, &mut buffer).map_err(|trouble| match trouble {
            Trouble::Damage(damage) => Stop::Damage(damage),
            Trouble::Reason(why) => Stop::Entry {
                path: shown(&member.path),
                why,
            },
        })?;
    }
    archive.drain()?;
    Ok(meter.bytes)
}

fn take<R: Read>(
    archive: &mut Archive<R>,
    member: &mut Member,
    tree: &mut Tree,
    buffer: &mut [u8],
) -> Result<(), Trouble> {
    let meta = Meta {
        mode: member.mode,
        uid: member.uid,
        gid: member.gid,
        mtime: member.mtime,
        xattrs: std::mem::take(&mut member.xattrs),
    };
    let path = &member.path;
    match member.kind {
        Kind::Directory => tree.directory(path, meta)?,
        Kind::File => tree.file(path, &meta, |file| contents(archive, member, file, buffer))?,
        Kind::Symlink => tree.symlink(path, &member.link, &meta)?,
        Kind::HardLink => tree.hard_link(path, &member.link)?,
        Kind::Fifo => tree.node(path, Node::Fifo, &meta)?,
        Kind::Char => tree.node(path, Node::Char(member.device.0, member.device.1), &meta)?,
        Kind::Block => tree.node(path, Node::Block(member.device.0, member.device.1), &meta)?,
    }
    Ok(())
}

/// Writes the stored pieces at their places; the rest stays holes.
fn contents<R: Read>(
    archive: &mut Archive<R>,
    member: &Member,
    file: &mut File,
    buffer: &mut [u8],
) -> Result<(), Trouble> {
    let failed = |e: std::io::Error| Trouble::Reason(format!("cannot write: {e}"));
    let mut end = 0;
    for &(offset, length) in &member.extents {
        if offset != end {
            file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        }
        let mut left = length;
        while left > 0 {
            let want = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = archive.read(&mut buffer[..want])?;
            file.write_all(&buffer[..read]).map_err(failed)?;
            left -= read as u64;
        }
        end = offset + length;
    }
    if member.size > end {
        file.set_len(member.size).map_err(failed)
    } else {
        Ok(())
    }
}
