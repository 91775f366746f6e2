//! `runner import`: an image from an archive or a directory.

use super::output;
use crate::error::Result;
use crate::image::{Source, Store};
use std::path::Path;

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner import debian.tar.gz debian
  runner import ./rootfs myroot:v1
  curl -s https://example.org/root.tar.gz | runner import - example")]
pub(super) struct Args {
    /// A tar archive (plain or gzip), a directory, or - for an archive on standard input
    #[arg(value_name = "FILE|DIR|-")]
    source: String,
    /// The name to give to the image: NAME[:TAG]
    name: String,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    output::open_home(root)?;
    let record = Store::open(root)?.import(&Source::parse(&args.source), &args.name)?;
    output::print(&format_args!("{}\n", record.id))
}
