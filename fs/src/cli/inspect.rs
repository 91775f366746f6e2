//! `layerfs inspect`: what a packed layer says of itself.

use std::fmt::Write as _;
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::output::{Format, digest, print, print_json, put, quoted};
use crate::error::Result;
use crate::layer::packed::Pack;
use crate::layer::packed::format::{Entry, Extent, Header, Node, OPAQUE, SPARSE, Source, VERSION};
use crate::layer::packed::print as debug;

const EXAMPLES: &str = "\
Examples:
  layerfs inspect base.lfs
  layerfs inspect --format json base.lfs | jq -r .archive.diff_id
  layerfs inspect --debug broken.lfs | less

Only the index is read; layerfs verify reads all and compares the hashes.
Exit codes: 0 done, 1 it is no packed layer, or damaged (stderr says where), 2 wrong usage.";

/// Tell what a packed layer holds: sizes, digests, counts.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The packed layer
    layer: PathBuf,
    /// Print the whole index, number by number
    #[arg(long, conflicts_with = "format")]
    debug: bool,
    /// How to tell it
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<(), String> {
    let pack = Pack::open(&args.layer).map_err(|error| error.to_string())?;
    if args.debug {
        let mut out = BufWriter::new(io::stdout().lock());
        let printed = debug::print(&pack, &mut out).and_then(|()| out.flush());
        return match printed {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(format!("writing to standard output: {error}"))
            }
            _ => Ok(()),
        };
    }
    let counts = Counts::of(&pack).map_err(|error| {
        let layer = args.layer.display();
        format!("{layer}: its index: {error}; --debug prints it, layerfs verify tells more")
    })?;
    match args.format {
        Format::Text => print(&as_text(&args.layer, &pack, &counts)),
        Format::Json => print_json(&as_json(&args.layer, &pack, &counts)),
    }
}

/// How many of each there are.
#[derive(Default)]
struct Counts {
    files: u64,
    directories: u64,
    symlinks: u64,
    others: u64,
    /// Names of files that have another already.
    links: u64,
    outside: u64,
    sparse: u64,
    whiteouts: u64,
    opaque: u64,
    xattrs: u64,
}

impl Counts {
    fn of(pack: &Pack) -> Result<Self> {
        let mut counts = Self::default();
        let mut names: u64 = 0;
        for number in 0..pack.header().nodes.get() {
            let node = pack.node(number)?;
            let flags = node.flags.get();
            let outside = pack.outside(node)?.is_some();
            let kind = match node.mode.get() & libc::S_IFMT {
                libc::S_IFDIR => {
                    for named in pack.names(number)? {
                        let whiteout = named?.node.is_none();
                        counts.whiteouts += u64::from(whiteout);
                        names += u64::from(!whiteout);
                    }
                    counts.opaque += u64::from(flags & OPAQUE != 0);
                    &mut counts.directories
                }
                libc::S_IFREG if outside => &mut counts.outside,
                libc::S_IFREG => {
                    counts.sparse += u64::from(flags & SPARSE != 0);
                    &mut counts.files
                }
                libc::S_IFLNK => &mut counts.symlinks,
                _ => &mut counts.others,
            };
            *kind += 1;
            counts.xattrs += pack.xattrs(node)?.len() as u64;
        }
        // The root has no name.
        let objects = u64::from(pack.header().nodes.get()) - 1;
        counts.links = names.saturating_sub(objects);
        Ok(counts)
    }
}

/// Bytes of the index's parts: nodes, entries, extents, sources, and names with all else of the blob.
fn parts(header: &Header) -> [(&'static str, u64); 5] {
    let bytes = |count: u32, size: usize| u64::from(count) * size as u64;
    [
        ("nodes", bytes(header.nodes.get(), size_of::<Node>())),
        ("entries", bytes(header.entries.get(), size_of::<Entry>())),
        ("extents", bytes(header.extents.get(), size_of::<Extent>())),
        ("sources", bytes(header.sources.get(), size_of::<Source>())),
        ("names", header.blob.get()),
    ]
}

/// Bytes of the index for each object, names included.
fn per_object(pack: &Pack) -> f64 {
    pack.footer().length.get() as f64 / f64::from(pack.header().nodes.get())
}

fn as_text(path: &Path, pack: &Pack, counts: &Counts) -> String {
    let (header, footer) = (pack.header(), pack.footer());
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "layer     {}, version {VERSION}", quoted(path));
    let id = digest(&header.diff_id);
    let _ = match pack.carriers() {
        [] => writeln!(text, "archive   {} bytes, diff id {id}", header.tar_length),
        carriers => writeln!(
            text,
            "merged    of {} layers, chain id {id}",
            carriers.len()
        ),
    };
    let _ = writeln!(
        text,
        "index     {} bytes at {}, {}",
        footer.length,
        footer.at,
        digest(&footer.index)
    );
    let sizes = parts(header).map(|(name, bytes)| format!("{name} {bytes}"));
    let _ = writeln!(
        text,
        "          {}; {:.1} bytes for each object",
        sizes.join(", "),
        per_object(pack)
    );
    let _ = writeln!(
        text,
        "objects   {} files ({} sparse), {} directories ({} opaque), {} symlinks, {} others",
        counts.files,
        counts.sparse,
        counts.directories,
        counts.opaque,
        counts.symlinks,
        counts.others
    );
    let _ = writeln!(
        text,
        "          {} more names of files, {} links to lower layers, {} whiteouts, {} attributes",
        counts.links, counts.outside, counts.whiteouts, counts.xattrs
    );
    let _ = writeln!(text, "contents  {} bytes", header.contents);
    // As everywhere, the topmost first.
    for carrier in pack.carriers().iter().rev() {
        let _ = writeln!(text, "of        {}", quoted(&carrier.path));
    }
    text
}

fn as_json(path: &Path, pack: &Pack, counts: &Counts) -> Value {
    let mut object = Map::new();
    put(&mut object, "layer", path);
    let Value::Object(all) = numbers(pack, counts) else {
        return object.into();
    };
    object.extend(all);
    if !pack.carriers().is_empty() {
        object.remove("archive");
        object.insert("chain_id".to_owned(), digest(&pack.header().diff_id).into());
        let carriers = pack.carriers().iter().rev();
        let layers = carriers.map(|carrier| {
            let mut layer = Map::new();
            put(&mut layer, "layer", &carrier.path);
            layer.insert("diff_id".to_owned(), digest(&carrier.diff_id).into());
            Value::from(layer)
        });
        object.insert("layers".to_owned(), layers.collect());
    }
    object.into()
}

fn numbers(pack: &Pack, counts: &Counts) -> Value {
    let (header, footer) = (pack.header(), pack.footer());
    let sizes = parts(header).map(|(name, bytes)| (name.to_owned(), bytes.into()));
    json!({
        "version": header.version.get(),
        "archive": { "bytes": header.tar_length.get(), "diff_id": digest(&header.diff_id) },
        "index": {
            "at": footer.at.get(),
            "bytes": footer.length.get(),
            "digest": digest(&footer.index),
            "parts": Value::Object(sizes.into_iter().collect()),
            "bytes_per_object": per_object(pack),
        },
        "objects": {
            "files": counts.files,
            "sparse": counts.sparse,
            "directories": counts.directories,
            "opaque": counts.opaque,
            "symlinks": counts.symlinks,
            "others": counts.others,
            "links": counts.links,
            "links_to_lower_layers": counts.outside,
            "whiteouts": counts.whiteouts,
            "attributes": counts.xattrs,
        },
        "contents": header.contents.get(),
    })
}
