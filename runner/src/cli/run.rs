//! `runner run`: a command in a new container.

use super::make::{self, Made};
use super::{ended, output};
use crate::container::client::{self, Outcome};
use crate::error::{Error, Result};
use std::path::Path;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "runner run [FLAGS] IMAGE [COMMAND [ARG]...]",
    after_help = "IMAGE is `host` (this machine's own files), `dir:PATH`, or a name made by `runner import`.
Flags go before IMAGE; everything after it is the command's. The exit code is the command's; 125 if
the container could not be made, 126 if the command cannot be executed, 127 if it is not there.
The classic spelling with one dash (-rm, -name x) is understood, too.

Examples:
  runner run --rm host sh -c 'rm -rf /usr/share/doc; ls /usr/share/doc | wc -l'
  runner run -it --rm -v ./src:/src:ro -w /src debian bash
  runner run -d --name web --restart always debian python3 -m http.server
  runner run --rm -m 64m --memory-swap 64m --cpus 0.5 debian python3 job.py
  runner run --rm -u nobody --read-only --tmpfs /tmp --cap-drop ALL debian id
  echo hello | runner run -i --rm debian tr a-z A-Z"
)]
pub(super) struct Args {
    /// Leave the container running and print its id
    #[arg(short, long)]
    detach: bool,
    /// Hand signals of this process on to the container
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true,
        default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Keys that let go of the container's terminal
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    #[command(flatten)]
    make: make::Args,
}

/// Runs the container and gives the exit code of its command.
pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    if args.detach {
        return run_detached(args, root);
    }
    let following = make::following(
        make::wanted_streams(&args.make)?,
        args.make.tty,
        args.sig_proxy,
        args.detach_keys.as_deref(),
    )?;
    let made = make::make(&args.make, root, following.input)?;
    let mut warn = |text: &str| output::warn(&text);
    let outcome = client::start_attached(&made.directory, made.lock, following, &mut warn);
    match ended::look_after(&made.home, outcome)? {
        Outcome::Ended(ended) => Ok(ended::tell(&ended)),
        Outcome::Detached => {
            output::warn(&"read escape sequence");
            Ok(0)
        }
    }
}

fn run_detached(args: &Args, root: &Path) -> Result<u8> {
    if !args.make.attach.is_empty() {
        return Err(Error::Usage(
            "-d and -a contradict each other: leave one out".to_owned(),
        ));
    }
    let Made {
        home,
        directory,
        lock,
        spec,
    } = make::make(&args.make, root, false)?;
    let mut warn = |text: &str| output::warn(&text);
    let started = client::start(&directory, lock, &mut warn);
    ended::look_after(&home, started)?;
    output::print(&format_args!("{}\n", spec.id))
}
