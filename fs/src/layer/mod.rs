//! Read-only layers: what a name means in one of them.
//!
//! ```text
//!   aliases     all names of hard-linked files
//!   directory   a directory tree in overlay or AUFS form, read lazily
//! ```
//!
//! A layer is never written (contract R7): it is read through a read-only clone of its mount.

pub mod aliases;
pub mod directory;

pub use directory::{Layer, LayerDir, Listed, Trust};
