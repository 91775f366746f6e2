//! `runner stop`: asks containers to end, and kills those that do not.

use super::output;
use crate::container::client::Control;
use crate::container::directory::Directory;
use crate::container::home::{Home, Settled};
use crate::container::signals;
use crate::error::{Error, Result};
use std::path::Path;

/// Arguments of `stop`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  runner stop -t 30 web db")]
pub(super) struct Args {
    /// Seconds between asking and killing; -1 to wait for ever
    #[arg(
        short,
        long,
        alias = "timeout",
        value_name = "SECONDS",
        allow_hyphen_values = true
    )]
    time: Option<i64>,
    /// Signal to ask with, instead of the container's own
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Names, ids, or unique beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    let signal = args.signal.as_deref();
    let signal = signal
        .map(|text| signals::parse("--signal", text))
        .transpose()?;
    output::for_each(&args.containers, |wanted| {
        stop(&home, &home.find(wanted)?, signal, args.time)
    })
}

/// Ends a container; fine if it has ended.
pub(super) fn stop(
    home: &Home,
    directory: &Directory,
    signal: Option<i32>,
    seconds: Option<i64>,
) -> Result<()> {
    if let Settled::Free(_) = home.settle(directory)? {
        return Ok(());
    }
    match Control::connect(directory).and_then(|control| control.stop(signal, seconds)) {
        // It has ended by itself meanwhile.
        Err(Error::NotRunning(_)) => Ok(()),
        other => other,
    }
}
