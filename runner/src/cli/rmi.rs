//! `runner rmi`: removes images by name.

use super::output;
use crate::error::Result;
use crate::image::Store;
use std::path::Path;

/// Arguments of `rmi`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  runner rmi debian myroot:v1")]
pub(super) struct Args {
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    output::open_home(root)?;
    let store = Store::open(root)?;
    let mut code = 0;
    for name in &args.images {
        match store.remove(name) {
            Ok(record) => {
                output::print(&format_args!("Untagged: {}\n", record.name))?;
            }
            Err(error) => {
                output::complain(&error);
                code = super::OURS;
            }
        }
    }
    Ok(code)
}
