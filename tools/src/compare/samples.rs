//! What was measured, as it is kept in `samples.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::contender::Io;
use super::machine::Machine;
use super::statistics::Summary;

/// The key of the contender that all others are compared with.
pub(super) const YARDSTICK: &str = "overlayfs";

/// The key of the plain copy.
pub(super) const PLAIN: &str = "plain";

/// A whole run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) machine: Machine,
    /// How the tool was called.
    pub(super) command: String,
    pub(super) rounds: usize,
    pub(super) short: bool,
    pub(super) contenders: Vec<Entrant>,
    pub(super) rows: Vec<Row>,
}

/// A contender, for the record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entrant {
    pub(super) key: String,
    pub(super) title: String,
    pub(super) version: String,
    /// How it was mounted.
    pub(super) how: String,
    /// Set for layerfs only.
    pub(super) ours: Option<Io>,
}

/// A line of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    /// The part of the table that it stands in.
    pub(super) group: String,
    /// The work.
    pub(super) name: String,
    pub(super) unit: Unit,
    pub(super) target: Option<Target>,
    #[serde(default)]
    pub(super) goals: Vec<Goal>,
    /// The key of the contender that the others are compared with.
    #[serde(default = "yardstick")]
    pub(super) yardstick: String,
    /// Set where the same work is done for several counts of something.
    pub(super) series: Option<Series>,
    /// Seconds per operation (or per GiB), by contender, one for each round.
    pub(super) samples: BTreeMap<String, Vec<f64>>,
    /// Why a contender has no samples.
    pub(super) failed: BTreeMap<String, String>,
}

/// A point of a curve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Series {
    /// The work, without the count.
    pub(super) name: String,
    /// Layers or threads.
    pub(super) count: u32,
}

/// How times are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Unit {
    #[serde(rename = "µs")]
    Micros,
    #[serde(rename = "ms")]
    Millis,
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "s/GiB")]
    PerGib,
    /// No time but memory: samples are MiB.
    #[serde(rename = "MiB")]
    Mebibytes,
    /// No time but a share of something.
    #[serde(rename = "×")]
    Times,
}

/// What we want to reach where no overlayfs is the measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Goal {
    /// At most this, in what the samples are counted in.
    Most(f64),
    /// So many times faster than another contender.
    Faster { than: String, times: f64 },
}

/// What layerfs wants to reach, as a ratio to the kernel's overlayfs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Target {
    pub(super) cached: f64,
    pub(super) passthrough: f64,
}

fn yardstick() -> String {
    YARDSTICK.to_owned()
}

impl Unit {
    /// Its sign.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Micros => "µs",
            Self::Millis => "ms",
            Self::Seconds => "s",
            Self::PerGib => "s/GiB",
            Self::Mebibytes => "MiB",
            Self::Times => "×",
        }
    }

    /// So many of this unit are `seconds`.
    pub(super) fn of(self, seconds: f64) -> f64 {
        match self {
            Self::Micros => seconds * 1e6,
            Self::Millis => seconds * 1e3,
            Self::Seconds | Self::PerGib | Self::Mebibytes | Self::Times => seconds,
        }
    }

    /// A time in this unit, with the digits that mean something.
    pub(super) fn show(self, seconds: f64) -> String {
        digits(self.of(seconds))
    }
}

/// Three digits at most, but whole numbers whole.
pub(super) fn digits(value: f64) -> String {
    match value {
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// How often everything was done.
pub(super) fn rounds(count: usize) -> String {
    match count {
        1 => "one round".to_owned(),
        many => format!("medians of {many} rounds"),
    }
}

impl Target {
    /// What a mode of layerfs has to reach.
    pub(super) fn of(self, io: Io) -> f64 {
        match io {
            Io::Cached => self.cached,
            Io::Passthrough => self.passthrough,
        }
    }
}

impl Row {
    /// An empty line.
    pub(super) fn new(group: &str, name: impl Into<String>, unit: Unit) -> Self {
        Self {
            group: group.to_owned(),
            name: name.into(),
            unit,
            target: None,
            goals: Vec::new(),
            yardstick: yardstick(),
            series: None,
            samples: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    /// A line of a curve: `name` done for `count` of what the group counts.
    pub(super) fn at(group: &str, (name, count): (&str, u32), unit: Unit) -> Self {
        let counted = group.to_lowercase();
        let counted = if count == 1 {
            counted.trim_end_matches('s')
        } else {
            &counted
        };
        let series = Series {
            name: name.to_owned(),
            count,
        };
        Self {
            series: Some(series),
            ..Self::new(group, format!("{name}, {count} {counted}"), unit)
        }
    }

    /// The same with a target.
    pub(super) fn target(mut self, cached: f64, passthrough: f64) -> Self {
        self.target = Some(Target {
            cached,
            passthrough,
        });
        self
    }

    /// The same, compared with another contender.
    pub(super) fn beside(mut self, yardstick: &str) -> Self {
        yardstick.clone_into(&mut self.yardstick);
        self
    }

    /// The same with one more goal: no more than `most`.
    pub(super) fn most(mut self, most: f64) -> Self {
        self.goals.push(Goal::Most(most));
        self
    }

    /// The same with one more goal: so many times faster than another.
    pub(super) fn faster(mut self, than: &str, times: f64) -> Self {
        let than = than.to_owned();
        self.goals.push(Goal::Faster { than, times });
        self
    }

    /// Median and spread of a contender.
    pub(super) fn summary(&self, key: &str) -> Option<Summary> {
        Summary::of(self.samples.get(key)?)
    }

    /// Its median as a multiple of the yardstick's.
    pub(super) fn ratio(&self, key: &str) -> Option<f64> {
        self.ratio_to(key, &self.yardstick)
    }

    /// Its median as a multiple of another contender's.
    pub(super) fn ratio_to(&self, key: &str, other: &str) -> Option<f64> {
        Some(self.summary(key)?.median / self.summary(other)?.median)
    }

    /// Whether a mode of layerfs misses its target here.
    pub(super) fn misses(&self, entrant: &Entrant) -> Option<bool> {
        let io = entrant.ours?;
        let value = self.summary(&entrant.key)?.median;
        let goal = |goal: &Goal| match goal {
            Goal::Most(most) => Some(value > *most),
            Goal::Faster { than, times } => Some(self.ratio_to(than, &entrant.key)? < *times),
        };
        let target = self
            .target
            .and_then(|t| Some(self.ratio(&entrant.key)? > t.of(io)));
        let all = self.goals.iter().filter_map(goal).chain(target);
        all.reduce(|one, other| one || other)
    }
}

impl Run {
    /// The modes of layerfs.
    pub(super) fn ours(&self) -> impl Iterator<Item = &Entrant> {
        self.contenders
            .iter()
            .filter(|entrant| entrant.ours.is_some())
    }

    /// The title of what the others are compared with.
    pub(super) fn yardstick(&self) -> &str {
        let key = self.rows.first().map_or(YARDSTICK, |row| &row.yardstick);
        let known = self.contenders.iter().find(|entrant| entrant.key == key);
        known.map_or(key, |entrant| &entrant.title)
    }

    /// The groups in their order.
    pub(super) fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = self.rows.iter().map(|row| row.group.as_str()).collect();
        groups.dedup();
        groups
    }
}
