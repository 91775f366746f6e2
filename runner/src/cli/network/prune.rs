//! `runner network prune`: removes networks that no container is on.

use super::super::output;
use crate::container::home::Home;
use crate::error::Result;
use crate::network::{self, DEFAULT, Source};
use std::collections::BTreeSet;
use std::path::Path;

/// Arguments of `network prune`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Networks of containers that could be started again stay.

Example:
  runner network prune -f")]
pub(super) struct Args {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let question = "This will remove all custom networks not used by at least one container.";
    if !args.force && !output::confirm(question)? {
        return Ok(0);
    }
    let (list, code) = prune(&output::open_home(root)?)?;
    output::print(&list)?;
    Ok(code)
}

/// Removes networks that no container names; gives their list, and the exit code of failures, which
/// were told.
pub(in crate::cli) fn prune(home: &Home) -> Result<(String, u8)> {
    let wanted = wanted(home)?;
    let mut gone = Vec::new();
    let mut code = 0;
    for network in network::all(home.root())?.networks {
        let needed = wanted
            .iter()
            .any(|name| *name == network.name || network.id.starts_with(name.as_str()));
        if network.name == DEFAULT || needed || !network.endpoints.is_empty() {
            continue;
        }
        match network::remove(home.root(), &network.id) {
            Ok(name) => gone.push(name),
            Err(error) => {
                output::complain(&error);
                code = super::super::OURS;
            }
        }
    }
    let list = match gone.is_empty() {
        true => String::new(),
        false => format!("Deleted Networks:\n{}\n\n", gone.join("\n")),
    };
    Ok((list, code))
}

/// Networks that containers name, whether they run or not.
fn wanted(home: &Home) -> Result<BTreeSet<String>> {
    let mut wanted = BTreeSet::new();
    for directory in home.all()? {
        // One that cannot be read cannot be started either.
        let Ok(spec) = directory.spec() else { continue };
        if let Source::Networks(joins) = spec.network.source {
            wanted.extend(joins.into_iter().map(|join| join.network));
        }
    }
    Ok(wanted)
}
