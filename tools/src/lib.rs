//! Developer tools.
//!
//! * [`testroot`] (`cargo run -p tools --bin testroot`): the Debian root that tests and
//!   comparisons run real programs in, built once and cached outside the tree;
//! * [`leaks`] (`cargo run -p tools --bin leaks`): what a test run left on the machine.

pub mod leaks;
pub mod testroot;
