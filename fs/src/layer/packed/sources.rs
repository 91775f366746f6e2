//! The layers behind a merged index.
//!
//! ```text
//!   image.idx ── sources: "../layers/a.lfs", hash of its index ──open──> Carrier: the file with the data
//! ```
//!
//! A layer that is not the one that was merged would show one file's bytes under another's name: the hash
//! in its footer decides. All are opened at once, so that what is missing is told when mounting.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use zerocopy::FromBytes;

use super::format::{self, Footer, Source};
use super::reader::Pack;
use crate::error::PackError;

/// A layer of a merged index.
#[derive(Debug)]
pub struct Carrier {
    /// Where it lies.
    pub path: PathBuf,
    /// SHA-256 of its index.
    pub index: [u8; 32],
    /// SHA-256 of its tar.
    pub diff_id: [u8; 32],
    /// Bytes of its tar.
    pub tar_length: u64,
    /// The packed layer.
    pub(super) file: Arc<OwnedFd>,
}

impl Carrier {
    /// Opens the layer that `merged` names by `path`, relative to the directory it lies in.
    pub(super) fn open(merged: &Path, source: &Source, path: &[u8]) -> Result<Self, PackError> {
        let beside = merged.parent().unwrap_or(Path::new(""));
        let path = beside.join(OsStr::from_bytes(path));
        let broken = |why: String| PackError::Carrier {
            merged: merged.to_owned(),
            layer: path.clone(),
            why,
        };
        // Not to wait for anybody, should it be a pipe.
        let opened = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path);
        let file = opened.map_err(|error| broken(error.to_string()))?;
        let (footer, _) = read_footer(&file, &path).map_err(|error| match error {
            PackError::Io { source, .. } => broken(source.to_string()),
            _ => broken("no packed layer, or damaged".to_owned()),
        })?;
        let tar_length = source.tar_length.get();
        if footer.index != source.index || footer.at.get() < tar_length {
            return Err(broken("not the layer that was merged".to_owned()));
        }
        Ok(Self {
            path,
            index: source.index,
            diff_id: source.diff_id,
            tar_length,
            file: Arc::new(file.into()),
        })
    }
}

/// The layers of a list of lowers, topmost first: in the place of each merged index those it is of. For
/// whoever is to tell the layers apart; they show the same, with the same inode numbers.
///
/// # Errors
/// A merged index, or a layer of one, cannot be opened.
pub fn expand(lowers: &[PathBuf]) -> Result<Vec<PathBuf>, PackError> {
    let mut all = Vec::new();
    for lower in lowers {
        // What else is wrong with a lower is told by whoever opens it.
        match lower.is_file().then(|| Pack::open(lower)) {
            Some(Ok(pack)) if !pack.carriers().is_empty() => {
                let paths = pack.carriers().iter().map(|carrier| carrier.path.clone());
                all.extend(paths.rev());
            }
            Some(Err(error @ PackError::Carrier { .. })) => return Err(error),
            _ => all.push(lower.clone()),
        }
    }
    Ok(all)
}

/// The path of `to` as seen from `directory`; both without symlinks.
pub(super) fn relative(directory: &Path, to: &Path) -> PathBuf {
    let mut from = directory.components().peekable();
    let mut rest = to.components().peekable();
    while from.peek().is_some() && from.peek() == rest.peek() {
        from.next();
        rest.next();
    }
    from.map(|_| Component::ParentDir).chain(rest).collect()
}

/// The footer of a packed layer or merged index, and where it begins.
///
/// # Errors
/// It cannot be read; it has none; its checksum is wrong.
pub(super) fn read_footer(file: &File, path: &Path) -> Result<(Footer, u64), PackError> {
    let io = |source: io::Error| PackError::Io {
        path: path.to_owned(),
        source,
    };
    let no_layer = |at: u64, why: &'static str| PackError::NoLayer {
        path: path.to_owned(),
        at,
        why,
    };
    let bad = |at: u64, why: &'static str| PackError::Damaged {
        path: path.to_owned(),
        at,
        why,
    };
    let meta = file.metadata().map_err(io)?;
    let end = (meta.len().checked_sub(size_of::<Footer>() as u64))
        .ok_or_else(|| no_layer(0, "too short for a packed layer"))?;
    let mut bytes = [0; size_of::<Footer>()];
    file.read_exact_at(&mut bytes, end).map_err(io)?;
    let footer = Footer::read_from_bytes(&bytes).map_err(|_| bad(end, "no footer"))?;
    if footer.magic != format::FOOTER_MAGIC {
        let why = "no packed layer, or cut short: its footer is missing";
        return Err(no_layer(end, why));
    }
    match format::check(&bytes[..bytes.len() - 8]) == footer.check.get() {
        true => Ok((footer, end)),
        false => Err(bad(end, "the footer's checksum is wrong")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_from_a_directory_to_a_file() {
        let from = |directory, to| relative(Path::new(directory), Path::new(to));
        assert_eq!(
            from("/a/stacks", "/a/layers/x.lfs"),
            Path::new("../layers/x.lfs")
        );
        assert_eq!(from("/a", "/a/x.lfs"), Path::new("x.lfs"));
        assert_eq!(from("/", "/a/x.lfs"), Path::new("a/x.lfs"));
        assert_eq!(from("/a/b/c", "/x.lfs"), Path::new("../../../x.lfs"));
    }
}
