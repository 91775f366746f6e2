//! Tar archives as streams: reading, members with their extensions resolved; writing in [`Writer`].
//!
//! ```text
//! [x: pax records] [L: long name] [K: long link] header | data, padded to 512 | ... | zero block
//! ```
//!
//! Header fields are decoded by the `tar` crate. The stream around them is ours, because the
//! crate's own (0.4.46) splits pax records at newlines, which cuts binary values such as file
//! capabilities and then ignores the rest, size included; it takes an archive cut between two
//! members for a whole one; and it cannot say at which byte something is wrong. All numbers and
//! lengths come from the archive and are checked before they are used. Names are the caller's to check.

mod acl;
mod packing;
mod sparse;
mod writer;

pub use packing::{Packing, is_tar, start_of};
pub use writer::{Meta, WriteError, Writer};

use std::collections::BTreeMap;
use std::io::Read;
use tar::{EntryType, GnuExtSparseHeader, Header};

/// Bytes in a block.
const BLOCK: u64 = 512;

/// Most bytes of a file: what off_t holds.
const LARGEST: u64 = i64::MAX.cast_unsigned();

/// Most bytes that the extensions of one member may take.
const LONGEST_EXTENSION: u64 = 4 << 20;

/// What is wrong, and where in the uncompressed archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Damage {
    /// Byte of the uncompressed archive.
    pub offset: u64,
    /// What, in words.
    pub why: String,
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// One more name of an earlier member.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One member of an archive.
#[derive(Debug)]
pub struct Member {
    /// What it is.
    pub kind: Kind,
    /// Its path as it stands in the archive, unchecked.
    pub path: Vec<u8>,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Names and values of extended attributes, unchecked.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Size of the file, holes included.
    pub size: u64,
    /// Where the stored data belongs: offset and length each, in order.
    pub extents: Vec<(u64, u64)>,
}

/// Attributes that mean something to union file systems: never taken from input, which is data and not
/// instructions.
const INSTRUCTIONS: [&[u8]; 4] = [
    b"trusted.overlay.",
    b"user.overlay.",
    b"user.fuseoverlayfs.",
    b"user.containers.override",
];

/// Whether an extended attribute of this name would tell a union file system what to show; see
/// [`Member::xattrs`].
pub fn is_instruction(xattr: &[u8]) -> bool {
    INSTRUCTIONS.iter().any(|prefix| xattr.starts_with(prefix))
}

/// Records of a pax header, in order.
type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// An archive being read.
#[derive(Debug)]
pub struct Archive<R> {
    input: R,
    /// Bytes read so far.
    offset: u64,
    /// Data of the current member not read yet.
    left: u64,
    /// Padding after it.
    padding: u64,
    global: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Extensions in front of a member.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Records,
    any: bool,
}

impl<R: Read> Archive<R> {
    /// The archive that `input` gives, uncompressed.
    pub fn new(input: R) -> Self {
        Self {
            input,
            offset: 0,
            left: 0,
            padding: 0,
            global: BTreeMap::new(),
        }
    }

    /// The next member; `None` at the end mark. What was not read of the one before is passed over.
    ///
    /// # Errors
    /// What follows is no member, or ends too early.
    #[expect(clippy::should_implement_trait, reason = "it can fail")]
    pub fn next(&mut self) -> Result<Option<Member>, Damage> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let start = self.offset;
            let at = |why: &str| Damage {
                offset: start,
                why: why.to_owned(),
            };
            let mut header = Header::new_old();
            self.fill(header.as_mut_bytes())?;
            if header.as_bytes().iter().all(|&byte| byte == 0) {
                return match extensions.any {
                    true => Err(at("a member is announced but does not follow")),
                    false => Ok(None),
                };
            }
            check_sum(&header).map_err(|why| at(&why))?;
            let size = header.entry_size().map_err(|e| at(&e.to_string()))?;
            let kind = header.entry_type();
            extensions.any = true;
            match kind {
                EntryType::GNULongName => extensions.path = Some(self.text(size)?),
                EntryType::GNULongLink => extensions.link = Some(self.text(size)?),
                EntryType::XHeader => {
                    let data = self.extension(size)?;
                    extensions
                        .records
                        .extend(records(&data).map_err(|why| at(&why))?);
                }
                EntryType::XGlobalHeader => {
                    let data = self.extension(size)?;
                    self.global.extend(records(&data).map_err(|why| at(&why))?);
                    extensions.any = false;
                }
                // Volume labels are no member.
                other if other.as_byte() == b'V' => {
                    self.expect(size).map_err(|why| at(&why))?;
                    extensions.any = false;
                }
                _ => return self.member(&header, size, extensions, start).map(Some),
            }
        }
    }

    /// Where the next byte to read lies: behind [`Self::next`], the member's data.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the stored data of the current member; 0 at its end.
    ///
    /// # Errors
    /// The archive ends too early, or cannot be read.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Damage> {
        let want = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.fill(&mut buffer[..want])?;
        self.left -= want as u64;
        Ok(want)
    }

    /// Reads what follows the end mark, so that checksums and digests cover all of it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn drain(mut self) -> Result<(), Damage> {
        let mut buffer = [0; 32 << 10];
        loop {
            match self.input.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => self.offset += n as u64,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.broken(&e)),
            }
        }
    }

    fn member(
        &mut self,
        header: &Header,
        size: u64,
        extensions: Extensions,
        start: u64,
    ) -> Result<Member, Damage> {
        let at = |why: String| Damage { offset: start, why };
        let own = |key: &str| self.own(&extensions.records, key);
        let number = |key: &str, plain: std::io::Result<u64>| match own(key) {
            Some(text) => decimal(text).ok_or_else(|| at(format!("pax {key} is no number"))),
            None => plain.map_err(|e| at(e.to_string())),
        };
        let old = header.as_old();
        let id = |key: &str, plain| {
            let n = number(key, plain)?;
            let id = u32::try_from(n).ok().filter(|&id| id != u32::MAX);
            id.ok_or_else(|| at(format!("{key} {n} is out of range")))
        };
        let stored = number("size", Ok(size))?;
        let mtime = match own("mtime") {
            Some(text) => time(text).ok_or_else(|| at("pax mtime is no time".to_owned()))?,
            None if is_empty(&old.mtime) => (0, 0),
            None => (header.mtime().map_err(|e| at(e.to_string()))? as i64, 0),
        };
        let path = own("GNU.sparse.name").or_else(|| own("path")).cloned();
        let path = path.or_else(|| extensions.path.clone());
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = own("linkpath").or(extensions.link.as_ref()).cloned();
        let link = link.or_else(|| header.link_name_bytes().map(|l| l.into_owned()));
        let kind = kind(header, &path).map_err(at)?;
        let device = match kind {
            Kind::Char | Kind::Block => device(header).ok_or_else(|| at("no device".into()))?,
            _ => (0, 0),
        };
        let xattrs = extensions.records.iter().filter_map(|(key, value)| {
            Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value.clone()))
        });
        let mut xattrs: Vec<_> = xattrs.collect();
        let mut mode = or_zero(&old.mode, header.mode()).map_err(|e| at(e.to_string()))? & 0o7777;
        for (record, attribute) in acl::ATTRIBUTES {
            // Where both are there, the kernel's own form is what the text was made of.
            let known = xattrs.iter().any(|(name, _)| name == attribute.as_bytes());
            let text = own(record).filter(|_| !known && kind != Kind::Symlink);
            if let Some(list) = text.and_then(|text| acl::encode(text)) {
                xattrs.push((attribute.as_bytes().to_vec(), list.value));
                if record == acl::ACCESS {
                    mode = mode & !0o777 | list.mode;
                }
            }
        }
        let mut member = Member {
            kind,
            path,
            link: link.unwrap_or_default(),
            mode,
            uid: id("uid", or_zero(&old.uid, header.uid()))?,
            gid: id("gid", or_zero(&old.gid, header.gid()))?,
            mtime,
            device,
            xattrs,
            size: 0,
            extents: Vec::new(),
        };
        // Only files have data; a size on anything else is noise, as for Go's and Python's readers.
        let data = if kind == Kind::File { stored } else { 0 };
        self.expect(data).map_err(at)?;
        if kind == Kind::File {
            (member.size, member.extents) = self.map(header, &extensions.records, stored, start)?;
        }
        Ok(member)
    }

    /// The pax record of a key: the member's last one, else the global one.
    fn own<'a>(&'a self, records: &'a Records, key: &str) -> Option<&'a Vec<u8>> {
        let found = records.iter().rev().find(|(k, _)| k == key.as_bytes());
        found
            .map(|(_, v)| v)
            .or_else(|| self.global.get(key.as_bytes()))
    }

    /// Size of a file and where its stored bytes belong.
    fn map(
        &mut self,
        header: &Header,
        records: &Records,
        stored: u64,
        start: u64,
    ) -> Result<(u64, Vec<(u64, u64)>), Damage> {
        let at = |why: String| Damage { offset: start, why };
        if header.entry_type() == EntryType::GNUSparse {
            let gnu = header
                .as_gnu()
                .ok_or_else(|| at("sparse without a GNU header".into()))?;
            let mut map = sparse::old(&gnu.sparse).map_err(at)?;
            let mut more = gnu.is_extended();
            // These blocks stand between header and data and are not counted in its size.
            while more {
                let mut block = GnuExtSparseHeader::new();
                self.fill(block.as_mut_bytes())?;
                map.extend(sparse::old(&block.sparse).map_err(at)?);
                more = block.is_extended();
                sparse::check_count(map.len()).map_err(at)?;
            }
            let size = gnu.real_size().map_err(|e| at(e.to_string()))?;
            return sparse::check(map, size, stored)
                .map(|map| (size, map))
                .map_err(at);
        }
        match sparse::pax(records).map_err(at)? {
            None if stored == 0 => Ok((0, Vec::new())),
            None => Ok((stored, vec![(0, stored)])),
            Some((size, Some(map))) => sparse::check(map, size, stored)
                .map(|map| (size, map))
                .map_err(at),
            Some((size, None)) => {
                let map = self.map_in_data()?;
                sparse::check(map, size, self.left)
                    .map(|map| (size, map))
                    .map_err(at)
            }
        }
    }

    /// The map of pax sparse format 1.0: decimal lines in front of the data, padded to a block.
    fn map_in_data(&mut self) -> Result<Vec<(u64, u64)>, Damage> {
        let mut lines = sparse::Lines::default();
        let mut block = [0; BLOCK as usize];
        while !lines.complete() {
            let offset = self.offset;
            let at = |why: String| Damage { offset, why };
            if self.left < BLOCK {
                return Err(at("sparse map is cut short".to_owned()));
            }
            self.read(&mut block)?;
            lines.push(&block).map_err(at)?;
        }
        Ok(lines.map())
    }

    fn text(&mut self, size: u64) -> Result<Vec<u8>, Damage> {
        let mut data = self.extension(size)?;
        let end = data.iter().position(|&b| b == 0).unwrap_or(data.len());
        data.truncate(end);
        Ok(data)
    }

    /// Reads the data of an extension header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Damage> {
        if size > LONGEST_EXTENSION {
            let why = format!("an extension header of {size} bytes; at most 4 MiB are read");
            return Err(Damage {
                offset: self.offset,
                why,
            });
        }
        let offset = self.offset;
        self.expect(size).map_err(|why| Damage { offset, why })?;
        let mut data = vec![0; size as usize];
        self.read(&mut data)?;
        Ok(data)
    }

    /// Notes that so many bytes of data follow.
    fn expect(&mut self, size: u64) -> Result<(), String> {
        let end = size.checked_next_multiple_of(BLOCK);
        let end = end
            .filter(|end| *end <= LARGEST)
            .ok_or("size out of range")?;
        (self.left, self.padding) = (size, end - size);
        Ok(())
    }

    /// Passes over what is left of the current member.
    fn skip(&mut self) -> Result<(), Damage> {
        let mut buffer = [0; 32 << 10];
        while self.left > 0 {
            self.read(&mut buffer)?;
        }
        let padding = std::mem::take(&mut self.padding) as usize;
        self.fill(&mut buffer[..padding])
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), Damage> {
        while !buffer.is_empty() {
            match self.input.read(buffer) {
                Ok(0) => {
                    let why = "cut short: the archive ends before its end mark".to_owned();
                    return Err(Damage {
                        offset: self.offset,
                        why,
                    });
                }
                Ok(n) => {
                    self.offset += n as u64;
                    buffer = &mut buffer[n..];
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.broken(&e)),
            }
        }
        Ok(())
    }

    fn broken(&self, error: &std::io::Error) -> Damage {
        let why = match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "cut short: the compressed data ends too early",
            _ => {
                return Damage {
                    offset: self.offset,
                    why: format!("cannot read on: {error}"),
                };
            }
        };
        Damage {
            offset: self.offset,
            why: why.to_owned(),
        }
    }
}

fn kind(header: &Header, path: &[u8]) -> Result<Kind, String> {
    let old = header.as_old().linkflag == [0];
    Ok(match header.entry_type() {
        // Old archives mark directories by the slash alone.
        EntryType::Regular if old && path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Link => Kind::HardLink,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Char => Kind::Char,
        EntryType::Block => Kind::Block,
        EntryType::Directory => Kind::Directory,
        EntryType::Fifo => Kind::Fifo,
        other => {
            let letter = (other.as_byte() as char).escape_default();
            return Err(format!("member of an unknown type '{letter}'"));
        }
    })
}

fn device(header: &Header) -> Option<(u32, u32)> {
    Some((header.device_major().ok()??, header.device_minor().ok()??))
}

fn check_sum(header: &Header) -> Result<(), String> {
    let bytes = header.as_bytes();
    let sum = bytes[..148]
        .iter()
        .chain(&bytes[156..])
        .map(|&b| u32::from(b))
        .sum::<u32>();
    match header.cksum() {
        Ok(wanted) if wanted == sum + 8 * u32::from(b' ') => Ok(()),
        _ => Err("not a tar header (its checksum is wrong)".to_owned()),
    }
}

/// The `length key=value\n` records of a pax header; values may hold any byte.
fn records(mut data: &[u8]) -> Result<Records, String> {
    let bad = || "malformed pax record".to_owned();
    let mut records = Vec::new();
    while !data.is_empty() {
        let space = data.iter().position(|&b| b == b' ').ok_or_else(bad)?;
        let length = decimal(&data[..space]).ok_or_else(bad)?;
        let length = usize::try_from(length)
            .ok()
            .filter(|&n| n > space + 1 && n <= data.len());
        let (record, rest) = data.split_at(length.ok_or_else(bad)?);
        let record = record[space + 1..].strip_suffix(b"\n").ok_or_else(bad)?;
        let equals = record.iter().position(|&b| b == b'=').ok_or_else(bad)?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        data = rest;
    }
    Ok(records)
}

/// A plain decimal number.
fn decimal(text: &[u8]) -> Option<u64> {
    let plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    plain
        .then(|| std::str::from_utf8(text).ok()?.parse().ok())
        .flatten()
}

/// Whether a field of a header was left out: other readers take that for 0.
fn is_empty(field: &[u8]) -> bool {
    field.iter().all(|&b| b == 0 || b == b' ')
}

fn or_zero<T: Default>(field: &[u8], value: std::io::Result<T>) -> std::io::Result<T> {
    if is_empty(field) {
        Ok(T::default())
    } else {
        value
    }
}

/// A pax time: seconds with an optional sign and fraction, as seconds and nanoseconds.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |&b| b == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = match parts.next() {
        Some(digits) if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => (0..9)
            .fold(0, |n, i| {
                n * 10 + u32::from(digits.get(i).map_or(0, |d| d - b'0'))
            }),
        Some(digits) if !digits.is_empty() => return None,
        _ => 0,
    };
    Some(match (negative, fraction) {
        (false, nanos) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, nanos) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pax_records_hold_any_byte() {
        let data = b"11 a=x\n\xff\0=\n11 mtime=1\n";
        let parsed = records(data).unwrap();
        assert_eq!(parsed[0], (b"a".to_vec(), b"x\n\xff\0=".to_vec()));
        assert_eq!(parsed[1].0, b"mtime");
        for bad in [
            &b"5 a=b"[..],
            b"99 a=b\n",
            b"x a=b\n",
            b"0 a=b\n",
            b"6 aab\n",
            b"3 \n",
        ] {
            assert!(records(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn pax_times() {
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"7.123456789123"), Some((7, 123_456_789)));
        assert_eq!(time(b"-3"), Some((-3, 0)));
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b""), None);
    }
}
