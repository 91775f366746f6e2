//! `runner create`: makes a container without starting it.

use super::{make, output};
use crate::error::Result;
use std::path::Path;

/// Arguments of `create`.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "runner create [FLAGS] IMAGE [COMMAND [ARG]...]",
    after_help = "The flags are those of `runner run`. Prints the container's id.

Example:
  runner create --name job debian make -C /src && runner start -a job"
)]
pub(super) struct Args {
    #[command(flatten)]
    make: make::Args,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let [input, ..] = make::wanted_streams(&args.make)?;
    let made = make::make(&args.make, root, input)?;
    output::print(&format_args!("{}\n", made.spec.id))
}
