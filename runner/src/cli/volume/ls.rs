//! `runner volume ls`: lists volumes.

use super::super::format::{Column, Format};
use super::super::output;
use crate::container::volume::{Record, Volumes};
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Arguments of `volume ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner volume ls
  runner volume ls -q --filter dangling=true")]
pub(super) struct Args {
    /// Only those with: name=PART, label=KEY[=VALUE], dangling=true|false, driver=local
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Print as: table [TEMPLATE], json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
}

const COLUMNS: &[Column] = &[
    ("Driver", "DRIVER"),
    ("Name", "VOLUME NAME"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
];

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let format = Format::parse(args.format.as_deref())?;
    let filter = Filter::parse(&args.filter)?;
    let volumes = Volumes::at(root);
    let users = match filter.dangling {
        Some(_) => volumes.users(&output::open_home(root)?)?,
        None => BTreeMap::new(),
    };
    let mut rows = Vec::new();
    for name in volumes.all()? {
        let record = match volumes.record(&name) {
            // Removed meanwhile.
            Err(Error::NoVolume(_)) => continue,
            other => other?,
        };
        if filter.takes(&name, &record, !users.contains_key(&name)) {
            rows.push(row(&volumes, &name, &record));
        }
    }
    if args.quiet {
        let names = rows.iter().filter_map(|row| row.get("Name")?.as_str());
        return output::print(&names.map(|name| format!("{name}\n")).collect::<String>());
    }
    output::print(&format.list(&rows, COLUMNS, &["Driver", "Name"])?)
}

fn row(volumes: &Volumes, name: &str, record: &Record) -> Value {
    let labels: Vec<_> = record
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    json!({
        "Driver": "local",
        "Name": name,
        "Scope": "local",
        "Mountpoint": volumes.data(name),
        "Labels": labels.join(","),
    })
}

/// Conditions; all of them must hold, and one of those of a kind.
#[derive(Debug, Default)]
struct Filter {
    names: Vec<String>,
    labels: Vec<(String, Option<String>)>,
    dangling: Option<bool>,
    /// Only drivers that are not there are asked for.
    nothing: bool,
}

impl Filter {
    fn parse(texts: &[String]) -> Result<Self> {
        let mut filter = Self::default();
        for text in texts {
            let bad = |why: &str| Error::Value {
                flag: "--filter",
                value: text.clone(),
                why: why.to_owned(),
            };
            match text.split_once('=') {
                Some(("name", part)) => filter.names.push(part.to_owned()),
                Some(("label", label)) => filter.labels.push(match label.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (label.to_owned(), None),
                }),
                Some(("dangling", "true" | "1")) => filter.dangling = Some(true),
                Some(("dangling", "false" | "0")) => filter.dangling = Some(false),
                Some(("dangling", _)) => return Err(bad("want true or false")),
                Some(("driver", driver)) => filter.nothing |= driver != "local",
                _ => return Err(bad("want name=, label=, dangling= or driver=")),
            }
        }
        Ok(filter)
    }

    fn takes(&self, name: &str, record: &Record, unused: bool) -> bool {
        let named = self.names.is_empty() || self.names.iter().any(|part| name.contains(part));
        let labelled = self.labels.iter().all(|(key, value)| {
            let own = record.labels.get(key);
            own.is_some_and(|own| value.as_ref().is_none_or(|value| own == value))
        });
        let dangling = self.dangling.is_none_or(|dangling| dangling == unused);
        !self.nothing && named && labelled && dangling
    }
}
