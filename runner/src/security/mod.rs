//! What a container's processes may do: capabilities, system calls, hidden files.
//!
//! ```text
//! --cap-add, --cap-drop --> capabilities::CapabilitySet --+--> taken on in the child
//! --security-opt seccomp=... --> seccomp::Filter::compile-+--> installed in the child
//! masks::MASKED, READONLY --> mounts
//! ```
//!
//! All decisions are made in the parent as plain data; the child only takes them on, without
//! allocating.

pub mod capabilities;
pub mod masks;
pub mod seccomp;
mod sys;

pub use capabilities::{CapabilityError, CapabilitySet};
pub use seccomp::{Filter, SeccompChoice, SeccompError};
