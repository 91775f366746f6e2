//! Names of containers: one symbolic link each, so that the file system itself keeps them unique.
//!
//! ```text
//!   ROOT/names/web -> ID      made by one symlink(2), changed by one rename(2)
//! ```
//!
//! A link whose container is gone is left over from a command that was killed; it is taken over.

use super::Id;
use crate::error::{Error, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{
    CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, readlinkat, renameat_with, symlinkat,
};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The names of all containers of one root directory.
#[derive(Debug)]
pub(super) struct Names {
    directory: PathBuf,
    containers: PathBuf,
}

impl Names {
    pub(super) fn at(root: &Path) -> Self {
        Self {
            directory: root.join("names"),
            containers: root.join("containers"),
        }
    }

    /// Gives a name to a container.
    pub(super) fn give(&self, name: &str, id: &Id) -> Result<()> {
        let path = self.directory.join(name);
        loop {
            match symlinkat(id.as_str(), CWD, &path) {
                Err(Errno::EXIST) => self.free_if_left_over(name)?,
                other => return other.map_err(|errno| failed("name", &path, errno)),
            }
        }
    }

    /// Gives another name to a container.
    pub(super) fn change(&self, from: &str, to: &str) -> Result<()> {
        let (old, new) = (self.directory.join(from), self.directory.join(to));
        loop {
            match renameat_with(CWD, &old, CWD, &new, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => self.free_if_left_over(to)?,
                other => return other.map_err(|errno| failed("rename", &old, errno)),
            }
        }
    }

    /// Takes the name from the container, if it still has it.
    pub(super) fn take(&self, name: &str, id: &Id) -> Result<()> {
        // Nothing else removes a name, so it stays what it is between looking and removing.
        let _alone = self.lock()?;
        if self.id(name)?.as_ref() != Some(id) {
            return Ok(());
        }
        let path = self.directory.join(name);
        match rustix::fs::unlink(&path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("remove", &path, errno)),
        }
    }

    /// The container of a name.
    pub(super) fn id(&self, name: &str) -> Result<Option<Id>> {
        let path = self.directory.join(name);
        match readlinkat(CWD, &path, Vec::new()) {
            Ok(text) => Ok(text
                .into_string()
                .ok()
                .and_then(|text| Id::try_from(text).ok())),
            Err(Errno::NOENT | Errno::INVAL | Errno::NOTDIR | Errno::NAMETOOLONG) => Ok(None),
            Err(errno) => Err(failed("read", &path, errno)),
        }
    }

    /// All names, by container.
    pub(super) fn all(&self) -> Result<BTreeMap<Id, String>> {
        let mut all = BTreeMap::new();
        let failed = || Error::io("list", &self.directory);
        for entry in fs::read_dir(&self.directory).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if let Some(id) = self.id(&name)? {
                all.insert(id, name);
            }
        }
        Ok(all)
    }

    /// An error if a container has this name; else the link is removed.
    fn free_if_left_over(&self, name: &str) -> Result<()> {
        let Some(id) = self.id(name)? else {
            return Ok(());
        };
        if self.containers.join(id.as_str()).exists() || self.being_made(&id) {
            return Err(Error::NameInUse {
                name: name.to_owned(),
                id: id.short().to_owned(),
            });
        }
        self.take(name, &id)
    }

    fn lock(&self) -> Result<OwnedFd> {
        let failed = |errno| failed("lock", &self.directory, errno);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&self.directory, flags, Mode::empty()).map_err(failed)?;
        while let Err(errno) = flock(&directory, FlockOperation::LockExclusive) {
            if errno != Errno::INTR {
                return Err(failed(errno));
            }
        }
        Ok(directory)
    }

    /// The name is given before the directory is there, under the container's lock.
    fn being_made(&self, id: &Id) -> bool {
        let locks = self.directory.with_file_name("locks");
        !matches!(super::lock::Lock::try_take(&locks, id), Ok(Some(_)))
    }
}

fn failed(what: &'static str, path: &Path, errno: Errno) -> Error {
    Error::io(what, path)(io::Error::from(errno))
}

/// Checks a name that the user gives to a container or a volume.
pub fn check_name(flag: &'static str, name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if first && name.len() > 1 && name.len() <= 255 && bytes.all(rest) {
        return Ok(());
    }
    Err(Error::Value {
        flag,
        value: name.to_owned(),
        why: "only [a-zA-Z0-9][a-zA-Z0-9_.-]+ are allowed".to_owned(),
    })
}

/// A name for a container that was given none: what it is like, and an instrument of a workshop.
pub(super) fn invent(id: &Id, attempt: u32) -> String {
    const LIKE: [&str; 64] = [
        "agile", "amber", "ample", "azure", "brave", "brief", "bright", "brisk", "calm", "candid",
        "clear", "clever", "cosy", "crisp", "curious", "deft", "eager", "early", "fair", "fancy",
        "fleet", "fond", "frank", "free", "fresh", "gentle", "glad", "golden", "grand", "happy",
        "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid", "lucky",
        "mellow", "merry", "mild", "neat", "nimble", "noble", "patient", "placid", "plain",
        "polite", "proud", "quick", "quiet", "ready", "serene", "sharp", "silver", "snug", "solid",
        "steady", "sunny", "swift", "tidy", "witty",
    ];
    const TOOLS: [&str; 64] = [
        "adze", "anchor", "anvil", "auger", "awl", "beam", "bellows", "bench", "bolt", "bobbin",
        "brace", "brush", "caliper", "chisel", "clamp", "compass", "cog", "crane", "crank", "dial",
        "drill", "easel", "file", "flint", "forge", "funnel", "gauge", "gear", "gimlet", "hammer",
        "hinge", "hoist", "jig", "kiln", "ladle", "lamp", "lathe", "lens", "level", "lever",
        "loom", "mallet", "mortar", "needle", "paddle", "pestle", "plane", "pliers", "plumb",
        "press", "prism", "pulley", "rasp", "rivet", "ruler", "sextant", "shuttle", "sickle",
        "spindle", "spool", "trowel", "vice", "wedge", "winch",
    ];
    let digit = |at: usize| {
        let pair = id.as_str().get(at..at + 2).unwrap_or("0");
        usize::from_str_radix(pair, 16).unwrap_or(0) % 64
    };
    let like = LIKE.get(digit(0)).unwrap_or(&"plain");
    let tool = TOOLS.get(digit(2)).unwrap_or(&"anvil");
    if attempt == 0 {
        format!("{like}_{tool}")
    } else {
        format!("{like}_{tool}{attempt}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["ab", "web-1", "A_b.c"] {
            assert!(check_name("--name", good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-a", "a b", "../x", "ü1", ".."] {
            assert!(check_name("--name", bad).is_err(), "{bad}");
        }
        let id = Id::new().unwrap();
        assert!(check_name("--name", &invent(&id, 0)).is_ok());
        assert!(invent(&id, 3).ends_with('3'));
    }

    #[test]
    fn a_name_has_one_container() {
        let root = tempfile::tempdir().unwrap();
        for part in ["names", "containers", "locks"] {
            fs::create_dir(root.path().join(part)).unwrap();
        }
        let names = Names::at(root.path());
        let (a, b) = (Id::new().unwrap(), Id::new().unwrap());
        for id in [&a, &b] {
            fs::create_dir(root.path().join("containers").join(id.as_str())).unwrap();
        }
        names.give("web", &a).unwrap();
        assert!(matches!(
            names.give("web", &b),
            Err(Error::NameInUse { .. })
        ));
        names.give("db", &b).unwrap();
        assert!(names.change("db", "web").is_err());
        names.change("db", "store").unwrap();
        assert_eq!(names.id("db").unwrap(), None);
        assert_eq!(names.all().unwrap().get(&b).unwrap(), "store");
        // Of a container that is gone.
        fs::remove_dir(root.path().join("containers").join(a.as_str())).unwrap();
        names.change("store", "web").unwrap();
        assert_eq!(names.id("web").unwrap(), Some(b));
    }
}
