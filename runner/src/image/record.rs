//! What the store writes down about an image.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a container of the image starts unless told otherwise (names as in the OCI format).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct Config {
    /// `NAME=VALUE` each.
    pub env: Vec<String>,
    /// Command put before [`Config::cmd`].
    pub entrypoint: Vec<String>,
    /// Default command or arguments.
    pub cmd: Vec<String>,
    /// `user[:group]`, empty for root.
    pub user: String,
    /// Directory to start in, empty for `/`.
    pub working_dir: String,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
}

/// One image as `images` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Full name with tag.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Bytes of file contents over all layers.
    pub size: u64,
    /// Layer ids, topmost first.
    pub layers: Vec<String>,
    /// How it starts.
    pub config: Config,
}

impl Record {
    /// The first 12 digits of the id.
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}
