//! `layerfs which`: which layer supplies a path, and why.

use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use serde_json::{Map, Value, json};

use super::diff::kind_name;
use super::output::{Format, print, print_json, put, quoted};
use crate::inspect::tree::{Places, Tree};
use crate::inspect::which::{Cover, Data, Explanation, Part, Says, explain};
use crate::layer::Trust;
use crate::layer::packed::expand;

const EXAMPLES: &str = "\
PATH is taken from the root of the merged tree, and symlinks are not followed; nothing needs to be
mounted. A `=>` stands before what shows (for a directory: before all that it merges), a `~>`
before the data of a file whose metadata alone was copied up.

Examples:
  layerfs which --upper /srv/diff --work /srv/work --lower /srv/patch --lower /srv/base etc/hosts
  layerfs which --lower /srv/patch --lower /srv/base bin/sh bin/bash --format json

Exit codes: 0 every PATH shows, 1 some do not, 2 wrong usage, or a part cannot be read.";

/// Tell which layer supplies a path, and why.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Paths in the merged tree
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// A layer; repeated, the first given lies on top
    #[arg(long, value_name = "DIR", required_unless_present = "upper")]
    lower: Vec<PathBuf>,
    /// The upper
    #[arg(long, value_name = "DIR")]
    upper: Option<PathBuf>,
    /// The workdir of the upper, which knows about hard-linked files
    #[arg(long, value_name = "DIR", requires = "upper")]
    work: Option<PathBuf>,
    /// Do not follow renamed directories and metadata-only copies of the lowers, as a mount without
    /// -o redirect_dir=follow,metacopy=follow
    #[arg(long)]
    untrusted: bool,
    /// How to tell it
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

/// Runs the verb; gives whether every path shows.
pub(super) fn run(args: Args) -> Result<bool, String> {
    super::start_logging(false);
    let places = Places {
        upper: args.upper,
        work: args.work,
        lowers: expand(&args.lower).map_err(|error| error.to_string())?,
        trust: match args.untrusted {
            true => Trust::default(),
            false => Trust::ALL,
        },
    };
    let failed = |error| format!("which: {error}");
    let tree = Tree::open(&places).map_err(failed)?;
    let mut answers = Vec::new();
    for path in &args.paths {
        answers.push((path, explain(&tree, path).map_err(failed)?));
    }
    match args.format {
        Format::Json => {
            let all = answers.iter().map(|(path, a)| as_json(&places, path, a));
            print_json(&json!({ "paths": all.collect::<Vec<_>>() }))?;
        }
        Format::Text => {
            let all: Vec<String> = answers
                .iter()
                .map(|(path, answer)| as_text(&places, path, answer))
                .collect();
            print(&all.join("\n"))?;
        }
    }
    Ok(answers.iter().all(|(_, answer)| answer.from.is_some()))
}

fn as_text(places: &Places, path: &Path, answer: &Explanation) -> String {
    let names: Vec<String> = answer.parts.iter().map(|(part, _)| name(*part)).collect();
    let lies: Vec<String> = answer
        .parts
        .iter()
        .map(|(part, _)| quoted(place(places, *part)))
        .collect();
    let width = |texts: &[String]| texts.iter().map(|text| text.chars().count()).max();
    let (name_width, place_width) = (width(&names), width(&lies));
    let mut text = format!("{}: {}\n", quoted(path), in_short(answer));
    let data = answer.parts.iter().find_map(|(_, says)| match says {
        Says::Object {
            data: Some(Data::In(position, file)),
            ..
        } => Some((Part::Layer(*position), file)),
        _ => None,
    });
    for (((part, says), name), lies) in answer.parts.iter().zip(names).zip(lies) {
        let (mut arrow, mut words) = match says {
            Says::Directory { .. } | Says::Object { .. } => ("=>", in_words(says)),
            _ => ("  ", in_words(says)),
        };
        if let Some((_, file)) = data.filter(|(holder, _)| holder == part) {
            arrow = "~>";
            words = format!("supplies the data: {}", quoted(file));
        }
        text += &format!(
            " {arrow} {name:name_width$}  {lies:place_width$}  {words}\n",
            name_width = name_width.unwrap_or(0),
            place_width = place_width.unwrap_or(0),
        );
    }
    text
}

fn name(part: Part) -> String {
    match part {
        Part::Upper => "upper".to_owned(),
        Part::Layer(position) => format!("layer {position}"),
    }
}

/// Where a part lies.
fn place(places: &Places, part: Part) -> &Path {
    let path = match part {
        Part::Upper => places.upper.as_ref(),
        Part::Layer(position) => {
            let from_top = places.lowers.len().checked_sub(usize::from(position));
            from_top.and_then(|index| places.lowers.get(index))
        }
    };
    path.map_or(Path::new(""), PathBuf::as_path)
}

/// The whole answer in one line.
fn in_short(answer: &Explanation) -> String {
    let (Some(part), Some(kind)) = (answer.from, answer.kind) else {
        let why = answer.parts.iter().find_map(|(part, says)| match says {
            Says::Whiteout(_) => Some(format!("deleted in {}", the(*part))),
            Says::NoDirectory(path, kind) => Some(format!(
                "{} is a {} in {}",
                quoted(path),
                kind_name(*kind),
                the(*part)
            )),
            Says::Refused => Some(format!("refused: {} is not trusted", the(*part))),
            Says::Hidden { by, how, at, .. } => {
                Some(format!("hidden by {} {}", cover(*how, at), of(*by)))
            }
            _ => None,
        });
        return format!(
            "nothing shows, {}",
            why.as_deref().unwrap_or("no part has it")
        );
    };
    let kind_name = kind_name(kind);
    if answer.indexed {
        return format!("{kind_name}, from the upper by its index of hard links");
    }
    if kind == FileType::Directory {
        let merges = |says: &Says| matches!(says, Says::Directory { .. });
        let merged = answer.parts.iter().filter(|(_, says)| merges(says)).count();
        return match merged {
            1 => format!("directory, of {} alone", the(part)),
            _ => format!(
                "directory, merges {merged} parts; its metadata is from {}",
                the(part)
            ),
        };
    }
    let data = answer.parts.iter().find_map(|(_, says)| match says {
        Says::Object { data, .. } => data.as_ref(),
        _ => None,
    });
    match data {
        Some(Data::In(position, _)) => format!(
            "{kind_name}, its metadata from {}, its data from layer {position}",
            the(part)
        ),
        Some(Data::Missing) => format!(
            "{kind_name}, its metadata from {}, its data is lost",
            the(part)
        ),
        None => format!("{kind_name}, from {}", the(part)),
    }
}

fn the(part: Part) -> String {
    match part {
        Part::Upper => "the upper".to_owned(),
        layer => name(layer),
    }
}

fn of(part: Part) -> String {
    format!("of {}", the(part))
}

fn cover(how: Cover, at: &Path) -> String {
    let what = match how {
        Cover::Whiteout => "the whiteout",
        Cover::Opaque => "the opaque directory",
        Cover::File => "what is no directory",
        Cover::EndOfMerge => "the end of the merge",
        Cover::Refusal => "the refusal",
    };
    format!("{what} {}", quoted(at))
}

fn in_words(says: &Says) -> String {
    match says {
        Says::Absent(path) => format!("no {}", quoted(path)),
        Says::Whiteout(path) => format!("deleted: a whiteout of {}", quoted(path)),
        Says::NoDirectory(path, kind) => {
            format!(
                "{} {}: nothing lies below it",
                kind_name(*kind),
                quoted(path)
            )
        }
        Says::Refused => "carries a redirect or metacopy mark, and is not trusted".to_owned(),
        Says::Directory {
            path,
            opaque,
            redirect,
        } => {
            let mut words = format!("directory {}", quoted(path));
            if *opaque {
                words += ", opaque: hides all below";
            }
            if let Some(target) = redirect {
                words += &format!(
                    ", was renamed: the parts below have it as {}",
                    quoted(target)
                );
            }
            words
        }
        Says::Object {
            path,
            kind,
            size,
            data,
        } => {
            let mut words = format!("{} {}", kind_name(*kind), quoted(path));
            if *kind == FileType::RegularFile {
                words += &format!(", {size} bytes");
            }
            match data {
                Some(Data::In(..)) => words += ", metadata only",
                Some(Data::Missing) => words += ", metadata only: no layer has its data",
                None => {}
            }
            words
        }
        Says::Hidden { has, by, how, at } => {
            let has = has.map_or("what it may have", kind_name);
            match how {
                Cover::EndOfMerge => format!("{has}: cannot merge with the directories above"),
                _ => format!("{has}: hidden by {} {}", cover(*how, at), of(*by)),
            }
        }
    }
}

fn as_json(places: &Places, path: &Path, answer: &Explanation) -> Value {
    let mut object = Map::new();
    put(&mut object, "path", path);
    let kind = answer.kind.map(kind_name);
    object.insert("type".to_owned(), kind.into());
    object.insert("from".to_owned(), answer.from.map(name).into());
    object.insert("indexed".to_owned(), answer.indexed.into());
    let parts = answer.parts.iter().map(|(part, says)| {
        let mut object = Map::new();
        object.insert("part".to_owned(), name(*part).into());
        put(&mut object, "dir", place(places, *part));
        says_as_json(&mut object, says);
        Value::from(object)
    });
    object.insert("parts".to_owned(), parts.collect());
    object.into()
}

fn says_as_json(object: &mut Map<String, Value>, says: &Says) {
    let mut word = |word: &str| drop(object.insert("says".to_owned(), word.into()));
    match says {
        Says::Absent(path) => {
            word("absent");
            put(object, "path", path);
        }
        Says::Whiteout(path) => {
            word("whiteout");
            put(object, "path", path);
        }
        Says::Refused => word("refused"),
        Says::NoDirectory(path, kind) => {
            word("no-directory");
            put(object, "path", path);
            object.insert("type".to_owned(), kind_name(*kind).into());
        }
        Says::Directory {
            path,
            opaque,
            redirect,
        } => {
            word("directory");
            put(object, "path", path);
            object.insert("opaque".to_owned(), (*opaque).into());
            if let Some(target) = redirect {
                put(object, "redirect", target);
            }
        }
        Says::Object {
            path,
            kind,
            size,
            data,
        } => {
            word("object");
            put(object, "path", path);
            object.insert("type".to_owned(), kind_name(*kind).into());
            object.insert("size".to_owned(), (*size).into());
            if let Some(Data::In(position, file)) = data {
                object.insert("data_from".to_owned(), name(Part::Layer(*position)).into());
                put(object, "data_path", file);
            }
        }
        Says::Hidden { has, by, at, .. } => {
            word("hidden");
            object.insert("type".to_owned(), has.map(kind_name).into());
            object.insert("by".to_owned(), name(*by).into());
            put(object, "at", at);
        }
    }
}
