//! Writing a tar archive as a stream: pax, so that nothing is lost, and the same bytes for the same calls.
//!
//! ```text
//! [x: size path linkpath mtime uid gid SCHILY.xattr.* GNU.sparse.*] header | [map] data, padded
//! ```
//!
//! A file with holes is written in GNU's sparse form 1.0, which docker reads as well. Attributes
//! that mean something to union file systems are left out. Names are the caller's to check.

use crate::{Kind, Records, is_instruction};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use tar::{EntryType, Header};

/// Size of a block.
const BLOCK: usize = 512;

/// Holes of fewer bytes together are written as zeroes.
const WORTH: u64 = 64 << 10;

/// The largest values that the header's own fields hold.
const MOST_ID: u64 = 0o7_777_777;
const MOST_SIZE: u64 = 0o77_777_777_777;

/// Owner, mode, time and attributes of a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970, and nanoseconds after them.
    pub mtime: (i64, u32),
    /// Names and values of extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What failed: the file that goes in, or the archive that comes out.
#[derive(Debug)]
pub enum WriteError {
    /// A file's contents could not be read.
    Read(io::Error),
    /// The archive could not be written.
    Write(io::Error),
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot read its contents: {error}"),
            Self::Write(error) => write!(f, "cannot write the archive: {error}"),
        }
    }
}

impl std::error::Error for WriteError {}

fn unread(errno: Errno) -> WriteError {
    WriteError::Read(errno.into())
}

/// An archive being written. Paths are relative, without a leading or trailing slash.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Starts an archive; `to` needs no buffer of its own for large files, but gains from one for many.
    pub fn new(to: W) -> Self {
        Self {
            to,
            buffer: vec![0; 256 << 10],
        }
    }

    /// Writes the end mark and flushes. Gives back what was written to.
    ///
    /// # Errors
    /// [`WriteError::Write`].
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.write(&[0; 2 * BLOCK])?;
        self.to.flush().map_err(WriteError::Write)?;
        Ok(self.to)
    }

    /// Writes a directory.
    ///
    /// # Errors
    /// [`WriteError::Write`].
    pub fn directory(&mut self, path: &[u8], meta: &Meta) -> Result<(), WriteError> {
        let path = [path, b"/"].concat();
        self.member(
            (EntryType::Directory, &path, b""),
            meta,
            0,
            None,
            Vec::new(),
        )
    }

    /// Writes a symbolic link.
    ///
    /// # Errors
    /// [`WriteError::Write`].
    pub fn symlink(&mut self, path: &[u8], target: &[u8], meta: &Meta) -> Result<(), WriteError> {
        self.member(
            (EntryType::Symlink, path, target),
            meta,
            0,
            None,
            Vec::new(),
        )
    }

    /// Writes one more name of an earlier member. `meta` is that one's: docker gives it to the file
    /// once more (moby/pkg/archive, `createTarFile`).
    ///
    /// # Errors
    /// [`WriteError::Write`].
    pub fn hard_link(&mut self, path: &[u8], first: &[u8], meta: &Meta) -> Result<(), WriteError> {
        self.member((EntryType::Link, path, first), meta, 0, None, Vec::new())
    }

    /// Writes a pipe or a device, `device` being major and minor.
    ///
    /// # Errors
    /// [`WriteError::Write`]; a kind that is no node, or numbers that no header holds.
    pub fn node(
        &mut self,
        path: &[u8],
        kind: Kind,
        device: (u32, u32),
        meta: &Meta,
    ) -> Result<(), WriteError> {
        let (kind, device) = match kind {
            Kind::Fifo => (EntryType::Fifo, None),
            Kind::Char => (EntryType::Char, Some(device)),
            Kind::Block => (EntryType::Block, Some(device)),
            _ => return Err(WriteError::Write(ErrorKind::InvalidInput.into())),
        };
        self.member((kind, path, b""), meta, 0, device, Vec::new())
    }

    /// Writes an open file, its holes as holes; what it lacks by the time it is read is zeroes, what it
    /// has grown is left out. Returns the bytes of contents.
    ///
    /// # Errors
    /// Either of [`WriteError`].
    pub fn file(&mut self, path: &[u8], meta: &Meta, from: &File) -> Result<u64, WriteError> {
        let size = rustix::fs::fstat(from).map_err(unread)?.st_size;
        let size = u64::try_from(size).unwrap_or(0);
        let pieces = pieces(from, size).map_err(unread)?;
        let stored: u64 = pieces.iter().map(|(_, length)| length).sum();
        if size - stored < WORTH {
            rustix::fs::seek(from, SeekFrom::Start(0)).map_err(unread)?;
            return self.contents(path, meta, size, from);
        }
        let mut map = format!("{}\n", pieces.len());
        for (offset, length) in &pieces {
            map.push_str(&format!("{offset}\n{length}\n"));
        }
        let mut map = map.into_bytes();
        map.resize(map.len().next_multiple_of(BLOCK), 0);
        let pair = |key: &str, value: &[u8]| (key.as_bytes().to_vec(), value.to_vec());
        let records = vec![
            pair("GNU.sparse.major", b"1"),
            pair("GNU.sparse.minor", b"0"),
            pair("GNU.sparse.name", path),
            pair("GNU.sparse.realsize", size.to_string().as_bytes()),
        ];
        let whole = map.len() as u64 + stored;
        let name = (EntryType::Regular, &b"GNUSparseFile.0/file"[..], &b""[..]);
        self.member(name, meta, whole, None, records)?;
        self.write(&map)?;
        for (offset, length) in pieces {
            rustix::fs::seek(from, SeekFrom::Start(offset)).map_err(unread)?;
            self.data(from, length)?;
        }
        self.pad(whole)?;
        Ok(stored)
    }

    /// Writes a file of `size` bytes that `from` gives; what it lacks is zeroes. Returns the size.
    ///
    /// # Errors
    /// Either of [`WriteError`].
    pub fn contents(
        &mut self,
        path: &[u8],
        meta: &Meta,
        size: u64,
        from: impl Read,
    ) -> Result<u64, WriteError> {
        self.member(
            (EntryType::Regular, path, b""),
            meta,
            size,
            None,
            Vec::new(),
        )?;
        self.data(from, size)?;
        self.pad(size)?;
        Ok(size)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.to.write_all(bytes).map_err(WriteError::Write)
    }

    fn pad(&mut self, length: u64) -> Result<(), WriteError> {
        let over = usize::try_from(length % BLOCK as u64).unwrap_or(0);
        let padding = [0; BLOCK];
        self.write(&padding[..(BLOCK - over) % BLOCK])
    }

    /// Writes a member's headers; its data, `stored` bytes, is to follow.
    fn member(
        &mut self,
        (kind, path, link): (EntryType, &[u8], &[u8]),
        meta: &Meta,
        stored: u64,
        device: Option<(u32, u32)>,
        mut records: Records,
    ) -> Result<(), WriteError> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(meta.mode);
        let field = &mut header.as_old_mut().name;
        let fits = path.len().min(field.len());
        field[..fits].copy_from_slice(&path[..fits]);
        if path.len() > fits {
            records.push((b"path".to_vec(), path.to_vec()));
        }
        let field = &mut header.as_old_mut().linkname;
        let fits = link.len().min(field.len());
        field[..fits].copy_from_slice(&link[..fits]);
        if link.len() > fits {
            records.push((b"linkpath".to_vec(), link.to_vec()));
        }
        let mut number = |key: &str, value: u64, most: u64| {
            if value > most {
                records.push((key.as_bytes().to_vec(), value.to_string().into_bytes()));
            }
            value.min(most)
        };
        header.set_uid(number("uid", meta.uid.into(), MOST_ID));
        header.set_gid(number("gid", meta.gid.into(), MOST_ID));
        header.set_size(number("size", stored, MOST_SIZE));
        let (seconds, nanos) = meta.mtime;
        header.set_mtime(u64::try_from(seconds).unwrap_or(0).min(MOST_SIZE));
        if nanos != 0 || !(0..=MOST_SIZE.cast_signed()).contains(&seconds) {
            records.push((b"mtime".to_vec(), pax_time(seconds, nanos).into_bytes()));
        }
        if let Some((major, minor)) = device {
            let set = header.set_device_major(major);
            set.and_then(|()| header.set_device_minor(minor))
                .map_err(WriteError::Write)?;
        }
        for (key, value) in meta.xattrs.iter().filter(|(key, _)| !is_instruction(key)) {
            records.push(([b"SCHILY.xattr.", key.as_slice()].concat(), value.clone()));
        }
        self.extension(&records)?;
        header.set_cksum();
        self.write(header.as_bytes())
    }

    /// Writes a pax header in front of a member, if there is anything to say.
    fn extension(&mut self, records: &Records) -> Result<(), WriteError> {
        if records.is_empty() {
            return Ok(());
        }
        let data: Vec<u8> = records
            .iter()
            .flat_map(|(key, value)| record(key, value))
            .collect();
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        let name = b"PaxHeaders/member";
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.write(header.as_bytes())?;
        self.write(&data)?;
        self.pad(data.len() as u64)
    }

    /// Copies so many bytes of a file; what it lacks meanwhile is zeroes.
    fn data(&mut self, mut from: impl Read, length: u64) -> Result<(), WriteError> {
        let mut left = length;
        while left > 0 {
            let want = self
                .buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = match from.read(&mut self.buffer[..want]) {
                Ok(0) => {
                    self.buffer[..want].fill(0);
                    want
                }
                Ok(read) => read,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(WriteError::Read(e)),
            };
            let written = self.to.write_all(&self.buffer[..read]);
            written.map_err(WriteError::Write)?;
            left -= read as u64;
        }
        Ok(())
    }
}

/// Where a file has data: offset and length each.
fn pieces(from: &File, size: u64) -> rustix::io::Result<Vec<(u64, u64)>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < size {
        let (start, end) = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) if start >= size => break,
            Ok(start) => (
                start,
                rustix::fs::seek(from, SeekFrom::Hole(start))?.min(size),
            ),
            Err(Errno::NXIO) => break, // only a hole is left
            Err(Errno::INVAL) => (at, size),
            Err(errno) => return Err(errno),
        };
        found.push((start, end - start));
        at = end.max(at + 1);
    }
    // Readers learn the size from the last piece.
    if found
        .last()
        .is_none_or(|(start, length)| start + length < size)
    {
        found.push((size, 0));
    }
    Ok(found)
}

/// `length key=value\n`, the length counting itself.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} ").into_bytes();
    record.extend_from_slice(key);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// Seconds and nanoseconds after them, as pax has it.
fn pax_time(seconds: i64, nanos: u32) -> String {
    let (sign, whole, nanos) = match (seconds, nanos) {
        (0.., _) => ("", seconds, nanos),
        (_, 0) => ("-", -seconds, 0),
        _ => ("-", -(seconds + 1), 1_000_000_000 - nanos),
    };
    if nanos == 0 {
        return format!("{sign}{whole}");
    }
    format!("{sign}{whole}.{nanos:09}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn records_count_themselves() {
        assert_eq!(record(b"a", b"x"), b"6 a=x\n");
        for length in 80..120 {
            let whole = record(b"key", &vec![b'x'; length]);
            let told: usize = std::str::from_utf8(&whole)
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(told, whole.len());
        }
    }

    #[test]
    fn times_before_1970() {
        assert_eq!(pax_time(-2, 500_000_000), "-1.500000000");
        assert_eq!(pax_time(-3, 0), "-3");
        assert_eq!(pax_time(5, 1), "5.000000001");
    }

    /// What is written is read back: long names, large numbers, binary attributes, holes.
    #[test]
    fn what_is_written_is_read() {
        let meta = Meta {
            mode: 0o4755,
            uid: 3_000_000_000,
            gid: 7,
            mtime: (-5, 250_000_000),
            xattrs: vec![
                (b"user.x".to_vec(), b"a\n\xff\0=".to_vec()),
                (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
            ],
        };
        let long = [b'n'; 300];
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"begin").unwrap();
        file.set_len(10 << 20).unwrap();
        let mut writer = Writer::new(Vec::new());
        writer.directory(b"d", &meta).unwrap();
        writer.symlink(b"d/l", &long, &meta).unwrap();
        writer.file(&long, &meta, &file).unwrap();
        writer.contents(b"c", &meta, 3, &b"ab"[..]).unwrap();
        writer.hard_link(b"h", &long, &meta).unwrap();
        writer.node(b"n", Kind::Char, (1, 3), &meta).unwrap();
        let bytes = writer.finish().unwrap();
        assert!(bytes.len() < 64 << 10, "the hole is not stored");

        let mut archive = crate::Archive::new(&bytes[..]);
        let mut seen = Vec::new();
        while let Some(member) = archive.next().unwrap() {
            let mut data = vec![0; 16 << 10];
            let mut length = 0;
            loop {
                match archive.read(&mut data[length..]).unwrap() {
                    0 => break,
                    read => length += read,
                }
            }
            assert_eq!(
                (member.mode, member.uid, member.gid),
                (0o4755, 3_000_000_000, 7)
            );
            assert_eq!(member.mtime, (-5, 250_000_000));
            assert_eq!(member.xattrs, meta.xattrs[..1]);
            seen.push((member, data[..length].to_vec()));
        }
        assert_eq!(seen[0].0.path, b"d/");
        assert_eq!(
            (&seen[1].0.kind, &seen[1].0.link[..]),
            (&Kind::Symlink, &long[..])
        );
        assert_eq!((&seen[2].0.path[..], seen[2].0.size), (&long[..], 10 << 20));
        assert!(seen[2].1.starts_with(b"begin"));
        assert_eq!(seen[3].1, b"ab\0");
        assert_eq!(
            (&seen[4].0.kind, &seen[4].0.link[..]),
            (&Kind::HardLink, &long[..])
        );
        assert_eq!((&seen[5].0.kind, seen[5].0.device), (&Kind::Char, (1, 3)));
    }
}
