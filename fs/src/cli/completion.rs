//! `layerfs completion`: words for the shell's Tab key.

use std::io::{self, Write};

use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  layerfs completion bash > /etc/bash_completion.d/layerfs
  layerfs completion zsh > /usr/share/zsh/site-functions/_layerfs";

/// Print the completion script of a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Which shell
    shell: Shell,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<(), String> {
    // Generated in memory, since the generator panics on a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "layerfs", &mut script);
    io::stdout()
        .write_all(&script)
        .map_err(|error| format!("completion: {error}"))
}
