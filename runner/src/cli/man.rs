//! `runner man`: manual pages, made from the same definitions as the help.

use super::output;
use crate::error::{Error, Result};
use clap_mangen::Man;

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner man > runner.1
  runner man run | man -l -")]
pub(super) struct Args {
    /// The verb; without one, the whole command
    verb: Option<String>,
}

pub(super) fn run(args: &Args, mut command: clap::Command) -> Result<u8> {
    command.build();
    let page = match &args.verb {
        None => command,
        Some(verb) => match command.find_subcommand(verb) {
            Some(found) => found.clone(),
            None => return Err(Error::Usage(format!("no verb {verb:?}; see runner --help"))),
        },
    };
    let mut text = Vec::new();
    let rendered = Man::new(page).render(&mut text);
    rendered.map_err(Error::system::<std::io::Error>("make the manual page"))?;
    output::print(&String::from_utf8_lossy(&text))
}
