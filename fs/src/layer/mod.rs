//! Read-only layers: what a name means in one of them.
//!
//! ```text
//!   aliases     all names of hard-linked files
//!   directory   a directory tree in overlay or AUFS form, read lazily
//!   listing     the names of one directory, in the order of their cookies
//!   packed      a layer in one file: its tar, then an index
//!   reading     what can be read of an object, in either form of layer
//! ```
//!
//! A layer is never written (contract R7): it is read through a read-only clone of its mount.

pub mod aliases;
pub mod directory;
pub mod listing;
pub mod packed;
pub mod reading;

pub use directory::{Layer, LayerDir, Shows, Trust};
pub use reading::Reading;
