//! `runner container prune`: removes containers that have ended.

use super::format::size as shown_size;
use super::{output, size};
use crate::container::Id;
use crate::container::home::Home;
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
    let pruned = prune(&home)?;
    let mut text = pruned.list();
    text.push_str(&format!(
        "Total reclaimed space: {}\n",
        shown_size(pruned.reclaimed)
    ));
    output::print(&text)?;
    Ok(pruned.code)
}

/// What was removed.
pub(super) struct Pruned {
    gone: Vec<Id>,
    /// Bytes.
    pub(super) reclaimed: u64,
    /// The exit code: of failures, which were told.
    pub(super) code: u8,
}

impl Pruned {
    /// As docker lists it; nothing if nothing was removed.
    pub(super) fn list(&self) -> String {
        if self.gone.is_empty() {
            return String::new();
        }
        let ids: Vec<_> = self.gone.iter().map(Id::as_str).collect();
        format!("Deleted Containers:\n{}\n\n", ids.join("\n"))
    }
}

/// Removes all containers that do not run.
pub(super) fn prune(home: &Home) -> Result<Pruned> {
    let mut pruned = Pruned {
        gone: Vec::new(),
        reclaimed: 0,
        code: 0,
    };
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
                pruned.reclaimed += used;
                pruned.gone.push(directory.id().clone());
            }
            Err(error) => {
                output::complain(&error);
                pruned.code = super::OURS;
            }
        }
    }
    Ok(pruned)
}
