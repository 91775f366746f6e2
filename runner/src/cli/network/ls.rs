//! `runner network ls`: lists networks.

use super::super::format::{Column, Format};
use super::super::output;
use crate::error::{Error, Result};
use crate::network::{self, Network};
use crate::types::Moment;
use serde_json::{Value, json};
use std::path::Path;

/// Arguments of `network ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner network ls
  runner network ls -q --filter name=web")]
pub(super) struct Args {
    /// Only those with: name=PART, id=PART, driver=DRIVER, label=KEY[=VALUE], type=custom|builtin
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Print as: table [TEMPLATE], json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

const COLUMNS: &[Column] = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let format = Format::parse(args.format.as_deref())?;
    check(&args.filter)?;
    let state = network::all(root)?;
    let mut rows: Vec<Value> = state
        .networks
        .iter()
        .map(|network| row(network, args.no_trunc))
        .collect();
    // The two that are no bridges have no id, as they are nothing of ours.
    for (name, driver) in [("host", "host"), ("none", "null")] {
        rows.push(json!({
            "ID": "", "Name": name, "Driver": driver, "Scope": "local",
            "IPv6": "false", "Internal": "false", "Labels": "", "CreatedAt": "",
        }));
    }
    rows.retain(|row| args.filter.iter().all(|filter| takes(filter, row)));
    rows.sort_by_key(|row| row["Name"].as_str().unwrap_or_default().to_owned());
    if args.quiet {
        let ids = rows.iter().filter_map(|row| row["ID"].as_str());
        let ids = ids.filter(|id| !id.is_empty());
        return output::print(&ids.map(|id| format!("{id}\n")).collect::<String>());
    }
    let usual = ["ID", "Name", "Driver", "Scope"];
    output::print(&format.list(&rows, COLUMNS, &usual)?)
}

fn row(network: &Network, whole: bool) -> Value {
    let labels: Vec<_> = network
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let created = Moment::from_seconds(network.created);
    json!({
        "ID": if whole { &network.id } else { network.short_id() },
        "Name": network.name,
        "Driver": "bridge",
        "Scope": "local",
        "IPv6": network.subnet6.is_some().to_string(),
        "Internal": network.internal.to_string(),
        "Labels": labels.join(","),
        "CreatedAt": created.local("%Y-%m-%d %H:%M:%S %z %Z"),
    })
}

fn check(filters: &[String]) -> Result<()> {
    const KINDS: [&str; 5] = ["name", "id", "driver", "label", "type"];
    for filter in filters {
        let known = filter.split_once('=').is_some_and(|(kind, value)| {
            KINDS.contains(&kind) && (kind != "type" || ["custom", "builtin"].contains(&value))
        });
        if !known {
            return Err(Error::Value {
                flag: "--filter",
                value: filter.clone(),
                why: "want name=, id=, driver=, label= or type=custom|builtin".to_owned(),
            });
        }
    }
    Ok(())
}

fn takes(filter: &str, row: &Value) -> bool {
    let field = |name: &str| row[name].as_str().unwrap_or_default();
    match filter.split_once('=') {
        Some(("name", part)) => field("Name").contains(part),
        Some(("id", part)) => field("ID").contains(part),
        Some(("driver", driver)) => field("Driver") == driver,
        Some(("type", kind)) => {
            let ours = ["bridge", "host", "none"].contains(&field("Name"));
            ours == (kind == "builtin")
        }
        Some(("label", label)) => field("Labels")
            .split(',')
            .any(|own| own == label || own.split('=').next() == Some(label)),
        _ => false,
    }
}
