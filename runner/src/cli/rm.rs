//! `runner rm`: removes containers that have ended.

use super::output;
use crate::error::Result;
use std::path::Path;

/// Arguments of `rm`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  runner rm web 4f1c2a9b0d3e")]
pub(super) struct Args {
    /// Names, ids, or unique beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    let mut code = 0;
    for wanted in &args.containers {
        match home.remove(wanted) {
            Ok(()) => {
                output::print(&format_args!("{wanted}\n"))?;
            }
            Err(error) => {
                output::complain(&error);
                code = super::OURS;
            }
        }
    }
    Ok(code)
}
