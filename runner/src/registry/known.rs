//! What is remembered of registries: which packed form a layer has where, and manifests as they came.
//!
//! ```text
//!  ROOT/registry/layers/DIFFID.json   {"blobs": [{descriptor, "places": ["HOST/REPOSITORY", …]}]}
//!  ROOT/registry/images/ID.json       {"mediaType", "manifest"}: the image's manifest, exact
//!  ROOT/registry/locks/DIFFID         locked by whoever fetches the layer
//! ```
//!
//! With it a push finds that a layer is there already, or can be taken over from another
//! repository, and an image goes back under the digest that it came with. All of it may be lost at
//! any time: then layers are packed and sent anew.

use super::digest::Digest;
use super::manifest::Descriptor;
use super::{RegistryError, files};
use crate::image::Store;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// Longest record that is read, in bytes.
const LONGEST: u64 = 8 << 20;

/// Most packed forms that are remembered of a layer.
const MOST_BLOBS: usize = 8;

/// Most places that are remembered of one packed form.
const MOST_PLACES: usize = 32;

/// A layer's packed form, and where it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) blob: Descriptor,
    /// `HOST/REPOSITORY`, latest last.
    pub(super) places: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct LayerRecord {
    blobs: Vec<BlobRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlobRecord {
    media_type: String,
    digest: String,
    size: u64,
    places: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageRecord {
    media_type: String,
    manifest: String,
}

/// The memory of one store.
#[derive(Debug)]
pub(super) struct Known {
    root: PathBuf,
}

impl Known {
    pub(super) fn of(store: &Store) -> Self {
        Self {
            root: store.root().join("registry"),
        }
    }

    /// The packed forms of a layer, latest first.
    pub(super) fn blobs(&self, diff_id: &str) -> Vec<Seen> {
        let seen = |record: BlobRecord| {
            Some(Seen {
                blob: Descriptor {
                    media_type: record.media_type,
                    size: record.size,
                    digest: Digest::parse(&record.digest)?,
                },
                places: record.places,
            })
        };
        let record = self.layer(diff_id);
        record.blobs.into_iter().rev().filter_map(seen).collect()
    }

    /// Remembers where a packed form of a layer was seen.
    pub(super) fn learn(
        &self,
        diff_id: &str,
        blob: &Descriptor,
        place: &str,
    ) -> Result<(), RegistryError> {
        let mut record = self.layer(diff_id);
        let digest = blob.digest.as_str();
        let at = record.blobs.iter().position(|known| known.digest == digest);
        let mut places = at
            .map(|at| record.blobs.remove(at).places)
            .unwrap_or_default();
        places.retain(|known| known != place);
        places.push(place.to_owned());
        trim(&mut places, MOST_PLACES);
        record.blobs.push(BlobRecord {
            media_type: blob.media_type.clone(),
            digest: digest.to_owned(),
            size: blob.size,
            places,
        });
        trim(&mut record.blobs, MOST_BLOBS);
        self.write("layers", diff_id, &record)
    }

    /// An image's manifest as it came: its kind and its bytes.
    pub(super) fn manifest(&self, id: &str) -> Option<(String, Vec<u8>)> {
        let record: ImageRecord = self.read("images", id)?;
        Some((record.media_type, record.manifest.into_bytes()))
    }

    /// Keeps an image's manifest.
    pub(super) fn keep(&self, id: &str, kind: &str, manifest: &[u8]) -> Result<(), RegistryError> {
        let Ok(manifest) = std::str::from_utf8(manifest) else {
            return Ok(());
        };
        let record = ImageRecord {
            media_type: kind.to_owned(),
            manifest: manifest.to_owned(),
        };
        self.write("images", id, &record)
    }

    /// Forgets what belongs to layers and images that the store no longer has.
    pub(super) fn prune(&self, store: &Store) {
        let gone = |kind: &str, is_gone: &dyn Fn(&str) -> bool| {
            for entry in fs::read_dir(self.root.join(kind))
                .into_iter()
                .flatten()
                .flatten()
            {
                let name = entry.file_name();
                let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
                if id.is_some_and(is_gone) {
                    // Tried again the next time.
                    let _ = fs::remove_file(entry.path());
                }
            }
        };
        gone("layers", &|id| matches!(store.layer(id), Ok(None)));
        gone("images", &|id| store.config_bytes(id).is_err());
    }

    /// Waits until nobody else fetches a layer; until the result is dropped nobody else does.
    pub(super) fn lock(&self, diff_id: &str) -> Result<Lock, RegistryError> {
        let path = self.directory("locks")?.join(diff_id);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let cannot = |e: rustix::io::Errno| files::wrong(&path, format!("cannot lock it: {e}"));
        loop {
            let fd = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(cannot)?;
            rustix::fs::flock(&fd, FlockOperation::LockExclusive).map_err(cannot)?;
            // Its last holder has removed it: then others may hold another.
            if rustix::fs::fstat(&fd).map_err(cannot)?.st_nlink > 0 {
                return Ok(Lock { path, _fd: fd });
            }
        }
    }

    fn layer(&self, diff_id: &str) -> LayerRecord {
        self.read("layers", diff_id).unwrap_or_default()
    }

    /// A record; one that is damaged is as good as none.
    fn read<T: for<'de> Deserialize<'de>>(&self, kind: &str, id: &str) -> Option<T> {
        let path = self.root.join(kind).join(format!("{id}.json"));
        let bytes = files::read(&path, LONGEST).ok()??;
        serde_json::from_slice(&bytes).ok()
    }

    fn write(&self, kind: &str, id: &str, record: &impl Serialize) -> Result<(), RegistryError> {
        let path = self.directory(kind)?.join(format!("{id}.json"));
        let bytes = serde_json::to_vec(record).map_err(|e| files::wrong(&path, e.to_string()))?;
        files::write(&path, &bytes)
    }

    fn directory(&self, kind: &str) -> Result<PathBuf, RegistryError> {
        let path = self.root.join(kind);
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path);
        made.map_err(|e| files::wrong(&path, format!("cannot make it: {e}")))?;
        Ok(path)
    }
}

/// A layer that is being fetched.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _fd: OwnedFd,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked: whoever waits sees that it is gone.
        let _ = fs::remove_file(&self.path);
    }
}

fn trim<T>(list: &mut Vec<T>, most: usize) {
    let over = list.len().saturating_sub(most);
    list.drain(..over);
}

/// Where a repository is.
pub(super) fn place(host: &str, repository: &str) -> String {
    format!("{host}/{repository}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn known() -> (tempfile::TempDir, Known) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("registry");
        (directory, Known { root })
    }

    fn blob(n: u32) -> Descriptor {
        Descriptor {
            media_type: "x".to_owned(),
            size: u64::from(n),
            digest: Digest::of(&n.to_le_bytes()),
        }
    }

    #[test]
    fn what_was_learnt_is_bounded_and_latest_first() {
        let (_directory, known) = known();
        for n in 0..20 {
            known.learn("d", &blob(n), "h/a").unwrap();
        }
        for n in 0..50 {
            known.learn("d", &blob(15), &format!("h/{n}")).unwrap();
        }
        let seen = known.blobs("d");
        assert_eq!((seen.len(), seen[0].blob.size), (MOST_BLOBS, 15));
        assert_eq!(seen[0].places.len(), MOST_PLACES);
        assert_eq!(seen[0].places.last().unwrap(), "h/49");
        assert!(known.blobs("other").is_empty());
        fs::write(known.root.join("layers/d.json"), "{").unwrap();
        assert!(known.blobs("d").is_empty());
    }

    #[test]
    fn one_at_a_time() {
        let (_directory, known) = known();
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _lock = known.lock("d").unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(
            fs::read_dir(known.root.join("locks"))
                .unwrap()
                .next()
                .is_none()
        );
    }
}
