//! `runner logout`: forgets the credentials for a registry.

use super::login::server;
use super::output;
use crate::error::Result;
use crate::registry::DockerConfig;

/// Arguments of `logout`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner logout
  runner logout registry.example:5000")]
pub(super) struct Args {
    /// The registry: HOST[:PORT]
    #[arg(value_name = "REGISTRY", default_value = "docker.io")]
    server: String,
}

pub(super) fn run(args: &Args) -> Result<u8> {
    let server = server(&args.server)?;
    let mut config = DockerConfig::open()?;
    if config.forget(&server)? {
        output::print(&format_args!("Removing login credentials for {server}\n"))
    } else {
        output::print(&format_args!("Not logged in to {server}\n"))
    }
}
