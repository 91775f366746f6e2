//! All containers of one root directory: names, making, finding, removing, sweeping.
//!
//! ```text
//!   ROOT/containers.lock      held while a container is made, removed or swept
//!   ROOT/containers/          0700
//!     ID/                     one container
//!     .gone-ID/               one that is being removed: no longer a container
//! ```
//!
//! A container whose lock nobody holds has no monitor. If its state says otherwise, its monitor
//! was killed: the next command that opens the root finds it so, kills what is left in its
//! control group, and removes it or writes down that it has ended.

use super::Id;
use super::directory::{Directory, State};
use super::spec::Spec;
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Exit code of a container whose monitor was killed: it was killed with it.
const KILLED: u8 = 137;

const GONE: &str = ".gone-";

/// The containers of one root directory.
#[derive(Debug)]
pub struct Home {
    containers: PathBuf,
}

/// While it lives, no other command makes, removes or sweeps containers.
#[derive(Debug)]
struct Guard {
    _lock: File,
}

impl Home {
    /// Opens the containers below `root`, making directories as needed, and cleans up after
    /// monitors that were killed; also gives what could not be cleaned up.
    pub fn open(root: &Path) -> Result<(Self, Vec<Error>)> {
        let containers = root.join("containers");
        for path in [root, &containers] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(Error::io("make", path))?;
        }
        let home = Self { containers };
        let problems = home.sweep()?;
        Ok((home, problems))
    }

    fn lock(&self) -> Result<Guard> {
        let path = self.containers.with_extension("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        loop {
            match flock(&lock, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => {}
                other => {
                    let locked = other.map_err(io::Error::from);
                    locked.map_err(Error::io("lock", path))?;
                    return Ok(Guard { _lock: lock });
                }
            }
        }
    }

    /// Makes a container with these files in its directory; gives that and the lock on it.
    pub fn create(&self, spec: &Spec, files: &[(&str, String)]) -> Result<(Directory, OwnedFd)> {
        let _guard = self.lock()?;
        if let Some(name) = &spec.name {
            for other in self.all()? {
                let Ok(other) = other.spec() else { continue };
                if other.name.as_ref() == Some(name) || other.id.as_str() == name {
                    return Err(Error::NameInUse {
                        name: name.clone(),
                        id: other.id.short().to_owned(),
                    });
                }
            }
        }
        let directory = Directory::at(self.containers.join(spec.id.as_str()));
        let lock = directory.make()?;
        let filled = files
            .iter()
            .try_for_each(|(name, text)| directory.write_text(name, text))
            .and_then(|()| directory.fill(spec));
        match filled {
            Ok(()) => Ok((directory, lock)),
            Err(error) => {
                // The first error is the one to tell.
                let _ = discard(&directory);
                Err(error)
            }
        }
    }

    /// Finds a container by name, id or unique beginning of an id.
    pub fn find(&self, wanted: &str) -> Result<Directory> {
        let mut by_id = Vec::new();
        for directory in self.all()? {
            let Ok(spec) = directory.spec() else { continue };
            if spec.name.as_deref() == Some(wanted) || spec.id.as_str() == wanted {
                return Ok(directory);
            }
            if !wanted.is_empty() && spec.id.as_str().starts_with(wanted) {
                by_id.push(directory);
            }
        }
        let mut found = by_id.into_iter();
        match (found.next(), found.next()) {
            (Some(directory), None) => Ok(directory),
            (None, _) => Err(Error::NoContainer(wanted.to_owned())),
            (Some(_), Some(_)) => Err(Error::Ambiguous(wanted.to_owned())),
        }
    }

    /// Removes a container that does not run.
    pub fn remove(&self, wanted: &str) -> Result<()> {
        let _guard = self.lock()?;
        let directory = self.find(wanted)?;
        match directory.try_lock()? {
            Some(_lock) => discard(&directory),
            None => Err(Error::Running(wanted.to_owned())),
        }
    }

    /// Cleans up after monitors that were killed, and after removals that were cut short. What
    /// goes wrong with one container does not keep the others from it.
    pub fn sweep(&self) -> Result<Vec<Error>> {
        let _guard = self.lock()?;
        let mut problems = Vec::new();
        for entry in self.entries()? {
            let name = entry.file_name().and_then(|name| name.to_str());
            let name = name.unwrap_or_default().to_owned();
            let directory = Directory::at(entry);
            let done = if name.starts_with(GONE) {
                match directory.try_lock() {
                    Ok(None) => Ok(()),
                    _ => wipe(directory.path()),
                }
            } else if let Ok(id) = Id::try_from(name) {
                sweep_one(&directory, &id)
            } else {
                Ok(())
            };
            problems.extend(done.err());
        }
        Ok(problems)
    }

    fn all(&self) -> Result<Vec<Directory>> {
        let entries = self.entries()?.into_iter();
        let is_id = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| Id::try_from(name.to_owned()).is_ok())
        };
        Ok(entries.filter(is_id).map(Directory::at).collect())
    }

    fn entries(&self) -> Result<Vec<PathBuf>> {
        let listed = fs::read_dir(&self.containers)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        listed.map_err(Error::io("list", &self.containers))
    }
}

/// Looks after one container whose monitor may be dead.
fn sweep_one(directory: &Directory, id: &Id) -> Result<()> {
    let _lock = match directory.try_lock() {
        Ok(Some(lock)) => lock,
        Ok(None) => return Ok(()),
        // Cut short while it was made: it never was a container.
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return discard(directory);
        }
        Err(error) => return Err(error),
    };
    let state = directory.state();
    let ended = matches!(state, Ok(State::Exited { .. }));
    if ended && directory.spec().is_ok_and(|spec| !spec.remove) {
        return Ok(());
    }
    Cgroup::remove_stale(id.as_str())?;
    match directory.spec() {
        Ok(spec) if !spec.remove => match state {
            Ok(State::Running { .. }) => directory.set_state(&State::Exited {
                code: KILLED,
                out_of_memory: false,
                finished: now(),
            }),
            _ => Ok(()),
        },
        // To be removed, or never finished.
        Ok(_) => discard(directory),
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            discard(directory)
        }
        Err(error) => Err(error),
    }
}

/// Removes a container's directory: first its name, so that it is gone at once, then the rest.
/// The caller holds its lock.
pub(super) fn discard(directory: &Directory) -> Result<()> {
    let path = directory.path();
    let name = path.file_name().and_then(|name| name.to_str());
    let gone = path.with_file_name(format!("{GONE}{}", name.unwrap_or_default()));
    fs::rename(path, &gone).map_err(Error::io("remove", path))?;
    wipe(&gone)
}

fn wipe(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Checks the value of `--name`.
pub fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if first && name.len() > 1 && name.len() <= 255 && bytes.all(rest) {
        return Ok(());
    }
    Err(Error::Value {
        flag: "--name",
        value: name.to_owned(),
        why: "only [a-zA-Z0-9][a-zA-Z0-9_.-]+ are allowed".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["ab", "web-1", "A_b.c"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-a", "a b", "../x", "ü1", ".."] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
