//! `runner volume inspect`: all there is to know of volumes, as docker's JSON.

use super::super::format::Format;
use super::super::{inspect, output};
use crate::container::volume::Volumes;
use crate::error::Result;
use serde_json::{Value, json};
use std::path::Path;

/// Arguments of `volume inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner volume inspect data
  runner volume inspect -f '{{.Mountpoint}}' data")]
pub(super) struct Args {
    /// Print as: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let format = Format::parse(args.format.as_deref())?;
    let volumes = Volumes::at(root);
    let mut found = Vec::new();
    let mut code = 0;
    for name in &args.volumes {
        match describe(&volumes, name) {
            Ok(volume) => found.push(volume),
            Err(error) => {
                output::complain(&error);
                code = super::super::OURS;
            }
        }
    }
    if !found.is_empty() {
        inspect::show(&format, found)?;
    }
    Ok(code)
}

fn describe(volumes: &Volumes, name: &str) -> Result<Value> {
    let record = volumes.record(name)?;
    Ok(json!({
        "CreatedAt": record.created.to_string(),
        "Driver": "local",
        "Labels": record.labels,
        "Mountpoint": volumes.data(name),
        "Name": name,
        "Options": null,
        "Scope": "local",
        "Anonymous": record.anonymous,
    }))
}
