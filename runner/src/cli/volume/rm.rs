//! `runner volume rm`: removes volumes.

use super::super::output;
use crate::container::volume::Volumes;
use crate::error::{Error, Result};
use std::path::Path;

/// Arguments of `volume rm`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  runner volume rm data")]
pub(super) struct Args {
    /// No error if there is no such volume
    #[arg(short, long)]
    force: bool,
    /// Names
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    let volumes = Volumes::at(root);
    output::for_each(&args.volumes, |name| match volumes.remove(&home, name) {
        Err(Error::NoVolume(_)) if args.force => Ok(()),
        other => other,
    })
}
