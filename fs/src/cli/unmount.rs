//! `layerfs unmount`.

use std::path::PathBuf;

use crate::transport;

const EXAMPLES: &str = "\
Examples:
  layerfs unmount /mnt
  layerfs unmount --lazy /mnt      # out of sight now, away when the last user leaves

Also removes a mount whose daemon was killed (\"Transport endpoint is not connected\").";

/// Unmount a layerfs and wait until its daemon has synced the upper.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, visible_alias = "umount")]
pub(super) struct Args {
    /// Take it out of sight though programs still use it
    #[arg(short, long)]
    lazy: bool,
    /// Where it is mounted
    mountpoint: PathBuf,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<(), String> {
    super::start_logging(false);
    transport::unmount(&args.mountpoint, args.lazy).map_err(|error| error.to_string())
}
