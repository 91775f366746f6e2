//! `runner system`: what all of it takes, what it is made of, what is broken, and cleaning up. One file a verb.

mod check;
mod df;
pub(super) mod info;
mod prune;

use crate::error::Result;
use std::path::Path;

/// Arguments of `system`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Find what is broken in images, containers and volumes, and repair it
    Check(check::Args),
    /// Show what takes how much of the disk
    Df(df::Args),
    /// Show what this machine and its containers are made of
    Info(info::Args),
    /// Remove what is not used
    Prune(prune::Args),
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    match &args.verb {
        Verb::Check(args) => check::run(args, root),
        Verb::Df(args) => df::run(args, root),
        Verb::Info(args) => info::run(args, root),
        Verb::Prune(args) => prune::run(args, root),
    }
}
