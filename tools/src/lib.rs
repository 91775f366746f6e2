//! Developer tools.
//!
//! * [`compare`] (`cargo run --release -p tools --bin compare`): layerfs measured beside others;
//! * [`testroot`] (`cargo run -p tools --bin testroot`): the Debian root that tests and
//!   comparisons run real programs in, built once and cached outside the tree;
//! * [`docker`]: Debian's docker, to measure and to exchange images with; [`cache`]: where both lie;
//! * [`leaks`] (`cargo run -p tools --bin leaks`): what a test run left on the machine;
//! * [`rules`] (`cargo run -p tools --bin rules`): the contract's rules, their tests and results.

pub mod cache;
pub mod compare;
pub mod docker;
pub mod leaks;
pub mod programs;
pub mod rules;
pub mod testroot;
