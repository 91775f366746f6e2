//! `layerfs ls`: names in a packed layer.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, major, minor};
use serde_json::{Map, Value, json};

use super::diff::kind_name;
use super::output::{Format, print, print_json, put, quoted};
use crate::error::{Error, Result};
use crate::layer::packed::Pack;
use crate::layer::packed::format::Node;
use crate::layer::packed::walk::{Met, find, list, walk};
use crate::marks::{WH_OPAQUE, WH_PREFIX};

/// Columns before the name in the long form, where nothing is wider than usual.
const COLUMNS: usize = 68;
/// Text is printed in pieces of this.
const CHUNK: usize = 64 << 10;

const EXAMPLES: &str = "\
Whiteouts are listed as .wh.NAME, and an opaque directory has .wh..wh..opq in it, as in the archive.
With -R every path is told in full, one on a line. Times are in UTC.

Examples:
  layerfs ls base.lfs etc
  layerfs ls -lR base.lfs
  layerfs ls -R --format json base.lfs | jq -r '.[] | select(.type == \"whiteout\").path'

Exit codes: 0 done, 1 there is no such path, or the layer is damaged, 2 wrong usage.";

/// List what a packed layer holds.
///
/// Paths are as the layer has them: symbolic links are not followed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The packed layer
    layer: PathBuf,
    /// A directory or another object in it; without it the root
    path: Option<PathBuf>,
    /// Tell type, permissions, links, owner, group, size and time of each
    #[arg(short, long)]
    long: bool,
    /// List all that is below, too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// How to tell it
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<(), String> {
    let pack = Pack::open(&args.layer).map_err(|error| error.to_string())?;
    let failed = |path: &Path, error: Error| {
        let at = match path.as_os_str().is_empty() {
            true => String::new(),
            false => format!("{}: ", quoted(path)),
        };
        format!("{}: {at}{error}", args.layer.display())
    };
    let named = args.path.as_deref().unwrap_or(Path::new(""));
    let at = |error| failed(named, error);
    let path = named.as_os_str().as_bytes();
    let number = find(&pack, path).map_err(at)?;
    let number = number.ok_or(Error::NotFound).map_err(at)?;
    let kind = pack.node(number).map_err(at)?.mode.get() & libc::S_IFMT;
    // As a prefix of what is found, without what `find` passes over.
    let path = clean(path);
    let mut out = Out {
        pack: &pack,
        args,
        text: String::new(),
        json: Vec::new(),
    };
    let itself = Met {
        path: path.clone(),
        node: Some(number),
        kind,
    };
    if kind != libc::S_IFDIR {
        out.tell(&itself).map_err(at)?;
    } else {
        out.opaque(&itself).map_err(at)?;
        if args.recursive {
            for met in walk(&pack, &path, number) {
                let met = met.map_err(at)?;
                let told = out.tell(&met).and_then(|()| out.opaque(&met));
                told.map_err(|error| failed(Path::new(OsStr::from_bytes(&met.path)), error))?;
                out.flush(CHUNK)?;
            }
        } else {
            for met in list(&pack, &path, number).map_err(at)? {
                out.tell(&met).map_err(at)?;
            }
        }
    }
    match args.format {
        Format::Text => out.flush(0),
        Format::Json => print_json(&out.json.into()),
    }
}

/// A path without what means nothing in it.
fn clean(path: &[u8]) -> Vec<u8> {
    let names = path.split(|byte| *byte == b'/');
    let names: Vec<&[u8]> = names.filter(|n| !n.is_empty() && *n != b".").collect();
    names.join(&b'/')
}

struct Out<'a> {
    pack: &'a Pack,
    args: &'a Args,
    text: String,
    json: Vec<Value>,
}

impl Out<'_> {
    fn tell(&mut self, met: &Met) -> Result<()> {
        if self.args.format == Format::Json {
            self.json.push(as_json(self.pack, met)?);
            return Ok(());
        }
        let shown = match self.args.recursive {
            true => &*met.path,
            false => met.name(),
        };
        let (Some(number), true) = (met.node, self.args.long) else {
            let name = match met.node {
                Some(_) => shown.to_vec(),
                None => hidden(shown),
            };
            self.line(&name);
            return Ok(());
        };
        let node = self.pack.node(number)?;
        let mut line = long(node);
        line.push_str(&quoted(OsStr::from_bytes(shown)));
        if met.kind == libc::S_IFLNK {
            let target = OsStr::from_bytes(self.pack.target(node)?);
            line += &format!(" -> {}", quoted(target));
        } else if let Some(target) = self.pack.outside(node)? {
            let target = quoted(OsStr::from_bytes(target));
            line += &format!(" link to {target} of a lower layer");
        }
        self.text += &line;
        self.text.push('\n');
        Ok(())
    }

    /// The mark of an opaque directory, as a line of its own; in JSON it is the directory's.
    fn opaque(&mut self, met: &Met) -> Result<()> {
        let (Some(number), libc::S_IFDIR) = (met.node, met.kind) else {
            return Ok(());
        };
        if self.args.format == Format::Text && self.pack.is_opaque(number)? {
            let name = match (self.args.recursive, &*met.path) {
                (true, path @ [_, ..]) => [path, b"/", WH_OPAQUE].concat(),
                _ => WH_OPAQUE.to_vec(),
            };
            self.line(&name);
        }
        Ok(())
    }

    /// A line of a name alone; a mark has nothing to tell in the columns of `long`.
    fn line(&mut self, name: &[u8]) {
        if self.args.long {
            self.text += &format!("{:COLUMNS$}", "w---------");
        }
        self.text += &quoted(OsStr::from_bytes(name));
        self.text.push('\n');
    }

    fn flush(&mut self, from: usize) -> Result<(), String> {
        match self.text.len() < from || self.text.is_empty() {
            true => Ok(()),
            false => print(&std::mem::take(&mut self.text)),
        }
    }
}

/// The path of a whiteout as the archive has it.
fn hidden(path: &[u8]) -> Vec<u8> {
    let cut = path.iter().rposition(|byte| *byte == b'/');
    let (above, name) = path.split_at(cut.map_or(0, |cut| cut + 1));
    [above, WH_PREFIX, name].concat()
}

/// All columns but the name.
fn long(node: &Node) -> String {
    let mode = node.mode.get();
    let size = match mode & libc::S_IFMT {
        libc::S_IFCHR | libc::S_IFBLK => {
            let device = node.data.get();
            format!("{}, {}", major(device), minor(device))
        }
        _ => node.size.to_string(),
    };
    format!(
        "{} {:3} {:>5} {:>5} {size:>10} {} ",
        letters(mode),
        node.nlink,
        node.uid,
        node.gid,
        time(node.mtime.get(), node.nanos.get())
    )
}

/// The type and the permissions, as ls(1) shows them.
fn letters(mode: u32) -> String {
    let kind = match mode & libc::S_IFMT {
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        libc::S_IFCHR => 'c',
        libc::S_IFBLK => 'b',
        libc::S_IFIFO => 'p',
        libc::S_IFSOCK => 's',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        let execute = match (mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, false) => letter.to_ascii_uppercase(),
            (true, true) => letter,
        };
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(execute);
    }
    text
}

/// A time in UTC; what no calendar has, as seconds.
fn time(seconds: i64, nanos: u32) -> String {
    let nanos = nanos % 1_000_000_000;
    // Before 1970, seconds count down and nanoseconds up.
    let time = jiff::Timestamp::from_second(seconds);
    match time {
        Ok(time) => format!("{}.{nanos:09}", time.strftime("%Y-%m-%d %H:%M:%S")),
        Err(_) => format!("@{seconds}.{nanos:09}"),
    }
}

fn as_json(pack: &Pack, met: &Met) -> Result<Value> {
    let mut object = Map::new();
    put(&mut object, "path", OsStr::from_bytes(&met.path));
    let Some(number) = met.node else {
        object.insert("type".to_owned(), "whiteout".into());
        return Ok(object.into());
    };
    let node = pack.node(number)?;
    let outside = pack.outside(node)?;
    if let Some(target) = outside {
        object.insert("type".to_owned(), "link".into());
        put(&mut object, "target", OsStr::from_bytes(target));
        return Ok(object.into());
    }
    let kind = FileType::from_raw_mode(met.kind);
    object.insert("type".to_owned(), kind_name(kind).into());
    object.insert(
        "mode".to_owned(),
        format!("{:04o}", node.mode.get() & 0o7777).into(),
    );
    for (key, value) in [
        ("uid", node.uid.get().into()),
        ("gid", node.gid.get().into()),
        ("links", node.nlink.get().into()),
        ("inode", (u64::from(number) + 1).into()),
        (
            "modified",
            json!({"seconds": node.mtime.get(), "nanos": node.nanos.get()}),
        ),
    ] {
        object.insert(key.to_owned(), value);
    }
    match met.kind {
        libc::S_IFREG => drop(object.insert("size".to_owned(), node.size.get().into())),
        libc::S_IFLNK => put(&mut object, "target", OsStr::from_bytes(pack.target(node)?)),
        libc::S_IFCHR | libc::S_IFBLK => {
            let device = node.data.get();
            let device = json!({"major": major(device), "minor": minor(device)});
            object.insert("device".to_owned(), device);
        }
        libc::S_IFDIR if pack.is_opaque(number)? => {
            object.insert("opaque".to_owned(), true.into());
        }
        _ => {}
    }
    let xattrs = pack.xattrs(node)?.into_iter().map(|(name, value)| {
        let mut xattr = Map::new();
        put(&mut xattr, "name", OsStr::from_bytes(name));
        put(&mut xattr, "value", OsStr::from_bytes(value));
        Value::from(xattr)
    });
    let xattrs: Vec<Value> = xattrs.collect();
    if !xattrs.is_empty() {
        object.insert("attributes".to_owned(), xattrs.into());
    }
    Ok(object.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_times_are_shown_as_ls_does() {
        assert_eq!(letters(0o104755), "-rwsr-xr-x");
        assert_eq!(letters(0o041777), "drwxrwxrwt");
        assert_eq!(letters(0o102644), "-rw-r-Sr--");
        assert_eq!(time(1_600_000_000, 5), "2020-09-13 12:26:40.000000005");
        assert_eq!(time(-1, 500_000_000), "1969-12-31 23:59:59.500000000");
        assert_eq!(time(i64::MAX, 0), "@9223372036854775807.000000000");
    }

    #[test]
    fn whiteouts_have_their_names_of_the_archive() {
        assert_eq!(hidden(b"a/b"), b"a/.wh.b");
        assert_eq!(hidden(b"b"), b".wh.b");
        assert_eq!(clean(b"/a//./b/"), b"a/b");
    }
}
