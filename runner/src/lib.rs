//! The container runner: images mounted with layerfs, namespaces, cgroups, volumes, no daemon.
//!
//! ```text
//!   cli ── one file per verb: raw arguments in, validated specification out
//!    │
//!   container ── what a container is, its directory, its client and its monitor; makes the plans
//!    │
//!   init ── what happens between clone and exec
//!    │
//!   registry ── images fetched from registries, and brought there
//!    │
//!   image   mounts   cgroup   network   security   logs
//!    └────────┴────────┼────────┴─────────┴────────┘
//!   sys ── system calls that std, rustix and nix lack; every `unsafe`      publish ── small files, written at once
//!
//!   types ── small values that every floor may use
//! ```
//!
//! Imports go down only; each of the lower modules has an error type of its own, and [`error`]
//! joins them for `container` and `cli`. Only [`mounts`] knows the `layerfs` library. `DESIGN.md` beside this crate tells the process tree,
//! the state on disk, and the order of set-up and undo.

pub mod build;
pub mod cgroup;
pub mod cli;
pub mod container;
pub mod error;
pub mod image;
pub mod init;
pub mod logs;
pub mod mounts;
pub mod network;
pub mod publish;
pub mod registry;
pub mod security;
pub mod sys;
pub mod types;
