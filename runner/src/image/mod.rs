//! Images: names, records, layers, and the store that keeps them.
//!
//! ```text
//!  "debian:12" --Reference--> Store::resolve --> Image { lowers, config, guard }   (run)
//!  FILE.tar[.gz] | DIR | - --> Store::import --> Record                            (import)
//!
//!  store        names, locks, atomic publishing, sweeping
//!   ├ record    what is written about an image
//!   ├ pins      which layers containers need
//!   ├ reference the grammar of names
//!   └ import    opening, inflating, hashing, progress
//!      ├ unpack <- crate archive          from a tar stream
//!      ├ copy                             from a directory
//!      └ tree                             the only writer of layers; resolves below its root
//! ```
//!
//! A layer's kind is hidden behind [`Layer`]: directory layers now, packed ones later.
//! Nothing of an image is ever executed or resolved by the host side.

mod copy;
mod error;
mod import;
mod pins;
mod record;
mod reference;
mod store;
mod tree;
mod unpack;

pub use copy::copy_directory;
pub use error::ImageError;
pub use record::{Config, Record};
pub use reference::Reference;
pub use store::{Image, Layer, Source, Store};
pub use unpack::ImportLimits;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod store_tests;
