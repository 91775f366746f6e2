//! `layerfs verify`: whether packed layers are what was written.

use std::path::PathBuf;

use crate::layer::packed::Pack;

const EXAMPLES: &str = "\
Examples:
  layerfs verify /srv/layers/*.lfs
  layerfs verify image.idx              # the index, and that its layers are those it was made of

Exit codes: 0 all are sound, 1 one is not (stderr says which and where), 2 it could not be told.";

/// Read packed layers and merged indexes in full and compare their hashes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The packed layers, or merged indexes
    #[arg(required = true)]
    layers: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<bool, String> {
    let mut sound = true;
    for path in &args.layers {
        if let Err(error) = std::fs::metadata(path) {
            return Err(format!("{}: {error}", path.display()));
        }
        let verified = Pack::open(path).and_then(|pack| pack.verify());
        if let Err(error) = verified {
            eprintln!("layerfs: {error}");
            sound = false;
        }
    }
    Ok(sound)
}
