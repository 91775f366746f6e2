//! `runner volume`: directories that outlive containers. One file a verb.

mod create;
mod inspect;
mod ls;
pub(super) mod prune;
mod rm;

use crate::error::Result;
use std::path::Path;

/// Arguments of `volume`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a volume
    Create(create::Args),
    /// Show all there is to know of volumes
    Inspect(inspect::Args),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    /// Remove volumes that no container refers to
    Prune(prune::Args),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    match &args.verb {
        Verb::Create(args) => create::run(args, root),
        Verb::Inspect(args) => inspect::run(args, root),
        Verb::Ls(args) => ls::run(args, root),
        Verb::Prune(args) => prune::run(args, root),
        Verb::Rm(args) => rm::run(args, root),
    }
}
