//! The objects that the kernel knows, and what is open.
//!
//! ```text
//!   Table    nodeid ──> Node, with the kernel's lookup count
//!   Node     where the object is now: in a layer, in the upper, or pinned after its last name went
//!   Names    the names of one directory in the upper, for listings
//!   Handles  handle ──> open file
//! ```
//!
//! ## Lock order
//!
//! Whoever holds a lock may take those further down, never one further up:
//!
//! 1. `FileSystem::renames` (one directory moves at a time)
//! 2. `Node::copying` of an object, then of its ancestors, going up
//! 3. `Directory::names` of the directories involved, in the order of their inode numbers
//! 4. `Node::state` of an object, then of its ancestors, going up; of unrelated objects in the order of
//!    their inode numbers
//! 5. `OpenFile::source`, then again `Node::state` for reading (opened while no state lock is held)
//! 6. `Directory::upper_names`, `subdirectories`, `passes_acl`, a shard of the table, of the handles, of the fd cache: nothing is called while one is held

pub mod handles;
pub mod names;
pub mod node;
pub mod table;
pub mod unopened;

pub use handles::{Handles, How, OpenFile, Source};
pub use names::{Line, Names};
pub use node::{Anchor, Directory, Link, Node, Place, State, Unsettled, UpperPlace};
pub use table::Table;
pub use unopened::Unopened;
