//! `runner network disconnect`: takes a container off a network.

use crate::container::client::Control;
use crate::container::home::{Home, Settled};
use crate::error::{Error, Result};
use crate::network;

/// Arguments of `network disconnect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  runner network disconnect bridge web")]
pub(super) struct Args {
    /// No error if there is no such container, or it is not on the network
    #[arg(short, long)]
    force: bool,
    /// Network
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(super) fn run(args: &Args, home: &Home) -> Result<u8> {
    let networks = network::all(home.root())?;
    networks.find(&args.network)?;
    let directory = match home.find(&args.container) {
        Err(Error::NoContainer(_)) if args.force => return Ok(0),
        other => other?,
    };
    if args.force
        && directory
            .spec()?
            .network
            .leave(&networks, &args.network)
            .is_err()
    {
        return Ok(0);
    }
    loop {
        match home.settle(&directory)? {
            Settled::Free(_lock) => {
                let mut spec = directory.spec()?;
                spec.network.leave(&networks, &args.network)?;
                directory.set_spec(&spec)?;
                home.journal()
                    .record_network("disconnect", &networks, &args.network, &spec.id);
                return Ok(0);
            }
            Settled::Alive(_) => match Control::connect(&directory)?.leave_network(&args.network) {
                // It has ended meanwhile.
                Err(Error::NotRunning(_)) => {}
                other => return other.map(|()| 0),
            },
        }
    }
}
