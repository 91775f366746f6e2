//! `runner port`: where a container's ports are reached.

use super::output;
use crate::error::{Error, Result};
use crate::network::{Exposed, Protocol, State};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

/// Arguments of `port`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner port web
  runner port web 80
  runner port dns 53/udp")]
pub(super) struct Args {
    /// Name, id, or unique beginning of an id
    container: String,
    /// Tell of this port of the container only
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

/// Sockets of the machine, by port of the container.
pub(super) type Sockets = BTreeMap<(u16, Protocol), Vec<SocketAddr>>;

/// Where a container's ports are reached now.
pub(super) fn sockets(networks: &State, container: &str) -> Sockets {
    let mut sockets = Sockets::new();
    for (_, endpoint) in networks.of(container) {
        for published in &endpoint.ports {
            for (inside, socket) in published.sockets() {
                let key = (inside, published.protocol);
                sockets.entry(key).or_default().push(socket);
            }
        }
    }
    sockets
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    let directory = home.find(&args.container)?;
    let sockets = sockets(&State::read(root)?, directory.id().as_str());
    let Some(text) = &args.port else {
        let lines = sockets.iter().flat_map(|((port, protocol), sockets)| {
            let line = move |socket| format!("{port}/{protocol} -> {socket}\n");
            sockets.iter().map(line)
        });
        return output::print(&lines.collect::<String>());
    };
    let wanted: Exposed = text.parse()?;
    let of_wanted = wanted.ports.ports().filter_map(|port| {
        let sockets = sockets.get(&(port, wanted.protocol))?;
        Some(sockets.iter().map(|socket| format!("{socket}\n")))
    });
    let lines: String = of_wanted.flatten().collect();
    if lines.is_empty() {
        let (name, protocol) = (&args.container, wanted.protocol);
        let port = text.split('/').next().unwrap_or_default();
        return Err(Error::Refused(format!(
            "no public port {port}/{protocol} published for {name}"
        )));
    }
    output::print(&lines)
}
