//! Suites that others wrote, run on layerfs: what holds on ext4 holds here.
//!
//! ```text
//!   pjdfstest    every answer of every system call that POSIX gives a file system
//!   fsx          random reads, writes, mappings and holes of one file, checked byte by byte
//!   exerciser    the same idea by ourselves: many handles of one lower file while it is copied up
//!   stress_ng    loads of every kind at once, each checking its own results
//! ```
//!
//! `TESTS_LONG=1` (`./tests/run --long`) runs many more seeds, and longer.
#![allow(clippy::unwrap_used)]

mod exerciser;
mod fsx;
mod pjdfstest;
mod stress_ng;
