//! `runner container prune`: removes containers that have ended.

use super::format::size as shown_size;
use super::{output, size};
use crate::container::Id;
use crate::container::state::Status;
use crate::error::Result;
use std::path::Path;

/// Arguments of `container`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Remove all containers that do not run
    Prune(Prune),
}

/// Arguments of `container prune`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  runner container prune -f")]
struct Prune {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let Verb::Prune(args) = &args.verb;
    if !args.force && !output::confirm("This will remove all stopped containers.")? {
        return Ok(0);
    }
    let home = output::open_home(root)?;
    let (mut gone, mut reclaimed, mut code) = (Vec::new(), 0, 0);
    for directory in home.all()? {
        // Whoever has the lock works on it, or watches it.
        let Some(lock) = home.try_lock(directory.id())? else {
            continue;
        };
        let ended = directory
            .state()
            .is_ok_and(|state| matches!(state.status, Status::Created | Status::Exited));
        if !ended {
            continue;
        }
        let used = size::used(&directory.join("upper"));
        match home.remove(&directory, lock, false) {
            Ok(()) => {
                reclaimed += used;
                gone.push(directory.id().clone());
            }
            Err(error) => {
                output::complain(&error);
                code = super::OURS;
            }
        }
    }
    let mut text = String::new();
    if !gone.is_empty() {
        let ids: Vec<_> = gone.iter().map(Id::as_str).collect();
        text = format!("Deleted Containers:\n{}\n\n", ids.join("\n"));
    }
    text.push_str(&format!(
        "Total reclaimed space: {}\n",
        shown_size(reclaimed)
    ));
    output::print(&text)?;
    Ok(code)
}
