//! Packed layers: one file, which is the layer's tar with an index behind it.
//!
//! ```text
//!   tar stream ──writer──> archive ──> builder ──> NAME.lfs     format: its bytes
//!   NAME.lfs, .. ──merged──> builder ──> IMAGE.idx              one index for a stack of them
//!   either ──reader──> Pack: lookups in the mapped index, data in pieces of the tar
//! ```

mod archive;
mod builder;
pub mod format;
pub mod reader;
mod sparse;
#[cfg(test)]
mod tests;
pub mod writer;

pub use reader::Pack;
pub use writer::{Limits, Packed, pack};
