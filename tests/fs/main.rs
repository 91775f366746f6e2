//! The union file system's contract, rule by rule; a test's name carries the rule's number.
#![allow(clippy::unwrap_used)]

mod attributes;
mod check;
mod cli;
mod copy_up;
mod data;
mod diff;
mod differential;
mod directories;
mod harness;
mod identity;
mod images;
mod limits;
mod locks;
mod merged;
mod names;
mod packed;
mod packing;
mod places;
mod privileges;
mod programs;
mod reading;
mod scale;
mod tmpfile;
mod transport;
mod unpacking;
mod upper_format;
mod which;
