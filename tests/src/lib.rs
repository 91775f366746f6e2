//! Shared pieces of the integration tests.
//!
//! ```text
//!   scratch ── a directory of one test; unmounts and removes everything below it
//!   layers ── builds layers: files, whiteouts and opaques in every form
//!   packs ── packed layers of them, and GNU tar's archives
//!   mounts ── layerfs, kernel overlayfs and fuse-overlayfs mounts with one face
//!   snapshot ── a tree with every attribute, and readable differences
//!   lowers ── hash of every lower before and after (contract R7)
//!   operations, sequences ── an interpreter of file operations, and random ones
//!   model ── what a union must do, as a program in memory
//!   stage ── a writable union with a plain copy beside it, the usual start of a test
//!   tracer, syscalls, traced ── a daemon killed or lied to at its n-th system call
//!   user ── code run as another user
//!   work ── what the worker processes of the concurrency tests agree upon
//!   programs, process ── where our binaries are; running them with a time limit
//!   container ── one `runner` state directory and its calls
//!   httpd ── a web server that answers what a test tells it to
//!   registry ── images as registries keep them, and Debian's docker-registry
//!   tars ── archives that no honest program makes
//!   terminal ── a program on a terminal of the test's own
//!   source ── a reader of Rust text for tidy.rs
//!   sys ── the few system calls that need `unsafe`
//! ```
//!
//! Every test makes its own [`scratch::Scratch`]; nothing is shared but the test root.
#![allow(clippy::unwrap_used)] // a harness that fails shall panic with the place

pub mod container;
pub mod httpd;
pub mod layers;
pub mod lowers;
pub mod model;
pub mod mounts;
pub mod operations;
pub mod packs;
pub mod process;
pub mod registry;
pub mod scratch;
pub mod sequences;
pub mod snapshot;
pub mod source;
pub mod stage;
pub mod sys;
pub mod syscalls;
pub mod tars;
pub mod terminal;
pub mod traced;
pub mod tracer;
pub mod user;
pub mod work;

pub use tools::programs;
