//! The container's file system tree: the plan as data, and how it is applied.
//!
//! ```text
//!   plan    ── what to mount where, in order; pure data
//!   source  ── host side of binds, opened before the child exists
//!   inroot  ── names below the root, resolved so that no link of the image leads outside
//!   apply   ── carries the plan out, inside the child's mount namespace
//!   union   ── the layerfs mount itself
//!   changes ── what its diff holds; with union, all that knows the layerfs library
//! ```
//!
//! Every target is a descriptor found by [`inroot`], every source a descriptor opened before; no
//! path of the image is ever handed to the kernel as a whole.

pub mod apply;
pub mod changes;
mod error;
pub mod inroot;
pub mod plan;
pub mod source;
pub mod union;

pub use error::MountError;
