//! `layerfs pack`: a packed layer from a tar archive or a directory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::output::{Format, bar, digest, print, print_json, quoted};
use super::publish::publish;
use crate::layer::packed::{Limits, Packed, pack, pack_directory};

const EXAMPLES: &str = "\
The packed layer begins with the archive's own bytes, inflated: tar tvf OUT.lfs lists it. It is
mounted as it is, without unpacking: layerfs mount --lower OUT.lfs.

Of a directory the archive is made on the way, names in order, so that the same tree gives the same
layer: whiteouts and opaque directories of overlay and AUFS as .wh. files, extended attributes,
holes, hard links and nanoseconds kept. What is mounted in it is not looked at; a socket is left
out, with a line on stderr.

Examples:
  layerfs pack base.tar.gz -o base.lfs
  layerfs pack /srv/tree -o tree.lfs
  tar c -C /srv/tree . | layerfs pack - -o tree.lfs
  layerfs pack layer.tar.zst -o layer.lfs --format json | jq -r .diff_id

Exit codes: 0 done, 1 it failed (OUT is as it was before), 2 wrong usage.";

/// Make a packed layer from a tar archive (plain, gzip, zstd, xz or bzip2) or a directory.
///
/// Reads it once; memory: 4 MiB, and some 200 bytes for each file.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The archive, or - for standard input, or a directory
    source: PathBuf,
    /// The packed layer to make; one that is there is replaced when the new one is whole
    #[arg(short, long, value_name = "OUT.lfs")]
    output: PathBuf,
    /// Take no more members than this, and twice as many objects: a name makes the directories in it
    #[arg(long, default_value_t = Limits::default().members, value_name = "COUNT")]
    max_members: u64,
    /// Take no more bytes of archive, inflated, than this
    #[arg(long, default_value_t = Limits::default().bytes, value_name = "BYTES")]
    max_bytes: u64,
    /// How to tell the digests
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

pub(super) fn run(args: Args) -> Result<(), String> {
    let limits = Limits {
        members: args.max_members,
        bytes: args.max_bytes,
    };
    let packed = match args.source.is_dir() {
        true => publish(&args.output, |file| directory(&args, file, limits))?,
        false => {
            let (input, origin) = open(&args.source)?;
            publish(&args.output, |file| {
                pack(input, &origin, file, limits).map_err(|error| error.to_string())
            })?
        }
    };
    tell(&packed, args.format)
}

/// Packs a directory; an older OUT in it is left out, as the new one is.
fn directory(args: &Args, file: &mut File, limits: Limits) -> Result<Packed, String> {
    let older = fs::symlink_metadata(&args.output);
    let omit: Vec<_> = older.iter().map(|meta| (meta.dev(), meta.ino())).collect();
    let source = &args.source;
    let mut skipped = |path: &Path, why: &str| {
        let path = source.join(path);
        eprintln!("layerfs: {}: {why}; left out", quoted(&path));
    };
    pack_directory(source, &omit, file, limits, &mut skipped).map_err(|error| error.to_string())
}

/// The input, with a progress bar where somebody looks, and its name.
fn open(source: &Path) -> Result<(Box<dyn Read + Send>, String), String> {
    if source == Path::new("-") {
        return Ok((Box::new(io::stdin()), "standard input".to_owned()));
    }
    let name = source.display().to_string();
    let file = File::open(source).map_err(|error| format!("{name}: {error}"))?;
    let meta = file
        .metadata()
        .map_err(|error| format!("{name}: {error}"))?;
    Ok((Box::new(bar(meta.len()).wrap_read(file)), name))
}

fn tell(packed: &Packed, format: Format) -> Result<(), String> {
    let (diff_id, input) = (digest(&packed.diff_id), digest(&packed.digest));
    match format {
        Format::Text => print(&format!("diff id {diff_id}\ndigest  {input}\n")),
        Format::Json => print_json(&json!({
            "diff_id": diff_id,
            "digest": input,
            "input_bytes": packed.input,
            "archive_bytes": packed.archive,
            "content_bytes": packed.contents,
            "members": packed.members,
        })),
    }
}
