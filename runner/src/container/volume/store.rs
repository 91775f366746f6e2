//! Volumes: directories that outlive containers.
//!
//! ```text
//!   ROOT/volumes/
//!     NAME/volume.json      when and how it was made
//!     NAME/_data/           what containers see
//!     NAME/used             a container has used it: nothing of an image is copied into it any more
//!     NAME/.filling/        the image's content on its way to _data
//!     .new-*  .gone-*       on the way in, and out; taken away by whoever next removes a volume
//! ```
//!
//! Who uses a volume is told by the containers' own specifications, and by nothing else that could
//! go out of step with them. So that none appears while somebody looks: the directory is locked
//! (flock), shared from before a volume is provided until the container's specification is written,
//! exclusively by whoever removes volumes.
//!
//! Order of making: `.new-*` with all that is in it, synced, then its name. Order of removing: the
//! name, then the contents.

use super::{Origin, Volume, Wanted};
use crate::container::Id;
use crate::container::home::Home;
use crate::container::wipe::wipe;
use crate::error::{Error, Result};
use crate::image::copy_directory;
use crate::mounts::inroot::{InRootError, Links, Missing, Root};
use crate::types::Moment;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, openat, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Longest description that is read, in bytes.
const BOUND: u64 = 1 << 20;

/// What is known of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// When it was made.
    pub created: Moment,
    /// It goes with the last container that uses it.
    pub anonymous: bool,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
}

/// The volumes of one root directory.
#[derive(Debug)]
pub struct Volumes {
    directory: PathBuf,
}

/// Whoever has it keeps volumes from going (shared), or containers from taking some (exclusive).
#[derive(Debug)]
pub struct Held {
    _directory: OwnedFd,
}

/// Whether a volume can have this name.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let usual = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let first = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    if first && name.len() <= 255 && name.bytes().all(usual) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no name of a volume: want letters, digits, _ . - and a letter or digit \
         first; a path starts with / or ./"
    ))
}

impl Volumes {
    /// Those below a root directory; nothing is looked at.
    pub fn at(root: &Path) -> Self {
        Self {
            directory: root.join("volumes"),
        }
    }

    /// Keeps all volumes from being removed.
    pub fn hold(&self) -> Result<Held> {
        self.lock(FlockOperation::LockShared)
    }

    /// A directory or volume for what was asked for; made, if it is a volume that is not there.
    /// The caller holds the volumes until a container refers to it.
    pub fn provide(&self, wanted: Wanted, _held: &Held) -> Result<Volume> {
        let name = match wanted.origin {
            Origin::Host(_) => None,
            Origin::Named(ref name) => Some(self.make(Some(name), false, BTreeMap::new())?),
            Origin::Anonymous => Some(self.make(None, true, BTreeMap::new())?),
        };
        let source = match (&name, wanted.origin) {
            (Some(name), _) => self.data(name),
            (None, Origin::Host(path)) => path,
            (None, _) => PathBuf::new(),
        };
        Ok(Volume {
            copy: wanted.copy && name.is_some(),
            name,
            source,
            target: wanted.target,
            read_only: wanted.read_only,
            forbid: wanted.forbid,
            slave: wanted.slave,
        })
    }

    /// Makes a volume, unless it is there; gives its name, which is invented if there is none.
    pub fn create(&self, name: Option<&str>, labels: BTreeMap<String, String>) -> Result<String> {
        if let Some(name) = name {
            check_name(name).map_err(|why| Error::Value {
                flag: "volume create",
                value: name.to_owned(),
                why,
            })?;
        }
        let _held = self.hold()?;
        self.make(name, name.is_none(), labels)
    }

    fn make(
        &self,
        name: Option<&str>,
        anonymous: bool,
        labels: BTreeMap<String, String>,
    ) -> Result<String> {
        let random = Id::new()?;
        let name = name.unwrap_or(random.as_str());
        let path = self.directory.join(name);
        if path.is_dir() {
            return Ok(name.to_owned());
        }
        let new = self.directory.join(format!(".new-{random}"));
        let record = Record {
            created: Moment::now(),
            anonymous,
            labels,
        };
        let made = || -> io::Result<()> {
            DirBuilder::new().mode(0o700).create(&new)?;
            DirBuilder::new().mode(0o755).create(new.join("_data"))?;
            let mut file = File::create(new.join("volume.json"))?;
            file.write_all(&serde_json::to_vec(&record)?)?;
            file.sync_all()?;
            match renameat_with(CWD, &new, CWD, &path, RenameFlags::NOREPLACE) {
                // Somebody else was faster: it is there.
                Err(Errno::EXIST) => fs::remove_dir_all(&new),
                other => Ok(other?),
            }
        };
        made().map_err(Error::io("make the volume", &path))?;
        Ok(name.to_owned())
    }

    /// Where the contents of a volume are.
    pub fn data(&self, name: &str) -> PathBuf {
        self.directory.join(name).join("_data")
    }

    /// Bytes that its files take on disk; what is gone meanwhile counts nothing.
    pub fn size(&self, name: &str) -> u64 {
        fn below(path: &Path) -> u64 {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            let sizes = entries.map(|entry| match entry.metadata() {
                Ok(meta) if meta.is_dir() => below(&entry.path()),
                Ok(meta) => std::os::unix::fs::MetadataExt::blocks(&meta) * 512,
                Err(_) => 0,
            });
            sizes.sum()
        }
        below(&self.data(name))
    }

    /// What is known of a volume.
    pub fn record(&self, name: &str) -> Result<Record> {
        let unknown = || Error::NoVolume(name.to_owned());
        check_name(name).map_err(|_| unknown())?;
        let path = self.directory.join(name).join("volume.json");
        let text = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(unknown()),
            other => other.and_then(|file| io::read_to_string(io::Read::take(file, BOUND))),
        };
        let text = text.map_err(Error::io("read", &path))?;
        serde_json::from_str(&text).map_err(|error| Error::Damaged {
            path,
            why: error.to_string(),
        })
    }

    /// The names of all.
    pub fn all(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(Error::io("list", &self.directory))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::io("list", &self.directory))?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if check_name(&name).is_ok() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Containers by the volumes that they refer to.
    pub fn users(&self, home: &Home) -> Result<BTreeMap<String, BTreeSet<Id>>> {
        let mut users: BTreeMap<String, BTreeSet<Id>> = BTreeMap::new();
        for directory in home.all()? {
            // One that is going, or was never finished, refers to nothing.
            let spec = match directory.spec() {
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    continue;
                }
                other => other?,
            };
            for name in spec.volumes.into_iter().filter_map(|volume| volume.name) {
                users.entry(name).or_default().insert(spec.id.clone());
            }
        }
        Ok(users)
    }

    /// Removes a volume that no container refers to.
    pub fn remove(&self, home: &Home, name: &str) -> Result<()> {
        let _held = self.lock(FlockOperation::LockExclusive)?;
        self.record(name).map(drop).or_else(|error| match error {
            // What cannot be read can still be removed.
            Error::Damaged { .. } => Ok(()),
            other => Err(other),
        })?;
        if let Some(users) = self.users(home)?.get(name) {
            let ids: Vec<_> = users.iter().map(Id::short).collect();
            return Err(Error::VolumeInUse {
                name: name.to_owned(),
                containers: ids.join(", "),
            });
        }
        self.discard(name)
    }

    /// Removes all volumes of `names` that no container refers to any more and that `goes` lets go;
    /// gives their names.
    pub fn free(
        &self,
        home: &Home,
        names: impl IntoIterator<Item = String>,
        goes: impl Fn(&Record) -> bool,
    ) -> Result<Vec<String>> {
        let mut gone = Vec::new();
        let mut names = names.into_iter().peekable();
        if names.peek().is_none() {
            return Ok(gone);
        }
        let _held = self.lock(FlockOperation::LockExclusive)?;
        self.sweep()?;
        let users = self.users(home)?;
        for name in names {
            let record = match self.record(&name) {
                Err(Error::NoVolume(_)) => continue,
                other => other?,
            };
            if !users.contains_key(&name) && goes(&record) {
                self.discard(&name)?;
                gone.push(name);
            }
        }
        Ok(gone)
    }

    fn discard(&self, name: &str) -> Result<()> {
        let (path, gone) = (
            self.directory.join(name),
            self.directory.join(format!(".gone-{name}")),
        );
        let removed = || {
            wipe(&gone)?;
            fs::rename(&path, &gone)?;
            wipe(&gone)
        };
        removed().map_err(Error::io("remove the volume", &path))
    }

    /// Takes away what killed commands left. The caller has the exclusive lock.
    fn sweep(&self) -> Result<()> {
        let failed = || Error::io("list", &self.directory);
        for entry in fs::read_dir(&self.directory).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(".new-") || name.starts_with(".gone-") {
                let path = entry.path();
                wipe(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Gives a volume that was never used what the image has at `target` below `root`. The order
    /// (copied, its name, the mark) leaves after a kill an empty volume that was not used. Nothing is
    /// synced: that took minutes on a disk that was busy, and the image has it all.
    pub fn fill(&self, name: &str, root: &Root, target: &Path) -> Result<()> {
        let path = self.directory.join(name);
        let failed = |what| Error::io(what, &path);
        let held =
            open_directory(&path).map_err(|errno| failed("open the volume")(errno.into()))?;
        // Another container may be about to do it.
        lock(&held, FlockOperation::LockExclusive).map_err(failed("lock the volume"))?;
        let used = path.join("used");
        if used.exists() {
            return Ok(());
        }
        let found = match root.resolve(target, Missing::Fail, Links::Follow) {
            Ok(found) => openat(&found, ".", directory_flags(), Mode::empty()).ok(),
            Err(InRootError::Kernel(_)) => None,
            Err(error) => {
                let error = io::Error::other(error);
                return Err(failed("fill the volume")(error));
            }
        };
        let data = path.join("_data");
        let empty = fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_none());
        if let Some(from) = found.filter(|_| empty) {
            let filling = path.join(".filling");
            let ready = || -> io::Result<OwnedFd> {
                if filling.exists() {
                    fs::remove_dir_all(&filling)?;
                }
                DirBuilder::new().mode(0o755).create(&filling)?;
                Ok(open_directory(&filling)?)
            };
            copy_directory(&from, ready().map_err(failed("fill the volume"))?)?;
            fs::rename(&filling, &data).map_err(failed("fill the volume"))?;
        }
        File::create(&used).map_err(failed("mark the volume"))?;
        Ok(())
    }

    fn lock(&self, how: FlockOperation) -> Result<Held> {
        let failed = || Error::io("lock", &self.directory);
        let directory = match open_directory(&self.directory) {
            Err(Errno::NOENT) => {
                let mut builder = DirBuilder::new();
                let made = builder.recursive(true).mode(0o700).create(&self.directory);
                made.map_err(Error::io("make", &self.directory))?;
                open_directory(&self.directory)
            }
            other => other,
        };
        let directory = directory.map_err(|errno| failed()(errno.into()))?;
        lock(&directory, how).map_err(failed())?;
        Ok(Held {
            _directory: directory,
        })
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, directory_flags(), Mode::empty())
}

fn lock(directory: &OwnedFd, how: FlockOperation) -> io::Result<()> {
    loop {
        match flock(directory, how) {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}
