//! Registries: images fetched from them and brought to them, over the OCI distribution protocol.
//!
//! ```text
//!  host         which address answers for a name, and who is believed there
//!  credentials  docker's configuration and helpers: who we are
//!  client       requests: challenge, token, redirects, patience
//!   ├ manifest, platform, digest   what an image consists of, and which of several fits
//!   ├ blob                         content by its digest, checked while it streams
//!   └ upload                       the other way
//!  download     a file by its address, for builds
//! ```
//!
//! Nothing that a registry sends is believed before its digest and size are checked; nothing it
//! says becomes a path; credentials go to the registry itself and to whom it names for tokens.

mod blob;
mod challenge;
mod client;
mod credentials;
mod crew;
mod digest;
mod download;
mod error;
mod fetch;
mod files;
mod host;
mod known;
mod manifest;
mod platform;
mod progress;
mod pull;
mod push;
mod token;
mod upload;

pub use client::Client;
pub use credentials::{DockerConfig, Secret};
pub use digest::Digest;
pub use download::{Download, download, is_address, name_in};
pub use error::RegistryError;
pub use host::Host;
pub use platform::Platform;
pub use progress::{Progress, To};
pub use pull::{Pull, Pulled};
pub use push::{Push, Pushed};
