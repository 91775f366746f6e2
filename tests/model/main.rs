//! The union, a model of it in memory, and a plain ext4 copy: the same answers, step by step.
//!
//! proptest makes layers and steps ([`story`]); each step is taken by all, and what they answer must be
//! the same; trees are compared at every remount, at every rotation (the upper becomes the topmost
//! lower, and work goes on in a new one), and at the end. A failure shrinks; what it was goes into
//! `regressions.rs` under a name.
//!
//! `LAYERFS_MODEL_STEPS=N` takes N steps in each property instead of some thousand:
//!
//! ```text
//!   LAYERFS_MODEL_STEPS=1000000 cargo nextest run --release -p tests --test model
//! ```
//!
//! The umask is 0 in the whole program: no model knows of one.
#![allow(clippy::unwrap_used)]

mod against;
mod properties;
mod regressions;
mod story;
