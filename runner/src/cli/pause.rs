//! `runner pause`: freezes all processes of containers.

use super::output;
use crate::container::client::Control;
use crate::container::home::{Home, Settled};
use crate::error::{Error, Result};
use std::path::Path;

/// Arguments of `pause`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  runner pause web")]
pub(super) struct Args {
    /// Names, ids, or unique beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    output::for_each(&args.containers, |wanted| control(&home, wanted)?.pause())
}

/// The monitor of a container that is alive.
pub(super) fn control(home: &Home, wanted: &str) -> Result<Control> {
    let directory = home.find(wanted)?;
    match home.settle(&directory)? {
        Settled::Free(_) => Err(Error::NotRunning(wanted.to_owned())),
        Settled::Alive(_) => Control::connect(&directory),
    }
}
