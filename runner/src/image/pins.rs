//! Which images and layers containers need: one small file per container.
//!
//! ```text
//!   ROOT/pins/CONTAINER.json      {"image": "ID", "layers": ["DIFF ID", ...]}
//! ```
//!
//! A pinned layer is never removed, whether its container runs or not. A pin is made before its
//! container can be found and goes after it, so a command killed in between leaves a pin too many,
//! never one too few; what finishes the killed command's work removes it. That of a container that is to be
//! kept is on the disk before anything else of it.

use super::ImageError;
use super::error::io;
use super::record::is_id;
use crate::publish::{Reach, publish};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Longest pin that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// What a container needs.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pin {
    image: Option<String>,
    pub(super) layers: Vec<String>,
}

/// Writes the pin of a container, whose lock the caller holds; else `scratch` is the caller's alone.
pub(super) fn write(
    pins: &Path,
    container: &str,
    (image, layers): (Option<&str>, &[String]),
    reach: Reach,
    scratch: Option<&Path>,
) -> Result<(), ImageError> {
    let pin = Pin {
        image: image.map(str::to_owned),
        layers: layers.to_vec(),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(pins)
        .map_err(io("create", pins))?;
    let path = path(pins, container);
    let own = pins.join(format!(".tmp-{container}"));
    let written = serde_json::to_vec(&pin)
        .map_err(std::io::Error::from)
        .and_then(|text| publish(&path, scratch.unwrap_or(&own), &text, reach));
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
    let all = all(pins)?.into_iter();
    Ok(all.flat_map(|(_, pin)| pin.layers).collect())
}

/// A container that needs an image.
pub(super) fn of_image(pins: &Path, id: &str) -> Result<Option<String>, ImageError> {
    let all = all(pins)?.into_iter();
    let mut users = all.filter(|(_, pin)| pin.image.as_deref() == Some(id));
    Ok(users.next().map(|(container, _)| container))
}

/// Whether a container has a pin.
pub(super) fn has(pins: &Path, container: &str) -> bool {
    path(pins, container).is_file()
}

/// Whose pin a file is.
pub(super) fn user(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// All pins, with their containers.
fn all(pins: &Path) -> Result<Vec<(String, Pin)>, ImageError> {
    let paths = paths(pins)?.into_iter();
    paths.map(|path| Ok((user(&path), read(&path)?))).collect()
}

/// The files of all pins.
pub(super) fn paths(pins: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let entries = match fs::read_dir(pins) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io("list", pins))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(io("list", pins))?.path();
        if path.extension().is_some_and(|end| end == "json") {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Reads a pin; one that is gone keeps nothing.
pub(super) fn read(path: &Path) -> Result<Pin, ImageError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        // Removed with its container a moment ago.
        Err(rustix::io::Errno::NOENT) => return Ok(Pin::default()),
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
    // A list of layers alone is what was written before images had ids of their own.
    let pin = serde_json::from_slice(&text).or_else(|error| {
        let layers = serde_json::from_slice(&text).map_err(|_| wrong(error.to_string()))?;
        Ok(Pin {
            image: None,
            layers,
        })
    })?;
    match pin.layers.iter().find(|id| !is_id(id)) {
        Some(id) => Err(wrong(format!("{id:?} is no id"))),
        None => Ok(pin),
    }
}

fn path(pins: &Path, container: &str) -> PathBuf {
    pins.join(format!("{container}.json"))
}
