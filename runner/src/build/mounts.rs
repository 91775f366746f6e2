//! `RUN --mount`: what a RUN sees besides its stage's files, and what is not in its layer.
//!
//! ```text
//!   bind     context ──find, pack──> BUILD/mounts/N ──────┐
//!            a stage, an image ──mounted for the RUN──────┤
//!   cache    ROOT/builds/mounts/KEY/data, KEY/lock held ──┼──> volumes of RUN's container
//!   secret   --secret ──> BUILD/memory, a tmpfs of ours ──┤
//!   tmpfs    ─────────────────────────────────────────────┘
//! ```
//!
//! Mount points that were not there before are taken away again, unless something is in them.

use super::cache::key;
use super::copy::{Full, Other, put_below, unnamed_file};
use super::mount_flags::{Kind, Mount, Sharing};
use super::settings::below;
use super::sources::{How, open};
use super::stage::{Stage, Workshop, refused};
use crate::container::directory::Directory;
use crate::container::files::{Files, Way, own_mounts};
use crate::container::volume::{Forbid, Tmpfs, Volume, check_targets};
use crate::container::wipe;
use crate::error::{Error, Result};
use crate::image::Store;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags, chown, flock, renameat_with};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where a script with a `#!` line lies.
pub(super) const SCRIPT: &str = "/dev/pipes/script";

/// Most caches of one name that exist because several builds wanted one of their own.
const MOST_PRIVATE: usize = 1000;

/// What is mounted for one RUN, and held meanwhile.
#[derive(Default)]
pub(super) struct Held {
    pub(super) volumes: Vec<Volume>,
    pub(super) tmpfs: Vec<Tmpfs>,
    others: Vec<Other>,
    locks: Vec<OwnedFd>,
    memory: Option<Memory>,
}

/// A file system in memory, which only this process and its children see.
struct Memory(PathBuf);

impl Drop for Memory {
    fn drop(&mut self) {
        // It goes with the process at the latest.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

impl Memory {
    fn new(path: PathBuf) -> Result<Self> {
        make_directory(&path)?;
        own_mounts()?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tmpfs", &path, "tmpfs", flags, Some(c"mode=0700"))
            .map_err(|errno| Error::io("mount a tmpfs on", &path)(errno.into()))?;
        Ok(Self(path))
    }

    /// Writes a file; gives its path.
    fn file(&self, bytes: &[u8], mode: u32, owner: (u32, u32)) -> Result<PathBuf> {
        let count = fs::read_dir(&self.0)
            .map_err(Error::io("list", &self.0))?
            .count();
        let path = self.0.join(count.to_string());
        let mut how = OpenOptions::new();
        let made = how.write(true).create_new(true).mode(0o600).open(&path);
        made.and_then(|mut file| file.write_all(bytes))
            .and_then(|()| own(&path, mode, owner))
            .map_err(Error::io("write", &path))?;
        Ok(path)
    }
}

fn own(path: &Path, mode: u32, (user, group): (u32, u32)) -> std::io::Result<()> {
    let (user, group) = (
        rustix::fs::Uid::from_raw(user),
        rustix::fs::Gid::from_raw(group),
    );
    chown(path, Some(user), Some(group))?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn make_directory(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(Error::io("make", path))
}

fn volume(source: PathBuf, mount: &Mount) -> Volume {
    Volume {
        name: None,
        copy: false,
        source,
        target: PathBuf::from(&mount.target),
        read_only: mount.read_only,
        forbid: Forbid {
            suid: false,
            dev: true,
            exec: false,
        },
        slave: false,
    }
}

/// The directory of all caches that RUN mounts.
fn caches(store: &Store) -> PathBuf {
    store.root().join("builds/mounts")
}

/// Removes the caches that no RUN uses.
///
/// # Errors
/// What cannot be removed.
pub fn clear(store: &Store) -> Result<()> {
    let place = caches(store);
    let entries = match fs::read_dir(&place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(Error::io("list", &place))?,
    };
    for entry in entries {
        let path = entry.map_err(Error::io("list", &place))?.path();
        // The lock stays: another may wait for it.
        if let Some(_lock) = lock(&path, FlockOperation::NonBlockingLockExclusive)? {
            remove(&path.join("data"))?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    wipe(path).map_err(Error::io("remove", path))
}

/// The lock of a cache; `None` if it is not free and is not to be waited for.
fn lock(cache: &Path, operation: FlockOperation) -> Result<Option<OwnedFd>> {
    let path = cache.join("lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR);
    let failed = |errno: Errno| Error::io("lock", &path)(errno.into());
    let fd = opened.map_err(failed)?;
    match flock(&fd, operation) {
        Ok(()) => Ok(Some(fd)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(failed(errno)),
    }
}

impl Workshop<'_> {
    /// The mounts of a RUN, their variables put in.
    pub(super) fn mounts(
        &self,
        stage: &Stage,
        texts: &[&String],
        full: Full<'_>,
    ) -> Result<Vec<Mount>> {
        let workdir = &stage.config.config.working_dir;
        let mut mounts = Vec::new();
        for text in texts {
            let told = |why: String| refused(format!("--mount={text}: {why}"));
            let mut mount = Mount::parse(&full(text)?).map_err(told)?;
            mount.target = below(workdir, &mount.target).map_err(told)?;
            if mount.target == "/" {
                return Err(told("the target cannot be /".to_owned()));
            }
            mounts.push(mount);
        }
        check_targets(mounts.iter().map(|mount| Path::new(&mount.target)))?;
        Ok(mounts)
    }

    /// What of the mounts counts for the cache: how they are, and what a bind shows; neither what is in a
    /// cache nor a secret.
    pub(super) fn mounts_key(&self, stages: &[Stage], mounts: &[Mount]) -> Result<Vec<String>> {
        let mut parts = Vec::new();
        for mount in mounts {
            parts.push(format!("{mount:?}"));
            match (&mount.kind, &mount.from) {
                (Kind::Bind | Kind::Cache, Some(from)) => {
                    parts.push(self.other_layers(stages, from)?.join(" "));
                }
                (Kind::Bind, None) => {
                    parts.push(self.digest(&[Ok(mount.source.clone())], &How::default())?);
                }
                _ => {}
            }
        }
        Ok(parts)
    }

    /// Makes and takes what a RUN is to see; to be given to [`Workshop::release`].
    pub(super) fn prepare(
        &mut self,
        stages: &[Stage],
        mounts: &[Mount],
        script: Option<&str>,
    ) -> Result<Held> {
        let mut held = Held::default();
        let wants_memory = mounts.iter().any(|mount| mount.kind == Kind::Secret);
        if wants_memory || script.is_some() {
            held.memory = Some(Memory::new(self.build.place("memory"))?);
        }
        for mount in mounts {
            if let Err(error) = self.prepare_one(stages, mount, &mut held) {
                // The first error is the one to tell.
                let _ = self.release(held);
                return Err(error);
            }
        }
        if let (Some(text), Some(memory)) = (script, &held.memory) {
            let source = memory.file(text.as_bytes(), 0o755, (0, 0))?;
            let script = Mount::at(SCRIPT);
            held.volumes.push(volume(source, &script));
        }
        Ok(held)
    }

    fn prepare_one(&mut self, stages: &[Stage], mount: &Mount, held: &mut Held) -> Result<()> {
        match mount.kind {
            Kind::Bind => {
                let source = match &mount.from {
                    Some(from) => self.shown(stages, from, &mount.source, held)?,
                    None => self.copied(&mount.source)?,
                };
                held.volumes.push(volume(source, mount));
            }
            Kind::Cache => {
                let source = self.cached_directory(stages, mount, held)?;
                held.volumes.push(volume(source, mount));
            }
            Kind::Secret => {
                let secret = self.secrets.get(&mount.id);
                match (secret, &held.memory) {
                    (Some(bytes), Some(memory)) => {
                        let mode = mount.mode.unwrap_or(0o400);
                        let source = memory.file(bytes, mode, mount.owner)?;
                        held.volumes.push(volume(source, mount));
                    }
                    _ if mount.required => {
                        let id = &mount.id;
                        let why = format!(
                            "there is no secret {id}: give --secret id={id},src=FILE to runner build"
                        );
                        return Err(refused(why));
                    }
                    _ => {}
                }
            }
            Kind::Tmpfs => held.tmpfs.push(Tmpfs {
                target: PathBuf::from(&mount.target),
                read_only: false,
                forbid: Forbid {
                    suid: true,
                    dev: true,
                    exec: false,
                },
                options: mount
                    .size
                    .map(|size| ("size".to_owned(), size.to_string()))
                    .into_iter()
                    .chain([("mode".to_owned(), "1777".to_owned())])
                    .collect(),
            }),
        }
        Ok(())
    }

    /// A path of another stage or image, mounted.
    fn shown(
        &mut self,
        stages: &[Stage],
        from: &str,
        source: &str,
        held: &mut Held,
    ) -> Result<PathBuf> {
        held.others.push(self.other(stages, from)?);
        let root = held.others.last().map(Other::root);
        let found = root.map(|root| open(root, Path::new(source), OFlags::PATH));
        let missing = |why: String| refused(format!("{source}: not in {from}: {why}"));
        let fd = match found {
            Some(found) => {
                found.map_err(|errno| missing(std::io::Error::from(errno).to_string()))?
            }
            None => return Err(missing("not mounted".to_owned())),
        };
        // Resolved within that root already: no link is left in it.
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        fs::read_link(&link).map_err(Error::io("read", link))
    }

    /// What a bind shows of the context: a copy, without what `.dockerignore` leaves out, and thrown away.
    fn copied(&self, source: &str) -> Result<PathBuf> {
        let place = self.build.place("mounts");
        make_directory(&place)?;
        let count = fs::read_dir(&place)
            .map_err(Error::io("list", &place))?
            .count();
        let to = place.join(count.to_string());
        make_directory(&to)?;
        fs::set_permissions(&to, Permissions::from_mode(0o755))
            .map_err(Error::io("prepare", &to))?;
        self.fill(None, source, &to)?;
        let file = Path::new(source).file_name().map(|name| to.join(name));
        let is_file = match &self.context {
            Some((root, _)) => {
                open(root, Path::new(source), OFlags::PATH | OFlags::DIRECTORY).is_err()
            }
            None => false,
        };
        Ok(file.filter(|_| is_file).unwrap_or(to))
    }

    /// Copies a path of the context, or of another stage, into a directory.
    fn fill(&self, other: Option<&Other>, source: &str, to: &Path) -> Result<()> {
        let mut spool = unnamed_file(self.store.root())?;
        let how = How {
            directory: true,
            times: true,
            ..How::default()
        };
        self.pack(other, &[Ok(source.to_owned())], how, &mut spool)?;
        spool.rewind().map_err(Error::system("rewind a file"))?;
        put_below(&mut spool, to)
    }

    /// The directory of a cache, locked as it is to be.
    fn cached_directory(
        &mut self,
        stages: &[Stage],
        mount: &Mount,
        held: &mut Held,
    ) -> Result<PathBuf> {
        let place = caches(self.store);
        for number in 0..MOST_PRIVATE {
            let cache = place.join(key(&[&mount.id, &number.to_string()]));
            make_directory(&cache)?;
            let operation = match mount.sharing {
                Sharing::Shared => FlockOperation::LockShared,
                Sharing::Locked => FlockOperation::LockExclusive,
                Sharing::Private => FlockOperation::NonBlockingLockExclusive,
            };
            if let Some(lock) = lock(&cache, operation)? {
                held.locks.push(lock);
                return self.begun(stages, mount, &cache);
            }
        }
        Err(refused(format!(
            "cache {}: too many builds use it",
            mount.id
        )))
    }

    /// The contents of a cache; made, if they are not there.
    fn begun(&mut self, stages: &[Stage], mount: &Mount, cache: &Path) -> Result<PathBuf> {
        let data = cache.join("data");
        if data.is_dir() {
            return Ok(data);
        }
        // Of this build alone: others may be filling it, too, and one of them is first.
        let fresh = self.build.place("cache-mount");
        remove(&fresh)?;
        make_directory(&fresh)?;
        if let Some(from) = &mount.from {
            let other = self.other(stages, from)?;
            let filled = self.fill(Some(&other), &mount.source, &fresh);
            self.close(other)?;
            filled?;
        }
        own(&fresh, mount.mode.unwrap_or(0o755), mount.owner)
            .map_err(Error::io("prepare", &fresh))?;
        match renameat_with(CWD, &fresh, CWD, &data, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::EXIST) => Ok(data),
            Err(errno) => Err(Error::io("make", &data)(errno.into())),
        }
    }

    /// Lets go of what was mounted.
    pub(super) fn release(&self, held: Held) -> Result<()> {
        let closed = held.others.into_iter().map(|other| self.close(other));
        let closed: Vec<Result<()>> = closed.collect();
        remove(&self.build.place("mounts"))?;
        closed.into_iter().collect()
    }

    /// The places among `targets`, and above them, that a container does not have yet: deepest first.
    pub(super) fn missing(&self, directory: &Directory, held: &Held) -> Result<Vec<PathBuf>> {
        let files = Files::open(self.home, directory)?;
        let targets = held.volumes.iter().map(|volume| &volume.target);
        let targets = targets.chain(held.tmpfs.iter().map(|tmpfs| &tmpfs.target));
        let mut missing: Vec<PathBuf> = targets
            .flat_map(|target| target.ancestors())
            .filter(|path| matches!(open(files.root(), path, OFlags::PATH), Err(Errno::NOENT)))
            .map(Path::to_owned)
            .collect();
        files.close()?;
        missing.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        missing.dedup();
        Ok(missing)
    }

    /// Takes those places away again, as far as they are empty.
    pub(super) fn tidy(&self, directory: &Directory, places: Vec<PathBuf>) -> Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        let files = Files::open(self.home, directory)?;
        let helper = files.helper(Way::In, move |_| {
            for path in places {
                // What is not empty is the RUN's own.
                let _ = match fs::symlink_metadata(&path) {
                    Ok(meta) if meta.is_dir() => fs::remove_dir(&path),
                    Ok(meta) if meta.is_file() && meta.len() == 0 => fs::remove_file(&path),
                    _ => Ok(()),
                };
            }
            Ok(())
        })?;
        let done = helper.finish()?;
        files.close()?;
        done.map_err(refused)
    }
}
