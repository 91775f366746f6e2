//! What a container's processes may do: capabilities, system calls, hidden files.

pub mod capabilities;
pub mod masks;
pub mod seccomp;

pub use capabilities::{CapabilityError, CapabilitySet};
pub use seccomp::{Filter, SeccompChoice, SeccompError};
