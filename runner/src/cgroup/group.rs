//! One directory of one hierarchy: `MOUNT/runner/NAME`, worked on through a descriptor.

use super::CgroupError;
use super::hierarchy::{Hierarchy, Version};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Directory of ours in each hierarchy, above the containers' own.
const PARENT: &str = "runner";

/// Controllers that v2 must pass on from the root to us.
const WANTED_V2: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// How often making a group is tried while others remove the empty parent.
const ATTEMPTS: u32 = 20;

/// How deep groups made inside a container's group are looked for.
const DEPTH: u32 = 16;

/// A container's directory in one hierarchy.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) version: Version,
    /// What can be limited here.
    pub(super) controllers: Vec<String>,
    pub(super) directory: PathBuf,
    /// Where the hierarchy is mounted.
    pub(super) mount: PathBuf,
    descriptor: OwnedFd,
}

impl Group {
    /// Makes the group. `needed` are the controllers that a limit will be written for: on v2 it
    /// is an error when one of them exists and cannot be passed on.
    pub(super) fn make(
        hierarchy: &Hierarchy,
        name: &str,
        needed: &[&str],
    ) -> Result<Self, CgroupError> {
        Self::make_or_find(hierarchy, name, needed, false)
    }

    /// Makes the group, unless it is there. It may be gone again at any moment: nobody is in it yet.
    pub(super) fn provide(hierarchy: &Hierarchy, name: &str) -> Result<Self, CgroupError> {
        match Self::open(hierarchy, name)? {
            Some(group) => Ok(group),
            None => Self::make_or_find(hierarchy, name, &[], true),
        }
    }

    fn make_or_find(
        hierarchy: &Hierarchy,
        name: &str,
        needed: &[&str],
        may_exist: bool,
    ) -> Result<Self, CgroupError> {
        let parent = hierarchy.mount.join(PARENT);
        let directory = parent.join(name);
        for _ in 0..ATTEMPTS {
            match fs::create_dir(&parent) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(failed("create", &parent, e));
                }
                _ => {}
            }
            // The last container's removal takes the empty parent away at any moment.
            match prepare(hierarchy, &parent, needed).and_then(|()| {
                fs::create_dir(&directory).map_err(|e| failed("create", &directory, e))
            }) {
                Ok(()) => return Self::made(hierarchy, directory),
                Err(CgroupError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(CgroupError::Io { source, .. })
                    if may_exist && source.kind() == std::io::ErrorKind::AlreadyExists =>
                {
                    if let Some(found) = Self::open_at(hierarchy, directory.clone())? {
                        return Ok(found);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(failed("create", &directory, Errno::NOENT.into()))
    }

    /// What is left to do once the directory exists; it goes again when that fails.
    fn made(hierarchy: &Hierarchy, directory: PathBuf) -> Result<Self, CgroupError> {
        let undo = |error| {
            // Best effort: the first error is the one to report.
            let _ = fs::remove_dir(&directory);
            error
        };
        if hierarchy.has("cpuset") && hierarchy.version == Version::V1 {
            inherit_cpuset(&directory).map_err(undo)?;
        }
        let group = Self::open_at(hierarchy, directory.clone()).map_err(undo)?;
        group.ok_or_else(|| failed("open", &directory, Errno::NOENT.into()))
    }

    /// Opens an existing group.
    pub(super) fn open(hierarchy: &Hierarchy, name: &str) -> Result<Option<Self>, CgroupError> {
        Self::open_at(hierarchy, hierarchy.mount.join(PARENT).join(name))
    }

    fn open_at(hierarchy: &Hierarchy, directory: PathBuf) -> Result<Option<Self>, CgroupError> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let descriptor = match rustix::fs::open(&directory, flags, Mode::empty()) {
            Ok(descriptor) => descriptor,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed("open", &directory, errno.into())),
        };
        let mut group = Self {
            version: hierarchy.version,
            controllers: hierarchy.controllers.clone(),
            directory,
            mount: hierarchy.mount.clone(),
            descriptor,
        };
        if group.version == Version::V2 {
            // What the parents really passed on.
            let list = group.read("cgroup.controllers")?;
            group.controllers = list.split_whitespace().map(str::to_owned).collect();
        }
        Ok(Some(group))
    }

    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Writes a file of the group; the error tells apart a missing file (`NotFound`).
    pub(super) fn write(&self, file: &str, value: &str) -> Result<(), CgroupError> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&self.descriptor, file, flags, Mode::empty())
            .and_then(|fd| rustix::io::write(&fd, value.as_bytes()))
            .map(drop)
            .map_err(|errno| failed("write", &self.directory.join(file), errno.into()))
    }

    /// Reads a file of the group.
    pub(super) fn read(&self, file: &str) -> Result<String, CgroupError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&self.descriptor, file, flags, Mode::empty())
            .map_err(std::io::Error::from)
            .and_then(|fd| std::io::read_to_string(fs::File::from(fd)))
            .map_err(|source| failed("read", &self.directory.join(file), source))
    }

    /// The number after `key` in a file of `key value` lines; `None` when the file or the line
    /// is not there.
    pub(super) fn counter(&self, file: &str, key: &str) -> Result<Option<u64>, CgroupError> {
        let text = match self.read(file) {
            Ok(text) => text,
            Err(CgroupError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        Ok(value.and_then(|v| v.trim().parse().ok()))
    }

    /// The processes of the group and of groups made below it.
    pub(super) fn members(&self) -> BTreeSet<i32> {
        let mut pids = BTreeSet::new();
        for directory in tree(&self.directory, DEPTH) {
            // A group that vanished has no members.
            let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
        pids
    }

    /// Sends SIGKILL to every member, sure of each: the pid is pinned before it is looked at.
    pub(super) fn signal_members(&self) {
        for pid in self.members().into_iter().filter_map(Pid::from_raw) {
            let Ok(pinned) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
                continue; // gone already
            };
            if self.members().contains(&pid.as_raw_nonzero().get()) {
                // It may have ended since; that is what is wanted.
                let _ = rustix::process::pidfd_send_signal(&pinned, Signal::KILL);
            }
        }
    }

    /// Removes the group and groups below it. `Ok(false)`: busy, try again.
    pub(super) fn remove(&self) -> Result<bool, CgroupError> {
        for directory in tree(&self.directory, DEPTH).into_iter().rev() {
            match rustix::fs::rmdir(&directory) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::BUSY | Errno::NOTEMPTY) => return Ok(false),
                Err(errno) => return Err(failed("remove", &directory, errno.into())),
            }
        }
        if let Some(parent) = self.directory.parent() {
            // Stays while other containers have groups in it.
            let _ = rustix::fs::rmdir(parent);
        }
        Ok(true)
    }
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

/// The directory and those below it, parents first.
fn tree(directory: &Path, depth: u32) -> Vec<PathBuf> {
    let mut all = vec![directory.to_owned()];
    if depth > 0 {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        for entry in entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
            all.extend(tree(&entry.path(), depth - 1));
        }
    }
    all
}

/// Makes our parent directory fit for children that need `needed`.
fn prepare(hierarchy: &Hierarchy, parent: &Path, needed: &[&str]) -> Result<(), CgroupError> {
    if hierarchy.version == Version::V1 {
        return if hierarchy.has("cpuset") {
            inherit_cpuset(parent)
        } else {
            Ok(())
        };
    }
    for directory in [hierarchy.mount.as_path(), parent] {
        let file = directory.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&file).map_err(|e| failed("read", &file, e))?;
        for controller in WANTED_V2.iter().filter(|c| hierarchy.has(c)) {
            if enabled.split_whitespace().any(|c| c == *controller) {
                continue;
            }
            match fs::write(&file, format!("+{controller}")) {
                Err(e) if needed.contains(controller) => {
                    return Err(failed(
                        "enable a controller (does the group hold processes?) in",
                        &file,
                        e,
                    ));
                }
                // Not needed now; the group will be made without it.
                _ => {}
            }
        }
    }
    Ok(())
}

/// A v1 cpuset group starts empty and takes no process until it has processors and memory
/// nodes: take over the parent's.
fn inherit_cpuset(directory: &Path) -> Result<(), CgroupError> {
    let Some(parent) = directory.parent() else {
        return Ok(());
    };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (ours, theirs) = (directory.join(file), parent.join(file));
        let text = fs::read_to_string(&ours).map_err(|e| failed("read", &ours, e))?;
        if text.trim().is_empty() {
            let text = fs::read_to_string(&theirs).map_err(|e| failed("read", &theirs, e))?;
            fs::write(&ours, text.trim()).map_err(|e| failed("write", &ours, e))?;
        }
    }
    Ok(())
}

pub(super) fn failed(what: &'static str, path: &Path, source: std::io::Error) -> CgroupError {
    CgroupError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}
