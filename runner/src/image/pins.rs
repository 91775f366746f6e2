//! Which layers containers need: one small file per container.
//!
//! ```text
//!   ROOT/pins/CONTAINER.json      ["LAYER ID", ...]
//! ```
//!
//! A pinned layer is never removed, whether its container runs or not. A pin is made before its
//! container can be found and goes after it, so a command killed in between leaves a pin too many,
//! never one too few; what finishes the killed command's work removes it.

use super::ImageError;
use super::error::io;
use super::record::is_id;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Longest pin that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// Writes the pin of a container.
pub(super) fn write(pins: &Path, container: &str, layers: &[String]) -> Result<(), ImageError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(pins)
        .map_err(io("create", pins))?;
    let path = path(pins, container);
    let scratch = pins.join(format!(".tmp-{container}"));
    let written = serde_json::to_vec(layers)
        .map_err(std::io::Error::from)
        .and_then(|text| File::create(&scratch)?.write_all(&text))
        .and_then(|()| fs::rename(&scratch, &path));
    written.map_err(io("write", &path))
}

/// Removes the pin of a container; fine when there is none.
pub(super) fn remove(pins: &Path, container: &str) -> Result<(), ImageError> {
    for path in [
        path(pins, container),
        pins.join(format!(".tmp-{container}")),
    ] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// All layers that some container needs.
pub(super) fn layers(pins: &Path) -> Result<BTreeSet<String>, ImageError> {
    let mut all = BTreeSet::new();
    let entries = match fs::read_dir(pins) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(all),
        other => other.map_err(io("list", pins))?,
    };
    for entry in entries {
        let entry = entry.map_err(io("list", pins))?;
        if entry.file_name().to_string_lossy().ends_with(".json") {
            all.extend(read(&entry.path())?);
        }
    }
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<String>, ImageError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        // Removed with its container a moment ago.
        Err(rustix::io::Errno::NOENT) => return Ok(Vec::new()),
        other => File::from(other.map_err(io("open", path))?),
    };
    let mut text = Vec::new();
    file.take(LONGEST)
        .read_to_end(&mut text)
        .map_err(io("read", path))?;
    let wrong = |why: String| ImageError::Record {
        path: path.to_owned(),
        why,
    };
    let layers: Vec<String> = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    match layers.iter().find(|id| !is_id(id)) {
        Some(id) => Err(wrong(format!("{id:?} is no id"))),
        None => Ok(layers),
    }
}

fn path(pins: &Path, container: &str) -> PathBuf {
    pins.join(format!("{container}.json"))
}
