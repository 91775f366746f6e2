//! layerfs: a union file system in user space.
//!
//! ```text
//!   cli ── one file per verb
//!    │    └────────────────┐
//!   transport ── FUSE      inspect ── diffs and layers on disk: which, diff, check, unpack
//!    └─────────┬───────────┘
//!   ops ── one file per family of operations; takes the locks
//!    │
//!   inode ── table of nodes, open handles, inode numbers
//!    │
//!   union ── the rules: resolve, merge, copy-up, remove, rename
//!    │    └──────────┐
//!   layer (below)   upper (the writable diff)
//!    └──────┬────────┘
//!   marks ── what a diff says by names and attributes, read alike in both
//!    │
//!   sys ── system calls that std, rustix and nix lack; every `unsafe`
//! ```
//!
//! Imports go down only; [`types`] and [`error`] are the ground everybody stands on.
//! `DESIGN.md` beside this crate tells the semantics, the formats and the orders of locks and
//! writes.

pub mod cli;
pub mod error;
pub mod inode;
pub mod inspect;
pub mod layer;
pub mod marks;
pub mod ops;
pub mod sys;
pub mod transport;
pub mod types;
pub mod union;
pub mod upper;
