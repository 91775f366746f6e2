//! Times and sizes as docker says them to people.

use std::time::Duration;

/// A length of time, as `5 minutes`.
pub(in crate::cli) fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let hours = (seconds + 1800) / 3600;
    let many = |count: u64, unit: &str| format!("{count} {unit}");
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => many(seconds, "seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => many(seconds / 60, "minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => many(hours, "hours"),
        _ if hours < 24 * 7 * 2 => many(hours / 24, "days"),
        _ if hours < 24 * 30 * 2 => many(hours / 24 / 7, "weeks"),
        _ if hours < 24 * 365 * 2 => many(hours / 24 / 30, "months"),
        _ => many(hours / 24 / 365, "years"),
    }
}

/// How long ago, as `5 minutes ago`.
pub(in crate::cli) fn ago(length: Duration) -> String {
    format!("{} ago", span(length))
}

/// A size in powers of 1000 with three digits, as `1.23kB`.
pub(in crate::cli) fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    scaled(bytes as f64, 1000.0, &units, 3)
}

/// A size in powers of 1024 with four digits, as `1.234MiB`.
pub(in crate::cli) fn binary_size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    scaled(bytes as f64, 1024.0, &units, 4)
}

/// As Go's `%.4g`: so many digits, without zeros behind the point.
fn scaled(mut value: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let before = (value.max(1.0).log10().floor() as usize) + 1;
    let text = format!("{value:.0$}", digits.saturating_sub(before));
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{}", units.get(unit).unwrap_or(&""))
}
