//! `runner start`: starts containers that were made or have ended.

use super::{ended, make, output};
use crate::container::client::{self, Outcome};
use crate::container::directory::Directory;
use crate::container::home::{Home, Settled};
use crate::error::{Error, Result};
use std::path::Path;

/// Arguments of `start`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner start web db
  runner start -a job; echo $?
  runner start -ai shell")]
pub(super) struct Args {
    /// Follow the container's output and hand signals on
    #[arg(short, long)]
    attach: bool,
    /// Hand standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Keys that let go of the container's terminal
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Names, ids, or unique beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    if !args.attach && !args.interactive {
        return output::for_each(&args.containers, |wanted| start(&home, &home.find(wanted)?));
    }
    match args.containers.as_slice() {
        [wanted] => attached(args, &home, &home.find(wanted)?),
        _ => Err(Error::Usage(
            "one container at a time can be started with -a or -i".to_owned(),
        )),
    }
}

/// Starts a container, unless it is alive.
pub(super) fn start(home: &Home, directory: &Directory) -> Result<()> {
    match home.settle(directory)? {
        Settled::Alive(_) => Ok(()),
        Settled::Free(lock) => {
            let started = client::start(directory, lock, &mut |text| output::warn(&text));
            ended::look_after(home, started)
        }
    }
}

fn attached(args: &Args, home: &Home, directory: &Directory) -> Result<u8> {
    let command = directory.spec()?.command;
    let wanted = [args.interactive && command.input, true, true];
    let keys = args.detach_keys.as_deref();
    let following = make::following(wanted, command.terminal, true, keys)?;
    let mut warn = |text: &str| output::warn(&text);
    let outcome = match home.settle(directory)? {
        Settled::Alive(_) => client::attach(directory, following, &mut warn),
        Settled::Free(lock) => client::start_attached(directory, lock, following, &mut warn),
    };
    match ended::look_after(home, outcome)? {
        Outcome::Ended(ended) => Ok(ended::tell(&ended)),
        Outcome::Detached => {
            output::warn(&"read escape sequence");
            Ok(0)
        }
    }
}
