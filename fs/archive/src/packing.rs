//! How a file is packed: told by how it starts, and undone as it is read.

use lzma_rust2::XzReader;
use std::io::{self, BufRead, Read};

/// Most memory for what xz refers back to, in KiB: enough for `xz -9`, which takes 64 MiB and some.
const XZ_MEMORY: u32 = 100 << 10;

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
    /// xz, of one or more streams.
    Xz,
    /// bzip2, of one or more streams.
    Bzip2,
}

impl Packing {
    /// Tells it by a file's first bytes.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // A level, then a block's mark or the end's: text may begin with the three letters.
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31 | 0x17, ..] => Self::Bzip2,
            _ => Self::Plain,
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
            Self::Xz => Box::new(XzReader::new_mem_limit(input, true, XZ_MEMORY)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_only_looks_like_it_is_plain() {
        for text in [&b"BZhello"[..], b"BZh", b"\xfd7zX", b"\x1f"] {
            assert_eq!(Packing::of(text), Packing::Plain, "{text:?}");
        }
        assert_eq!(Packing::of(b"BZh91AY&SY"), Packing::Bzip2);
        assert_eq!(Packing::of(b"BZh9\x17\x72\x45\x38\x50\x90"), Packing::Bzip2);
    }

    #[test]
    fn a_dictionary_that_is_too_large_is_refused() {
        // A stream's header, and that of a block which refers back 1.5 GiB.
        let mut start = b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46\x02\0\x21\x01\x25\0\0\0".to_vec();
        let sum = crc32(&start[12..]);
        start.extend(sum.to_le_bytes());
        start.extend([0; 64]);
        let mut reader = Packing::of(&start).open(&start[..]).unwrap();
        let why = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(why.to_string().contains("mem"), "{why}");
    }

    /// The checksum of xz's headers.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |sum, &byte| {
            (0..8).fold(sum ^ u32::from(byte), |sum, _| {
                (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
            })
        })
    }
}
