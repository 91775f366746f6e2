//! The group of the monitors: `runner/monitors`, beside the containers' own.
//!
//! ```text
//!   monitor born in the caller's session ──provide, enter──> runner/monitors   (+ what it starts)
//!   at its end, from outside of it       ──leave, remove──>  gone with the last one
//! ```
//!
//! Session managers end a session by killing its group. They know processes by the hierarchy of v2 or
//! a named one of v1, so it is made in those only. It is one for all monitors, since it limits nothing:
//! a group that is there already costs nothing.

use super::CgroupError;
use super::group::{Group, failed};
use super::hierarchy::{self, Hierarchy, Version};
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::os::fd::{BorrowedFd, OwnedFd};

/// No container is called so.
const NAME: &str = "monitors";

/// The group in each hierarchy that processes are found by.
#[derive(Debug)]
pub struct Monitors {
    groups: Vec<Group>,
}

/// Whether session managers find their processes here.
fn is_managed(hierarchy: &Hierarchy) -> bool {
    let named = |c: &String| c.starts_with("name=");
    hierarchy.version == Version::V2 || hierarchy.controllers.iter().any(named)
}

impl Monitors {
    /// Makes the group where it is missing.
    ///
    /// # Errors
    /// No cgroup file system, or what the kernel refuses.
    pub fn provide() -> Result<Self, CgroupError> {
        let all = hierarchy::detect()?;
        let managed = all.iter().filter(|hierarchy| is_managed(hierarchy));
        let groups = managed.map(|hierarchy| Group::provide(hierarchy, NAME));
        Ok(Self {
            groups: groups.collect::<Result<_, _>>()?,
        })
    }

    /// The group where it is.
    ///
    /// # Errors
    /// As [`Monitors::provide`].
    pub fn open() -> Result<Self, CgroupError> {
        let mut groups = Vec::new();
        for hierarchy in hierarchy::detect()?.iter().filter(|h| is_managed(h)) {
            groups.extend(Group::open(hierarchy, NAME)?);
        }
        Ok(Self { groups })
    }

    /// The group in the v2 hierarchy, to be born in: see [`super::Cgroup::enter`].
    pub fn unified_fd(&self) -> Option<BorrowedFd<'_>> {
        self.unified().map(Group::descriptor)
    }

    /// The root of the v2 hierarchy, to be born in by whoever is to remove the group.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn outside_fd(&self) -> Result<Option<OwnedFd>, CgroupError> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let open = |group: &Group| {
            rustix::fs::open(&group.mount, flags, Mode::empty())
                .map_err(|errno| failed("open", &group.mount, errno.into()))
        };
        self.unified().map(open).transpose()
    }

    /// Moves the caller, which has no other thread, into the groups of v1.
    ///
    /// # Errors
    /// What the kernel refuses; `ENODEV` if the group was removed meanwhile.
    pub fn enter(&self) -> Result<(), CgroupError> {
        self.old().try_for_each(|group| group.write("tasks", "0"))
    }

    /// Moves the caller out of them again.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn leave(&self) -> Result<(), CgroupError> {
        self.old().try_for_each(|group| {
            let file = group.mount.join("tasks");
            fs::write(&file, "0").map_err(|e| failed("write", &file, e))
        })
    }

    /// The processes in the group.
    pub fn members(&self) -> Vec<i32> {
        let all = self.groups.iter().flat_map(Group::members);
        all.collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// Removes the group (and an empty `runner` parent) wherever nobody is in it; whether it is gone
    /// everywhere.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn remove(&self) -> Result<bool, CgroupError> {
        let mut gone = true;
        for group in &self.groups {
            gone &= group.remove()?;
        }
        Ok(gone)
    }

    fn unified(&self) -> Option<&Group> {
        let mut new = self.groups.iter().filter(|g| g.version == Version::V2);
        new.next()
    }

    fn old(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|g| g.version == Version::V1)
    }
}
