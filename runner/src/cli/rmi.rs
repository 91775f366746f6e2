//! `runner rmi`: removes names of images, and images.

use super::output;
use crate::error::Result;
use crate::image::{Removed, Store};
use std::path::Path;

/// Arguments of `rmi`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "An image goes with its last name, and its layers with the last image that has them.

Examples:
  runner rmi debian myroot:v1
  runner rmi -f 3f1c0d8a5b7e"
)]
pub(super) struct Args {
    /// Remove an image with all of its names, even if containers that do not run need it
    #[arg(short, long)]
    force: bool,
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    output::open_home(root)?;
    let store = Store::open(root)?;
    let mut code = 0;
    for name in &args.images {
        match store.remove(name, args.force) {
            Ok(removed) => {
                output::print(&list(&removed))?;
            }
            Err(error) => {
                output::complain(&error);
                code = super::OURS;
            }
        }
    }
    Ok(code)
}

/// What went, a line each.
pub(super) fn list(removed: &Removed) -> String {
    let names = removed.untagged.iter();
    let mut text: String = names.map(|name| format!("Untagged: {name}\n")).collect();
    for id in removed.image.iter().chain(&removed.layers) {
        text.push_str(&format!("Deleted: sha256:{id}\n"));
    }
    text
}
