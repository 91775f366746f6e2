//! `runner system prune`: removes what is not used.

use super::super::format::size;
use super::super::{container, image, network, output, volume};
use crate::build::cache::Cache;
use crate::error::{Error, Result};
use crate::image::Store;
use std::path::Path;

/// Arguments of `system prune`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner system prune
  runner system prune -af --volumes")]
pub(super) struct Args {
    /// All images that no container needs, not those without a name only
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Anonymous volumes that no container refers to, too
    #[arg(long)]
    volumes: bool,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let volumes = if args.volumes {
        ", anonymous volumes"
    } else {
        ""
    };
    let images = image::what(args.all);
    let question = format!(
        "This will remove all stopped containers, unused networks{volumes}, {images}, the build cache."
    );
    if !args.force && !output::confirm(&question)? {
        return Ok(0);
    }
    let home = output::open_home(root)?;
    // Containers first: what they refer to may go then.
    let containers = container::prune(&home)?;
    let (networks, code) = network::prune::prune(&home)?;
    let (volumes, freed) = match args.volumes {
        true => volume::prune::prune(&home, false)?,
        false => (String::new(), 0),
    };
    let store = Store::open(root)?;
    // First: it keeps layers that go with the images then.
    Cache::clear(&store).map_err(Error::Refused)?;
    crate::build::mounts::clear(&store)?;
    let images = store.prune(args.all, |_| true)?;
    let bytes: u64 = images.iter().map(|one| one.bytes).sum();
    let reclaimed = size(containers.reclaimed + freed + bytes);
    let list = containers.list() + &networks + &volumes + &image::list(&images);
    output::print(&format_args!("{list}Total reclaimed space: {reclaimed}\n"))?;
    Ok(containers.code.max(code))
}
