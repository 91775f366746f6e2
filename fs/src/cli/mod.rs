//! The command line: one verb, one file.
//!
//! ```text
//!   argv ──> a verb?            mount | unmount | stats | which | diff | check
//!      │                        pack | merge | unpack | ls | cat | inspect | verify | completion | man
//!      └──> -o without a verb, or argv[0] = fuse-overlayfs*, mount.*: drop_in
//!                                   both mount by mount::start(Plan)
//! ```
//!
//! Exit codes: 0 done, 1 it failed (one line on stderr says what, on what, why), 2 wrong usage. Verbs that
//! answer a question by 0 or 1 (`which`, `check`, `verify`) end with 2 if they cannot.

mod cat;
mod check;
mod completion;
mod diff;
mod drop_in;
mod inspect;
mod ls;
mod man;
mod merge;
mod mount;
mod options;
mod output;
mod pack;
mod publish;
mod stats;
mod unmount;
mod unpack;
mod verify;
mod which;

use std::ffi::OsString;
use std::io::IsTerminal;

use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Exit code of a failure.
const FAILED: i32 = 1;
/// Exit code of a verb that answers by 0 and 1, and could not.
const TROUBLE: i32 = 2;

const EXAMPLES: &str = "\
Examples:
  layerfs mount --lower /srv/base --upper /srv/diff --work /srv/work /mnt
  layerfs mount --lower /srv/patch --lower /srv/base /mnt      # read-only
  layerfs unmount /mnt

As fuse-overlayfs is called (also under that name):
  layerfs -o lowerdir=/srv/patch:/srv/base,upperdir=/srv/diff,workdir=/srv/work /mnt

Exit codes: 0 done, 1 it failed, 2 wrong usage.
Logs go to stderr, as RUST_LOG says (RUST_LOG=layerfs=debug).";

/// A union file system in user space: read-only layers below, one writable diff on top.
#[derive(Debug, Parser)]
#[command(name = "layerfs", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Mount(mount::Args),
    Unmount(unmount::Args),
    Stats(stats::Args),
    Which(which::Args),
    Diff(diff::Args),
    Check(check::Args),
    Pack(pack::Args),
    Merge(merge::Args),
    Unpack(unpack::Args),
    Ls(ls::Args),
    Cat(cat::Args),
    Inspect(inspect::Args),
    Verify(verify::Args),
    Completion(completion::Args),
    Man(man::Args),
}

impl Verb {
    /// Runs it and gives the exit code.
    fn run(self) -> Result<i32, Stop> {
        let done = match self {
            Self::Which(args) => return answer(which::run(args)),
            Self::Check(args) => return answer(check::run(args)),
            Self::Verify(args) => return answer(verify::run(&args)),
            Self::Mount(args) => mount::run(args),
            Self::Unmount(args) => unmount::run(&args),
            Self::Stats(args) => stats::run(&args),
            Self::Diff(args) => diff::run(args),
            Self::Pack(args) => pack::run(args),
            Self::Merge(args) => merge::run(&args),
            Self::Unpack(args) => unpack::run(&args),
            Self::Ls(args) => ls::run(&args),
            Self::Cat(args) => cat::run(&args),
            Self::Inspect(args) => inspect::run(&args),
            Self::Completion(args) => completion::run(&args),
            Self::Man(args) => man::run(&args),
        };
        done.map(|()| 0).map_err(Stop::Failed)
    }
}

/// Runs the command line `args` (with the program's name) and gives the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> i32 {
    let args: Vec<OsString> = args.into_iter().collect();
    let verbs: Vec<String> = Cli::command()
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    let result = if let Some(form) = drop_in::form(&args, &verbs) {
        drop_in::run(form, &args).map(|()| 0)
    } else {
        Cli::try_parse_from(&args)
            .map_err(Stop::Usage)
            .and_then(|cli| cli.verb.run())
    };
    match result {
        Ok(code) => code,
        Err(Stop::Failed(message)) => {
            eprintln!("layerfs: {message}");
            FAILED
        }
        Err(Stop::Trouble(message)) => {
            eprintln!("layerfs: {message}");
            TROUBLE
        }
        Err(Stop::Usage(error)) if is_help(&error) => {
            // Help and version come this way too, with exit code 0. A closed pipe is no news.
            let _ = error.print();
            error.exit_code()
        }
        Err(Stop::Usage(error)) => {
            eprintln!("layerfs: {}", one_line(&error));
            error.exit_code()
        }
    }
}

/// The exit code of a verb that answers yes or no.
fn answer(answer: Result<bool, String>) -> Result<i32, Stop> {
    match answer {
        Ok(true) => Ok(0),
        Ok(false) => Ok(FAILED),
        Err(message) => Err(Stop::Trouble(message)),
    }
}

fn is_help(error: &clap::Error) -> bool {
    let without_verb = clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    !error.use_stderr() || error.kind() == without_verb
}

/// What clap has to say, in one line.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("bad command line");
    let first = first.strip_prefix("error: ").unwrap_or(first);
    // "the following required arguments were not provided:" goes on in the next lines.
    let named = lines.take_while(|line| first.ends_with(':') && line.starts_with(['<', '-', '[']));
    let rest: Vec<_> = std::iter::once(first).chain(named).collect();
    format!("{}; see layerfs --help", rest.join(" "))
}

/// Why a command line ends early.
enum Stop {
    /// It was not understood, or asked for help.
    Usage(clap::Error),
    /// It was understood, and failed.
    Failed(String),
    /// A verb whose exit code 1 is an answer could give none.
    Trouble(String),
}

/// The whole command, for help pages and completions.
fn command() -> clap::Command {
    Cli::command()
}

/// Sends logs to stderr: what `RUST_LOG` says, else warnings, or everything with `debug`.
fn start_logging(debug: bool) {
    let default = if debug {
        "layerfs=trace"
    } else {
        "layerfs=warn"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // Fails only if someone in this process logs already; then his way holds.
    let _ = logs.try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }
}
