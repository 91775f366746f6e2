//! Packed layers: one file, which is the layer's tar with an index behind it.
//!
//! ```text
//!   tar stream ──writer──> crate archive ──> builder ──> NAME.lfs     format: its bytes
//!   directory ──source──> a tar stream
//!   NAME.lfs ──reader──> Pack: lookups in the mapped index, data in pieces of the tar
//!                         ├──walk──> paths, in order
//!                         └──print──> all of the index as text
//! ```

mod builder;
pub mod format;
pub mod print;
pub mod reader;
mod source;
#[cfg(test)]
mod tests;
pub mod walk;
pub mod writer;

pub use reader::Pack;
pub use source::{Skipped, archive_directory};
pub use writer::{Limits, Packed, pack, pack_directory};
