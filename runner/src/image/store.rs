//! The image store on disk.
//!
//! ```text
//! ROOT/                     0700
//!   store.lock              shared: something is being added; exclusive: sweeping
//!   names.lock              exclusive: names and images are being changed
//!   images/ID.json          an image: its OCI configuration, exact bytes (see record)
//!   tags/NAME%3ATAG.json    what a name means
//!   layers/DIFFID.lfs       a layer (see layers)
//!   layers/DIFFID.lock      shared: a resolve or a build uses the layer
//!   stacks/CHAINID.idx      a merged index of layers, which can do without (see stacks)
//!   pins/CONTAINER.json     the image and the layers that a container needs (see pins)
//!   */.tmp-RANDOM           being made, or being removed
//! ```
//!
//! Adding: fill `.tmp-…`, flush, rename to its id, flush the directory, then write the image the
//! same way, then the name. Removal: the name, the image, then the layers that no image needs,
//! each renamed to `.tmp-…` before it is taken apart. So a command killed at any moment leaves
//! either the state before or the state after (or a whole image without a name), and `.tmp-…` or
//! unneeded layers that the next sweep removes. Only a holder of the exclusive store lock sweeps,
//! hence never under a running import; a layer whose own lock is held stays until a later sweep.
//!
//! Lock order: store.lock, names.lock, DIFFID.lock.

use super::error::io;
use super::layers::{Layers, Limits};
use super::pins;
use super::record::{self, Tag, is_id};
use super::scratch::{Scratch, names};
use super::{Config, ImageError, OciConfig, Record, Reference, unstored};
use crate::publish::Reach;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// How often a name is looked up again when its layer went away in between.
const ATTEMPTS: u32 = 10;

/// An image's id: the SHA-256 of its configuration as 64 hexadecimal digits.
pub type ImageId = String;

/// A layer of the store. While it lives, the layer is not removed, whether an image names it or not.
#[derive(Debug)]
pub struct Layer {
    /// SHA-256 of the uncompressed archive as 64 hexadecimal digits.
    pub diff_id: String,
    /// Bytes of file contents.
    pub size: u64,
    /// The shared lock.
    _guard: OwnedFd,
}

/// A layer just made.
#[derive(Debug)]
pub struct Added {
    /// It, held.
    pub layer: Layer,
    /// SHA-256 of the archive as it came, compressed or not, as 64 hexadecimal digits.
    pub digest: String,
    /// Bytes of the archive as it came.
    pub length: u64,
}

/// A resolved image. While it lives, its layers are not removed.
#[derive(Debug)]
pub struct Image {
    /// `host`, `dir:PATH`, or as it was asked for.
    pub name: String,
    /// The id of a stored image; `None` for `host` and `dir:`.
    pub id: Option<ImageId>,
    /// What it says of itself.
    pub config: OciConfig,
    /// The layers of a stored image, lowest first.
    pub layers: Vec<Layer>,
    lowers: Vec<PathBuf>,
}

impl Image {
    /// What layerfs mounts, topmost first.
    pub fn lowers(&self) -> Vec<PathBuf> {
        self.lowers.clone()
    }

    /// How its containers start.
    pub fn start(&self) -> &Config {
        &self.config.config
    }
}

/// The images below one root directory.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    pub(super) layers: Layers,
}

impl Store {
    /// The store below `root`; nothing is looked at.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            layers: Layers::at(root.join("layers")),
        }
    }

    /// Opens the store, making its directories (0700) when missing, and sweeps what a killed
    /// command left behind unless an import is at work.
    ///
    /// # Errors
    /// The directories cannot be made or read, or hold images of an older form.
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        let store = Self::at(root);
        let make = |path: &Path| {
            let made = fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path);
            made.map_err(io("create", path))
        };
        make(root)?;
        let mut scratch = false;
        for directory in store.directories() {
            make(&directory)?;
            scratch |= names(&directory)?.iter().any(|name| Scratch::is_name(name));
        }
        let old = |name: &String| name.ends_with(".json") && name.contains("%3A");
        if let Some(name) = names(&store.images())?.into_iter().find(old) {
            return Err(ImageError::Old {
                path: store.images().join(name),
                root: root.to_owned(),
            });
        }
        if scratch {
            store.sweep()?;
        }
        Ok(store)
    }

    /// Keeps an image, and the layers among `lowers` that are the store's, from being removed,
    /// until [`Store::unpin`]. The caller still holds the [`Image`] that they came with, and the container's lock.
    ///
    /// # Errors
    /// The pin cannot be written.
    pub fn pin(
        &self,
        container: &str,
        image: Option<&str>,
        lowers: &[PathBuf],
        reach: Reach,
    ) -> Result<(), ImageError> {
        let own = lowers.iter().filter_map(|path| self.layers.diff_id(path));
        let layers: Vec<String> = own.collect();
        if layers.is_empty() {
            return Ok(());
        }
        pins::write(&self.pins(), container, (image, &layers), reach, None)
    }

    /// Whether a container has layers of the store, and no pin.
    pub fn needs_pin(&self, container: &str, lowers: &[PathBuf]) -> bool {
        let own = lowers
            .iter()
            .any(|path| self.layers.diff_id(path).is_some());
        own && !pins::has(&self.pins(), container)
    }

    /// All that something is pinned for: containers, and `build-cache`.
    ///
    /// # Errors
    /// The pins cannot be listed.
    pub fn pin_users(&self) -> Result<Vec<String>, ImageError> {
        let paths = pins::paths(&self.pins())?;
        Ok(paths.iter().map(|path| pins::user(path)).collect())
    }

    /// Keeps layers (64 digits each) for something else than a container, until [`Store::unpin`]. `scratch` is
    /// a path in the store that nobody else uses.
    ///
    /// # Errors
    /// The pin cannot be written.
    pub fn pin_layers(
        &self,
        user: &str,
        layers: &[String],
        scratch: &Path,
    ) -> Result<(), ImageError> {
        let pins = self.pins();
        pins::write(&pins, user, (None, layers), Reach::Disk, Some(scratch))
    }

    /// What layerfs mounts for layers, topmost first, given lowest first.
    pub fn lowers(&self, layers: &[Layer]) -> Vec<PathBuf> {
        let upwards = layers.iter().rev();
        upwards
            .map(|layer| self.layers.lower(&layer.diff_id))
            .collect()
    }

    /// Lets go of what a container needed; fine if it had nothing pinned.
    ///
    /// # Errors
    /// The pin cannot be removed.
    pub fn unpin(&self, container: &str) -> Result<(), ImageError> {
        pins::remove(&self.pins(), container)
    }

    /// The root directory of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Finds the image of a name: `host`, `dir:PATH`, or one of the store (by name, id or unique
    /// beginning of the id).
    ///
    /// # Errors
    /// A bad or unknown name, a bad directory, or a damaged store.
    pub fn resolve(&self, name: &str) -> Result<Image, ImageError> {
        if let Some((root, config)) = unstored::find(name)? {
            return Ok(Image {
                name: name.to_owned(),
                id: None,
                config,
                layers: Vec::new(),
                lowers: vec![root],
            });
        }
        for _ in 0..ATTEMPTS {
            let record = self.find(name)?;
            if let Some(layers) = self.hold(&record)? {
                let upwards = record.layers.iter().rev();
                return Ok(Image {
                    name: name.to_owned(),
                    id: Some(record.id),
                    config: record.config,
                    lowers: upwards.map(|id| self.layers.lower(id)).collect(),
                    layers,
                });
            }
        }
        Err(ImageError::Record {
            path: self.images(),
            why: format!("the layers of {name} are missing"),
        })
    }

    /// Makes a layer of an archive (tar, plain or packed, told by its first bytes), read to its
    /// end in one pass; whiteouts as OCI has them (`.wh.NAME`). It stays while the returned value
    /// lives, and longer if an image names it. `origin` is for messages; `wanted` the diff id that
    /// it must have, 64 digits.
    ///
    /// # Errors
    /// A damaged archive, one that does not fit, a reader's error, or a full disk. Nothing is
    /// published.
    pub fn add_layer(
        &self,
        archive: impl Read + Send,
        origin: &str,
        wanted: Option<&str>,
        limits: Limits,
    ) -> Result<Added, ImageError> {
        let _busy = self.busy()?;
        let fresh = self.layers.add(archive, origin, limits)?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != fresh.diff_id) {
            return Err(ImageError::Input {
                origin: origin.to_owned(),
                why: format!(
                    "it holds sha256:{}, but its image says sha256:{wanted}; nothing of it is kept",
                    fresh.diff_id
                ),
            });
        }
        // Held before the layer can be found.
        let path = self.lock_of(&fresh.diff_id);
        let guard = self.lock(&path, FlockOperation::LockShared)?;
        self.layers.publish(&fresh)?;
        Ok(Added {
            layer: Layer {
                diff_id: fresh.diff_id.clone(),
                size: fresh.size,
                _guard: guard,
            },
            digest: fresh.digest.clone(),
            length: fresh.length,
        })
    }

    /// A layer that is there already, held.
    ///
    /// # Errors
    /// Its lock cannot be taken.
    pub fn layer(&self, diff_id: &str) -> Result<Option<Layer>, ImageError> {
        if !is_id(diff_id) {
            return Ok(None);
        }
        let path = self.lock_of(diff_id);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let guard = match rustix::fs::open(&path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.map_err(io("open", &path))?,
        };
        rustix::fs::flock(&guard, FlockOperation::LockShared).map_err(io("lock", &path))?;
        // A lock that was removed while we waited for it holds nothing.
        let alive = rustix::fs::fstat(&guard)
            .map_err(io("look at", &path))?
            .st_nlink
            > 0;
        if !alive || !self.layers.has(diff_id) {
            return Ok(None);
        }
        Ok(Some(Layer {
            diff_id: diff_id.to_owned(),
            size: self.layers.size(diff_id)?,
            _guard: guard,
        }))
    }

    /// The layers that [`Image::lowers`] gave (topmost first), held, lowest first; `None` when one of them
    /// is not the store's.
    ///
    /// # Errors
    /// A lock cannot be taken.
    pub fn hold_lowers(&self, lowers: &[PathBuf]) -> Result<Option<Vec<Layer>>, ImageError> {
        let mut held = Vec::new();
        for path in lowers.iter().rev() {
            let layer = match self.layers.diff_id(path) {
                Some(id) => self.layer(&id)?,
                None => None,
            };
            match layer {
                Some(layer) => held.push(layer),
                None => return Ok(None),
            }
        }
        Ok(Some(held))
    }

    /// The exact uncompressed archive of a layer, and its length in bytes. The caller holds it.
    ///
    /// # Errors
    /// It is not there.
    pub fn archive(&self, layer: &Layer) -> Result<(impl Read + use<>, u64), ImageError> {
        self.layers.tar(&layer.diff_id)
    }

    /// Makes an image of a configuration and layers (diff ids as 64 digits, lowest first), which
    /// the caller holds. It has no name yet.
    ///
    /// # Errors
    /// A layer that is not there; the image cannot be written.
    pub fn create_image(
        &self,
        mut config: OciConfig,
        diff_ids: &[String],
    ) -> Result<ImageId, ImageError> {
        config.rootfs.kind = "layers".to_owned();
        config.rootfs.diff_ids = diff_ids.iter().map(|id| format!("sha256:{id}")).collect();
        let bytes = serde_json::to_vec(&config)
            .map_err(|e| record::wrong(&self.images(), e.to_string()))?;
        self.create_exact(&bytes)
    }

    /// [`Store::create_image`] from a configuration's exact bytes.
    ///
    /// # Errors
    /// As there; or the bytes are no configuration.
    pub fn create_exact(&self, bytes: &[u8]) -> Result<ImageId, ImageError> {
        let _busy = self.busy()?;
        let id = record::digest(bytes);
        let path = self.image(&id);
        let config = record::parse_config(bytes).map_err(|why| record::wrong(&path, why))?;
        let layers = record::diff_ids(&config).map_err(|why| record::wrong(&path, why))?;
        if let Some(missing) = layers.iter().find(|layer| !self.layers.has(layer)) {
            let why = format!("its layer sha256:{missing} is not there");
            return Err(record::wrong(&path, why));
        }
        record::write(bytes, &path, Scratch::new(&self.images())?.path())?;
        Ok(id)
    }

    /// Gives an image a name, taking it from another that has it. That other stays, without.
    ///
    /// # Errors
    /// No such image (64 digits); the name cannot be written.
    pub fn tag(&self, id: &str, reference: &Reference) -> Result<(), ImageError> {
        let _busy = self.busy()?;
        let _names = self.names_alone()?;
        if !is_id(id) || !self.image(id).exists() {
            return Err(ImageError::Unknown {
                name: id.to_owned(),
            });
        }
        let tag = Tag {
            name: reference.to_string(),
            id: id.to_owned(),
        };
        let file = self.tags().join(reference.file_name());
        let bytes = serde_json::to_vec(&tag).map_err(|e| record::wrong(&file, e.to_string()))?;
        record::write(&bytes, &file, Scratch::new(&self.tags())?.path())
    }

    /// All images, newest first; those without a name, too.
    ///
    /// # Errors
    /// The directory cannot be read, or a record is damaged.
    pub fn list(&self) -> Result<Vec<Record>, ImageError> {
        let mut names_of = self.names_by_id()?;
        let mut records = Vec::new();
        for name in names(&self.images())? {
            if let Some(id) = name.strip_suffix(".json").filter(|id| is_id(id)) {
                let names = names_of.remove(id).unwrap_or_default();
                records.extend(self.record(id, names)?);
            }
        }
        records.sort_by(|a, b| (b.created, &a.names, &a.id).cmp(&(a.created, &b.names, &b.id)));
        Ok(records)
    }

    /// The record of a name, an id, or a unique beginning of an id.
    ///
    /// # Errors
    /// A bad or unknown name, or a damaged record.
    pub fn find(&self, name: &str) -> Result<Record, ImageError> {
        let unknown = || ImageError::Unknown {
            name: name.to_owned(),
        };
        let reference = name.parse::<Reference>();
        if let Ok(reference) = &reference {
            let file = self.tags().join(reference.file_name());
            if let Some((_, tag)) = Tag::read(&file)? {
                let names = self.names_by_id()?.remove(&tag.id).unwrap_or_default();
                return self.record(&tag.id, names)?.ok_or_else(unknown);
            }
        }
        let digits = name.strip_prefix("sha256:").unwrap_or(name);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(reference.err().unwrap_or_else(unknown));
        }
        let mut found = self.list()?;
        found.retain(|record| record.id.starts_with(digits));
        match found.len() {
            0 | 1 => found.pop().ok_or_else(unknown),
            count => Err(ImageError::Ambiguous {
                name: name.to_owned(),
                count,
            }),
        }
    }

    /// The exact bytes of an image's configuration.
    ///
    /// # Errors
    /// It is not there, or damaged.
    pub fn config_bytes(&self, id: &str) -> Result<Vec<u8>, ImageError> {
        let found = record::read_config(&self.image(id), id)?;
        found
            .map(|(bytes, _)| bytes)
            .ok_or_else(|| ImageError::Unknown {
                name: id.to_owned(),
            })
    }

    /// Bytes of file contents of a layer (64 digits).
    ///
    /// # Errors
    /// It is not there, or damaged.
    pub fn layer_size(&self, diff_id: &str) -> Result<u64, ImageError> {
        self.layers.size(diff_id)
    }

    /// Whether a layer (64 digits) is what its name says, read from end to end.
    ///
    /// # Errors
    /// It is not; or it is not there.
    pub fn verify_layer(&self, diff_id: &str) -> Result<(), ImageError> {
        self.layers.verify(diff_id)
    }

    fn record(&self, id: &str, names: Vec<Reference>) -> Result<Option<Record>, ImageError> {
        let path = self.image(id);
        let Some((_, config)) = record::read_config(&path, id)? else {
            return Ok(None);
        };
        let layers = record::diff_ids(&config).map_err(|why| record::wrong(&path, why))?;
        Ok(Some(Record {
            id: id.to_owned(),
            names,
            created: config.made().map_or(0, |made| made.seconds()),
            size: self.size_of(&layers),
            layers,
            config,
        }))
    }

    /// Bytes of file contents of layers. One that is gone or damaged counts nothing: its image can be
    /// listed and removed, and a use of it tells.
    pub(super) fn size_of(&self, layers: &[String]) -> u64 {
        let sizes = layers.iter().filter_map(|id| self.layers.size(id).ok());
        sizes.sum()
    }

    /// All names, by what they mean.
    fn names_by_id(&self) -> Result<BTreeMap<String, Vec<Reference>>, ImageError> {
        let mut found = BTreeMap::<String, Vec<Reference>>::new();
        for name in names(&self.tags())? {
            let of_tag = name.ends_with(".json") && !Scratch::is_name(&name);
            if of_tag && let Some((reference, tag)) = Tag::read(&self.tags().join(name))? {
                found.entry(tag.id).or_default().push(reference);
            }
        }
        found.values_mut().for_each(|names| names.sort());
        Ok(found)
    }

    /// Takes the shared locks of all layers; `None` when one of them is gone.
    fn hold(&self, record: &Record) -> Result<Option<Vec<Layer>>, ImageError> {
        let mut held = Vec::new();
        for id in &record.layers {
            match self.layer(id)? {
                Some(layer) => held.push(layer),
                None => return Ok(None),
            }
        }
        Ok(Some(held))
    }

    pub(super) fn directories(&self) -> [PathBuf; 4] {
        let layers = self.layers.root().to_owned();
        [self.images(), self.tags(), layers, self.stacks()]
    }

    pub(super) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(super) fn tags(&self) -> PathBuf {
        self.root.join("tags")
    }

    pub(super) fn image(&self, id: &str) -> PathBuf {
        self.images().join(format!("{id}.json"))
    }

    pub(super) fn pins(&self) -> PathBuf {
        self.root.join("pins")
    }

    pub(super) fn lock_of(&self, id: &str) -> PathBuf {
        self.layers.root().join(format!("{id}.lock"))
    }

    /// The lock of whoever adds something: no sweep meanwhile.
    pub(super) fn busy(&self) -> Result<OwnedFd, ImageError> {
        self.lock(&self.root.join("store.lock"), FlockOperation::LockShared)
    }

    /// The lock of whoever changes names or images.
    pub(super) fn names_alone(&self) -> Result<OwnedFd, ImageError> {
        self.lock(&self.root.join("names.lock"), FlockOperation::LockExclusive)
    }

    fn lock_file(&self, path: &Path) -> Result<OwnedFd, ImageError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(io("open", path))
    }

    pub(super) fn lock(&self, path: &Path, how: FlockOperation) -> Result<OwnedFd, ImageError> {
        let fd = self.lock_file(path)?;
        rustix::fs::flock(&fd, how).map_err(io("lock", path))?;
        Ok(fd)
    }

    /// The exclusive lock, or `None` when somebody holds the file.
    pub(super) fn try_lock(&self, path: &Path) -> Result<Option<OwnedFd>, ImageError> {
        let fd = self.lock_file(path)?;
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(fd)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(io("lock", path)(errno)),
        }
    }
}
