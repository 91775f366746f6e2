//! One container as a row of `ps`, with the fields that docker's rows have.

use super::Found;
use crate::cli::format::{Column, ago, size as human_size, span};
use crate::cli::size;
use crate::container::health::Health;
use crate::container::spec::Spec;
use crate::container::state::{State, Status};
use crate::container::volume::Volume;
use crate::network;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Longest command shown, in characters, unless all of it is wanted.
const COMMAND: usize = 20;

/// Fields, and their heads in a table.
pub(in crate::cli) const COLUMNS: &[Column] = &[
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
pub(super) fn row(found: &Found, networks: &network::State, whole: bool, sizes: bool) -> Value {
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
        "Ports": ports(spec, networks),
        "Names": found.name,
        "Size": used,
        "Labels": labels.join(","),
        "Mounts": mounts(spec, whole),
        "LocalVolumes": spec.volumes.iter().filter(|v| v.name.is_some()).count().to_string(),
        "Networks": network(spec),
    })
}

/// `Up 5 minutes (Paused)`, `Exited (137) 2 hours ago`.
fn status(state: &State) -> String {
    let up = || span(state.started.unwrap_or_default().age());
    let ended = || ago(state.finished.unwrap_or_default().age());
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {}{}", up(), health(state)),
        Status::Paused => format!("Up {} (Paused)", up()),
        Status::Restarting => format!("Restarting ({}) {}", state.code, ended()),
        Status::Exited if state.out_of_memory => {
            format!("Exited ({}) {} (out of memory)", state.code, ended())
        }
        Status::Exited => format!("Exited ({}) {}", state.code, ended()),
    }
}

fn health(state: &State) -> String {
    match state.health.as_ref().map(|health| health.status) {
        None => String::new(),
        Some(Health::Starting) => " (health: starting)".to_owned(),
        Some(known) => format!(" ({known})"),
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
    let name = |v: &Volume| v.name.as_ref().map_or(v.source.clone(), PathBuf::from);
    let sources: Vec<_> = spec.volumes.iter().map(|v| short(&name(v))).collect();
    sources.join(",")
}

/// `0.0.0.0:8000-8009->80-89/tcp, 443/tcp`: those that are published, and those only exposed.
fn ports(spec: &Spec, networks: &network::State) -> String {
    let range = |first: u16, count: u16| match count {
        0 | 1 => first.to_string(),
        _ => format!("{first}-{}", first.saturating_add(count - 1)),
    };
    let published: Vec<_> = networks
        .of(spec.id.as_str())
        .flat_map(|(_, endpoint)| endpoint.ports.iter().copied())
        .collect();
    let shown = published.iter().map(|port| {
        let address = match port.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let (outside, inside) = (
            range(port.outside, port.count),
            range(port.inside, port.count),
        );
        format!("{address}:{outside}->{inside}/{}", port.protocol)
    });
    let is_published = |exposed: &&network::Exposed| {
        published
            .iter()
            .any(|port| port.protocol == exposed.protocol && port.inside == exposed.ports.first)
    };
    let exposed = spec
        .network
        .expose
        .iter()
        .filter(|exposed| !is_published(exposed));
    let exposed = exposed.map(|exposed| {
        let count = u16::try_from(exposed.ports.len()).unwrap_or(u16::MAX);
        format!("{}/{}", range(exposed.ports.first, count), exposed.protocol)
    });
    shown.chain(exposed).collect::<Vec<_>>().join(", ")
}

/// The network's name.
pub(super) fn network(spec: &Spec) -> String {
    spec.network.name()
}
