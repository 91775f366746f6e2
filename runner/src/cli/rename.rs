//! `runner rename`: gives a container another name.

use super::output;
use crate::container::check_name;
use crate::error::Result;
use std::path::Path;

/// Arguments of `rename`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  runner rename brave_anvil web")]
pub(super) struct Args {
    /// Name, id, or unique beginning of an id
    container: String,
    /// The new name
    name: String,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    check_name("NAME", &args.name)?;
    home.rename(&home.find(&args.container)?, &args.name)?;
    Ok(0)
}
