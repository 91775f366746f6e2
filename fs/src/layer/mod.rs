//! Read-only layers: what a name means in one of them.
//!
//! ```text
//!   aliases     all names of hard-linked files
//!   directory   a directory tree in overlay or AUFS form, read lazily
//!   listing     the names of one directory, in the order of their cookies
//! ```
//!
//! A layer is never written (contract R7): it is read through a read-only clone of its mount.

pub mod aliases;
pub mod directory;
pub mod listing;

pub use directory::{Layer, LayerDir, Shows, Trust};
