//! `layerfs man`: the manual, made from the help texts.

use std::io::{self, Write};

const EXAMPLES: &str = "\
Examples:
  layerfs man | man -l -
  layerfs man mount > /usr/local/share/man/man1/layerfs-mount.1";

/// Print the manual page of the command, or of one verb, as roff.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The verb; without it the page of the whole command
    verb: Option<String>,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<(), String> {
    let mut command = super::command();
    command.build();
    let page = match &args.verb {
        None => clap_mangen::Man::new(command),
        Some(verb) => {
            let found = command.find_subcommand(verb).cloned();
            let found = found.ok_or_else(|| format!("man: no such verb: {verb}"))?;
            clap_mangen::Man::new(found).title(format!("layerfs-{verb}"))
        }
    };
    // In memory first: a reader may close the pipe early.
    let mut text = Vec::new();
    page.render(&mut text)
        .and_then(|()| io::stdout().write_all(&text))
        .map_err(|error| format!("man: {error}"))
}
