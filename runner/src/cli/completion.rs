//! `runner completion`: a completion script for a shell.

use super::output;
use crate::error::Result;
use clap_complete::Shell;

/// Arguments of `completion`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  runner completion bash > /usr/share/bash-completion/completions/runner")]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Args, mut command: clap::Command) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "runner", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
