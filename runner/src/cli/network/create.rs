//! `runner network create`: makes a network.

use super::super::{make, output};
use crate::error::{Error, Result};
use crate::network::{self, NewNetwork};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::path::Path;

/// Arguments of `network create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Containers on it find each other by name.

Examples:
  runner network create web
  runner network create --subnet 10.99.0.0/24 --internal backend
  runner run -d --network web --name db host sleep 1000")]
pub(super) struct Args {
    /// Kind of network: bridge
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge")]
    driver: String,
    /// The machine's address on it; the subnet's first if not given
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<Ipv4Addr>,
    /// Nothing gets in or out
    #[arg(long)]
    internal: bool,
    /// Give containers addresses of this part of the subnet only
    #[arg(long, value_name = "ADDRESS/LENGTH")]
    ip_range: Option<Ipv4Net>,
    /// Set a label
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Its addresses; a free private range if not given
    #[arg(long, value_name = "ADDRESS/LENGTH")]
    subnet: Option<Ipv4Net>,
    /// Name
    #[arg(value_name = "NETWORK")]
    name: String,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    if args.driver != "bridge" {
        return Err(Error::Value {
            flag: "--driver",
            value: args.driver.clone(),
            why: "there is none but bridge".to_owned(),
        });
    }
    let id = network::create(
        root,
        NewNetwork {
            name: args.name.clone(),
            subnet: args.subnet,
            gateway: args.gateway,
            range: args.ip_range,
            internal: args.internal,
            labels: make::plain_labels(&args.label)?,
        },
    )?;
    output::print(&format_args!("{id}\n"))
}
