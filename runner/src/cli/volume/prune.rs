//! `runner volume prune`: removes volumes that no container refers to.

use super::super::format::size;
use super::super::output;
use crate::container::home::Home;
use crate::container::volume::{Record, Volumes};
use crate::error::Result;
use std::path::Path;

/// Arguments of `volume prune`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner volume prune
  runner volume prune -f --all")]
pub(super) struct Args {
    /// Named ones, too, not anonymous ones only
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let what = if args.all { "" } else { "anonymous " };
    let question = format!("This will remove all {what}volumes not used by a container.");
    if !args.force && !output::confirm(&question)? {
        return Ok(0);
    }
    let (mut text, reclaimed) = prune(&output::open_home(root)?, args.all)?;
    text.push_str(&format!("Total reclaimed space: {}\n", size(reclaimed)));
    output::print(&text)
}

/// Removes volumes that no container refers to, named ones too with `all`; gives their list, and how
/// many bytes they took.
pub(in crate::cli) fn prune(home: &Home, all: bool) -> Result<(String, u64)> {
    let volumes = Volumes::at(home.root());
    let goes = |record: &Record| all || record.anonymous;
    let before: u64 = volumes.all()?.iter().map(|name| volumes.size(name)).sum();
    let gone = volumes.free(home, volumes.all()?, goes)?;
    let after: u64 = volumes.all()?.iter().map(|name| volumes.size(name)).sum();
    let list = match gone.is_empty() {
        true => String::new(),
        false => format!("Deleted Volumes:\n{}\n\n", gone.join("\n")),
    };
    Ok((list, before.saturating_sub(after)))
}
