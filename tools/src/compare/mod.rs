//! layerfs side by side with a plain copy, the kernel's overlayfs and the FUSE unions of others.
//!
//! ```text
//!   options ─> turns ──┬─ fixture     the layers, made once
//!                      ├─ work/       what is done: a Scenario fills some Rows
//!                      │    └─ bench      its mount, clock and programs;  client: its system calls
//!                      ├─ contender, mount    who does it, and how each is mounted
//!                      └─ guard       ends what hangs; signals
//!             ─> samples (Run) ──> report/   table, plots, JSON
//! ```
//!
//! The order is: for each work, for each round, each contender in turn (another one begins each
//! round), always on a new mount over an empty upper. So the columns of a line are measured within
//! seconds of each other, and a slow minute of the machine falls on all of them alike.

mod bench;
mod client;
mod contender;
mod engines;
mod error;
mod fixture;
mod guard;
mod install;
mod machine;
mod mount;
mod options;
mod program;
mod report;
mod samples;
mod scale;
mod scenario;
mod scratch;
mod silence;
mod statistics;
mod trace;
mod turns;
mod work;

use std::process::ExitCode;

use clap::Parser;

/// Runs the program `compare` with the process's own arguments.
pub fn main() -> ExitCode {
    let options = options::Options::parse();
    match turns::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error::Error::Interrupted) => {
            eprintln!("compare: interrupted");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}
