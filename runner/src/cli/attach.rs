//! `runner attach`: follows the streams of a container that runs.

use super::{ended, make, output};
use crate::container::client::{self, Outcome};
use crate::container::home::Settled;
use crate::container::state::Status;
use crate::error::{Error, Result};
use std::path::Path;

/// Arguments of `attach`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Any number of users can be attached at once. The exit code is the command's.

Examples:
  runner attach web
  runner attach --no-stdin --sig-proxy=false web"
)]
pub(super) struct Args {
    /// Keys that let go of the container's terminal
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Do not hand standard input on
    #[arg(long, alias = "nostdin")]
    no_stdin: bool,
    /// Hand signals of this process on to the container
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true,
        default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Name, id, or unique beginning of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    let directory = home.find(&args.container)?;
    let why = match home.settle(&directory)? {
        Settled::Free(_) => Some("does not run: start it first (runner start)"),
        Settled::Alive(state) if state.status == Status::Paused => {
            Some("is paused: unpause it first (runner unpause)")
        }
        Settled::Alive(state) if state.status == Status::Restarting => {
            Some("is about to be started again: wait until it runs")
        }
        Settled::Alive(_) => None,
    };
    if let Some(why) = why {
        let name = &args.container;
        return Err(Error::Refused(format!(
            "cannot attach: container {name} {why}"
        )));
    }
    let command = directory.spec()?.command;
    let wanted = [!args.no_stdin && command.input, true, true];
    let keys = args.detach_keys.as_deref();
    let following = make::following(wanted, command.terminal, args.sig_proxy, keys)?;
    let mut warn = |text: &str| output::warn(&text);
    let outcome = client::attach(&directory, following, &mut warn);
    match ended::look_after(&home, outcome)? {
        Outcome::Ended(ended) => Ok(ended.code),
        Outcome::Detached => {
            output::warn(&"read escape sequence");
            Ok(0)
        }
    }
}
