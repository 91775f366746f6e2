//! `runner rm`: removes containers.

use super::output;
use crate::container::client::Control;
use crate::container::home::{Home, Settled};
use crate::error::{Error, Result};
use rustix::process::Signal;
use std::path::Path;

/// Arguments of `rm`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner rm web 4f1c2a9b0d3e
  runner rm -f -v $(runner ps -aq)")]
pub(super) struct Args {
    /// Kill containers that run; no error if there is no such container
    #[arg(short, long)]
    force: bool,
    /// Remove anonymous volumes with their last container
    #[arg(short, long)]
    volumes: bool,
    /// Names, ids, or unique beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    output::for_each(&args.containers, |wanted| {
        match remove(&home, wanted, args) {
            Err(Error::NoContainer(_)) if args.force => Ok(()),
            other => other,
        }
    })
}

/// Removes a container; one that is alive only by force.
fn remove(home: &Home, wanted: &str, args: &Args) -> Result<()> {
    let directory = home.find(wanted)?;
    loop {
        match home.settle(&directory)? {
            Settled::Free(lock) => return home.remove(&directory, lock, args.volumes),
            Settled::Alive(_) if args.force => {
                let control = Control::connect(&directory);
                match control.and_then(|c| c.stop(Some(Signal::KILL.as_raw()), Some(0))) {
                    // It has ended by itself meanwhile.
                    Ok(()) | Err(Error::NotRunning(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Settled::Alive(_) => return Err(Error::Running(wanted.to_owned())),
        }
        // With --rm it removes itself.
        if !directory.join("config.json").exists() {
            return Ok(());
        }
    }
}
