//! The union file system's contract, rule by rule; a test's name carries the rule's number.
#![allow(clippy::unwrap_used)]

mod harness;
