//! What can go wrong in an operation, typed. Only `transport` turns it into an errno.

use std::io;
use std::path::PathBuf;

/// The result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No object of that name.
    #[error("no such file or directory")]
    NotFound,
    /// The name is taken.
    #[error("file exists")]
    Exists,
    /// A directory was needed.
    #[error("not a directory")]
    NotDirectory,
    /// A directory was given where none may be.
    #[error("is a directory")]
    IsDirectory,
    /// The directory still shows names.
    #[error("directory not empty")]
    NotEmpty,
    /// The mount has no upper, or is read-only.
    #[error("read-only file system")]
    ReadOnly,
    /// The rules forbid it (a whiteout's name, a layer we do not trust).
    #[error("operation not permitted")]
    NotPermitted,
    /// Caller may not do it.
    #[error("permission denied")]
    AccessDenied,
    /// A name of more than 255 bytes.
    #[error("file name too long")]
    NameTooLong,
    /// An argument makes no sense.
    #[error("invalid argument")]
    Invalid,
    /// The nodeid or handle is not (any longer) known.
    #[error("stale handle")]
    Stale,
    /// A handle opened for something else.
    #[error("bad file descriptor")]
    BadHandle,
    /// No such extended attribute.
    #[error("no such attribute")]
    NoAttribute,
    /// The file system below cannot do it.
    #[error("operation not supported")]
    Unsupported,
    /// An ioctl we do not know.
    #[error("inappropriate ioctl")]
    UnknownIoctl,
    /// The two names cannot be joined by a rename or link.
    #[error("cross-device link")]
    CrossDevice,
    /// A rule of the union is broken below us (a damaged upper or layer).
    #[error("input/output error")]
    Damaged,
    /// A system call failed; its errno is passed on.
    #[error("{0}")]
    Sys(rustix::io::Errno),
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        use rustix::io::Errno;
        match errno {
            Errno::NOENT => Self::NotFound,
            Errno::EXIST => Self::Exists,
            Errno::NOTDIR => Self::NotDirectory,
            Errno::ISDIR => Self::IsDirectory,
            Errno::NOTEMPTY => Self::NotEmpty,
            Errno::NODATA => Self::NoAttribute,
            Errno::NAMETOOLONG => Self::NameTooLong,
            other => Self::Sys(other),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(raw) => Self::from(rustix::io::Errno::from_raw_os_error(raw)),
            None => Self::Damaged,
        }
    }
}

/// Why a union could not be opened; each says what, on which path, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No `--lower` was given.
    #[error("no lower layer: give at least one --lower DIR")]
    NoLower,
    /// A path cannot be opened as a directory.
    #[error("{role} {}: {source}", path.display())]
    Path {
        /// `lower`, `upper` or `work`.
        role: &'static str,
        /// The path as given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A packed layer cannot be used.
    #[error("lower {0}")]
    Packed(PackError),
    /// Renames between upper and work do not work.
    #[error("upper {} and work {} are on different file systems: put them side by side",
        upper.display(),
        work.display())]
    DifferentFileSystems {
        /// The upper.
        upper: PathBuf,
        /// The work directory.
        work: PathBuf,
    },
    /// Two of the trees share a place.
    #[error("{inner_role} {} lies in {outer_role} {}: they must not overlap",
        inner.display(),
        outer.display())]
    Overlap {
        /// Role of the inner tree.
        inner_role: &'static str,
        /// The inner tree.
        inner: PathBuf,
        /// Role of the outer tree.
        outer_role: &'static str,
        /// The outer tree.
        outer: PathBuf,
    },
    /// A live mount uses it.
    #[error("{role} {} is in use by another mount: unmount that first",
        path.display())]
    InUse {
        /// `upper` or `work`.
        role: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// A volatile mount of this upper ended without an unmount.
    #[error(
        "upper {} was last mounted --volatile and not unmounted cleanly; its content cannot \
         be trusted: remove it, or remove {} to use it all the same",
        upper.display(),
        marker.display()
    )]
    VolatileCrash {
        /// The upper.
        upper: PathBuf,
        /// The marker to remove.
        marker: PathBuf,
    },
    /// A lower carries what only a trusted layer may carry.
    #[error(
        "lower {} carries {what}, which can show other files than the layer's own; if you \
         trust the layer, mount with -o {option}",
        path.display()
    )]
    Untrusted {
        /// The object that carries it.
        path: PathBuf,
        /// The xattr.
        what: &'static str,
        /// The option that allows it.
        option: &'static str,
    },
    /// What a power cut spoilt could not be put back.
    #[error(
        "upper {}: putting back copies that a power cut has spoilt: {source}; nothing is lost: make \
         room or mend the cause, then mount again with the same lowers",
        path.display()
    )]
    Recovery {
        /// The upper.
        path: PathBuf,
        /// Why.
        source: Error,
    },
    /// An upper that is only to be read must be recovered first.
    #[error(
        "upper {} holds copies that a power cut may have spoilt: mount it writable once, which \
         puts them back",
        path.display()
    )]
    NeedsRecovery {
        /// The upper.
        path: PathBuf,
    },
    /// The upper's file system cannot hold what a diff needs.
    #[error("upper {} cannot be used: {what}: {source}",
        path.display())]
    Unfit {
        /// The upper.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// Why an upper or its layers could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// One of them cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A repair needs the workdir.
    #[error("repairing needs --work DIR, the workdir of this upper")]
    NoWork,
    /// A repair by the wrong layers would spoil more than it mends.
    #[error(
        "the layers given are not those that {} was last mounted with, or in another order: nothing \
         is repaired; give those, the topmost first",
        work.display()
    )]
    OtherLayers {
        /// The workdir.
        work: PathBuf,
    },
    /// An object cannot be read.
    #[error("{}: {source}", path.display())]
    Object {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: Error,
    },
}

impl InspectError {
    /// What went wrong with the object at `path`.
    pub fn at(path: impl Into<PathBuf>) -> impl FnOnce(Error) -> Self {
        let path = path.into();
        |source| Self::Object { path, source }
    }
}

/// What is wrong with a packed layer, or with what is to become one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no packed layer, or one that was cut short.
    #[error("{}: damaged at byte {at}: {why}", path.display())]
    NoLayer {
        /// The file.
        path: PathBuf,
        /// Where in it.
        at: u64,
        /// What.
        why: &'static str,
    },
    /// A packed layer is not as it was written.
    #[error("{}: damaged at byte {at}: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        at: u64,
        /// What.
        why: &'static str,
    },
    /// A layer of a merged index is missing, or is another one now.
    #[error("{}: its layer {}: {why}; put it back, or make the index anew: layerfs merge", merged.display(),
        layer.display())]
    Carrier {
        /// The merged index.
        merged: PathBuf,
        /// The layer.
        layer: PathBuf,
        /// Why.
        why: String,
    },
    /// An archive is damaged.
    #[error("{origin}: at byte {offset} of the archive: {why}")]
    Archive {
        /// Where it came from.
        origin: String,
        /// Where in the inflated archive.
        offset: u64,
        /// What.
        why: String,
    },
    /// The input as a whole cannot be taken.
    #[error("{origin}: {why}")]
    Input {
        /// Where it came from.
        origin: String,
        /// Why.
        why: String,
    },
    /// The output cannot be written.
    #[error("cannot write the packed layer: {source}")]
    Write {
        /// Why.
        source: io::Error,
    },
}

/// Why a packed layer could not be unpacked, or a name of it not be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The directory to unpack into is not one to begin with.
    #[error("{}: {why}", path.display())]
    Target {
        /// The directory.
        path: PathBuf,
        /// Why not, and what to do.
        why: &'static str,
    },
    /// The layer is damaged, or was cut meanwhile.
    #[error("{}: {}: {source}; layerfs verify tells more", layer.display(), path.display())]
    Layer {
        /// The layer.
        layer: PathBuf,
        /// The path in it.
        path: PathBuf,
        /// Why.
        source: Error,
    },
    /// A hard link to a file of a lower layer.
    #[error(
        "{}: {} is a hard link to {}, which is in a lower layer; mount it with that one instead",
        layer.display(),
        path.display(),
        target.display()
    )]
    Outside {
        /// The layer.
        layer: PathBuf,
        /// The link.
        path: PathBuf,
        /// What it links to.
        target: PathBuf,
    },
    /// An object cannot be made.
    #[error("{}: {what}: {source}{}", path.display(), unpack_advice(source))]
    Object {
        /// Its path on disk.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: Error,
    },
}

fn unpack_advice(error: &Error) -> &'static str {
    match error {
        Error::Sys(rustix::io::Errno::PERM) => "; owners, devices and marks need root",
        Error::Sys(rustix::io::Errno::OPNOTSUPP) => "; this file system cannot hold it",
        _ => "",
    }
}
