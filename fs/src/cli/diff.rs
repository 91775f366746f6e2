//! `layerfs diff`: what an upper changes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::FileType;
use serde_json::{Map, Value, json};

use super::output::{Format, print, print_json, put, quoted, texts};
use crate::inspect::compare::Difference;
use crate::inspect::diff::{Change, Name, Touched, changes};
use crate::inspect::tree::{Places, Tree};
use crate::layer::Trust;
use crate::layer::packed::expand;
use crate::types::Time;

const EXAMPLES: &str = "\
Each line has two letters and a path. The first letter tells of the name:
  A  added            R  renamed: OLD -> NEW, paths of before and of now
  D  deleted          O  a new directory in the place of the layers' one
  T  of another type  C  added or changed: without --lower nobody can tell
the second of the object behind it:
  M  its content changed (and maybe its metadata)
  m  only its metadata: mode, owner, times, extended attributes, ACLs
A directory's time alone is told only where no name in it came or went.
Paths with control characters, quotes or backslashes are quoted.

Without --lower, deleted paths and renamed directories are told, and copied-up files as \" M\",
whatever they hold; the old names of renamed files are not known. With --work, hard-linked files
of the layers are told under every name. The upper may be mounted meanwhile.

Examples:
  layerfs diff /srv/diff --work /srv/work --lower /srv/patch --lower /srv/base
  layerfs diff /var/lib/docker/overlay2/ID/diff
  layerfs diff u --lower l | grep '^D'
  layerfs diff u --lower l --format json | jq -r '.changes[] | select(.change == \"renamed\") | .from'

Exit codes: 0 done, whatever changed; 1 it failed; 2 wrong usage.";

/// Tell what an upper changes: added, modified, deleted and renamed paths.
///
/// Reads uppers of layerfs, of the kernel's overlayfs, and in the AUFS form. The cost is that of the
/// upper: of the layers only what the upper touches is read.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The upper
    upper: PathBuf,
    /// The workdir of the upper, which knows about hard-linked files
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// A layer below it; repeated, the first given lies on top
    #[arg(long, value_name = "DIR")]
    lower: Vec<PathBuf>,
    /// Tell what changed in each object
    #[arg(short, long)]
    verbose: bool,
    /// How to tell it
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

/// Runs the verb.
pub(super) fn run(args: Args) -> Result<(), String> {
    super::start_logging(false);
    let places = Places {
        upper: Some(args.upper),
        work: args.work,
        lowers: expand(&args.lower).map_err(|error| error.to_string())?,
        trust: Trust::ALL,
    };
    let tree = Tree::open(&places).map_err(|error| error.to_string())?;
    let changes = changes(&tree).map_err(|error| format!("diff: {error}"))?;
    match args.format {
        Format::Json => print_json(&json!({
            "upper": texts(places.upper.as_deref()),
            "lowers": texts(places.lowers.iter().map(PathBuf::as_path)),
            "changes": changes.iter().map(as_json).collect::<Vec<_>>(),
        })),
        Format::Text => {
            let lines = changes.iter().map(|change| line(change, args.verbose));
            print(&lines.collect::<String>())
        }
    }
}

fn line(change: &Change, verbose: bool) -> String {
    let slash = match change.kind {
        Some(FileType::Directory) if change.path.as_deref() != Some(".".as_ref()) => "/",
        _ => "",
    };
    let path = match &change.path {
        Some(path) => format!("{}{slash}", quoted(path)),
        None => "(a hard-linked file; the layer has too many names to look for its own)".to_owned(),
    };
    let path = match &change.name {
        Name::Renamed(from) => format!("{}{slash} -> {path}", quoted(from)),
        _ => path,
    };
    let mut line = format!(
        "{}{} {path}\n",
        name_letter(&change.name),
        touch_letter(change.touched)
    );
    if verbose {
        if let Name::Retyped(was) = change.name {
            line += &format!("       was a {}\n", kind_name(was));
        }
        if let Some(other) = &change.link_of {
            line += &format!("       hard link of {}\n", quoted(other));
        }
        for difference in &change.differences {
            line += &format!("       {}\n", in_words(difference));
        }
    }
    line
}

fn name_letter(name: &Name) -> char {
    match name {
        Name::Kept => ' ',
        Name::Added => 'A',
        Name::Deleted => 'D',
        Name::Renamed(_) => 'R',
        Name::Replaced => 'O',
        Name::Retyped(_) => 'T',
        Name::Unknown => 'C',
    }
}

fn touch_letter(touched: Touched) -> char {
    match touched {
        Touched::No => ' ',
        Touched::Metadata => 'm',
        Touched::Content => 'M',
    }
}

fn in_words(difference: &Difference) -> String {
    match difference {
        Difference::Content(None) => "content".to_owned(),
        Difference::Content(Some((was, now))) if was == now => format!("content ({now} bytes)"),
        Difference::Content(Some((was, now))) => format!("content ({was} -> {now} bytes)"),
        Difference::Mode(was, now) => format!("mode {was:04o} -> {now:04o}"),
        Difference::Owner(was, now) => {
            format!("owner {}:{} -> {}:{}", was.0, was.1, now.0, now.1)
        }
        Difference::Modified(was, now) => format!("modified {} -> {}", time(was), time(now)),
        Difference::Xattrs(names) => {
            let names = names.iter().map(|name| quoted(OsStr::from_bytes(name)));
            format!("attributes {}", names.collect::<Vec<_>>().join(", "))
        }
    }
}

fn time(time: &Time) -> String {
    format!("{}.{:09}", time.seconds, time.nanos)
}

fn as_json(change: &Change) -> Value {
    let mut object = Map::new();
    match &change.path {
        Some(path) => put(&mut object, "path", path),
        None => drop(object.insert("path".to_owned(), Value::Null)),
    }
    let name = match &change.name {
        Name::Kept => "changed",
        Name::Added => "added",
        Name::Deleted => "deleted",
        Name::Renamed(_) => "renamed",
        Name::Replaced => "replaced",
        Name::Retyped(_) => "retyped",
        Name::Unknown => "added-or-changed",
    };
    object.insert("change".to_owned(), name.into());
    match &change.name {
        Name::Renamed(from) => put(&mut object, "from", from),
        Name::Retyped(was) => drop(object.insert("was".to_owned(), kind_name(*was).into())),
        _ => {}
    }
    if let Some(kind) = change.kind {
        object.insert("type".to_owned(), kind_name(kind).into());
    }
    let touched = match change.touched {
        Touched::No => Value::Null,
        Touched::Metadata => "metadata".into(),
        Touched::Content => "content".into(),
    };
    object.insert("touched".to_owned(), touched);
    if let Some(other) = &change.link_of {
        put(&mut object, "link_of", other);
    }
    for difference in &change.differences {
        let (key, value) = difference_as_json(difference);
        object.insert(key.to_owned(), value);
    }
    object.into()
}

fn difference_as_json(difference: &Difference) -> (&'static str, Value) {
    let instant = |time: &Time| json!({"seconds": time.seconds, "nanos": time.nanos});
    match difference {
        Difference::Content(None) => ("content", Value::Bool(true)),
        Difference::Content(Some((was, now))) => ("size", json!({"was": was, "now": now})),
        Difference::Mode(was, now) => {
            let octal = |mode: &u32| format!("{mode:04o}");
            ("mode", json!({"was": octal(was), "now": octal(now)}))
        }
        Difference::Owner(was, now) => {
            let owner = |of: &(u32, u32)| json!({"uid": of.0, "gid": of.1});
            ("owner", json!({"was": owner(was), "now": owner(now)}))
        }
        Difference::Modified(was, now) => (
            "modified",
            json!({"was": instant(was), "now": instant(now)}),
        ),
        Difference::Xattrs(names) => {
            let names = names.iter().map(|name| String::from_utf8_lossy(name));
            ("attributes", names.collect::<Vec<_>>().into())
        }
    }
}

/// What people call a type.
pub(super) fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "character device",
        FileType::BlockDevice => "block device",
        FileType::Unknown => "object",
    }
}
