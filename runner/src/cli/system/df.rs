//! `runner system df`: what takes how much of the disk.

mod verbose;

use super::super::format::{Column, Format, size as shown};
use super::super::{output, size};
use crate::container::volume::Volumes;
use crate::error::Result;
use crate::image::Store;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// Arguments of `system df`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Reclaimable is what goes with rmi, container prune and volume prune.

Example:
  runner system df
  runner system df -v"
)]
pub(super) struct Args {
    /// Print as: table [TEMPLATE], json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Each image, container and volume
    #[arg(short, long, conflicts_with = "format")]
    verbose: bool,
}

const COLUMNS: &[Column] = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

/// One line.
#[derive(Debug, Default)]
struct Kind {
    total: usize,
    active: usize,
    bytes: u64,
    reclaimable: u64,
}

impl Kind {
    fn add(&mut self, bytes: u64, active: bool) {
        self.total += 1;
        self.bytes += bytes;
        if active {
            self.active += 1;
        } else {
            self.reclaimable += bytes;
        }
    }

    fn row(&self, name: &str) -> Value {
        let percent = self.reclaimable.saturating_mul(100).checked_div(self.bytes);
        let percent = percent.map_or(String::new(), |percent| format!(" ({percent}%)"));
        json!({
            "Type": name,
            "TotalCount": self.total.to_string(),
            "Active": self.active.to_string(),
            "Size": shown(self.bytes),
            "Reclaimable": format!("{}{percent}", shown(self.reclaimable)),
        })
    }
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let format = Format::parse(args.format.as_deref())?;
    let home = output::open_home(root)?;
    if args.verbose {
        return output::print(&verbose::text(&home, root)?);
    }
    let (mut images, mut containers, mut volumes) =
        (Kind::default(), Kind::default(), Kind::default());
    let mut used = BTreeSet::new();
    for directory in home.all()? {
        // Gone meanwhile, or being made.
        let (Ok(spec), Ok(state)) = (directory.spec(), directory.state()) else {
            continue;
        };
        used.extend(spec.image_id);
        containers.add(
            size::used(&directory.join("upper")),
            state.status.is_alive(),
        );
    }
    for record in Store::open(root)?.list()? {
        images.add(record.size, used.contains(&record.id));
    }
    let store = Volumes::at(root);
    let users = store.users(&home)?;
    for name in store.all()? {
        volumes.add(store.size(&name), users.contains_key(&name));
    }
    let rows = [
        images.row("Images"),
        containers.row("Containers"),
        volumes.row("Local Volumes"),
    ];
    let usual = ["Type", "TotalCount", "Active", "Size", "Reclaimable"];
    output::print(&format.list(&rows, COLUMNS, &usual)?)
}
