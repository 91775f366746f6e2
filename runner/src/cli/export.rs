//! `runner export`: a container's file system as an archive.

use super::output;
use super::save::to_file_or_stdout;
use crate::container::files::Files;
use crate::error::{Error, Result};
use crate::image::archive_directory;
use std::path::{Path, PathBuf};

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is mounted in the container (volumes, /proc, /dev) is left out. runner import makes an image of it.

Examples:
  runner export -o web.tar web
  runner export web | tar t"
)]
pub(super) struct Args {
    /// Write to this file, which is replaced when the archive is whole
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name or id of a container, which may run
    container: String,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    let directory = home.find(&args.container)?;
    // Absolute before the mount namespace changes.
    let path = args.output.as_deref().map(std::path::absolute).transpose();
    let path = path.map_err(Error::io("use", args.output.clone().unwrap_or_default()))?;
    let files = Files::open(&home, &directory)?;
    let origin = format!("export {}", args.container);
    let written = to_file_or_stdout(path.as_deref(), |to| {
        Ok(archive_directory(files.root(), &origin, to)?)
    });
    files.close()?;
    written?;
    Ok(0)
}
