//! What a writable union must do, as a small program in memory: written to be read, not to be fast.
//!
//! ```text
//!   Model = Kernel<Graph>
//!     kernel    what Linux does above a file system: paths, symlinks, errnos, the order of checks
//!     contents  the same for what is in a file and its attributes
//!     below     what it asks of the file system under it
//!     graph     the answer of one ordinary file system: objects, names, link counts, times
//!     merge     the graph of layers: whiteouts, opaque directories, hard links (R1, R2, I2)
//!     acl       POSIX ACLs: what they do to modes, and what new objects inherit (A3)
//!     picture   a tree as [`crate::snapshot::Snapshot`]
//! ```
//!
//! The union is in `merge` alone: once the layers are one graph, a union that behaves like one
//! ordinary file system has nothing of a union left. The caller is root, the umask 0.

mod acl;
mod below;
mod contents;
mod graph;
mod kernel;
mod merge;
mod picture;

pub use acl::Acl;
pub use below::{Attr, Below, Kind, Place, Xattrs};
pub use graph::Graph;
pub use kernel::Kernel;

use crate::layers::Layer;

/// The model: a union of layers and what operations make of it.
pub type Model = Kernel<Graph>;

impl Model {
    /// A writable union of `layers`, topmost first.
    pub fn new(layers: &[Layer]) -> Self {
        Self::over(merge::union(layers))
    }
}
