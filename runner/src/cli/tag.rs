//! `runner tag`: one more name for an image.

use super::output;
use crate::error::Result;
use crate::image::{ImageError, Reference, Store};
use std::path::Path;

/// Arguments of `tag`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner tag debian debian:mine
  runner tag debian localhost:5000/debian")]
pub(super) struct Args {
    /// Name or id of an image
    image: String,
    /// The name to give to it, taken from another image if that has it: NAME[:TAG]
    name: String,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    output::open_home(root)?;
    let store = Store::open(root)?;
    let reference: Reference = args.name.parse()?;
    if reference.digest().is_some() {
        return Err(ImageError::Name {
            name: args.name.clone(),
            why: "a digest cannot be given; want NAME[:TAG]".to_owned(),
        }
        .into());
    }
    store.tag(&store.find(&args.image)?.id, &reference)?;
    Ok(0)
}
