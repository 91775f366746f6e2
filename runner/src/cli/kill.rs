//! `runner kill`: sends a signal to containers' first processes.

use super::output;
use crate::container::client::Control;
use crate::container::home::Settled;
use crate::container::signals;
use crate::error::{Error, Result};
use std::path::Path;

/// Arguments of `kill`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  runner kill web\n  runner kill -s HUP web")]
pub(super) struct Args {
    /// Signal to send, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Names, ids, or unique beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    let signal = signals::parse("--signal", &args.signal)?;
    output::for_each(&args.containers, |wanted| {
        let directory = home.find(wanted)?;
        match home.settle(&directory)? {
            Settled::Free(_) => Err(Error::NotRunning(wanted.to_owned())),
            Settled::Alive(_) => Control::connect(&directory)?.kill(signal),
        }
    })
}
