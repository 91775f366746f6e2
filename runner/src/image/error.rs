//! Errors of images and their store: what failed, on what, why, what to do.

use std::path::PathBuf;

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
    #[error("no such image: {name}; `runner images` lists them, `runner import` makes one")]
    Unknown {
        /// As given.
        name: String,
    },
    /// `dir:PATH` does not name a usable directory.
    #[error("image dir:{}: {why}", path.display())]
    Directory {
        /// The path.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The image is used by a container that runs.
    #[error("image {name}: in use by a running container; stop it first")]
    InUse {
        /// The image's name.
        name: String,
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
