//! The form in which a layer lies on the disk, a packed layer of layerfs: all that knows it.
//!
//! ```text
//!   layers/DIFFID.lfs      the uncompressed archive's exact bytes, then an index; what layerfs mounts
//!   layers/.tmp-…          being made
//! ```
//!
//! No file is unpacked: adding a layer is one pass over its archive, which is inflated, hashed,
//! written and indexed as it comes. Making one: written under a name of its own, flushed, renamed.
//! Removing one: unlinked.

use super::ImageError;
use super::error::io;
use super::record::{self, is_id};
use super::scratch::{Scratch, flush, remove};
use crate::types::hex;
use layerfs::error::PackError;
pub use layerfs::layer::packed::Limits;
use layerfs::layer::packed::reader::ROOT;
use layerfs::layer::packed::{Pack, merge, pack};
use std::fs::{self, File};
use std::io::{Read, Take};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A finished layer that has no name yet; dropping it removes it.
pub(super) struct Fresh {
    /// SHA-256 of the uncompressed archive as 64 hexadecimal digits.
    pub(super) diff_id: String,
    /// Bytes of file contents.
    pub(super) size: u64,
    /// SHA-256 of the archive as it came, compressed or not.
    pub(super) digest: String,
    /// Bytes of the archive as it came.
    pub(super) length: u64,
    file: Scratch,
}

/// The layers below one directory.
#[derive(Debug)]
pub(super) struct Layers {
    root: PathBuf,
}

impl Layers {
    pub(super) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Reads an archive (plain, gzip, zstd, xz or bzip2) to its last byte and makes a layer of it, under a
    /// temporary name. `origin` is for messages.
    pub(super) fn add(
        &self,
        archive: impl Read + Send,
        origin: &str,
        limits: Limits,
    ) -> Result<Fresh, ImageError> {
        let file = Scratch::new(&self.root)?;
        let path = file.path();
        let options = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let mut output = options.map_err(io("create", path))?;
        let packed = pack(archive, origin, &mut output, limits).map_err(|e| told(e, path))?;
        output.sync_all().map_err(io("flush", path))?;
        Ok(Fresh {
            diff_id: hex(&packed.diff_id),
            size: packed.contents,
            digest: hex(&packed.digest),
            length: packed.input,
            file,
        })
    }

    /// Gives a layer its name, unless an identical one has it already. The caller holds its lock.
    pub(super) fn publish(&self, fresh: &Fresh) -> Result<(), ImageError> {
        let path = self.lower(&fresh.diff_id);
        if !path.exists() {
            fs::rename(fresh.file.path(), &path).map_err(io("publish", &path))?;
        }
        flush(&self.root)
    }

    /// Whether there is such a layer.
    pub(super) fn has(&self, diff_id: &str) -> bool {
        self.lower(diff_id).is_file()
    }

    /// Makes one index of layers, lowest first, the lowest of which may be merged already (`below`), at a
    /// path in `directory`. Nothing else has that name. Flushed.
    pub(super) fn merge(
        &self,
        below: Option<&Path>,
        layers: &[String],
        directory: &Path,
        to: &Path,
    ) -> Result<(), ImageError> {
        let own = layers.iter().rev().map(|id| self.lower(id));
        let paths = own.chain(below.map(Path::to_owned));
        let open = |path: PathBuf| Pack::open(&path).map_err(|e| told(e, &path));
        let packs = paths.map(open).collect::<Result<Vec<_>, _>>()?;
        let options = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to);
        let mut output = options.map_err(io("create", to))?;
        merge(&packs, directory, &mut output).map_err(|e| told(e, to))?;
        output.sync_all().map_err(io("flush", to))
    }

    /// Whether a merged index can be mounted, and is all that was written if `whole`.
    pub(super) fn check_merged(path: &Path, whole: bool) -> Result<(), ImageError> {
        let pack = Pack::open(path).map_err(|e| told(e, path))?;
        match whole {
            true => pack.verify().map_err(|e| told(e, path)),
            false => Ok(()),
        }
    }

    /// Bytes of file contents of a layer.
    pub(super) fn size(&self, diff_id: &str) -> Result<u64, ImageError> {
        Ok(self.open(diff_id)?.header().contents.get())
    }

    /// Whether a layer is what its name says, read from end to end.
    pub(super) fn verify(&self, diff_id: &str) -> Result<(), ImageError> {
        let pack = self.open(diff_id)?;
        let path = pack.path();
        pack.verify().map_err(|e| told(e, path))?;
        match hex(&pack.header().diff_id) == diff_id {
            true => Ok(()),
            false => Err(record::wrong(path, "it is another layer".to_owned())),
        }
    }

    /// What layerfs mounts.
    pub(super) fn lower(&self, diff_id: &str) -> PathBuf {
        self.root.join(format!("{diff_id}.lfs"))
    }

    /// The diff id of what [`Layers::lower`] gave.
    pub(super) fn diff_id(&self, lower: &Path) -> Option<String> {
        let id = lower.file_name()?.to_str()?.strip_suffix(".lfs")?;
        (lower.parent() == Some(&self.root) && is_id(id)).then(|| id.to_owned())
    }

    /// The exact uncompressed archive, and its length in bytes.
    pub(super) fn tar(&self, diff_id: &str) -> Result<(Take<File>, u64), ImageError> {
        let pack = self.open(diff_id)?;
        let path = pack.path();
        let length = pack.header().tar_length.get();
        let file = File::open(path).map_err(io("open", path))?;
        Ok((file.take(length), length))
    }

    /// Removes a layer; fine when it is gone. The caller holds its lock alone.
    pub(super) fn remove(&self, diff_id: &str) -> Result<(), ImageError> {
        remove(&self.lower(diff_id))
    }

    /// The layer that a name in the directory belongs to, if it is one of a layer's.
    pub(super) fn owner(name: &str) -> Option<&str> {
        let id = name.split('.').next()?;
        let known = matches!(name.get(64..), Some(".lfs" | ".lock"));
        (is_id(id) && known).then_some(id)
    }

    fn open(&self, diff_id: &str) -> Result<Pack, ImageError> {
        let path = self.lower(diff_id);
        Pack::open(&path).map_err(|e| told(e, &path))
    }
}

/// What the root directory of a lower is: permission bits, owner and group. A layer that says nothing of
/// it means 0755 and root.
///
/// # Errors
/// It is not there, or damaged.
pub fn root_of(lower: &Path) -> Result<(u32, u32, u32), ImageError> {
    let meta = fs::metadata(lower).map_err(io("look at", lower))?;
    if meta.is_dir() {
        return Ok((meta.mode() & 0o7777, meta.uid(), meta.gid()));
    }
    let pack = Pack::open(lower).map_err(|e| told(e, lower))?;
    let node = pack
        .node(ROOT)
        .map_err(|e| record::wrong(lower, e.to_string()))?;
    Ok((node.mode.get() & 0o7777, node.uid.get(), node.gid.get()))
}

/// The store's word for what packing says; `output` is what was written.
fn told(error: PackError, output: &Path) -> ImageError {
    match error {
        PackError::Io { path, source } => io("read", &path)(source),
        PackError::NoLayer { path, at, why } | PackError::Damaged { path, at, why } => {
            record::wrong(&path, format!("damaged at byte {at}: {why}"))
        }
        PackError::Archive {
            origin,
            offset,
            why,
        } => ImageError::Archive {
            origin,
            offset,
            why,
        },
        PackError::Input { origin, why } => ImageError::Input { origin, why },
        PackError::Write { source } => io("write", output)(source),
        other => record::wrong(output, other.to_string()),
    }
}
