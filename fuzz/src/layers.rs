//! Layers: archives that are packed, and packed layers that are read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use layerfs::error::{Error, Result};
use layerfs::layer::packed::print::print;
use layerfs::layer::packed::reader::ROOT;
use layerfs::layer::packed::walk::{find, walk};
use layerfs::layer::packed::{Limits, Pack, format, merge, pack};
use rustix::fs::MemfdFlags;
use rustix::io::ReadWriteFlags;

use crate::seeds;

/// Where tar headers have their magic, and where their sum.
const TAR_MAGIC: usize = 257;
const TAR_SUM: std::ops::Range<usize> = 148..156;

/// Directories listed at most: a damaged index may show one again and again, each time deeper.
const LISTED: usize = 2000;
/// Bytes of a file read at most.
const READ: u64 = 1 << 20;

/// Packs a tar archive. One that is taken makes a layer that verifies, begins with the archive, and can be
/// read in full.
pub fn archive(bytes: &[u8]) {
    pack_one(bytes);
    pack_one(&signed_archive(bytes));
}

/// Opens a packed layer and follows every number of it.
pub fn packed(bytes: &[u8]) {
    open_one(bytes);
    open_one(&signed_layer(bytes));
}

/// Opens a merged index; and merges a layer with sound ones, below and above. What could be merged shows
/// each name where it is listed.
pub fn merged(bytes: &[u8]) {
    for bytes in [bytes, &signed_layer(bytes)] {
        open_one(bytes);
        let sound = &seeds::layers()[..2];
        for above in [true, false] {
            let (file, path) = memory();
            file.write_all_at(bytes, 0).unwrap();
            let Ok(layer) = Pack::open(&path) else { break };
            let mut stack: Vec<Pack> = vec![layer];
            let sound = sound.iter().map(|layer| Pack::open(layer.path()).unwrap());
            stack.splice(if above { 1..1 } else { 0..0 }, sound);
            merge_one(&stack);
        }
    }
}

fn merge_one(stack: &[Pack]) {
    let (mut file, path) = memory();
    if merge(stack, "/proc/self/fd".as_ref(), &mut file).is_err() {
        return;
    }
    let merged = Pack::open(&path).expect("what was merged can be opened");
    for met in walk(&merged, b"", ROOT) {
        match met {
            Ok(met) => assert_eq!(find(&merged, &met.path), Ok(met.node)),
            Err(error) => assert_eq!(error, Error::NameTooLong),
        }
    }
    print(&merged, &mut std::io::sink()).unwrap();
}

/// A file in memory, and the path it can be opened at.
fn memory() -> (File, PathBuf) {
    let fd = rustix::fs::memfd_create("fuzz", MemfdFlags::CLOEXEC).unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    (fd.into(), path.into())
}

fn pack_one(bytes: &[u8]) {
    let (mut file, path) = memory();
    let limits = Limits {
        members: 100_000,
        bytes: 64 << 20,
    };
    let Ok(packed) = pack(bytes, "input", &mut file, limits) else {
        return;
    };
    if !bytes.starts_with(b"\x1f\x8b") && !bytes.starts_with(b"\x28\xb5\x2f\xfd") {
        let mut first = vec![0; bytes.len()];
        file.read_exact_at(&mut first, 0).unwrap();
        assert!(first == bytes, "the archive's bytes are not the layer's");
        assert_eq!(packed.archive, bytes.len() as u64);
    }
    let pack = Pack::open(&path).expect("what was packed can be opened");
    pack.verify().expect("what was packed verifies");
    let trouble = follow(&pack);
    assert!(trouble.is_none(), "what was packed is whole: {trouble:?}");
    for met in walk(&pack, b"", ROOT) {
        match met {
            Ok(met) => assert_eq!(find(&pack, &met.path), Ok(met.node)),
            // Through symlinks, directories can be made deeper than a path can be long.
            Err(error) => assert_eq!(error, Error::NameTooLong),
        }
    }
}

fn open_one(bytes: &[u8]) {
    let (file, path) = memory();
    file.write_all_at(bytes, 0).unwrap();
    if let Ok(pack) = Pack::open(&path) {
        follow(&pack);
        let names = walk(&pack, b"", ROOT).filter(Result::is_ok).count();
        assert!(names as u64 <= pack.header().entries.get().into());
        print(&pack, &mut std::io::sink()).unwrap();
        let _ = pack.verify();
    }
}

/// Follows every number; gives the first that leads nowhere.
fn follow(pack: &Pack) -> Option<String> {
    let mut trouble = None;
    let mut todo = vec![ROOT];
    for _ in 0..LISTED {
        let Some(directory) = todo.pop() else { break };
        let Err(why) = list(pack, directory, &mut todo) else {
            continue;
        };
        trouble.get_or_insert(format!("directory {directory}: {why}"));
    }
    trouble
}

fn list(pack: &Pack, directory: u32, todo: &mut Vec<u32>) -> Result<()> {
    let _ = pack.is_opaque(directory)?;
    let mut last = None;
    for named in pack.names(directory)? {
        let named = named?;
        let place = (format::hash(named.name), named.name);
        if last.replace(place).is_none_or(|last| last < place) {
            // Where the order holds, it is found.
            let found = pack.lookup(directory, named.name);
            assert!(!matches!(found, Ok(Some(found)) if found.name != named.name));
        }
        let Some(number) = named.node else { continue };
        let node = pack.node(number)?;
        pack.xattrs(node)?;
        let outside = pack.outside(node)?.is_some();
        match u32::from(named.kind) << 12 {
            libc_kind::DIRECTORY => todo.push(number),
            libc_kind::SYMLINK => drop(pack.target(node)?.len()),
            libc_kind::FILE if !outside => read(pack, number)?,
            _ => {}
        }
    }
    Ok(())
}

/// The types of st_mode.
mod libc_kind {
    pub(super) const DIRECTORY: u32 = 0o040_000;
    pub(super) const FILE: u32 = 0o100_000;
    pub(super) const SYMLINK: u32 = 0o120_000;
}

/// Reads the beginning, the middle and the end of a file, and its map of holes.
fn read(pack: &Pack, number: u32) -> Result<()> {
    let node = pack.node(number)?;
    let (data, size) = (pack.data(node)?, node.size.get());
    let mut buffer = [0; 4096];
    for at in [0, size / 2, size.saturating_sub(100), size, size + 1] {
        let read = data.read(at, &mut buffer, ReadWriteFlags::empty())?;
        let left = size.saturating_sub(at).min(buffer.len() as u64);
        assert_eq!(read as u64, left, "a short read at {at} of {size}");
    }
    let mut end = 0;
    while let Ok(start) = data.next_data(end) {
        assert!(start >= end && start < size, "data at {start} of {size}");
        end = data.next_hole(start)?;
        assert!(end > start && end <= size, "a hole at {end} of {size}");
        if end > READ {
            break;
        }
    }
    Ok(())
}

/// The archive with the sum of each header made right.
fn signed_archive(bytes: &[u8]) -> Vec<u8> {
    let mut signed = bytes.to_vec();
    let (blocks, _) = signed.as_chunks_mut::<512>();
    for block in blocks {
        if block[TAR_MAGIC..].starts_with(b"ustar") {
            block[TAR_SUM].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[TAR_SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    signed
}

/// The layer with a footer that fits, and with the sums of footer and header made right.
fn signed_layer(bytes: &[u8]) -> Vec<u8> {
    let mut signed = bytes.to_vec();
    let footer = size_of::<format::Footer>();
    let header = size_of::<format::Header>();
    let Some(end) = signed.len().checked_sub(footer) else {
        return signed;
    };
    // Cut or grown in the middle, the index still ends where the footer begins.
    let place: [u8; 8] = signed[end + 8..end + 16].try_into().unwrap();
    let start = usize::try_from(u64::from_le_bytes(place)).unwrap_or(usize::MAX);
    if start.checked_add(header).is_some_and(|first| first <= end) {
        let length = (end - start) as u64;
        signed[end + 16..end + 24].copy_from_slice(&length.to_le_bytes());
        sign(&mut signed[start..start + header]);
    }
    sign(&mut signed[end..]);
    signed
}

/// Puts the short checksum of all before into the last 8 bytes.
fn sign(bytes: &mut [u8]) {
    let (before, sum) = bytes.split_at_mut(bytes.len() - 8);
    sum.copy_from_slice(&format::check(before).to_le_bytes());
}
