//! Points in time, to the nanosecond, as files and users tell them; and Go's lengths of time.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, civil};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970, UTC; in files a plain number. Shown as RFC 3339, as
/// `2026-01-31T12:00:00.25Z`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// The present.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(since.map_or(0, |since| since.as_nanos() as u64))
    }

    /// From seconds since 1970.
    pub fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Whole seconds since 1970.
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Nanoseconds since 1970.
    pub fn nanoseconds(self) -> u64 {
        self.0
    }

    /// This much later.
    pub fn after(self, length: Duration) -> Self {
        Self(self.0.saturating_add(length.as_nanos() as u64))
    }

    /// Time gone by since then; nothing if it lies ahead.
    pub fn age(self) -> Duration {
        Self::now().since(self)
    }

    /// Time from `earlier` to this; nothing if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// RFC 3339 with all nine digits of the nanoseconds.
    pub fn long(self) -> String {
        self.timestamp()
            .strftime("%Y-%m-%dT%H:%M:%S.%9fZ")
            .to_string()
    }

    /// With `format` (of strftime) in this machine's time zone.
    pub fn local(self, format: &str) -> String {
        let zoned = self.timestamp().to_zoned(TimeZone::system());
        zoned.strftime(format).to_string()
    }

    /// What users of docker write for `--since` and `--until`: RFC 3339; a date, or date and
    /// time, of this machine's zone; seconds since 1970 with decimals; or a length of time before
    /// now, as `10m` or `1h30m`.
    pub fn parse(text: &str) -> Option<Self> {
        let zoned = |local: civil::DateTime| local.to_zoned(TimeZone::system()).ok();
        if let Some(length) = parse_duration(text) {
            let before = Self::now().0.saturating_sub(length.as_nanos() as u64);
            return Some(Self(before));
        }
        if let Some(moment) = parse_seconds(text) {
            return Some(moment);
        }
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Self::from_timestamp(moment);
        }
        let local = match text.len() {
            10 => zoned(
                text.parse::<civil::Date>()
                    .ok()?
                    .to_datetime(civil::Time::midnight()),
            ),
            13 => zoned(format!("{text}:00").parse().ok()?),
            _ => zoned(text.parse().ok()?),
        };
        Self::from_timestamp(local?.timestamp())
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(Timestamp::MAX)
    }

    fn from_timestamp(timestamp: Timestamp) -> Option<Self> {
        u64::try_from(timestamp.as_nanosecond()).ok().map(Self)
    }

    /// RFC 3339 only, as it stands in our own files.
    pub fn parse_exact(text: &str) -> Option<Self> {
        Self::from_timestamp(text.parse().ok()?)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.timestamp())
    }
}

/// `1136073600` or `1136073600.000000001`.
fn parse_seconds(text: &str) -> Option<Moment> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanoseconds: u64 = format!("{fraction:0<9}").parse().ok()?;
    let whole: u64 = whole.parse().ok()?;
    let whole = whole.checked_mul(1_000_000_000)?;
    Some(Moment(whole.checked_add(nanoseconds)?))
}

/// A length of time as Go writes it: `300ms`, `1.5h`, `2h45m`. No sign, and no bare number.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let units = ["ns", "us", "µs", "ms", "s", "m", "h"];
        let unit = units
            .iter()
            .filter(|unit| tail.starts_with(**unit))
            .max_by_key(|unit| unit.len())?;
        let nanoseconds = match *unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            _ => 3600e9,
        };
        let number: f64 = number.parse().ok()?;
        let part = SignedDuration::try_from_secs_f64(number * nanoseconds / 1e9).ok()?;
        sum = sum.checked_add(Duration::try_from(part).ok()?)?;
        rest = tail.strip_prefix(unit)?;
    }
    // Beyond what a Moment can hold.
    (sum.as_secs() < 1 << 33).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_docker_writes_it() {
        let moment = Moment(1_136_073_600_250_000_000);
        assert_eq!(moment.to_string(), "2006-01-01T00:00:00.25Z");
        assert_eq!(moment.long(), "2006-01-01T00:00:00.250000000Z");
        assert_eq!(Moment::parse_exact(&moment.to_string()), Some(moment));
        assert_eq!(Moment::parse(&moment.long()), Some(moment));
    }

    #[test]
    fn what_users_write() {
        let at = |text: &str| Moment::parse(text).map(Moment::nanoseconds);
        assert_eq!(at("1136073600"), Some(1_136_073_600_000_000_000));
        assert_eq!(at("1136073600.000000001"), Some(1_136_073_600_000_000_001));
        assert_eq!(at("2006-01-01T01:00:00+01:00"), at("2006-01-01T00:00:00Z"));
        let now = Moment::now();
        let before = Moment::parse("1h30m").unwrap();
        assert!(now.since(before).as_secs().abs_diff(5400) < 10);
        for good in [
            "2006-01-01",
            "2006-01-01T10",
            "2006-01-01T10:11",
            "2006-01-01T10:11:12.5",
        ] {
            assert!(at(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "yesterday",
            "1h 3m",
            "-5m",
            "5",
            "1.2.3",
            "99999999999999999999",
        ] {
            assert!(at(bad).is_none() || bad == "5", "{bad}");
        }
    }

    #[test]
    fn lengths() {
        assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5h"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        for bad in ["", "5", "m", "1x", "-1s", "1m2", "99999999999h", "1..2s"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
