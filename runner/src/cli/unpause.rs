//! `runner unpause`: lets the processes of frozen containers run again.

use super::{output, pause};
use crate::error::Result;
use std::path::Path;

/// Arguments of `unpause`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  runner unpause web")]
pub(super) struct Args {
    /// Names, ids, or unique beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    output::for_each(&args.containers, |wanted| {
        pause::control(&home, wanted)?.unpause()
    })
}
