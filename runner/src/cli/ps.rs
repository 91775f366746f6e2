//! `runner ps`: lists containers.

mod filter;
mod row;

use super::format::Format;
use super::output;
use crate::container::Id;
use crate::container::directory::Directory;
use crate::container::home::Home;
use crate::container::spec::Spec;
use crate::container::state::{State, Status};
use crate::error::Result;
use crate::network;
use filter::Filter;
pub(super) use row::COLUMNS;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Arguments of `ps`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Filters: id=, name=, label=KEY[=VALUE], status=, exited=CODE, ancestor=IMAGE, before=, since=,
volume=, network=, health=. Several of one kind are alternatives; kinds are all to be met.

Examples:
  runner ps -a
  runner ps -aq --filter status=exited
  runner ps --format 'table {{.ID}}\\t{{.Names}}\\t{{.Status}}'
  runner ps --format json"
)]
pub(super) struct Args {
    /// Those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Only those that meet a condition
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Print as: table [TEMPLATE], json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// This many made last, running or not
    #[arg(short = 'n', long, value_name = "NUMBER", allow_hyphen_values = true)]
    last: Option<i64>,
    /// The one made last, running or not
    #[arg(short, long)]
    latest: bool,
    /// Do not shorten ids and commands
    #[arg(long, alias = "notrunc")]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// With the size of what they have written
    #[arg(short, long)]
    size: bool,
}

/// One container as it was found.
struct Found {
    directory: Directory,
    spec: Spec,
    state: State,
    name: String,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let format = Format::parse(args.format.as_deref())?;
    let filter = Filter::parse(&args.filter)?;
    let home = output::open_home(root)?;
    let last = match args.last {
        Some(count) if count >= 0 => Some(count as usize),
        _ => args.latest.then_some(1),
    };
    let mut all = find_all(&home)?;
    let filter = filter.resolve(&all)?;
    let everybody = args.all || last.is_some() || filter.asks_for_status();
    all.retain(|found| {
        let runs = found.state.status.is_alive() || found.state.status == Status::Restarting;
        (everybody || runs) && filter.keeps(found)
    });
    all.sort_by_key(|found| std::cmp::Reverse(found.spec.created));
    all.truncate(last.unwrap_or(usize::MAX));
    if args.quiet {
        let ids = all.iter().map(|found| id(&found.spec.id, args.no_trunc));
        let text: String = ids.map(|id| format!("{id}\n")).collect();
        return output::print(&text);
    }
    let networks = network::State::read(root)?;
    let sizes = args.size || format.names("Size");
    let rows: Vec<_> = all
        .iter()
        .map(|found| row::row(found, &networks, args.no_trunc, sizes))
        .collect();
    let mut usual = vec![
        "ID",
        "Image",
        "Command",
        "RunningFor",
        "Status",
        "Ports",
        "Names",
    ];
    if args.size {
        usual.push("Size");
    }
    output::print(&format.list(&rows, row::COLUMNS, &usual)?)
}

/// All containers as rows, with their sizes; the one made last comes first.
pub(super) fn rows(home: &Home, root: &Path) -> Result<Vec<Value>> {
    let mut all = find_all(home)?;
    all.sort_by_key(|found| std::cmp::Reverse(found.spec.created));
    let networks = network::State::read(root)?;
    let rows = all
        .iter()
        .map(|found| row::row(found, &networks, false, true));
    Ok(rows.collect())
}

fn id(id: &Id, whole: bool) -> &str {
    if whole { id.as_str() } else { id.short() }
}

/// All containers; one that is being removed meanwhile is left out.
fn find_all(home: &Home) -> Result<Vec<Found>> {
    let mut names: BTreeMap<Id, String> = home.all_names()?;
    let mut all = Vec::new();
    for directory in home.all()? {
        let read = directory
            .spec()
            .and_then(|spec| Ok((spec, directory.state()?)));
        let (spec, state) = match read {
            Ok(read) => read,
            Err(error) => {
                // Damaged is told, not passed over; gone is gone.
                if directory.join("config.json").exists() {
                    output::complain(&error);
                }
                continue;
            }
        };
        let name = names.remove(directory.id());
        let name = name.unwrap_or_else(|| directory.id().short().to_owned());
        all.push(Found {
            directory,
            spec,
            state,
            name,
        });
    }
    Ok(all)
}
