//! The command line: one file per verb.
//!
//! ```text
//!   argv ──classic──> argv in today's spelling ──clap──> raw arguments ──verb──> exit code
//! ```
//!
//! Everything that fails is one line on standard error, `runner: what, on what: why; what to do`,
//! and exit code 125 unless the container's command itself is at fault.

mod attach;
mod build;
mod classic;
mod commit;
mod completion;
mod container;
mod cp;
mod create;
mod diff;
mod ended;
mod events;
mod exec;
mod export;
mod format;
mod history;
mod image;
mod images;
mod import;
mod inspect;
mod kill;
mod load;
mod login;
mod logout;
mod logs;
mod make;
mod man;
mod network;
mod output;
mod pause;
mod port;
mod ps;
mod pull;
mod push;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod size;
mod start;
mod stats;
mod stop;
mod system;
mod tag;
mod top;
mod unpause;
mod update;
mod volume;
mod wait;

use crate::container::monitor;
use crate::error::{Error, Result};
use crate::mounts::union;
use clap::{CommandFactory, Parser, Subcommand};
use output::{complain, warn};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code for what is the runner's own, or the user's, fault.
const OURS: u8 = 125;

/// Runs commands in containers: images mounted with layerfs, no daemon.
#[derive(Debug, Parser)]
#[command(name = "runner", version, arg_required_else_help = true)]
#[command(after_help = "Examples:
  runner run --rm host sh -c 'rm -rf /usr/share/doc; ls /usr/share/doc | wc -l'
  runner import debian.tar.gz debian
  runner run -it --rm debian bash
  runner images")]
struct Cli {
    /// Where images and containers are kept
    #[arg(
        long,
        value_name = "DIR",
        global = true,
        default_value = "/var/lib/runner"
    )]
    root: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a command in a new container
    Run(Box<run::Args>),
    /// Make a container without starting it
    Create(Box<create::Args>),
    /// Start containers that were made or have ended
    Start(start::Args),
    /// Ask containers to end, and kill those that do not
    Stop(stop::Args),
    /// End containers and start them again
    Restart(restart::Args),
    /// Send a signal to containers' first processes
    Kill(kill::Args),
    /// Freeze all processes of containers
    Pause(pause::Args),
    /// Let the processes of frozen containers run again
    Unpause(unpause::Args),
    /// Give containers other limits
    Update(update::Args),
    /// Wait until containers have ended, and print their exit codes
    Wait(wait::Args),
    /// Follow the streams of a container that runs
    Attach(attach::Args),
    /// Run another command in a container that runs
    Exec(exec::Args),
    /// Copy files into a container, or out of it
    Cp(cp::Args),
    /// Show the processes of a container
    Top(top::Args),
    /// Show what containers use
    Stats(stats::Args),
    /// Show where a container's ports are reached
    Port(port::Args),
    /// Show what a container has changed of its image
    Diff(diff::Args),
    /// Show what happens to containers
    Events(events::Args),
    /// Remove all containers that have ended
    Container(container::Args),
    /// Show what a container has said
    Logs(logs::Args),
    /// List containers
    Ps(ps::Args),
    /// Show all there is to know of containers and images
    Inspect(inspect::Args),
    /// Give a container another name
    Rename(rename::Args),
    /// Remove containers
    Rm(rm::Args),
    /// Fetch an image from a registry
    Pull(pull::Args),
    /// Bring an image to a registry
    Push(push::Args),
    /// Keep credentials for a registry
    Login(login::Args),
    /// Forget the credentials for a registry
    Logout(logout::Args),
    /// Make an image from a tar archive or a directory
    Import(import::Args),
    /// Make an image by a Dockerfile
    Build(build::Args),
    /// Make an image of what a container has changed
    Commit(commit::Args),
    /// Load images from an archive
    Load(load::Args),
    /// Save images to an archive
    Save(save::Args),
    /// Write a container's file system as an archive
    Export(export::Args),
    /// List images
    Images(images::Args),
    /// Remove images
    Rmi(rmi::Args),
    /// Give an image one more name
    Tag(tag::Args),
    /// Show the steps by which an image was made
    History(history::Args),
    /// Remove images that are not used
    Image(image::Args),
    /// Show what this machine and its containers are made of
    Info(system::info::Args),
    /// Show what takes how much, and clean up
    System(system::Args),
    /// Make, list and remove networks
    Network(network::Args),
    /// Make, list and remove volumes
    Volume(volume::Args),
    /// Print a completion script for a shell
    Completion(completion::Args),
    /// Print a manual page
    Man(man::Args),
}

/// The `runner` command; also the processes that it starts of itself.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    match args.get(1).and_then(|verb| verb.to_str()) {
        Some(monitor::VERB) => return monitor::main(),
        Some(union::VERB) => return union::main(),
        _ => {}
    }
    match dispatch(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(args: Vec<OsString>) -> Result<u8> {
    let args = classic::modernise(args, &Cli::command())?;
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => return output::print_styled(&error.render()),
        Err(error) if is_help(&error) => {
            warn(&error.render());
            return Ok(OURS);
        }
        Err(error) => return Err(Error::Usage(first_line(&error))),
    };
    let root = cli.root;
    match cli.verb {
        Verb::Run(args) => run::run(&args, &owned(&root)?),
        Verb::Create(args) => create::run(&args, &owned(&root)?),
        Verb::Start(args) => start::run(&args, &owned(&root)?),
        Verb::Stop(args) => stop::run(&args, &owned(&root)?),
        Verb::Restart(args) => restart::run(&args, &owned(&root)?),
        Verb::Kill(args) => kill::run(&args, &owned(&root)?),
        Verb::Pause(args) => pause::run(&args, &owned(&root)?),
        Verb::Unpause(args) => unpause::run(&args, &owned(&root)?),
        Verb::Update(args) => update::run(&args, &owned(&root)?),
        Verb::Wait(args) => wait::run(&args, &owned(&root)?),
        Verb::Exec(args) => exec::run(&args, &owned(&root)?),
        Verb::Attach(args) => attach::run(&args, &owned(&root)?),
        Verb::Cp(args) => cp::run(&args, &owned(&root)?),
        Verb::Top(args) => top::run(&args, &owned(&root)?),
        Verb::Stats(args) => stats::run(&args, &owned(&root)?),
        Verb::Port(args) => port::run(&args, &owned(&root)?),
        Verb::Diff(args) => diff::run(&args, &owned(&root)?),
        Verb::Events(args) => events::run(&args, &owned(&root)?),
        Verb::Container(args) => container::run(&args, &owned(&root)?),
        Verb::Logs(args) => logs::run(&args, &owned(&root)?),
        Verb::Ps(args) => ps::run(&args, &owned(&root)?),
        Verb::Inspect(args) => inspect::run(&args, &owned(&root)?),
        Verb::Rename(args) => rename::run(&args, &owned(&root)?),
        Verb::Rm(args) => rm::run(&args, &owned(&root)?),
        Verb::Pull(args) => pull::run(&args, &owned(&root)?),
        Verb::Push(args) => push::run(&args, &owned(&root)?),
        Verb::Login(args) => login::run(&args),
        Verb::Logout(args) => logout::run(&args),
        Verb::Import(args) => import::run(&args, &owned(&root)?),
        Verb::Build(args) => build::run(&args, &owned(&root)?),
        Verb::Commit(args) => commit::run(&args, &owned(&root)?),
        Verb::Load(args) => load::run(&args, &owned(&root)?),
        Verb::Save(args) => save::run(&args, &owned(&root)?),
        Verb::Export(args) => export::run(&args, &owned(&root)?),
        Verb::Images(args) => images::run(&args, &owned(&root)?),
        Verb::Rmi(args) => rmi::run(&args, &owned(&root)?),
        Verb::Tag(args) => tag::run(&args, &owned(&root)?),
        Verb::History(args) => history::run(&args, &owned(&root)?),
        Verb::Image(args) => image::run(&args, &owned(&root)?),
        Verb::Info(args) => system::info::run(&args, &owned(&root)?),
        Verb::System(args) => system::run(&args, &owned(&root)?),
        Verb::Network(args) => network::run(&args, &owned(&root)?),
        Verb::Volume(args) => volume::run(&args, &owned(&root)?),
        Verb::Completion(args) => completion::run(&args, Cli::command()),
        Verb::Man(args) => man::run(&args, Cli::command()),
    }
}

/// The root directory as an absolute path, for somebody who may use it.
fn owned(root: &Path) -> Result<PathBuf> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    std::path::absolute(root).map_err(Error::io("use", root))
}

fn is_help(error: &clap::Error) -> bool {
    error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// What clap has to say, as one line.
fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("bad command line");
    let first = first.strip_prefix("error: ").unwrap_or(first);
    // "the following required arguments were not provided:" goes on in the next lines.
    let rest = if first.ends_with(':') {
        let named: Vec<_> = lines
            .take_while(|line| line.starts_with(['<', '-', '[']))
            .collect();
        format!(" {}", named.join(" "))
    } else {
        String::new()
    };
    format!("{first}{rest}; see runner --help")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
