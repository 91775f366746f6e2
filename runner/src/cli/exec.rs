//! `runner exec`: another command in a container that runs.

use super::{ended, make, output};
use crate::container::client::{self, Outcome};
use crate::container::{Exec, terminal};
use crate::error::Result;
use crate::init::TerminalSize;
use std::path::{Path, PathBuf};

/// Arguments of `exec`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The command has the container's namespaces, limits and rights. The exit code is the command's; \
125 if it could not be started, 126 if it cannot be executed, 127 if it is not there.

Examples:
  runner exec web ls /srv
  runner exec -it web bash
  runner exec -d -u www-data -w /srv -e MODE=fast web ./refresh"
)]
pub(super) struct Args {
    /// Do not wait for the command
    #[arg(short, long)]
    detach: bool,
    /// Keys that let go of the command's terminal
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Set an environment variable; without =VALUE, pass the caller's on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file, one a line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give the command all rights
    #[arg(long)]
    privileged: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// Name or number of the user, and of the group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Directory to start in
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// Name, id, or unique beginning of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Command and arguments
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    let directory = home.find(&args.container)?;
    // Finds out, and puts right, if its monitor was killed.
    drop(home.settle(&directory)?);
    let mut env = Vec::new();
    if args.tty {
        env.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    make::add_environment(&mut env, &args.env_file, &args.env)?;
    let unknown = TerminalSize {
        rows: 0,
        columns: 0,
    };
    let exec = Exec {
        args: args.command.clone(),
        env,
        cwd: args.workdir.clone(),
        user: args.user.clone(),
        terminal: args.tty.then(|| terminal::size().unwrap_or(unknown)),
        privileged: args.privileged,
    };
    if args.detach {
        client::exec_detached(&directory, exec)?;
        return Ok(0);
    }
    let wanted = [args.interactive, true, true];
    let following = make::following(wanted, args.tty, true, args.detach_keys.as_deref())?;
    let mut warn = |text: &str| output::warn(&text);
    let outcome = client::exec(&directory, exec, following, &mut warn);
    match ended::look_after(&home, outcome)? {
        Outcome::Ended(ended) => Ok(ended.code),
        Outcome::Detached => {
            output::warn(&"read escape sequence");
            Ok(0)
        }
    }
}
