//! Packed layers: one file, which is the layer's tar with an index behind it.
//!
//! ```text
//!   tar stream ──writer──> crate archive ──> builder ──> NAME.lfs     format: its bytes
//!   NAME.lfs ──reader──> Pack: lookups in the mapped index, data in pieces of the tar
//! ```

mod builder;
pub mod format;
pub mod reader;
#[cfg(test)]
mod tests;
pub mod writer;

pub use reader::Pack;
pub use writer::{Limits, Packed, pack};
