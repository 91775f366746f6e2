//! What an image says of itself: docker's and OCI's image configuration.
//!
//! The store keeps the exact bytes, whose digest is the image's id; these types are the view of
//! them. Fields that are not known here are kept, so that a changed copy loses nothing.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// How a container of the image starts unless told otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Config {
    /// `user[:group]`, empty for root.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub user: String,
    /// `PORT/PROTOCOL` each.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub exposed_ports: BTreeMap<String, Nothing>,
    /// `NAME=VALUE` each.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub env: Vec<String>,
    /// Command put before [`Config::cmd`].
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub entrypoint: Vec<String>,
    /// Default command or arguments.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub cmd: Vec<String>,
    /// Whether a container is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Places that get an anonymous volume.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub volumes: BTreeMap<String, Nothing>,
    /// Directory to start in, empty for `/`.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub working_dir: String,
    /// Instructions for builds that start from this image.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub on_build: Vec<String>,
    /// Free text by key.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks a container to end; empty for SIGTERM.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub stop_signal: String,
    /// Seconds between asking and killing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// The shell of commands that are one text; empty for `/bin/sh -c`.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub shell: Vec<String>,
    /// What else it says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// `{}`: how docker writes the members of a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

/// How it is found out whether a container is well. Times are in nanoseconds, 0 for the usual.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `NONE`, or `CMD` and a command's words, or `CMD-SHELL` and a line for the shell.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub test: Vec<String>,
    /// From one to the next.
    #[serde(skip_serializing_if = "is_default")]
    pub interval: u64,
    /// How long one may take.
    #[serde(skip_serializing_if = "is_default")]
    pub timeout: u64,
    /// Failures do not count for so long after the start.
    #[serde(skip_serializing_if = "is_default")]
    pub start_period: u64,
    /// Failures in a row that make it unhealthy.
    #[serde(skip_serializing_if = "is_default")]
    pub retries: u32,
    /// What else it says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One step of how the image was made, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When, as RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By which instruction.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub created_by: String,
    /// By whom.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub author: String,
    /// Free text.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub comment: String,
    /// Whether it made no layer.
    #[serde(skip_serializing_if = "is_default")]
    pub empty_layer: bool,
    /// What else it says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The layers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `sha256:DIGITS` of the uncompressed archives, lowest first.
    #[serde(default, deserialize_with = "nullable")]
    pub diff_ids: Vec<String>,
}

/// A whole image configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OciConfig {
    /// Kind of processor, in Go's words: `amd64`, `arm64`.
    #[serde(deserialize_with = "nullable")]
    pub architecture: String,
    /// Operating system: `linux`.
    #[serde(deserialize_with = "nullable")]
    pub os: String,
    /// Variant of the processor.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub variant: String,
    /// When it was made, as RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By whom.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub author: String,
    /// How its containers start.
    #[serde(deserialize_with = "nullable")]
    pub config: Config,
    /// Its layers.
    #[serde(deserialize_with = "nullable")]
    pub rootfs: RootFs,
    /// How it was made.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub history: Vec<History>,
    /// What else it says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl OciConfig {
    /// That of an image of this machine's kind without anything in it, made now.
    pub fn new() -> Self {
        Self {
            architecture: architecture().to_owned(),
            os: "linux".to_owned(),
            created: Some(crate::types::Moment::now().to_string()),
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: Vec::new(),
            },
            ..Self::default()
        }
    }

    /// When it was made.
    pub fn made(&self) -> Option<crate::types::Moment> {
        crate::types::Moment::parse_exact(self.created.as_deref()?)
    }
}

/// This machine's kind of processor, in Go's words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// Docker writes `null` for what is not there.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn is_empty<T: Default + PartialEq>(value: &T) -> bool {
    is_default(value)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_writes_is_read_and_nothing_is_lost() {
        let text = r#"{"architecture":"amd64","os":"linux","created":"2026-01-02T03:04:05.6Z",
            "docker_version":"20.10","config":{"Hostname":"x","Cmd":["sh"],"Entrypoint":null,
            "Volumes":{"/data":{}},"Labels":null,"ExposedPorts":{"80/tcp":{}},
            "Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":5}},
            "rootfs":{"type":"layers","diff_ids":["sha256:00"]},"history":null}"#;
        let config: OciConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.config.cmd, ["sh"]);
        assert!(config.config.entrypoint.is_empty() && config.history.is_empty());
        assert_eq!(config.config.healthcheck.as_ref().unwrap().interval, 5);
        assert!(config.made().is_some());
        let again = serde_json::to_value(&config).unwrap();
        assert_eq!(again["docker_version"], "20.10");
        assert_eq!(again["config"]["Hostname"], "x");
        assert_eq!(again["config"]["Volumes"]["/data"], serde_json::json!({}));
        assert!(serde_json::from_str::<OciConfig>(r#"{"config":{"Env":"A=1"}}"#).is_err());
    }
}
