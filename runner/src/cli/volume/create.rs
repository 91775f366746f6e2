//! `runner volume create`: makes a volume.

use super::super::{make, output};
use crate::container::volume::Volumes;
use crate::error::{Error, Result};
use std::path::Path;

/// Arguments of `volume create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner volume create data
  runner run -v data:/var/lib/data host sh")]
pub(super) struct Args {
    /// Kind of volume: local
    #[arg(short, long, value_name = "DRIVER", default_value = "local")]
    driver: String,
    /// Set a label
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Name; an invented one if not given
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    if args.driver != "local" {
        return Err(Error::Value {
            flag: "--driver",
            value: args.driver.clone(),
            why: "there is none but local".to_owned(),
        });
    }
    let labels = make::plain_labels(&args.label)?;
    let name = Volumes::at(root).create(args.name.as_deref(), labels)?;
    output::print(&format_args!("{name}\n"))
}
