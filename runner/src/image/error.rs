//! Errors of images and their store: what failed, on what, why, what to do.

use std::path::{Path, PathBuf};

/// Why an image could not be found, imported, listed or removed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The name does not follow the grammar of image names.
    #[error("image name {name:?}: {why}")]
    Name {
        /// As given.
        name: String,
        /// What is wrong, and what is wanted.
        why: String,
    },
    /// No such image in the store.
    #[error(
        "no such image: {name}; `runner images` lists them, `runner pull` and `runner import` bring one"
    )]
    Unknown {
        /// As given.
        name: String,
    },
    /// The beginning of an id that several images share.
    #[error("image {name}: {count} images begin with it; give more digits")]
    Ambiguous {
        /// As given.
        name: String,
        /// How many.
        count: usize,
    },
    /// `dir:PATH` does not name a usable directory.
    #[error("image dir:{}: {why}", path.display())]
    Directory {
        /// The path.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A container needs the image.
    #[error(
        "image {name}: in use by {}; remove that first (runner ps -a, runner rm)",
        container.as_ref().map_or("a container or command".to_owned(), |id| {
            format!("container {}", id.get(..12).unwrap_or(id))
        })
    )]
    InUse {
        /// The image's name.
        name: String,
        /// The container, if it is made already.
        container: Option<String>,
    },
    /// An id that stands for several names.
    #[error("image {id}: it has several names; remove them one by one, or all by -f")]
    SeveralNames {
        /// The short id.
        id: String,
    },
    /// The store was written by an older runner.
    #[error(
        "image store {}: {} is of an older runner and cannot be read; remove images and layers \
         there, then import again", root.display(), path.display()
    )]
    Old {
        /// One of the old records.
        path: PathBuf,
        /// The store.
        root: PathBuf,
    },
    /// The archive to import is damaged.
    #[error("{origin}: {why} (at byte {offset} of the uncompressed archive)")]
    Archive {
        /// The file, or `standard input`.
        origin: String,
        /// Where, counted from 0.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// An entry of the input cannot be taken into a layer.
    #[error("{origin}: entry {entry}: {why}")]
    Entry {
        /// The archive or directory.
        origin: String,
        /// Path within it.
        entry: String,
        /// Why not.
        why: String,
    },
    /// The input as a whole is not usable.
    #[error("{origin}: {why}")]
    Input {
        /// The archive or directory.
        origin: String,
        /// Why not, and what is wanted.
        why: String,
    },
    /// A record of the store is not what this program writes.
    #[error("image record {}: {why}; remove the file if it is not wanted", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file or directory of the store, or of the input, refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The action, as a verb phrase.
        what: &'static str,
        /// The object.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Turns an I/O error into [`ImageError::Io`].
pub(super) fn io<E: Into<std::io::Error>>(
    what: &'static str,
    path: &Path,
) -> impl FnOnce(E) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::Io {
        what,
        path,
        source: source.into(),
    }
}
