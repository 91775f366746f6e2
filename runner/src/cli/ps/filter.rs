//! `--filter` of `ps`.

use super::Found;
use super::row::network;
use crate::container::state::Status;
use crate::error::{Error, Result};
use crate::types::Moment;
use std::collections::BTreeMap;

/// Conditions by kind; alternatives within a kind.
#[derive(Debug, Default)]
pub(super) struct Filter {
    wanted: BTreeMap<String, Vec<String>>,
    before: Option<Moment>,
    since: Option<Moment>,
}

const KINDS: [&str; 11] = [
    "id", "name", "label", "status", "exited", "ancestor", "before", "since", "volume", "network",
    "health",
];

impl Filter {
    /// The values of `--filter`.
    pub(super) fn parse(texts: &[String]) -> Result<Self> {
        let mut filter = Self::default();
        for text in texts {
            let bad = |why: String| Error::Value {
                flag: "--filter",
                value: text.clone(),
                why,
            };
            let (kind, value) = text
                .split_once('=')
                .ok_or_else(|| bad("want NAME=VALUE".to_owned()))?;
            let (kind, value) = (kind.trim(), value.trim());
            if !KINDS.contains(&kind) {
                return Err(bad(format!("unknown; there are {}", KINDS.join(", "))));
            }
            if kind == "status" && Status::ALL.iter().all(|s| s.to_string() != value) {
                let all: Vec<_> = Status::ALL.iter().map(ToString::to_string).collect();
                return Err(bad(format!("want one of {}", all.join(", "))));
            }
            if kind == "exited" && value.parse::<u8>().is_err() {
                return Err(bad("want an exit code".to_owned()));
            }
            let slot = filter.wanted.entry(kind.to_owned()).or_default();
            slot.push(value.to_owned());
        }
        Ok(filter)
    }

    /// Finds the containers that others are to be older or younger than.
    pub(super) fn resolve(mut self, all: &[Found]) -> Result<Self> {
        let moment = |kind: &str| -> Result<Option<Moment>> {
            let Some(name) = self.wanted.get(kind).and_then(|names| names.last()) else {
                return Ok(None);
            };
            let named = |found: &&Found| {
                found.name == *name || found.spec.id.as_str().starts_with(name.as_str())
            };
            let found = all.iter().find(named);
            let found = found.ok_or_else(|| Error::NoContainer(name.clone()))?;
            Ok(Some(found.spec.created))
        };
        (self.before, self.since) = (moment("before")?, moment("since")?);
        Ok(self)
    }

    /// Whether containers that do not run are asked for by their state.
    pub(super) fn asks_for_status(&self) -> bool {
        self.wanted.contains_key("status") || self.wanted.contains_key("exited")
    }

    /// Whether a container meets all conditions.
    pub(super) fn keeps(&self, found: &Found) -> bool {
        self.wanted
            .iter()
            .all(|(kind, values)| match kind.as_str() {
                "before" => self.before.is_none_or(|before| found.spec.created < before),
                "since" => self.since.is_none_or(|since| found.spec.created > since),
                // All labels are to be there.
                "label" => values.iter().all(|value| has_label(found, value)),
                kind => values.iter().any(|value| meets(found, kind, value)),
            })
    }
}

fn has_label(found: &Found, wanted: &str) -> bool {
    let (key, value) = match wanted.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (wanted, None),
    };
    let label = found.spec.labels.get(key);
    label.is_some_and(|label| value.is_none_or(|value| value == label))
}

fn meets(found: &Found, kind: &str, value: &str) -> bool {
    let (spec, state) = (&found.spec, &found.state);
    match kind {
        "id" => spec.id.as_str().starts_with(value),
        "name" => found.name.contains(value.trim_start_matches('/')),
        "status" => state.status.to_string() == value,
        "exited" => state.status == Status::Exited && state.code.to_string() == value,
        "ancestor" => {
            let id = spec.image_id.as_deref().unwrap_or_default();
            let named = spec.image == value || spec.image.split(':').next() == Some(value);
            named || (!value.is_empty() && id.starts_with(value))
        }
        "volume" => spec.volumes.iter().any(|volume| {
            volume.name.as_deref() == Some(value)
                || volume.source.as_os_str() == value
                || volume.target.as_os_str() == value
        }),
        "network" => network(spec) == value,
        "health" => match &found.state.health {
            Some(health) => health.status.to_string() == value,
            None => value == "none",
        },
        _ => false,
    }
}
