//! Containers: what one is, where it lives, who starts it and who watches it.
//!
//! ```text
//!   spec ── what a container is: validated, kept as config.json
//!     │ volume ── the values of -v and --tmpfs
//!   state ── how it does: state.json
//!   home ── all containers: making, finding, naming, removing, sweeping
//!     │ directory ── one container's directory;  wipe ── removing it, whatever is in it
//!     │ names, lock ── which is called what; who may change it
//!     │ journal ── what happened
//!   client ── starts a monitor or talks to one; relays streams and signals, waits
//!     │ relay, terminal, keys
//!   commit ── an image of what a container changed;  files, transfer ── its files from outside
//!   signals ── by name and number
//!   protocol ── the messages between the two
//!   monitor ── one process per container: makes everything, waits, undoes everything
//!       plan ── a specification turned into plans for mounts and init; pure
//! ```

pub mod builds;
mod check;
pub mod client;
pub mod commit;
pub mod directory;
pub mod files;
pub mod health;
pub mod home;
mod id;
pub mod journal;
mod keys;
mod lock;
pub mod monitor;
mod names;
mod neighbour;
mod plan;
mod protocol;
mod relay;
pub mod signals;
pub mod spec;
pub mod state;
pub(crate) mod terminal;
pub mod transfer;
pub mod volume;
mod wipe;

/// What a container has changed of its image: each path, without a leading `/`, and docker's letter.
pub fn changes(
    directory: &directory::Directory,
) -> crate::error::Result<std::collections::BTreeMap<std::path::PathBuf, u8>> {
    let union = plan::union(&directory.spec()?, directory);
    let short = directory.id().short();
    let refused = |why| crate::error::Error::Refused(format!("container {short}: {why}"));
    union.changes().map_err(refused)
}

pub use id::Id;
pub use keys::Keys;
pub use lock::Lock;
pub use names::check_name;
pub use protocol::Ended;
pub(crate) use protocol::Exec;
pub use wipe::wipe;
