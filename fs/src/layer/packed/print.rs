//! An index as text, number by number: what `layerfs inspect --debug` prints.
//!
//! ```text
//!   footer   at 8192, length 1234, ...
//!   node 0   mode 040755 nlink 3 uid 0 gid 0 mtime 0.000000000 entries 0+2
//!     entry  0a1b2c3d "etc" -> 1
//!   node 1   ...
//! ```
//!
//! What cannot be followed is printed with the error in its place: it is for indexes that are broken.

use std::io::{Result, Write};

use super::format::{self, Footer, Header, NONE, Node, OPAQUE, OUTSIDE, SPARSE};
use super::reader::Pack;
use crate::error;

/// Prints header, footer, and all nodes with what belongs to them.
///
/// # Errors
/// Those of `to`.
pub fn print(pack: &Pack, to: &mut dyn Write) -> Result<()> {
    footer(pack.footer(), to)?;
    header(pack.header(), to)?;
    for (number, carrier) in pack.carriers().iter().enumerate() {
        let (path, index, length) = (&carrier.path, hex(&carrier.index), carrier.tar_length);
        let diff_id = hex(&carrier.diff_id);
        writeln!(
            to,
            "source {number} {path:?} tar {length} diff {diff_id} index {index}"
        )?;
    }
    for number in 0..pack.header().nodes.get() {
        match pack.node(number) {
            Ok(node) => object(pack, number, node, to)?,
            Err(error) => writeln!(to, "node {number}: {error}")?,
        }
    }
    Ok(())
}

fn footer(footer: &Footer, to: &mut dyn Write) -> Result<()> {
    let (at, length) = (footer.at, footer.length);
    let hash = hex(&footer.index);
    let check = footer.check.get();
    writeln!(
        to,
        "footer at {at} length {length} index {hash} check {check:016x}"
    )
}

fn header(header: &Header, to: &mut dyn Write) -> Result<()> {
    let Header {
        version,
        flags,
        tar_length,
        nodes,
        entries,
        extents,
        ..
    } = header;
    let (sources, blob, contents) = (header.sources, header.blob, header.contents);
    writeln!(
        to,
        "header version {version} flags {flags} tar {tar_length} nodes {nodes} entries {entries} extents \
         {extents} sources {sources} blob {blob} contents {contents} diff {} check {:016x}",
        hex(&header.diff_id),
        header.check.get()
    )
}

fn object(pack: &Pack, number: u32, node: &Node, to: &mut dyn Write) -> Result<()> {
    let (mode, flags) = (node.mode.get(), node.flags.get());
    let Node {
        nlink, uid, gid, ..
    } = node;
    write!(
        to,
        "node {number} mode {mode:06o} nlink {nlink} uid {uid} gid {gid} mtime {}.{:09} size {} data {} \
         count {} xattrs ",
        node.mtime, node.nanos, node.size, node.data, node.count
    )?;
    match node.xattrs.get() {
        NONE => write!(to, "none")?,
        at => write!(to, "{at}")?,
    }
    for (flag, word) in [(OPAQUE, "opaque"), (SPARSE, "sparse"), (OUTSIDE, "outside")] {
        if flags & flag != 0 {
            write!(to, " {word}")?;
        }
    }
    if !pack.carriers().is_empty() {
        write!(to, " of {}:{}", node.source, node.origin)?;
    }
    match flags & !(OPAQUE | SPARSE | OUTSIDE) {
        0 => writeln!(to)?,
        unknown => writeln!(to, " flags {unknown:#x}")?,
    }
    told(pack.xattrs(node), to, |(name, value), to| {
        writeln!(
            to,
            "  xattr {} {}",
            name.escape_ascii(),
            value.escape_ascii()
        )
    })?;
    let path = |bytes: &[u8]| bytes.escape_ascii().to_string();
    match mode & libc::S_IFMT {
        libc::S_IFDIR => entries(pack, number, to),
        libc::S_IFLNK => match pack.target(node) {
            Ok(target) => writeln!(to, "  target {}", path(target)),
            Err(error) => writeln!(to, "  target: {error}"),
        },
        _ => match pack.outside(node) {
            Ok(Some(target)) => writeln!(to, "  link to {}", path(target)),
            Ok(None) if flags & SPARSE != 0 => pieces(pack, node, to),
            Ok(None) => Ok(()),
            Err(error) => writeln!(to, "  link: {error}"),
        },
    }
}

fn entries(pack: &Pack, number: u32, to: &mut dyn Write) -> Result<()> {
    let names = match pack.names(number) {
        Ok(names) => names,
        Err(error) => return writeln!(to, "  entries: {error}"),
    };
    for named in names {
        match named {
            Ok(named) => {
                let hash = format::hash(named.name);
                write!(to, "  entry {hash:08x} \"{}\" ", named.name.escape_ascii())?;
                match named.node {
                    Some(node) => writeln!(to, "-> {node}")?,
                    None => writeln!(to, "whiteout")?,
                }
            }
            Err(error) => writeln!(to, "  entry: {error}")?,
        }
    }
    Ok(())
}

fn pieces(pack: &Pack, node: &Node, to: &mut dyn Write) -> Result<()> {
    let pieces = pack
        .data(node)
        .map(|data| data.pieces.into_iter().collect::<Vec<_>>());
    told(pieces, to, |pieces, to| {
        for piece in pieces.until(u64::MAX) {
            let (at, length) = (piece.logical, piece.length);
            writeln!(to, "  extent {at}+{length} at {}", piece.physical)?;
        }
        Ok(())
    })
}

/// Prints each, or the error.
fn told<T>(
    list: error::Result<Vec<T>>,
    to: &mut dyn Write,
    mut line: impl FnMut(T, &mut dyn Write) -> Result<()>,
) -> Result<()> {
    match list {
        Ok(list) => list.into_iter().try_for_each(|item| line(item, to)),
        Err(error) => writeln!(to, "  {error}"),
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
