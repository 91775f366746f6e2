//! The build cache: which layer an instruction made of what.
//!
//! ```text
//!   ROOT/builds/cache.json    layers: {KEY: DIFF ID}, KEY the SHA-256 of the layers below, the instruction, and what
//!                             it reads;  images: {KEY: ID}, KEY that of a configuration without its times
//!   ROOT/pins/build-cache     keeps those layers
//! ```
//!
//! Losing the file loses time only.

use crate::image::{ImageId, Layer, Store};
use crate::publish::{Reach, publish};
use crate::types::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

/// Whose the pin is.
const PIN: &str = "build-cache";

/// Longest file that is read, in bytes.
const LONGEST: u64 = 64 << 20;

/// What is written down.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Known {
    layers: BTreeMap<String, String>,
    images: BTreeMap<String, String>,
}

/// The cache of one store.
#[derive(Debug)]
pub struct Cache<'a> {
    store: &'a Store,
    path: PathBuf,
    scratch: PathBuf,
    known: Known,
    /// Layers are looked up.
    used: bool,
}

/// The digest of everything that an instruction depends on.
pub fn key(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

impl<'a> Cache<'a> {
    /// Reads it; what cannot be read counts as empty. `used`: what is known is used, not only added to.
    /// `scratch` is a path of the build alone, beside the cache's own.
    pub fn open(store: &'a Store, used: bool, scratch: PathBuf) -> Self {
        let path = store.root().join("builds/cache.json");
        let mut text = Vec::new();
        let read = fs::File::open(&path).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
        let known = match read {
            Ok(_) => serde_json::from_slice(&text).unwrap_or_default(),
            Err(_) => Known::default(),
        };
        Self {
            store,
            path,
            scratch,
            known,
            used,
        }
    }

    /// The layer that a key stands for, if it is there still.
    pub fn find(&self, key: &str) -> Option<Layer> {
        let id = self.known.layers.get(key).filter(|_| self.used)?;
        self.store.layer(id).ok().flatten()
    }

    /// Keeps a layer under a key. Order: the pin first, so that what the file names is there.
    ///
    /// # Errors
    /// It cannot be written, in words.
    pub fn keep(&mut self, key: String, layer: &Layer) -> Result<(), String> {
        self.known.layers.insert(key, layer.diff_id.clone());
        let layers: Vec<String> = self.known.layers.values().cloned().collect();
        let pinned = self.store.pin_layers(PIN, &layers, &self.scratch);
        pinned.map_err(|error| error.to_string())?;
        self.write()
    }

    /// The image that a key stands for, if it is there still: so that what is built of the same is the
    /// same image, whenever that was.
    pub fn find_image(&self, key: &str) -> Option<ImageId> {
        let id = self.known.images.get(key).filter(|_| self.used)?;
        self.store.find(id).ok().map(|record| record.id)
    }

    /// Keeps an image under a key.
    ///
    /// # Errors
    /// It cannot be written, in words.
    pub fn keep_image(&mut self, key: String, id: ImageId) -> Result<(), String> {
        self.known.images.insert(key, id);
        self.write()
    }

    fn write(&self) -> Result<(), String> {
        let text = serde_json::to_vec(&self.known).map_err(|error| error.to_string())?;
        let written = publish(&self.path, &self.scratch, &text, Reach::Readers);
        written.map_err(|error| format!("cannot write {}: {error}", self.path.display()))
    }

    /// Forgets all of it; the next sweep of the store removes the layers that nothing else needs.
    ///
    /// # Errors
    /// It cannot be removed, in words.
    pub fn clear(store: &Store) -> Result<(), String> {
        // Nothing else there: builds may be at work.
        let path = store.root().join("builds/cache.json");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("cannot remove {}: {error}", path.display()));
            }
            _ => {}
        }
        store.unpin(PIN).map_err(|error| error.to_string())
    }
}
