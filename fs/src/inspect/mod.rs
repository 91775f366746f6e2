//! Uppers and layers looked at as they lie on disk, without a mount.
//!
//! ```text
//!   which   which layer supplies a path, and why
//!   diff    what an upper changes
//!   check   what is broken in an upper, and mending it
//!   unpack  a packed layer as a directory again
//!    │
//!   tree    one directory of the merged tree: its part in the upper, its part in the layers
//!   names   where the merged tree shows a path of one layer
//!   compare what differs between two objects
//! ```
//!
//! The rules are those of [`crate::union`]; what is here asks them and tells. Nothing is written but by
//! `check` when it is to repair, and by `unpack`, elsewhere.

pub mod check;
pub mod compare;
pub mod diff;
pub mod names;
pub mod tree;
pub mod unpack;
pub mod which;
