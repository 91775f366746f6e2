//! `runner network rm`: removes networks.

use super::super::output;
use crate::error::{Error, Result};
use crate::network::{self, NetworkError};
use std::path::Path;

/// Arguments of `network rm`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  runner network rm web")]
pub(super) struct Args {
    /// No error if there is no such network
    #[arg(short, long)]
    force: bool,
    /// Names, ids, or unique beginnings of ids
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    output::for_each(&args.networks, |name| match network::remove(root, name) {
        Err(NetworkError::NoNetwork(_)) if args.force => Ok(()),
        other => other.map(drop).map_err(Error::from),
    })
}
