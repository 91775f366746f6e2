//! Packed layers: one file, which is the layer's tar with an index behind it.
//!
//! ```text
//!   tar stream ──writer──> crate archive ──> builder ──> NAME.lfs     format: its bytes
//!   directory ──source──> a tar stream
//!   packed layers ──merged──> NAME.idx: one index of a whole stack    sources: the layers it is of
//!   NAME.lfs, NAME.idx ──reader──> Pack: lookups in the mapped index, data in pieces of the tar
//!                         ├──walk──> paths, in order
//!                         └──print──> all of the index as text
//! ```

mod builder;
pub mod format;
mod merged;
pub mod print;
pub mod reader;
mod sections;
mod source;
mod sources;
#[cfg(test)]
mod tests;
pub mod walk;
pub mod writer;

pub use merged::{Merged, merge};
pub use reader::Pack;
pub use source::{Skipped, archive_directory};
pub use sources::expand;
pub use writer::{Limits, Packed, pack, pack_directory};
