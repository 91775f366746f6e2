//! `runner images`: lists the images.

use super::format::{Column, Format, ago, size};
use super::output;
use crate::error::{Error, Result};
use crate::image::{Record, Reference, Store};
use crate::types::Moment;
use serde_json::{Value, json};
use std::path::Path;

/// Arguments of `images`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Filters: dangling=true|false, label=KEY[=VALUE], reference=PATTERN,
before=IMAGE, since=IMAGE.

Examples:
  runner images
  runner images debian
  runner images -q --filter dangling=true
  runner images --format '{{.Repository}}:{{.Tag}}'
  runner images --format json"
)]
pub(super) struct Args {
    /// All images; there are no hidden ones
    #[arg(short, long)]
    all: bool,
    /// With the digests by which registries know them
    #[arg(long)]
    digests: bool,
    /// Only those that meet the conditions
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Print as: table [TEMPLATE], json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print ids in full
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Only those of this name: NAME[:TAG], with * and ? as in file names
    name: Option<String>,
}

const COLUMNS: &[Column] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
];

const NONE: &str = "<none>";

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let format = Format::parse(args.format.as_deref())?;
    output::open_home(root)?;
    let store = Store::open(root)?;
    let mut filter = Filter::parse(&args.filter, &store)?;
    filter
        .references
        .extend(args.name.clone().map(|name| vec![name]));
    let mut rows = Vec::new();
    for record in store.list()?.iter().filter(|record| filter.keeps(record)) {
        rows.extend(lines(record, args, &filter));
    }
    if args.quiet {
        let mut ids: Vec<&str> = rows.iter().filter_map(|row| row["ID"].as_str()).collect();
        ids.dedup();
        return output::print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>());
    }
    let mut usual = vec!["Repository", "Tag", "ID", "CreatedSince", "Size"];
    if args.digests {
        usual.insert(2, "Digest");
    }
    output::print(&format.list(&rows, COLUMNS, &usual)?)
}

/// A line for each tag; one for an image without.
fn lines(record: &Record, args: &Args, filter: &Filter) -> Vec<Value> {
    let digest_of = |name: &str| {
        let mut digests = record.names.iter().filter(|other| other.name() == name);
        digests
            .find_map(|other| other.digest())
            .unwrap_or(NONE)
            .to_owned()
    };
    let tags = record.names.iter().filter(|name| name.digest().is_none());
    let mut lines: Vec<Value> = tags
        .filter(|name| filter.shows(name))
        .map(|name| {
            row(
                record,
                args,
                (name.name(), name.tag(), &digest_of(name.name())),
            )
        })
        .collect();
    if record.names.iter().all(|name| name.digest().is_some()) {
        let first = record.names.first();
        let name = first.map_or(NONE, |name| name.name());
        let digest = first.and_then(|name| name.digest()).unwrap_or(NONE);
        lines.push(row(record, args, (name, NONE, digest)));
    }
    lines
}

fn row(record: &Record, args: &Args, (name, tag, digest): (&str, &str, &str)) -> Value {
    let created = Moment::from_seconds(record.created);
    json!({
        "Repository": name,
        "Tag": tag,
        "Digest": digest,
        "ID": match args.no_trunc {
            true => format!("sha256:{}", record.id),
            false => record.short_id().to_owned(),
        },
        "CreatedSince": ago(created.age()),
        "CreatedAt": created.local("%Y-%m-%d %H:%M:%S %z %Z").to_string(),
        "Size": size(record.size),
    })
}

/// Conditions: one of the alternatives of each kind.
#[derive(Debug, Default)]
pub(super) struct Filter {
    dangling: Option<bool>,
    labels: Vec<String>,
    references: Vec<Vec<String>>,
    before: Option<u64>,
    since: Option<u64>,
}

impl Filter {
    /// The values of `--filter`.
    pub(super) fn parse(texts: &[String], store: &Store) -> Result<Self> {
        let mut filter = Self::default();
        let mut references = Vec::new();
        for text in texts {
            let bad = |why: &str| Error::Value {
                flag: "--filter",
                value: text.clone(),
                why: why.to_owned(),
            };
            let (kind, value) = text.split_once('=').ok_or_else(|| bad("want NAME=VALUE"))?;
            match kind {
                "dangling" => {
                    let value = value.parse().map_err(|_| bad("want true or false"))?;
                    filter.dangling = Some(value);
                }
                "label" => filter.labels.push(value.to_owned()),
                "reference" => references.push(value.to_owned()),
                "before" => filter.before = Some(store.find(value)?.created),
                "since" => filter.since = Some(store.find(value)?.created),
                _ => {
                    return Err(bad(
                        "unknown; there are dangling, label, reference, before, since",
                    ));
                }
            }
        }
        filter
            .references
            .extend(Some(references).filter(|all| !all.is_empty()));
        Ok(filter)
    }

    /// Whether an image meets all conditions.
    pub(super) fn keeps(&self, record: &Record) -> bool {
        let tagged = record.names.iter().any(|name| name.digest().is_none());
        let label = |wanted: &String| {
            let (key, value) = match wanted.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (wanted.as_str(), None),
            };
            let found = record.start().labels.get(key);
            found.is_some_and(|found| value.is_none_or(|value| value == found))
        };
        self.dangling.is_none_or(|dangling| dangling != tagged)
            && self.before.is_none_or(|before| record.created < before)
            && self.since.is_none_or(|since| record.created > since)
            && self.labels.iter().all(label)
            && (self.references.is_empty() || record.names.iter().any(|name| self.shows(name)))
    }

    /// Whether a name of an image that is kept is asked for.
    fn shows(&self, name: &Reference) -> bool {
        let fits = |pattern: &String| {
            let slash = pattern.rfind('/').map_or(0, |at| at + 1);
            match pattern[slash..].contains(':') {
                true => matches(pattern, &name.to_string()),
                false => matches(pattern, name.name()),
            }
        };
        self.references
            .iter()
            .all(|patterns| patterns.iter().any(fits))
    }
}

/// Whether a text fits a pattern with `*` and `?`, which do not stand for `/`.
fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let plain = text.find('/').unwrap_or(text.len());
            let ends = text[..plain]
                .char_indices()
                .map(|(at, _)| at)
                .chain([plain]);
            ends.into_iter()
                .any(|at| matches(rest.as_str(), &text[at..]))
        }
        Some(wanted) => {
            let mut chars = text.chars();
            let fits = |found: char| found == wanted || (wanted == '?' && found != '/');
            chars.next().is_some_and(fits) && matches(rest.as_str(), chars.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, text) in [
            ("debian", "debian"),
            ("deb*", "debian"),
            ("*", "x"),
            ("a/*", "a/b"),
            ("?b", "ab"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("debian", "debian2"), ("*", "a/b"), ("a?", "a"), ("", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
