//! `runner history`: the steps by which an image was made.

use super::format::{Column, Format, ago, size};
use super::output;
use crate::error::Result;
use crate::image::{Record, Store};
use crate::types::Moment;
use serde_json::{Value, json};
use std::path::Path;

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner history debian
  runner history --no-trunc --format '{{.CreatedBy}}' debian")]
pub(super) struct Args {
    /// Print as: table [TEMPLATE], json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Print ids and commands in full
    #[arg(long)]
    no_trunc: bool,
    /// Name or id of an image
    image: String,
}

const COLUMNS: &[Column] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

/// What has no id of its own.
const MISSING: &str = "<missing>";

/// Longest command in a table.
const WIDTH: usize = 45;

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let format = Format::parse(args.format.as_deref())?;
    output::open_home(root)?;
    let store = Store::open(root)?;
    let rows = rows(&store, &store.find(&args.image)?, args.no_trunc)?;
    if args.quiet {
        let ids = rows.iter().filter_map(|row| row["ID"].as_str());
        return output::print(&ids.map(|id| format!("{id}\n")).collect::<String>());
    }
    let usual = ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"];
    output::print(&format.list(&rows, COLUMNS, &usual)?)
}

/// Newest first. Only the last step has an id: that of the image.
fn rows(store: &Store, record: &Record, whole: bool) -> Result<Vec<Value>> {
    let mut layers = record.layers.iter();
    let mut rows = Vec::new();
    for step in &record.config.history {
        let layer = if step.empty_layer {
            None
        } else {
            layers.next()
        };
        let bytes = layer.map_or(Ok(0), |layer| store.layer_size(layer))?;
        let created = step.created.as_deref().and_then(Moment::parse_exact);
        let shown = created.map(|moment| moment.local("%Y-%m-%dT%H:%M:%S%:z").to_string());
        rows.push(json!({
            "ID": MISSING,
            "CreatedSince": created.map_or("N/A".to_owned(), |moment| ago(moment.age())),
            "CreatedAt": shown.unwrap_or_default(),
            "CreatedBy": command(&step.created_by, whole),
            "Size": size(bytes),
            "Comment": step.comment,
        }));
    }
    // Images whose makers say nothing of their steps still have layers.
    for layer in layers {
        rows.push(json!({
            "ID": MISSING, "CreatedSince": "N/A", "CreatedAt": "", "CreatedBy": "",
            "Size": size(store.layer_size(layer)?), "Comment": "",
        }));
    }
    rows.reverse();
    if let Some(last) = rows.first_mut() {
        last["ID"] = match whole {
            true => format!("sha256:{}", record.id).into(),
            false => record.short_id().into(),
        };
    }
    Ok(rows)
}

fn command(text: &str, whole: bool) -> String {
    let text = text.replace(['\n', '\t'], " ");
    if whole || text.chars().count() <= WIDTH {
        return text;
    }
    text.chars().take(WIDTH - 1).chain(['…']).collect()
}
