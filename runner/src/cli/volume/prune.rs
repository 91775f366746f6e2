//! `runner volume prune`: removes volumes that no container refers to.

use super::super::format::size;
use super::super::output;
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
    let home = output::open_home(root)?;
    let volumes = Volumes::at(root);
    let goes = |record: &Record| args.all || record.anonymous;
    let before: u64 = volumes.all()?.iter().map(|name| volumes.size(name)).sum();
    let gone = volumes.free(&home, volumes.all()?, goes)?;
    let after: u64 = volumes.all()?.iter().map(|name| volumes.size(name)).sum();
    let mut text = String::new();
    if !gone.is_empty() {
        text = format!("Deleted Volumes:\n{}\n\n", gone.join("\n"));
    }
    let reclaimed = size(before.saturating_sub(after));
    text.push_str(&format!("Total reclaimed space: {reclaimed}\n"));
    output::print(&text)
}
