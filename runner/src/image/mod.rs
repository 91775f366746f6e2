//! Images: names, configurations, layers, and the store that keeps them.
//!
//! ```text
//!  "debian:12" --Reference--> Store::resolve --> Image { lowers, config, layers }  (run)
//!  FILE.tar[.gz] | DIR | - --> Store::import --> Record                            (import)
//!  tar stream --> Store::add_layer --> Store::create_image --> Store::tag          (pull, load, build)
//!
//!  store        names, locks, atomic publishing;  removal: taking away, sweeping;  check: mending
//!   ├ unstored  host and dir:PATH
//!   ├ record    what is written about images and names;  config: what images say of themselves
//!   ├ pins      which images and layers containers need
//!   ├ reference the grammar of names
//!   ├ layers    the form of a layer on the disk: archive in, archive and lower out
//!   ├ stacks    merged indexes of several layers
//!   ├ save, load   images in archives of docker's and OCI's form (documents)
//!   └ import    opening, progress
//!      └ copy   from a directory to an archive, or by tree to another directory (volumes)
//! ```
//!
//! Nothing of an image is ever executed or resolved by the host side.

mod check;
mod config;
mod copy;
mod documents;
mod error;
mod import;
mod layers;
mod load;
mod pins;
mod record;
mod reference;
mod removal;
mod save;
mod scratch;
mod stacks;
mod store;
mod tree;
mod unstored;

pub use config::{Config, Healthcheck, History, Nothing, OciConfig, RootFs, architecture};
pub use copy::{archive_directory, archive_pieces, copy_directory, meta_of};
pub use error::ImageError;
pub use import::Source;
pub use layers::{Limits, root_of};
pub use load::Loaded;
pub use record::Record;
pub use reference::Reference;
pub use removal::Removed;
pub use stacks::LOOSE;
pub use store::{Added, Image, ImageId, Layer, Store};

#[cfg(test)]
mod import_tests;
#[cfg(test)]
mod store_tests;
