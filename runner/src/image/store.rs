//! The image store on disk.
//!
//! ```text
//! ROOT/                     0700
//!   store.lock              shared: an import is at work; exclusive: sweeping
//!   images/NAME%3ATAG.json  a record: what the name means
//!   layers/ID/              a directory layer, complete since it has this name
//!   layers/ID.lock          shared: a resolve uses the layer
//!   pins/CONTAINER.json     the layers that a container needs (see pins)
//!   */.tmp-RANDOM           being made, or being removed
//! ```
//!
//! Import: fill `.tmp-…`, flush, rename to its id, flush the directory, then write the record the
//! same way. Removal: the record first, then the layers that no record names, each renamed to
//! `.tmp-…` before it is taken apart. So a command killed at any moment leaves either the state
//! before or the state after, and `.tmp-…` or unnamed layers that the next sweep removes. Only a
//! holder of the exclusive store lock sweeps, hence never under a running import; a layer whose
//! own lock is held stays until a later sweep.
//!
//! Lock order: store.lock, then ID.lock.

use super::error::io;
use super::import::{self, random_id};
use super::pins;
use super::record::is_id;
use super::unpack::ImportLimits;
use super::{Config, ImageError, Record, Reference};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Beginning of the names of unfinished things.
const SCRATCH: &str = ".tmp-";

/// How often a name is looked up again when its layer went away in between.
const ATTEMPTS: u32 = 10;

/// Where an import reads from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `-`: a tar archive on standard input.
    Stdin,
    /// A tar archive (plain or gzip), or a directory to copy.
    Path(PathBuf),
}

impl Source {
    /// `-` or a path.
    pub fn parse(text: &str) -> Self {
        if text == "-" {
            Self::Stdin
        } else {
            Self::Path(PathBuf::from(text))
        }
    }
}

/// One read-only layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// A directory to give to layerfs as a lower.
    Directory(PathBuf),
}

/// A resolved image. While it lives, its layers are not removed.
#[derive(Debug)]
pub struct Image {
    /// `host`, `dir:PATH`, or name with tag.
    pub name: String,
    /// The id of a stored image; `None` for `host` and `dir:`.
    pub id: Option<String>,
    /// Layers, topmost first.
    pub layers: Vec<Layer>,
    /// How it starts.
    pub config: Config,
    /// Shared locks of the layers.
    _guard: Vec<OwnedFd>,
}

impl Image {
    /// The lower directories, topmost first.
    pub fn lowers(&self) -> Vec<PathBuf> {
        self.layers
            .iter()
            .map(|Layer::Directory(path)| path.clone())
            .collect()
    }
}

/// The images below one root directory.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store below `root`; nothing is looked at.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Opens the store, making its directories (0700) when missing, and sweeps what a killed
    /// command left behind unless an import is at work.
    ///
    /// # Errors
    /// The directories cannot be made or read.
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
        make(&store.images())?;
        make(&store.layers())?;
        if store.has_scratch(&store.images())? || store.has_scratch(&store.layers())? {
            store.sweep()?;
        }
        Ok(store)
    }

    /// Keeps the layers among `lowers` that are the store's from being removed, until
    /// [`Store::unpin`]. The caller still holds the [`Image`] that they came with.
    ///
    /// # Errors
    /// The pin cannot be written.
    pub fn pin(&self, container: &str, lowers: &[PathBuf]) -> Result<(), ImageError> {
        let layers = self.layers();
        let own = lowers.iter().filter(|path| path.parent() == Some(&layers));
        let ids: Vec<String> = own
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        pins::write(&self.pins(), container, &ids)
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

    /// Finds the image of a name: `host`, `dir:PATH`, or one that was imported (by name, id or
    /// unique beginning of the id).
    ///
    /// # Errors
    /// A bad or unknown name, a bad directory, or a damaged store.
    pub fn resolve(&self, name: &str) -> Result<Image, ImageError> {
        if name == "host" {
            return Ok(plain(name, PathBuf::from("/"), host_config()));
        }
        if let Some(path) = name.strip_prefix("dir:") {
            let config = Config::default();
            return directory(Path::new(path)).map(|path| plain(name, path, config));
        }
        for _ in 0..ATTEMPTS {
            let record = self.find(name)?;
            if let Some(guard) = self.hold(&record)? {
                let layer = |id: &String| Layer::Directory(self.layers().join(id));
                return Ok(Image {
                    layers: record.layers.iter().map(layer).collect(),
                    name: record.name,
                    id: Some(record.id),
                    config: record.config,
                    _guard: guard,
                });
            }
        }
        Err(ImageError::Record {
            path: self.images(),
            why: format!("the layers of {name} are missing"),
        })
    }

    /// Makes an image of one layer from an archive or a directory; moves the name if it exists.
    ///
    /// # Errors
    /// A bad name; an input that is damaged or does not fit; a full disk. Nothing is published.
    pub fn import(&self, source: &Source, name: &str) -> Result<Record, ImageError> {
        self.import_within(source, name, ImportLimits::default())
    }

    /// [`Store::import`] with limits of one's own.
    ///
    /// # Errors
    /// As [`Store::import`].
    pub fn import_within(
        &self,
        source: &Source,
        name: &str,
        limits: ImportLimits,
    ) -> Result<Record, ImageError> {
        let reference: Reference = name.parse()?;
        let busy = self.lock(&self.root.join("store.lock"), FlockOperation::LockShared)?;
        let scratch = Scratch::new(&self.layers())?;
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&scratch.0)
            .map_err(io("create", &scratch.0))?;
        let target = open_directory(&scratch.0)?;
        let imported = import::import(source, target, &open_directory(&self.root)?, limits)?;
        self.publish_layer(&scratch.0, &imported.id)?;
        let record = Record::new(reference.to_string(), now(), imported.size, imported.id);
        let file = self.images().join(reference.file_name());
        record.write(&file, &Scratch::new(&self.images())?.0)?;
        flush(&self.images())?;
        drop(busy);
        // A layer that the name meant before may be free now.
        self.sweep()?;
        Ok(record)
    }

    /// All images, newest first.
    ///
    /// # Errors
    /// The directory cannot be read, or a record is damaged.
    pub fn list(&self) -> Result<Vec<Record>, ImageError> {
        let directory = self.images();
        let mut records = Vec::new();
        for entry in fs::read_dir(&directory).map_err(io("list", &directory))? {
            let path = entry.map_err(io("list", &directory))?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.ends_with(".json") && !name.starts_with(SCRATCH) {
                records.extend(Record::read(&path)?);
            }
        }
        records.sort_by(|a, b| (b.created, &a.name).cmp(&(a.created, &b.name)));
        Ok(records)
    }

    /// Removes a name, and the layers that no other image needs.
    ///
    /// # Errors
    /// An unknown name, or [`ImageError::InUse`] when a container needs it, running or not, and
    /// no other name keeps its layers.
    pub fn remove(&self, name: &str) -> Result<Record, ImageError> {
        let record = self.find(name)?;
        let others = self.list()?;
        let others = others.iter().filter(|other| other.name != record.name);
        let kept: BTreeSet<&String> = others.flat_map(|other| &other.layers).collect();
        let pinned = pins::layers(&self.pins())?;
        for id in record.layers.iter().filter(|id| !kept.contains(id)) {
            let path = self.lock_of(id);
            if pinned.contains(id) || (path.exists() && self.try_lock(&path)?.is_none()) {
                return Err(ImageError::InUse { name: record.name });
            }
        }
        let reference: Reference = record.name.parse()?;
        let file = self.images().join(reference.file_name());
        match fs::remove_file(&file) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(ImageError::Unknown {
                    name: name.to_owned(),
                });
            }
            other => other.map_err(io("remove", &file))?,
        }
        flush(&self.images())?;
        self.sweep()?;
        Ok(record)
    }

    /// The record of a name, an id, or a unique beginning of an id.
    fn find(&self, name: &str) -> Result<Record, ImageError> {
        let reference = name.parse::<Reference>();
        if let Ok(reference) = &reference {
            let file = self.images().join(reference.file_name());
            if let Some(record) = Record::read(&file)? {
                return Ok(record);
            }
        }
        let unknown = || ImageError::Unknown {
            name: name.to_owned(),
        };
        let digits = name.strip_prefix("sha256:").unwrap_or(name);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(reference.err().unwrap_or_else(unknown));
        }
        let mut found = self.list()?;
        found.retain(|record| record.id.starts_with(digits));
        found.dedup_by(|a, b| a.id == b.id);
        match found.len() {
            0 | 1 => found.pop().ok_or_else(unknown),
            count => Err(ImageError::Ambiguous {
                name: name.to_owned(),
                count,
            }),
        }
    }

    /// Takes the shared locks of all layers; `None` when one of them is gone.
    fn hold(&self, record: &Record) -> Result<Option<Vec<OwnedFd>>, ImageError> {
        let mut guard = Vec::new();
        for id in &record.layers {
            let path = self.lock_of(id);
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = match rustix::fs::open(&path, flags, Mode::empty()) {
                Err(Errno::NOENT) => return Ok(None),
                other => other.map_err(io("open", &path))?,
            };
            rustix::fs::flock(&fd, FlockOperation::LockShared).map_err(io("lock", &path))?;
            if !self.layers().join(id).is_dir() {
                return Ok(None);
            }
            guard.push(fd);
        }
        Ok(Some(guard))
    }

    /// Gives a finished layer its name, unless an identical one has it already.
    fn publish_layer(&self, scratch: &Path, id: &str) -> Result<(), ImageError> {
        let path = self.layers().join(id);
        // The lock exists before the layer can be found.
        drop(self.lock_file(&self.lock_of(id))?);
        if !path.exists() {
            fs::rename(scratch, &path).map_err(io("publish", &path))?;
        }
        flush(&self.layers())
    }

    /// Removes scratch and layers that no record names, unless an import is at work.
    fn sweep(&self) -> Result<(), ImageError> {
        let Some(_alone) = self.try_lock(&self.root.join("store.lock"))? else {
            return Ok(());
        };
        // A damaged record may name any layer: then all are kept, and removing goes on.
        let named = self.list().map(|records| {
            records
                .into_iter()
                .flat_map(|record| record.layers)
                .collect::<BTreeSet<_>>()
        });
        for directory in [self.images(), self.layers()] {
            for entry in fs::read_dir(&directory).map_err(io("list", &directory))? {
                let entry = entry.map_err(io("list", &directory))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with(SCRATCH) {
                    remove(&entry.path())?;
                } else if is_id(&name) && named.as_ref().is_ok_and(|set| !set.contains(&name)) {
                    self.remove_layer(&name)?;
                } else if self.is_widowed(&name) {
                    remove(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Whether a name is the lock of a layer that is not there: an import died before it
    /// published. Only for the holder of the exclusive store lock.
    fn is_widowed(&self, name: &str) -> bool {
        let id = name.strip_suffix(".lock").filter(|id| is_id(id));
        id.is_some_and(|id| !self.layers().join(id).exists())
    }

    /// Removes a layer unless it is in use.
    fn remove_layer(&self, id: &str) -> Result<(), ImageError> {
        let Some(_lock) = self.try_lock(&self.lock_of(id))? else {
            return Ok(());
        };
        // Looked at under the lock: whoever pins a layer holds that until the pin is there.
        if pins::layers(&self.pins())?.contains(id) {
            return Ok(());
        }
        let (path, scratch) = (self.layers().join(id), Scratch::new(&self.layers())?);
        fs::rename(&path, &scratch.0).map_err(io("remove", &path))?;
        remove(&self.lock_of(id))
    }

    fn has_scratch(&self, directory: &Path) -> Result<bool, ImageError> {
        let entries = fs::read_dir(directory).map_err(io("list", directory))?;
        let scratch = |name: std::ffi::OsString| name.to_string_lossy().starts_with(SCRATCH);
        Ok(entries.flatten().any(|entry| scratch(entry.file_name())))
    }

    fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    fn pins(&self) -> PathBuf {
        self.root.join("pins")
    }

    fn lock_of(&self, id: &str) -> PathBuf {
        self.layers().join(format!("{id}.lock"))
    }

    fn lock_file(&self, path: &Path) -> Result<OwnedFd, ImageError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(io("open", path))
    }

    fn lock(&self, path: &Path, how: FlockOperation) -> Result<OwnedFd, ImageError> {
        let fd = self.lock_file(path)?;
        rustix::fs::flock(&fd, how).map_err(io("lock", path))?;
        Ok(fd)
    }

    /// The exclusive lock, or `None` when somebody holds the file.
    fn try_lock(&self, path: &Path) -> Result<Option<OwnedFd>, ImageError> {
        let fd = self.lock_file(path)?;
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(fd)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(io("lock", path)(errno)),
        }
    }
}

/// A name for something unfinished; what has the name is removed at the end of scope.
struct Scratch(PathBuf);

impl Scratch {
    fn new(directory: &Path) -> Result<Self, ImageError> {
        let id = random_id()?;
        Ok(Self(directory.join(format!("{SCRATCH}{}", &id[..16]))))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is swept by the next command.
        let _ = remove(&self.0);
    }
}

/// Removes a file or a whole directory, following no link; fine when it is gone.
fn remove(path: &Path) -> Result<(), ImageError> {
    let result = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match result {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io("remove", path)(e)),
        _ => Ok(()),
    }
}

fn flush(directory: &Path) -> Result<(), ImageError> {
    rustix::fs::fsync(open_directory(directory)?).map_err(io("flush", directory))
}

fn open_directory(path: &Path) -> Result<OwnedFd, ImageError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(io("open", path))
}

fn plain(name: &str, path: PathBuf, config: Config) -> Image {
    let layers = vec![Layer::Directory(path)];
    Image {
        name: name.to_owned(),
        id: None,
        layers,
        config,
        _guard: Vec::new(),
    }
}

/// The directory of `dir:PATH`, absolute.
fn directory(path: &Path) -> Result<PathBuf, ImageError> {
    let bad = |why: &str| ImageError::Directory {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    match path.canonicalize() {
        _ if path.as_os_str().is_empty() => Err(bad("no path; want dir:PATH")),
        Ok(found) if found.is_dir() => Ok(found),
        Ok(_) => Err(bad(
            "not a directory; want the root directory of a file system tree",
        )),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(bad("no such directory")),
        Err(e) => Err(bad(&e.to_string())),
    }
}

/// What the machine's own programs need from the environment: where they are, their language.
fn host_config() -> Config {
    let variable = |name: &&str| Some(format!("{name}={}", std::env::var(name).ok()?));
    let env = ["PATH", "LANG", "LC_ALL", "TZ"]
        .iter()
        .filter_map(variable)
        .collect();
    Config {
        env,
        ..Config::default()
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
