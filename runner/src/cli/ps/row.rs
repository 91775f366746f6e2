//! One container as a row of `ps`, with the fields that docker's rows have.

use super::Found;
use crate::cli::format::{Column, ago, size as human_size, span};
use crate::cli::size;
use crate::container::spec::Spec;
use crate::container::state::{State, Status};
use serde_json::{Value, json};
use std::path::Path;

/// Longest command shown, in characters, unless all of it is wanted.
const COMMAND: usize = 20;

/// Fields, and their heads in a table.
pub(super) const COLUMNS: &[Column] = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
];

/// The row; without sizes unless they are wanted, since they must be counted.
pub(super) fn row(found: &Found, whole: bool, sizes: bool) -> Value {
    let (spec, state) = (&found.spec, &found.state);
    let labels: Vec<_> = spec
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    let used = if sizes {
        human_size(size::used(&found.directory.join("upper")))
    } else {
        String::new()
    };
    json!({
        "ID": super::id(&spec.id, whole),
        "Image": spec.image,
        "Command": format!("{:?}", command(spec, whole)),
        "CreatedAt": spec.created.local("%Y-%m-%d %H:%M:%S %z %Z"),
        "RunningFor": ago(spec.created.age()),
        "State": state.status.to_string(),
        "Status": status(state),
        "Ports": "",
        "Names": found.name,
        "Size": used,
        "Labels": labels.join(","),
        "Mounts": mounts(spec, whole),
        "LocalVolumes": "0",
        "Networks": network(spec),
    })
}

/// `Up 5 minutes (Paused)`, `Exited (137) 2 hours ago`.
fn status(state: &State) -> String {
    let up = || span(state.started.unwrap_or_default().age());
    let ended = || ago(state.finished.unwrap_or_default().age());
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {}", up()),
        Status::Paused => format!("Up {} (Paused)", up()),
        Status::Restarting => format!("Restarting ({}) {}", state.code, ended()),
        Status::Exited if state.out_of_memory => {
            format!("Exited ({}) {} (out of memory)", state.code, ended())
        }
        Status::Exited => format!("Exited ({}) {}", state.code, ended()),
    }
}

fn command(spec: &Spec, whole: bool) -> String {
    let command = spec.command.args().join(" ");
    if whole || command.chars().count() <= COMMAND {
        return command;
    }
    let mut short: String = command.chars().take(COMMAND - 1).collect();
    short.push('…');
    short
}

fn mounts(spec: &Spec, whole: bool) -> String {
    let short = |path: &Path| {
        let text = path.display().to_string();
        if whole || text.chars().count() <= 15 {
            return text;
        }
        text.chars().take(14).chain(['…']).collect()
    };
    let sources: Vec<_> = spec.volumes.iter().map(|v| short(&v.source)).collect();
    sources.join(",")
}

/// The network's name.
pub(super) fn network(spec: &Spec) -> String {
    spec.network.name()
}
