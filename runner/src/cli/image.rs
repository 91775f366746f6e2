//! `runner image prune`: removes images that are not used.

use super::format::size;
use super::images::Filter;
use super::{output, rmi};
use crate::error::Result;
use crate::image::{Removed, Store};
use std::path::Path;

/// Arguments of `image`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Remove images without a name that no container needs
    Prune(Prune),
}

/// Arguments of `image prune`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Filters: label=KEY[=VALUE], before=IMAGE, since=IMAGE.

Examples:
  runner image prune
  runner image prune -af --filter label=stage=test")]
struct Prune {
    /// All images that no container needs, those with names, too
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those that meet the conditions
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
}

/// What `prune` asks before it removes.
pub(super) fn what(all: bool) -> &'static str {
    match all {
        true => "all images without at least one container associated to them",
        false => "all dangling images",
    }
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let Verb::Prune(args) = &args.verb;
    output::open_home(root)?;
    let store = Store::open(root)?;
    let filter = Filter::parse(&args.filter, &store)?;
    let question = format!("This will remove {}.", what(args.all));
    if !args.force && !output::confirm(&question)? {
        return Ok(0);
    }
    let removed = store.prune(args.all, |record| filter.keeps(record))?;
    let reclaimed: u64 = removed.iter().map(|one| one.bytes).sum();
    let list = list(&removed);
    output::print(&format_args!(
        "{list}Total reclaimed space: {}\n",
        size(reclaimed)
    ))
}

/// As docker lists them; nothing if nothing was removed.
pub(super) fn list(removed: &[Removed]) -> String {
    if removed.is_empty() {
        return String::new();
    }
    let lines: String = removed.iter().map(rmi::list).collect();
    let lines = lines.replace("Untagged: ", "untagged: ");
    format!(
        "Deleted Images:\n{}\n",
        lines.replace("Deleted: ", "deleted: ")
    )
}
