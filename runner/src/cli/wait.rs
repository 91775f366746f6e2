//! `runner wait`: waits until containers have ended, and prints their exit codes.

use super::output;
use crate::container::client::Control;
use crate::container::directory::Directory;
use crate::container::home::{Home, Settled};
use crate::error::{Error, Result};
use std::path::Path;

/// Arguments of `wait`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  code=$(runner wait job)")]
pub(super) struct Args {
    /// Names, ids, or unique beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    let mut code = 0;
    for wanted in &args.containers {
        let waited = home.find(wanted).and_then(|found| wait(&home, &found));
        match waited {
            Ok(ended) => {
                output::print(&format_args!("{ended}\n"))?;
            }
            Err(error) => {
                output::complain(&error);
                code = super::OURS;
            }
        }
    }
    Ok(code)
}

fn wait(home: &Home, directory: &Directory) -> Result<u8> {
    if let Settled::Alive(_) = home.settle(directory)? {
        match Control::connect(directory).and_then(|control| control.wait()) {
            Ok(Some(ended)) => return Ok(ended.code),
            // Without a word: its monitor was killed, or it ended a moment before we asked.
            Ok(None) | Err(Error::NotRunning(_)) => {
                for problem in home.sweep()? {
                    output::warn(&format_args!("WARNING: {problem}"));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(directory.state()?.code)
}
