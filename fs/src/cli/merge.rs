//! `layerfs merge`: one index of a whole stack of packed layers.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::output::{Format, digest, print, print_json};
use super::publish::publish;
use crate::layer::packed::{Merged, Pack, merge};

const EXAMPLES: &str = "\
A mount of the merged index shows what a mount of the layers shows, with the same inode numbers, and
an upper that was mounted over the one may be mounted over the other. Looking a name up costs the
same for one layer and for five hundred. The index holds no data: the layers stay where they are,
and it names them by their paths from its own directory, so that both can be moved together.

Of what was merged before, its layers count: merge an image's index with one more layer.

Examples:
  layerfs merge app.lfs libs.lfs base.lfs -o image.idx
  layerfs mount --lower image.idx --upper diff --work work /mnt
  layerfs merge patch.lfs image.idx -o patched.idx

Exit codes: 0 done, 1 it failed (OUT is as it was before), 2 wrong usage.";

/// Merge the indexes of packed layers into one.
///
/// Memory: 80 bytes and the name for each file.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The packed layers, topmost first as with mount --lower, and indexes that were merged before
    #[arg(required = true)]
    layers: Vec<PathBuf>,
    /// The merged index to make; one that is there is replaced when the new one is whole
    #[arg(short, long, value_name = "OUT.idx")]
    output: PathBuf,
    /// How to tell what was merged
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

pub(super) fn run(args: &Args) -> Result<(), String> {
    let opened = args.layers.iter().map(|path| Pack::open(path));
    let layers = opened.collect::<Result<Vec<_>, _>>();
    let layers = layers.map_err(|error| error.to_string())?;
    let parent = args.output.parent();
    let directory = parent.filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let merged = publish(&args.output, |file| {
        merge(&layers, directory, file).map_err(|error| error.to_string())
    })?;
    tell(&merged, args.format)
}

fn tell(merged: &Merged, format: Format) -> Result<(), String> {
    let chain = digest(&merged.chain_id);
    match format {
        Format::Text => print(&format!(
            "chain id {chain}\nlayers   {}\nobjects  {}\n",
            merged.layers, merged.objects
        )),
        Format::Json => print_json(&json!({
            "chain_id": chain,
            "layers": merged.layers,
            "objects": merged.objects,
            "content_bytes": merged.contents,
        })),
    }
}
