//! Images: names, records, layers, and the store that keeps them.

mod error;
mod record;
mod reference;
mod store;

pub use error::ImageError;
pub use record::{Config, Record};
pub use reference::Reference;
pub use store::{Image, Layer, Source, Store};
