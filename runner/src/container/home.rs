//! All containers of one root directory: making, finding, naming, removing, sweeping.
//!
//! ```text
//!   ROOT/                     0700
//!     containers/ID/          one container (see directory)
//!     containers/.gone-ID/    one that is being removed: no longer a container
//!     names/NAME -> ID        (see names)
//!     locks/ID                somebody works on it or watches it (see lock)
//!     pins/ID.json            the layers it needs (see image::Store)
//!     builds/BUILD/           what a build has made (see builds)
//!     events.log              what happened (see journal)
//! ```
//!
//! A lock that is there and free belongs to somebody who was killed: a client while it made or
//! removed the container, or its monitor. The next command that opens the root finishes what was
//! begun: it kills what is left in the control group, and removes the container or writes down
//! that it has ended.

use super::Id;
use super::builds;
use super::directory::Directory;
use super::journal::{Journal, Subject};
use super::lock::Lock;
use super::names::{self, Names, check_name};
use super::spec::Spec;
use super::state::{State, Status};
use super::volume::{self, Volumes};
use super::wipe::wipe;
use crate::cgroup::{Cgroup, Monitors};
use crate::error::{Error, Result};
use crate::image::Store;
use crate::network;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Exit code of a container whose monitor was killed: it was killed with it.
const KILLED: u8 = 137;

/// How the directory of a container that is being removed begins.
pub(super) const GONE: &str = ".gone-";

/// How a container was found by [`Home::settle`].
#[derive(Debug)]
pub enum Settled {
    /// Nobody works on it, and nobody will while the lock is held.
    Free(Lock),
    /// It has a monitor, which can be talked to.
    Alive(State),
}

/// The containers of one root directory.
#[derive(Debug)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// Opens the containers below `root`, making directories as needed, and finishes what killed
    /// commands and monitors left; also gives what could not be put right.
    pub fn open(root: &Path) -> Result<(Self, Vec<Error>)> {
        let home = Self {
            root: root.to_owned(),
        };
        let parts = ["containers", "names", "locks"].map(|part| root.join(part));
        // In the usual case all are there: one call tells.
        if !parts.iter().all(|part| part.is_dir()) {
            for path in [root.to_owned()].iter().chain(&parts) {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(path)
                    .map_err(Error::io("make", path))?;
            }
        }
        let problems = home.sweep()?;
        Ok((home, problems))
    }

    /// The root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of a container.
    pub fn directory(&self, id: Id) -> Directory {
        Directory::new(&self.containers(), id)
    }

    /// Waits until nobody works on a container, its monitor included.
    pub fn lock(&self, id: &Id) -> Result<Lock> {
        Lock::take(&self.locks(), id)
    }

    /// The container's lock, unless somebody holds it.
    pub fn try_lock(&self, id: &Id) -> Result<Option<Lock>> {
        Lock::try_take(&self.locks(), id)
    }

    /// The container's lock; or, if it is alive, the knowledge that it is. What is being started
    /// or is ending is waited for.
    pub fn settle(&self, directory: &Directory) -> Result<Settled> {
        let gone = || Error::NoContainer(directory.id().short().to_owned());
        let mut pause = Duration::from_micros(500);
        loop {
            if let Some(lock) = self.try_lock(directory.id())? {
                if !directory.join("config.json").exists() {
                    return Err(gone());
                }
                return Ok(Settled::Free(lock));
            }
            match directory.state() {
                Ok(state) if state.status.is_alive() || state.status == Status::Restarting => {
                    return Ok(Settled::Alive(state));
                }
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    return Err(gone());
                }
                _ => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Makes a container; gives its directory and the lock on it.
    ///
    /// In this order, so that a sweep finds whatever a killed command has made: lock, layers
    /// pinned, name, directory, specification.
    pub fn create(&self, spec: &Spec, name: Option<&str>) -> Result<(Directory, Lock)> {
        let lock = self.lock(&spec.id)?;
        let directory = self.directory(spec.id.clone());
        let made = self.make(&directory, spec, name);
        match made {
            Ok(name) => {
                self.record("create", &directory, spec, &name);
                Ok((directory, lock))
            }
            Err(error) => {
                // The first error is the one to tell.
                let _ = self.discard(&directory);
                Err(error)
            }
        }
    }

    fn make(&self, directory: &Directory, spec: &Spec, name: Option<&str>) -> Result<String> {
        let image = spec.image_id.as_deref();
        Store::at(&self.root).pin(spec.id.as_str(), image, &spec.lowers, spec.reach())?;
        let name = self.give_name(&spec.id, name)?;
        directory.make()?;
        directory.write_text("name", &name)?;
        directory.fill(spec)?;
        Ok(name)
    }

    fn give_name(&self, id: &Id, wanted: Option<&str>) -> Result<String> {
        let names = self.names();
        if let Some(name) = wanted {
            names.give(name, id)?;
            return Ok(name.to_owned());
        }
        for attempt in 0.. {
            let name = names::invent(id, attempt);
            match names.give(&name, id) {
                Err(Error::NameInUse { .. }) => {}
                other => return other.map(|()| name),
            }
        }
        Err(Error::NoContainer(id.short().to_owned()))
    }

    /// Finds a container by name, id or unique beginning of an id.
    pub fn find(&self, wanted: &str) -> Result<Directory> {
        // As docker shows names in some places.
        let plain = wanted.strip_prefix('/').unwrap_or(wanted);
        let unknown = || Error::NoContainer(wanted.to_owned());
        if plain.is_empty() || plain.contains('/') || plain.starts_with('.') {
            return Err(unknown());
        }
        let there = |directory: &Directory| directory.join("config.json").exists();
        if let Ok(id) = Id::try_from(plain.to_owned()) {
            return Some(self.directory(id)).filter(there).ok_or_else(unknown);
        }
        if let Some(id) = self.names().id(plain)?
            && let Some(found) = Some(self.directory(id)).filter(there)
        {
            return Ok(found);
        }
        let mut all = self.all()?.into_iter();
        let mut begins = all.by_ref().filter(|d| d.id().as_str().starts_with(plain));
        match (begins.next(), begins.next()) {
            (Some(directory), None) if there(&directory) => Ok(directory),
            (_, None) => Err(unknown()),
            (_, Some(_)) => Err(Error::Ambiguous(wanted.to_owned())),
        }
    }

    /// The directories of all containers, in no order; some may be gone a moment later.
    pub fn all(&self) -> Result<Vec<Directory>> {
        let path = self.containers();
        let listed = fs::read_dir(&path).and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.path()))
                .collect::<io::Result<Vec<_>>>()
        });
        let listed = listed.map_err(Error::io("list", &path))?;
        Ok(listed.into_iter().filter_map(Directory::at).collect())
    }

    /// The names of all containers.
    pub fn all_names(&self) -> Result<BTreeMap<Id, String>> {
        self.names().all()
    }

    /// The name of one container; its short id, if a command killed in between left it none.
    pub fn name(&self, id: &Id) -> Result<String> {
        let name = self.find_name(id)?;
        Ok(name.unwrap_or_else(|| id.short().to_owned()))
    }

    /// Its directory tells the name that it was last given; if that is true no longer, all names
    /// are looked through.
    pub(super) fn find_name(&self, id: &Id) -> Result<Option<String>> {
        let told = fs::read_to_string(self.directory(id.clone()).join("name"));
        if let Some(told) = told.ok().filter(|name| check_name("--name", name).is_ok())
            && self.names().id(&told)?.as_ref() == Some(id)
        {
            return Ok(Some(told));
        }
        Ok(self.names().all()?.remove(id))
    }

    /// Gives a container another name.
    pub fn rename(&self, directory: &Directory, to: &str) -> Result<()> {
        let id = directory.id();
        let names = self.names();
        let from = self.find_name(id)?;
        match &from {
            Some(from) if from == to => return Err(Error::SameName(to.to_owned())),
            Some(from) => names.change(from, to)?,
            None => names.give(to, id)?,
        }
        directory.write_text("name", to)?;
        let subject = Subject::container(&directory.spec()?, to);
        let subject = subject.with("oldName", from.unwrap_or_default());
        self.journal().record("rename", &subject);
        Ok(())
    }

    /// Removes a container that does not run, under its lock; with `volumes`, also its anonymous
    /// volumes that no other container refers to.
    pub fn remove(&self, directory: &Directory, _lock: Lock, volumes: bool) -> Result<()> {
        match directory.spec() {
            Ok(spec) => self.remove_own(directory, &spec, volumes),
            Err(_) => self.discard(directory),
        }
    }

    /// As [`Home::remove`], for whoever has the lock and the specification already.
    pub(super) fn remove_own(
        &self,
        directory: &Directory,
        spec: &Spec,
        volumes: bool,
    ) -> Result<()> {
        let name = self.name(directory.id())?;
        self.discard(directory)?;
        self.record("destroy", directory, spec, &name);
        match volumes {
            true => self.free_volumes(spec),
            false => Ok(()),
        }
    }

    /// Frees the anonymous volumes of a container that is gone.
    fn free_volumes(&self, spec: &Spec) -> Result<()> {
        let names = spec.volumes.iter().filter_map(|volume| volume.name.clone());
        let anonymous = |record: &volume::Record| record.anonymous;
        let volumes = Volumes::at(&self.root);
        volumes.free(self, names, anonymous).map(drop)
    }

    /// Removes all there is of a container: first its directory's name, so that it is gone at
    /// once, then the rest. The caller holds its lock.
    pub(super) fn discard(&self, directory: &Directory) -> Result<()> {
        let (path, id) = (directory.path(), directory.id());
        let name = self.find_name(id)?;
        let gone = self.containers().join(format!("{GONE}{id}"));
        match fs::rename(path, &gone) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", path)(error));
            }
            _ => {}
        }
        if let Some(name) = name {
            self.names().take(&name, id)?;
        }
        wipe(&gone).map_err(Error::io("remove", &gone))?;
        Ok(Store::at(&self.root).unpin(id.as_str())?)
    }

    /// Finishes what was begun by commands and monitors that were killed. What goes wrong with
    /// one container does not keep the others from it.
    pub fn sweep(&self) -> Result<Vec<Error>> {
        let path = self.locks();
        let mut problems = Vec::new();
        for entry in fs::read_dir(&path).map_err(Error::io("list", &path))? {
            let entry = entry.map_err(Error::io("list", &path))?;
            let name = entry.file_name().into_string().unwrap_or_default();
            let Ok(id) = Id::try_from(name) else { continue };
            match self.try_lock(&id) {
                Ok(Some(lock)) => match self.put_right(&self.directory(id)) {
                    Ok(()) => drop(lock),
                    Err(problem) => {
                        // Stays for the next command to try again.
                        let _kept = lock.hand_over();
                        problems.push(problem);
                    }
                },
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        problems.extend(builds::sweep(self)?);
        match network::State::read(&self.root) {
            Ok(state) if state.has_unused() => {
                problems.extend(network::take_over(&self.root).err().map(Error::from));
            }
            Ok(_) => {}
            Err(error) => problems.push(error.into()),
        }
        Ok(problems)
    }

    /// Looks after one container whose lock was left behind. The caller holds the lock.
    fn put_right(&self, directory: &Directory) -> Result<()> {
        Cgroup::remove_stale(directory.id().as_str())?;
        // Stays if others are in it.
        Monitors::open()?.remove()?;
        network::release(&self.root, directory.id().as_str())?;
        let spec = match directory.spec() {
            Ok(spec) if !spec.remove => spec,
            // To be removed.
            Ok(spec) => {
                self.discard(directory)?;
                return self.free_volumes(&spec);
            }
            // Never finished, or gone but for its rests.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return self.discard(directory);
            }
            Err(error) => return Err(error),
        };
        // One that was cut short by a power failure tells nothing.
        let mut state = directory.state().unwrap_or(State {
            status: Status::Running,
            ..State::default()
        });
        if matches!(state.status, Status::Created | Status::Exited) {
            return Ok(());
        }
        state.end(KILLED, false);
        state.error = "its monitor was killed".to_owned();
        directory.set_state(&state)?;
        let name = self.name(directory.id())?;
        self.record("die", directory, &spec, &name);
        Ok(())
    }

    fn record(&self, action: &str, directory: &Directory, spec: &Spec, name: &str) {
        debug_assert_eq!(directory.id(), &spec.id);
        self.journal()
            .record(action, &Subject::container(spec, name));
    }

    /// What happens is written there.
    pub fn journal(&self) -> Journal {
        Journal::at(&self.root)
    }

    pub(super) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(super) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    fn names(&self) -> Names {
        Names::at(&self.root)
    }

    /// The home of a container, seen from its directory; nothing is looked at.
    pub(super) fn of(directory: &Directory) -> Self {
        Self {
            root: directory.root().to_owned(),
        }
    }
}
