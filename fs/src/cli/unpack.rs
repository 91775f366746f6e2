//! `layerfs unpack`: a packed layer as a directory.

use std::path::PathBuf;

use super::output::bar;
use crate::inspect::unpack::unpack;
use crate::layer::packed::Pack;
use crate::upper::Form;

const EXAMPLES: &str = "\
Everything is as GNU tar --xattrs --acls --numeric-owner would unpack it as root: owners, modes, times
to the nanosecond, extended attributes, hard links, holes, devices; whiteouts and opaque directories
become what overlayfs reads (char 0/0, trusted.overlay.opaque), or the .wh. files of AUFS and OCI.
The directory can be a lower of a mount: layerfs mount --lower DIR.

A DIR that is not there appears when it is whole and on disk. One that is there and empty is filled in
place, and emptied again if that fails. Nothing is ever written outside of it.

Examples:
  layerfs unpack base.lfs /srv/base
  layerfs unpack --whiteouts aufs layer.lfs layer

Exit codes: 0 done, 1 it failed (DIR is as it was before), 2 wrong usage.";

/// Unpack a packed layer into a new or empty directory.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The packed layer
    layer: PathBuf,
    /// The directory; not there yet, or empty
    directory: PathBuf,
    /// In which form whiteouts and opaque directories are written
    #[arg(long, value_enum, default_value = "overlay", value_name = "FORM")]
    whiteouts: Whiteouts,
}

/// The forms of whiteouts.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Whiteouts {
    /// Char 0/0 and trusted.overlay.opaque
    Overlay,
    /// .wh.NAME and .wh..wh..opq
    Aufs,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<(), String> {
    let pack = Pack::open(&args.layer).map_err(|error| error.to_string())?;
    let form = match args.whiteouts {
        Whiteouts::Overlay => Form::Overlay,
        Whiteouts::Aufs => Form::Aufs,
    };
    let bar = bar(pack.header().contents.get());
    let done = unpack(&pack, &args.directory, form, &mut |bytes| bar.inc(bytes));
    bar.finish_and_clear();
    done.map_err(|error| error.to_string())
}
