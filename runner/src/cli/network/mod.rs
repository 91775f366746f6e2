//! `runner network`: networks of containers. One file a verb.

mod connect;
mod create;
mod disconnect;
mod inspect;
mod ls;
pub(super) mod prune;
mod rm;

use crate::error::Result;
use std::path::Path;

/// Arguments of `network`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Put a container on a network, also while it runs
    Connect(connect::Args),
    /// Make a network
    Create(create::Args),
    /// Take a container off a network, also while it runs
    Disconnect(disconnect::Args),
    /// Show all there is to know of networks
    Inspect(inspect::Args),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    /// Remove networks that no container is on
    Prune(prune::Args),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    // Also puts right what killed monitors left of networks.
    let home = super::output::open_home(root)?;
    match &args.verb {
        Verb::Connect(args) => connect::run(args, &home),
        Verb::Disconnect(args) => disconnect::run(args, &home),
        Verb::Create(args) => create::run(args, root),
        Verb::Inspect(args) => inspect::run(args, root),
        Verb::Ls(args) => ls::run(args, root),
        Verb::Prune(args) => prune::run(args, root),
        Verb::Rm(args) => rm::run(args, root),
    }
}
