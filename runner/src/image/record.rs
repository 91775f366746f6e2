//! What the store writes down about an image, and how: strict JSON, replaced atomically.

use super::ImageError;
use super::error::io;
use super::import::hex;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Longest record that is read, in bytes.
const LONGEST: u64 = 4 << 20;

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
    /// A record with the id that follows from its contents.
    pub(super) fn new(name: String, created: u64, size: u64, layer: String) -> Self {
        let mut hash = Sha256::new();
        hash.update(format!("{name}\n{created}\n{layer}\n"));
        let id = hex(&hash.finalize());
        Self {
            name,
            id,
            created,
            size,
            layers: vec![layer],
            config: Config::default(),
        }
    }

    /// The first 12 digits of the id.
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// Reads a record; `None` when there is no such file.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, ImageError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(io("open", path)(errno)),
        };
        let mut text = String::new();
        file.take(LONGEST)
            .read_to_string(&mut text)
            .map_err(io("read", path))?;
        let wrong = |why: String| ImageError::Record {
            path: path.to_owned(),
            why,
        };
        let record: Self = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        // Layer ids become paths.
        if let Some(id) = record
            .layers
            .iter()
            .chain([&record.id])
            .find(|id| !is_id(id))
        {
            return Err(wrong(format!("{id:?} is no id")));
        }
        Ok(Some(record))
    }

    /// Writes a record in one step: a reader sees the old one, the new one, or none. `scratch`
    /// is a name beside `path` that nobody else uses.
    pub(super) fn write(&self, path: &Path, scratch: &Path) -> Result<(), ImageError> {
        let wrong = |e: serde_json::Error| ImageError::Record {
            path: path.to_owned(),
            why: e.to_string(),
        };
        let text = serde_json::to_string_pretty(self).map_err(wrong)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = rustix::fs::open(scratch, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(fd.map_err(io("create", scratch))?);
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all());
        let written = written.and_then(|()| std::fs::rename(scratch, path));
        written.map_err(|e| {
            // Swept later if this fails too.
            let _ = std::fs::remove_file(scratch);
            io("write", path)(e)
        })
    }
}

/// Whether a text is an id: exactly 64 lower case hexadecimal digits.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
