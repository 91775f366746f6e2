//! The bytes of a packed layer; everything little-endian.
//!
//! ```text
//!   0            tar: the layer's uncompressed archive, every byte of it
//!                zeros: at least 1024, up to the next multiple of 4096          tar(1) stops reading here
//!   index  +0    Header    128 bytes
//!          +128  Node      64 bytes each; number 0 is the root
//!                Entry     16 bytes each: of one directory together, by hash, then name
//!                Extent    24 bytes each: stored pieces of sparse files
//!                Source    80 bytes each: the layers of a merged index, the lowest first; else none
//!                blob      names, symlink targets, extended attributes
//!   end - 64     Footer: where the index is, and its SHA-256
//! ```
//!
//! What is checked when: opening checks footer, header and that the sections lie in the index, in a time
//! that does not depend on the size; every access checks the numbers it follows; `verify` reads all
//! and compares both hashes. A number that leads outside is [`crate::error::Error::Damaged`], EIO.
//! Directories refer to children with higher numbers only, so nothing can loop.
//!
//! A *merged index* (`NAME.idx`) is the same with no tar in front: it shows what its sources show as one
//! stack, and the data of its files lies in theirs.

use sha2::{Digest, Sha256};
use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of an index.
pub const MAGIC: [u8; 8] = *b"LFSINDEX";
/// First bytes of a footer.
pub const FOOTER_MAGIC: [u8; 8] = *b"LFSFOOT\n";
/// The version that is written; others are refused.
pub const VERSION: u32 = 1;
/// Where an index may begin.
pub const ALIGN: u64 = 4096;
/// The most layers a merged index may be of: as many as a mount may have.
pub const SOURCES_MAX: usize = (1 << 15) - 1;
/// Zeros that end a tar archive.
pub const TAR_END: u64 = 1024;
/// No number: an entry that is a whiteout, a node without attributes.
pub const NONE: u32 = u32::MAX;

/// The index's beginning.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: U32,
    /// 0; others are refused.
    pub flags: U32,
    /// Bytes of the tar in front.
    pub tar_length: U64,
    /// SHA-256 of the tar: the layer's diff id. Of a merged index: the chain id of its layers
    /// (OCI image specification, config.md).
    pub diff_id: [u8; 32],
    /// How many nodes there are.
    pub nodes: U32,
    /// How many entries.
    pub entries: U32,
    /// How many extents.
    pub extents: U32,
    /// How many sources: 0 unless the index is a merged one.
    pub sources: U32,
    /// Bytes of the blob.
    pub blob: U64,
    /// Bytes of file contents.
    pub contents: U64,
    /// 0.
    pub reserved: [u8; 32],
    /// [`check`] of all before.
    pub check: U64,
}

/// One inode.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Node {
    /// Bytes of a file or of a symlink's target.
    pub size: U64,
    /// Of a file: where its bytes begin in the tar, or its first extent if it is [`SPARSE`]. Of a
    /// directory: its first entry. Of a symlink: its target in the blob. Of a device: its number. Of an
    /// outside link: the target's path in the blob.
    pub data: U64,
    /// Seconds since 1970.
    pub mtime: I64,
    /// Type and permission bits, as st_mode.
    pub mode: U32,
    /// Nanoseconds.
    pub nanos: U32,
    /// Owner.
    pub uid: U32,
    /// Group.
    pub gid: U32,
    /// How many names a non-directory has; subdirectories and 2 for a directory.
    pub nlink: U32,
    /// Its extended attributes in the blob, or [`NONE`].
    pub xattrs: U32,
    /// How many entries or extents; length of an outside link's target.
    pub count: U32,
    /// In a merged index: the source it is of; of a directory, the uppermost. Else 0.
    pub source: U16,
    /// [`OPAQUE`] and so on.
    pub flags: U16,
    /// In a merged index: its number there. Else 0.
    pub origin: U32,
    /// 0.
    pub reserved: U32,
}

/// The directory hides what is below.
pub const OPAQUE: u16 = 1;
/// The file's data is in extents.
pub const SPARSE: u16 = 2;
/// A hard link to a path that is not of this layer: what lower layers have there.
pub const OUTSIDE: u16 = 4;

/// One name in a directory.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Entry {
    /// [`hash`] of the name.
    pub hash: U32,
    /// The name in the blob.
    pub name: U32,
    /// The node, or [`NONE`] for a whiteout.
    pub node: U32,
    /// Bytes of the name, 1 to 255.
    pub length: u8,
    /// The type: st_mode's upper four bits; 0 for a whiteout.
    pub kind: u8,
    /// 0.
    pub reserved: U16,
}

/// A stored piece of a sparse file.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Extent {
    /// Where it belongs in the file.
    pub logical: U64,
    /// Where it lies in the tar.
    pub physical: U64,
    /// Its bytes.
    pub length: U64,
}

/// A layer that a merged index is of.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Source {
    /// SHA-256 of its index, as its footer has it.
    pub index: [u8; 32],
    /// SHA-256 of its tar.
    pub diff_id: [u8; 32],
    /// Bytes of its tar.
    pub tar_length: U64,
    /// Its path in the blob, from the directory that the merged index lies in.
    pub path: U32,
    /// Bytes of the path.
    pub length: U32,
}

/// The file's end.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Footer {
    /// [`FOOTER_MAGIC`].
    pub magic: [u8; 8],
    /// Where the index begins.
    pub at: U64,
    /// Its bytes.
    pub length: U64,
    /// Its SHA-256.
    pub index: [u8; 32],
    /// [`check`] of all before.
    pub check: U64,
}

/// A short checksum: the first 8 bytes of the SHA-256.
pub fn check(bytes: &[u8]) -> u64 {
    let hash = Sha256::digest(bytes);
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(first)
}

/// The place of a name among its siblings: FNV-1a, folded. Names made to meet cost a comparison each in
/// a binary search, no more.
pub fn hash(name: &[u8]) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash ^ (hash >> 32)) as u32
}

const _: () = assert!(size_of::<Header>() == 128);
const _: () = assert!(size_of::<Node>() == 64);
const _: () = assert!(size_of::<Entry>() == 16);
const _: () = assert!(size_of::<Extent>() == 24);
const _: () = assert!(size_of::<Source>() == 80);
const _: () = assert!(size_of::<Footer>() == 64);
