//! `runner import`: an image from an archive or a directory.

use super::output;
use crate::build::changes::Changes;
use crate::error::Result;
use crate::image::{Config, Source, Store};
use std::path::Path;

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The archive becomes the image's only layer as it is: it is read once, and nothing is unpacked.

Examples:
  runner import debian.tar.gz debian
  runner import -c 'CMD [\"bash\"]' -c 'ENV LANG=C.UTF-8' ./rootfs myroot:v1
  curl -s https://example.org/root.tar.zst | runner import -m 'root of 2026' - example"
)]
pub(super) struct Args {
    /// Apply this instruction of a Dockerfile to the image's settings, as CMD, ENV, EXPOSE, USER; may be repeated
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Say this in the image's history
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    message: String,
    /// A tar archive (plain, gzip, zstd, xz or bzip2), a directory, or - for an archive on standard input
    #[arg(value_name = "FILE|DIR|-")]
    source: String,
    /// The name to give to the image: NAME[:TAG]
    name: Option<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    output::open_home(root)?;
    let source = Source::parse(&args.source);
    let mut start = Config::default();
    Changes::parse(&args.change)?.apply(&mut start)?;
    let record = Store::open(root)?.import(&source, args.name.as_deref(), start, &args.message)?;
    output::print(&format_args!("sha256:{}\n", record.id))
}
