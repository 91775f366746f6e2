//! Reading an import's source into a layer directory: opening, inflating, hashing, progress.
//!
//! ```text
//! file --progress--> [gunzip] --sha256--> unpack --> tree          digest = the layer's id
//! directory ------------------------------> copy --> tree          a random id
//! ```

use super::copy;
use super::error::io;
use super::tree::Tree;
use super::unpack::{self, ImportLimits, Stop};
use super::{ImageError, Source};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, stderr, stdin};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Size of the buffer between the file and what reads it.
const BUFFER: usize = 256 << 10;

/// What was brought in.
pub(super) struct Imported {
    /// The layer's id: 64 hexadecimal digits.
    pub(super) id: String,
    /// Bytes of file contents.
    pub(super) size: u64,
}

/// Fills the empty directory `target`. `store` is left out when it lies in a source directory.
pub(super) fn import(
    source: &Source,
    target: OwnedFd,
    store: &OwnedFd,
    limits: ImportLimits,
) -> Result<Imported, ImageError> {
    let origin = match source {
        Source::Stdin => "standard input".to_owned(),
        Source::Path(path) => path.display().to_string(),
    };
    let mut tree = Tree::new(target);
    let stopped = |stop| match stop {
        Stop::Damage(damage) => ImageError::Archive {
            origin: origin.clone(),
            offset: damage.offset,
            why: damage.why,
        },
        Stop::Entry { path, why } => ImageError::Entry {
            origin: origin.clone(),
            entry: path,
            why,
        },
        Stop::Limit(why) => ImageError::Input {
            origin: origin.clone(),
            why,
        },
    };
    let imported = match source {
        Source::Path(path) if path.is_dir() => {
            let from = open_directory(path)?;
            let size = copy::copy(&from, &mut tree, store, limits).map_err(stopped)?;
            Imported {
                id: random_id()?,
                size,
            }
        }
        _ => {
            let mut input = Hashing {
                input: open(source, &origin)?,
                hash: Sha256::new(),
            };
            let size = unpack::unpack(&mut input, &mut tree, limits).map_err(stopped)?;
            Imported {
                id: hex(&input.hash.finalize()),
                size,
            }
        }
    };
    let why = |why| ImageError::Input {
        origin: origin.clone(),
        why,
    };
    tree.finish().map_err(why)?;
    Ok(imported)
}

/// The uncompressed bytes of an archive, whatever its packing.
fn open(source: &Source, origin: &str) -> Result<Box<dyn Read>, ImageError> {
    let input: Box<dyn Read> = match source {
        Source::Stdin => Box::new(stdin()),
        Source::Path(path) => {
            let file = File::open(path).map_err(io("open", path))?;
            let bytes = file.metadata().map_err(io("look at", path))?.len();
            Box::new(progress(bytes).wrap_read(file))
        }
    };
    let mut input = BufReader::with_capacity(BUFFER, input);
    let refuse = |why: &str| ImageError::Input {
        origin: origin.to_owned(),
        why: why.to_owned(),
    };
    let read = |e: std::io::Error| refuse(&format!("cannot read: {e}"));
    let packing = Packing::of(input.fill_buf().map_err(read)?);
    match packing {
        Packing::Gzip => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(input))),
        Packing::None => Ok(Box::new(input)),
        Packing::Empty => Err(refuse("empty; want a tar archive")),
        Packing::Other(name) => Err(refuse(&format!(
            "packed with {name}; unpack it first, as in `{name} -dc FILE | runner import - NAME`"
        ))),
    }
}

/// How an archive is packed, by its first bytes.
#[derive(Debug, PartialEq, Eq)]
enum Packing {
    Empty,
    None,
    Gzip,
    Other(&'static str),
}

impl Packing {
    fn of(start: &[u8]) -> Self {
        let known: [(&[u8], Self); 4] = [
            (b"\x1f\x8b", Self::Gzip),
            (b"\x28\xb5\x2f\xfd", Self::Other("zstd")),
            (b"\xfd7zXZ\0", Self::Other("xz")),
            (b"BZh", Self::Other("bzip2")),
        ];
        if start.is_empty() {
            return Self::Empty;
        }
        let found = known
            .into_iter()
            .find(|(magic, _)| start.starts_with(magic));
        found.map_or(Self::None, |(_, packing)| packing)
    }
}

/// Hashes what is read through it.
struct Hashing<R> {
    input: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress(bytes: u64) -> ProgressBar {
    if !stderr().is_terminal() || bytes == 0 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "{bar:32} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
    );
    // A template is wrong or right for ever; the plain bar will do.
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes)
        .with_style(style)
        .with_finish(indicatif::ProgressFinish::AndClear)
}

fn open_directory(path: &Path) -> Result<OwnedFd, ImageError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(io("open", path))
}

/// 64 random hexadecimal digits.
pub(super) fn random_id() -> Result<String, ImageError> {
    let mut bytes = [0; 32];
    let path = Path::new("/dev/urandom");
    let mut file = File::open(path).map_err(io("open", path))?;
    file.read_exact(&mut bytes).map_err(io("read", path))?;
    Ok(hex(&bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packings() {
        assert_eq!(Packing::of(b""), Packing::Empty);
        assert_eq!(Packing::of(b"\x1f\x8b\x08"), Packing::Gzip);
        assert_eq!(Packing::of(b"\xfd7zXZ\0\0"), Packing::Other("xz"));
        assert_eq!(Packing::of(b"etc/"), Packing::None);
    }
}
