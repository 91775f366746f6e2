//! What the store writes down, and how: bounded, strict, replaced atomically.
//!
//! ```text
//!   images/ID.json          an image: its configuration's exact bytes, whose digest is ID
//!   tags/NAME%3ATAG.json    {"name": "NAME:TAG", "id": ID}; NAME@sha256:… for what was pulled
//! ```

use super::error::io;
use super::{Config, ImageError, OciConfig, Reference};
use crate::publish::{Reach, publish};
use crate::types::hex;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Longest record that is read, in bytes.
pub(super) const LONGEST: u64 = 8 << 20;

/// Most layers of an image.
const MOST_LAYERS: usize = 500;

/// One image as `images` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its names with tags, and with digests; none of a dangling image.
    pub names: Vec<Reference>,
    /// Seconds since 1970.
    pub created: u64,
    /// Bytes of file contents over all layers.
    pub size: u64,
    /// Diff ids of the layers as 64 hexadecimal digits, lowest first.
    pub layers: Vec<String>,
    /// What it says of itself.
    pub config: OciConfig,
}

impl Record {
    /// The first 12 digits of the id.
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// How its containers start.
    pub fn start(&self) -> &Config {
        &self.config.config
    }
}

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tag {
    /// In full.
    pub(super) name: String,
    /// The image's.
    pub(super) id: String,
}

impl Tag {
    /// Reads it; `None` when there is no such file.
    pub(super) fn read(path: &Path) -> Result<Option<(Reference, Self)>, ImageError> {
        let Some(bytes) = read(path)? else {
            return Ok(None);
        };
        let tag: Self = serde_json::from_slice(&bytes).map_err(|e| wrong(path, e.to_string()))?;
        if !is_id(&tag.id) {
            return Err(wrong(path, format!("{:?} is no id", tag.id)));
        }
        let reference = tag.name.parse::<Reference>();
        let reference = reference.map_err(|e| wrong(path, e.to_string()))?;
        Ok(Some((reference, tag)))
    }
}

/// Reads an image's configuration, checked against its id; `None` when there is no such file.
pub(super) fn read_config(
    path: &Path,
    id: &str,
) -> Result<Option<(Vec<u8>, OciConfig)>, ImageError> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    if digest(&bytes) != id {
        return Err(wrong(
            path,
            "its contents are not what its name says".to_owned(),
        ));
    }
    let config = parse_config(&bytes).map_err(|why| wrong(path, why))?;
    Ok(Some((bytes, config)))
}

/// An image's configuration, with layers that can become paths.
pub(super) fn parse_config(bytes: &[u8]) -> Result<OciConfig, String> {
    let config: OciConfig = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    diff_ids(&config)?;
    Ok(config)
}

/// The layers' ids without `sha256:`, lowest first.
pub(super) fn diff_ids(config: &OciConfig) -> Result<Vec<String>, String> {
    let ids = &config.rootfs.diff_ids;
    if ids.len() > MOST_LAYERS {
        return Err(format!("{} layers; the most is {MOST_LAYERS}", ids.len()));
    }
    let plain = |id: &String| {
        let digits = id.strip_prefix("sha256:").filter(|digits| is_id(digits));
        digits
            .map(str::to_owned)
            .ok_or_else(|| format!("{id:?} is no digest"))
    };
    ids.iter().map(plain).collect()
}

/// The bytes of a file, no link; `None` when there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, ImageError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(io("open", path)(errno)),
    };
    let mut bytes = Vec::new();
    let read = file.take(LONGEST).read_to_end(&mut bytes);
    read.map_err(io("read", path))?;
    Ok(Some(bytes))
}

/// Writes a file in one step, to the disk. `scratch` is a name beside `path` that nobody else uses.
pub(super) fn write(bytes: &[u8], path: &Path, scratch: &Path) -> Result<(), ImageError> {
    publish(path, scratch, bytes, Reach::Disk).map_err(io("write", path))
}

pub(super) fn wrong(path: &Path, why: String) -> ImageError {
    ImageError::Record {
        path: path.to_owned(),
        why,
    }
}

/// SHA-256 as 64 hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Whether a text is an id: exactly 64 lower case hexadecimal digits.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
