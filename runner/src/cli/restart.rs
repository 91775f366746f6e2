//! `runner restart`: ends containers and starts them again.

use super::{output, start, stop};
use crate::container::signals;
use crate::error::Result;
use std::path::Path;

/// Arguments of `restart`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  runner restart -t 5 web")]
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
        let directory = home.find(wanted)?;
        stop::stop(&home, &directory, signal, args.time)?;
        start::start(&home, &directory)
    })
}
