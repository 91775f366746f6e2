//! `runner images`: lists the images.

use super::output;
use crate::container::home::now;
use crate::error::{Error, Result};
use crate::image::{Record, Store};
use std::fmt::Write;
use std::path::Path;

/// Arguments of `images`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner images
  runner images -q
  runner images --format json")]
pub(super) struct Args {
    /// How to print them
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Columns for people
    Table,
    /// One JSON object a line
    Json,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    output::open_home(root)?;
    let records = Store::open(root)?.list()?;
    let text = match args.format {
        _ if args.quiet => records
            .iter()
            .map(|r| format!("{}\n", r.short_id()))
            .collect(),
        Format::Table => table(&records),
        Format::Json => json(&records)?,
    };
    output::print(&text)
}

fn json(records: &[Record]) -> Result<String> {
    let mut text = String::new();
    for record in records {
        let line = serde_json::to_string(record).map_err(Error::system("print an image"))?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

fn table(records: &[Record]) -> String {
    let rows: Vec<[String; 5]> = records
        .iter()
        .map(|record| {
            let (name, tag) = record
                .name
                .rsplit_once(':')
                .unwrap_or((&record.name, "latest"));
            [
                name.to_owned(),
                tag.to_owned(),
                record.short_id().to_owned(),
                age(now().saturating_sub(record.created)),
                size(record.size),
            ]
        })
        .collect();
    let head = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"].map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().chain([&head]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2), width(3)];
    let mut text = String::new();
    for [name, tag, id, created, size] in [&head].into_iter().chain(&rows) {
        let [a, b, c, d] = widths;
        // A String takes everything.
        let _ = writeln!(
            text,
            "{name:a$}   {tag:b$}   {id:c$}   {created:d$}   {size}"
        );
    }
    text
}

/// How long ago, as docker says it.
fn age(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..60 => return "Less than a minute ago".to_owned(),
        60..3_600 => (seconds / 60, "minute"),
        3_600..172_800 => (seconds / 3_600, "hour"),
        172_800..1_209_600 => (seconds / 86_400, "day"),
        1_209_600..5_184_000 => (seconds / 604_800, "week"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

/// A size in powers of 1000, as docker says it.
fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let unit = units.get(unit).unwrap_or(&"TB");
    match value {
        v if *unit == "B" || v >= 100.0 => format!("{v:.0}{unit}"),
        v if v >= 10.0 => format!("{v:.1}{unit}"),
        v => format!("{v:.2}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_people() {
        assert_eq!(size(0), "0B");
        assert_eq!(size(999), "999B");
        assert_eq!(size(1_230), "1.23kB");
        assert_eq!(size(124_000_000), "124MB");
        assert_eq!(age(61), "1 minute ago");
        assert_eq!(age(7_300), "2 hours ago");
        assert_eq!(age(20 * 86_400), "2 weeks ago");
    }
}
