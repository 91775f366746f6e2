//! `runner inspect`: all there is to know of containers and images, as docker's JSON.

mod container;
mod image;

use super::format::Format;
use super::output;
use crate::error::{Error, Result};
use crate::image::Store;
use serde_json::Value;
use std::path::Path;

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner inspect web
  runner inspect --format '{{.State.Pid}}' web
  runner inspect -f '{{json .Mounts}}' web
  runner inspect -f '{{range .Config.Env}}{{println .}}{{end}}' web")]
pub(super) struct Args {
    /// Print as: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Look among these only: container, image
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// With the size of what containers have written
    #[arg(short, long)]
    size: bool,
    /// Names, ids, or unique beginnings of ids
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let format = Format::parse(args.format.as_deref())?;
    let kind = args.kind.as_deref();
    if let Some(kind) = kind.filter(|kind| !["container", "image"].contains(kind)) {
        return Err(Error::Value {
            flag: "--type",
            value: kind.to_owned(),
            why: "want container or image".to_owned(),
        });
    }
    let home = output::open_home(root)?;
    let find = |name: &str| -> Result<Value> {
        if kind != Some("image") {
            match home.find(name) {
                Ok(directory) => return container::describe(&home, &directory, args.size),
                Err(Error::NoContainer(_)) if kind.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        let store = Store::open(root)?;
        match store.resolve(name) {
            Ok(image) => image::describe(&store, &image),
            Err(_) if kind.is_none() => Err(Error::NoObject(name.to_owned())),
            Err(error) => Err(error.into()),
        }
    };
    let mut code = 0;
    let mut found = Vec::new();
    for name in &args.names {
        match find(name) {
            Ok(value) => found.push(value),
            Err(error) => {
                output::complain(&error);
                code = super::OURS;
            }
        }
    }
    if !found.is_empty() {
        show(&format, found)?;
    }
    Ok(code)
}

/// Prints objects: an array of all, or a line each by the template.
pub(super) fn show(format: &Format, found: Vec<Value>) -> Result<u8> {
    match format {
        Format::Usual => {
            let all = Value::Array(found);
            let text = format!("{all:#}\n").replace("  ", "    ");
            output::print(&text)
        }
        Format::Json => output::print(&format_args!("{}\n", Value::Array(found))),
        Format::Template { .. } => {
            let lines: Result<String> = found.iter().map(|value| format.object(value)).collect();
            output::print(&lines?)
        }
    }
}
