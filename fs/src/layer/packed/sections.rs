//! The sections of an index while they are filled, and its bytes at the end.
//!
//! ```text
//!   builder, merged ──nodes, entries, extents, sources, blob──> Sections ──index──> header, all of it, footer
//! ```

use std::fs::File;
use std::io::{self, Write};

use sha2::{Digest, Sha256};
use zerocopy::IntoBytes;

use super::builder::Reason;
use super::format::{self, Entry, Extent, Footer, Header, NONE, Node, Source};

/// A finished index.
#[derive(Debug)]
pub(super) struct Index {
    bytes: Vec<u8>,
    footer: Footer,
    /// Bytes of the archive in front.
    tar: u64,
    pub(super) contents: u64,
}

/// An index being made.
#[derive(Default)]
pub(super) struct Sections {
    pub(super) nodes: Vec<Node>,
    pub(super) entries: Vec<Entry>,
    pub(super) extents: Vec<Extent>,
    pub(super) sources: Vec<Source>,
    pub(super) blob: Vec<u8>,
}

impl Sections {
    /// The bytes of all. `tar` is the length of the archive in front of it, `diff_id` its SHA-256 (or the
    /// chain id of a merged index), `contents` the bytes of all files.
    pub(super) fn index(
        mut self,
        tar: u64,
        diff_id: [u8; 32],
        contents: u64,
    ) -> Result<Index, Reason> {
        let count = |length: usize| u32::try_from(length).map_err(|_| too_large());
        let mut header = Header {
            magic: format::MAGIC,
            version: format::VERSION.into(),
            flags: 0.into(),
            tar_length: tar.into(),
            diff_id,
            nodes: count(self.nodes.len())?.into(),
            entries: count(self.entries.len())?.into(),
            extents: count(self.extents.len())?.into(),
            sources: count(self.sources.len())?.into(),
            blob: (self.blob.len() as u64).into(),
            contents: contents.into(),
            reserved: [0; 32],
            check: 0.into(),
        };
        let checked = size_of::<Header>() - 8;
        header.check = format::check(&header.as_bytes()[..checked]).into();
        let mut bytes = Vec::new();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(self.nodes.as_bytes());
        bytes.extend_from_slice(self.entries.as_bytes());
        bytes.extend_from_slice(self.extents.as_bytes());
        bytes.extend_from_slice(self.sources.as_bytes());
        bytes.append(&mut self.blob);
        let at = (tar + format::TAR_END).next_multiple_of(format::ALIGN);
        let mut footer = Footer {
            magic: format::FOOTER_MAGIC,
            at: at.into(),
            length: (bytes.len() as u64).into(),
            index: Sha256::digest(&bytes).into(),
            check: 0.into(),
        };
        footer.check = format::check(&footer.as_bytes()[..size_of::<Footer>() - 8]).into();
        Ok(Index {
            bytes,
            footer,
            tar,
            contents,
        })
    }

    /// Where the next bytes of the blob will lie.
    pub(super) fn offset(&self) -> Result<u32, Reason> {
        u32::try_from(self.blob.len()).map_err(|_| too_large())
    }

    /// Puts bytes into the blob; tells where.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<u32, Reason> {
        let at = self.offset()?;
        self.blob.extend_from_slice(bytes);
        Ok(at)
    }

    /// Puts attributes into the blob: a count, then for each the lengths of name and value, and both.
    pub(super) fn put_xattrs<B: AsRef<[u8]>>(&mut self, xattrs: &[(B, B)]) -> Result<u32, Reason> {
        if xattrs.is_empty() {
            return Ok(NONE);
        }
        let at = self.offset()?;
        let count =
            u16::try_from(xattrs.len()).map_err(|_| "too many extended attributes".to_owned())?;
        self.blob.extend_from_slice(&count.to_le_bytes());
        for (name, value) in xattrs {
            let (name, value) = (name.as_ref(), value.as_ref());
            self.blob
                .extend_from_slice(&(name.len() as u16).to_le_bytes());
            self.blob
                .extend_from_slice(&(value.len() as u32).to_le_bytes());
            self.blob.extend_from_slice(name);
            self.blob.extend_from_slice(value);
        }
        Ok(at)
    }
}

impl Index {
    /// Writes it behind the archive: zeros up to where it begins, its bytes, the footer.
    pub(super) fn write(&self, output: &mut File) -> io::Result<()> {
        let padding = (self.footer.at.get() - self.tar) as usize;
        output.write_all(&vec![0; padding])?;
        output.write_all(&self.bytes)?;
        output.write_all(self.footer.as_bytes())
    }
}

fn too_large() -> Reason {
    "the layer is too large for its index: 4 GiB of names".to_owned()
}
