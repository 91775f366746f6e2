//! `runner load`: images from an archive.

use super::output;
use crate::error::Result;
use crate::image::Store;
use std::path::{Path, PathBuf};

/// Arguments of `load`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Reads what docker save, podman save, skopeo, buildah and runner save write: docker's archives and
OCI's, plain, gzip, zstd, xz or bzip2; and a directory of OCI's layout.

Examples:
  runner load -i debian.tar
  ssh build docker save app | runner load"
)]
pub(super) struct Args {
    /// Read this file or directory instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Do not tell what was loaded
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    output::open_home(root)?;
    let input = args.input.as_deref().filter(|path| *path != Path::new("-"));
    let mut text = String::new();
    for loaded in Store::open(root)?.load(input)? {
        for name in &loaded.names {
            text.push_str(&format!("Loaded image: {name}\n"));
        }
        if loaded.names.is_empty() {
            text.push_str(&format!("Loaded image ID: sha256:{}\n", loaded.id));
        }
    }
    match args.quiet {
        true => Ok(0),
        false => output::print(&text),
    }
}
