//! Many at once in the same directories of one mount.
//!
//! ```text
//!   processes   workers (tests/src/bin/worker.rs) while the kernel's caches are dropped all the time
//! ```
#![allow(clippy::unwrap_used)]

mod processes;
