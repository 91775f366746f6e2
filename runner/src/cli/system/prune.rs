//! `runner system prune`: removes what is not used.

use super::super::format::size;
use super::super::{container, network, output, volume};
use crate::error::Result;
use std::path::Path;

/// Arguments of `system prune`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Images stay: each has a name here (runner rmi).

Examples:
  runner system prune
  runner system prune -f --volumes")]
pub(super) struct Args {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Anonymous volumes that no container refers to, too
    #[arg(long)]
    volumes: bool,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let volumes = if args.volumes {
        ", anonymous volumes"
    } else {
        ""
    };
    let question = format!("This will remove all stopped containers, unused networks{volumes}.");
    if !args.force && !output::confirm(&question)? {
        return Ok(0);
    }
    let home = output::open_home(root)?;
    // Containers first: what they refer to may go then.
    let containers = container::prune(&home)?;
    let (networks, code) = network::prune::prune(&home)?;
    let (volumes, freed) = match args.volumes {
        true => volume::prune::prune(&home, false)?,
        false => (String::new(), 0),
    };
    let reclaimed = size(containers.reclaimed + freed);
    let list = containers.list() + &networks + &volumes;
    output::print(&format_args!("{list}Total reclaimed space: {reclaimed}\n"))?;
    Ok(containers.code.max(code))
}
