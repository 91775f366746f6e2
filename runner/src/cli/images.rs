//! `runner images`: lists the images.

use super::format::{Column, Format, ago, size};
use super::output;
use crate::error::Result;
use crate::image::{Record, Store};
use crate::types::Moment;
use serde_json::{Value, json};
use std::path::Path;

/// Arguments of `images`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner images
  runner images -q
  runner images --format '{{.Repository}}:{{.Tag}}'
  runner images --format json")]
pub(super) struct Args {
    /// Print as: table [TEMPLATE], json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

const COLUMNS: &[Column] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
];

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let format = Format::parse(args.format.as_deref())?;
    output::open_home(root)?;
    let records = Store::open(root)?.list()?;
    if args.quiet {
        let ids = records
            .iter()
            .map(|record| format!("{}\n", record.short_id()));
        return output::print(&ids.collect::<String>());
    }
    let rows: Vec<_> = records.iter().map(row).collect();
    let usual = ["Repository", "Tag", "ID", "CreatedSince", "Size"];
    output::print(&format.list(&rows, COLUMNS, &usual)?)
}

fn row(record: &Record) -> Value {
    let name = record.name.rsplit_once(':');
    let (name, tag) = name.unwrap_or((&record.name, "latest"));
    let created = Moment::from_seconds(record.created);
    json!({
        "Repository": name,
        "Tag": tag,
        "ID": record.short_id(),
        "CreatedSince": ago(created.age()),
        "CreatedAt": created.local("%Y-%m-%d %H:%M:%S %z %Z"),
        "Size": size(record.size),
    })
}
