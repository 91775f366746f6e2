//! Containers: what one is, where it lives, who starts it and who watches it.
//!
//! ```text
//!   spec ── what a container is: validated, kept as config.json
//!     │ volume ── the values of -v and --tmpfs
//!   home ── ROOT/containers: names, locks, making, removing, sweeping
//!     │ directory ── one container's directory and its state.json
//!   client ── starts the monitor, relays streams and signals, waits
//!     │ relay, terminal
//!   protocol ── the messages between the two
//!   monitor ── one process per container: makes everything, waits, undoes everything
//!       plan ── a specification turned into plans for mounts and init; pure
//! ```

pub mod client;
pub mod directory;
pub mod home;
mod id;
pub mod monitor;
mod plan;
mod protocol;
mod relay;
pub mod spec;
mod terminal;
pub mod volume;

pub use id::Id;
