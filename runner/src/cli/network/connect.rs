//! `runner network connect`: puts a container on a network.

use super::super::make;
use crate::container::client::Control;
use crate::container::home::{Home, Settled};
use crate::error::{Error, Result};
use crate::network::{self, Join};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Arguments of `network connect`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A container that runs has the interface at once; one that does not, when it starts.

Examples:
  runner network connect back web
  runner network connect --alias db --ip 10.89.0.9 back store"
)]
pub(super) struct Args {
    /// One more name of the container there
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Its address there
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// Its IPv6 address there
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<Ipv6Addr>,
    /// Network
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(super) fn run(args: &Args, home: &Home) -> Result<u8> {
    let aliases = args.alias.iter().map(|name| make::alias("--alias", name));
    let join = Join {
        address: args.ip,
        address6: args.ip6,
        aliases: aliases.collect::<Result<_>>()?,
        ..Join::plain(&args.network)
    };
    let directory = home.find(&args.container)?;
    let networks = network::all(home.root())?;
    loop {
        match home.settle(&directory)? {
            Settled::Free(_lock) => {
                let mut spec = directory.spec()?;
                spec.network.join(&networks, join)?;
                directory.set_spec(&spec)?;
                home.journal()
                    .record_network("connect", &networks, &args.network, &spec.id);
                return Ok(0);
            }
            Settled::Alive(_) => match Control::connect(&directory)?.join_network(join.clone()) {
                // It has ended meanwhile.
                Err(Error::NotRunning(_)) => {}
                other => return other.map(|()| 0),
            },
        }
    }
}
