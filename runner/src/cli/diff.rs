//! `runner diff`: what a container has changed of its image, in docker's three letters.

use super::output;
use crate::container;
use crate::error::Result;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A path is A (added), C (changed) or D (deleted).

Example:
  runner diff web")]
pub(super) struct Args {
    /// Name, id, or unique beginning of an id
    container: String,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    let directory = home.find(&args.container)?;
    let changes = container::changes(&directory)?;
    let mut text = Vec::new();
    for (path, letter) in changes {
        text.extend([letter, b' ', b'/']);
        text.extend(path.as_os_str().as_bytes());
        text.push(b'\n');
    }
    // Names need not be UTF-8, and are given as they are.
    output::print_bytes(&text)
}
