//! How a file is packed: told by how it starts, and undone as it is read.

use std::io::{self, BufRead, Read};

/// Bytes from which all can be told.
const START: usize = 512;

/// Where a tar header has its magic; the old and the POSIX form begin alike.
const TAR_MAGIC: (usize, &[u8]) = (257, b"ustar");

/// What a file is packed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Nothing that is known.
    Plain,
    /// gzip, of one or more members.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Packing {
    /// Tells it by a file's first bytes.
    ///
    /// # Errors
    /// The name of the program that unpacks it, where we do not: xz, bzip2.
    pub fn of(start: &[u8]) -> Result<Self, &'static str> {
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err("xz"),
            [b'B', b'Z', b'h', ..] => Err("bzip2"),
            _ => Ok(Self::Plain),
        }
    }

    /// The file, unpacked as it is read.
    ///
    /// # Errors
    /// No memory for it.
    pub fn open<'a>(self, input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Plain => Box::new(input),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        })
    }
}

/// Takes from `input` what [`Packing::of`] and [`is_tar`] want to see, or all there is.
///
/// # Errors
/// Those of `input`.
pub fn start_of(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    input.take(START as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// Whether what starts so is an archive.
pub fn is_tar(start: &[u8]) -> bool {
    let (at, magic) = TAR_MAGIC;
    start.get(at..).is_some_and(|rest| rest.starts_with(magic))
}
