//! Control groups: one directory per container in every hierarchy, limits written into it.
//!
//! ```text
//! Limits ----check, settings::plan----> files to write
//! hierarchy::detect ----> /sys/fs/cgroup/memory/runner/ID     (a group::Group each)
//!                         /sys/fs/cgroup/pids/runner/ID
//!                         /sys/fs/cgroup/unified/runner/ID    ... all of them one Cgroup
//!
//! create -> add(init) -> ... -> oom_killed? -> kill_all -> remove      (the owner's way)
//! remove_stale                                                        (after a crash)
//! monitors: where the processes that look after containers are
//! ```
//!
//! v1, v2 and hybrid machines differ only in which hierarchy has which controller; a controller
//! is looked up, never assumed. The groups stand below the *root* of each hierarchy
//! (`/runner/ID`), as docker's do, not below the caller's own group: a container outlives the
//! session that started it, the caller's group belongs to a service manager that may count,
//! freeze or remove it, and on v2 a group with processes cannot pass controllers on.
//! The price: limits of the caller's session do not bind its containers; their own do.
//!
//! A group is also made where nothing is limited (freezer, name=systemd, ...), so that every
//! process of a container can be found, and so that its cgroup namespace shows `/` everywhere.

mod devices;
mod error;
mod group;
mod hierarchy;
mod limits;
mod monitors;
mod settings;
mod sys;
mod tuning;
mod usage;

pub use devices::Rule as DeviceRule;
pub use error::CgroupError;
pub use limits::{
    Limits, MINIMUM_MEMORY, MemorySwap, parse_cpus, parse_cpuset, parse_memory, parse_memory_swap,
    parse_pids, parse_size,
};
pub use monitors::Monitors;
pub use tuning::{Rate, RateKind, Tuning};
pub use usage::Usage;

use group::{Group, failed};
use hierarchy::{Hierarchy, Version};
use settings::{Missing, Setting};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long killed processes and busy directories are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which device nodes the processes of a container may open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DevicePolicy {
    /// null, zero, full, random, urandom, tty, console, ptmx and ptys, and these; any node may be
    /// made.
    Container(Vec<DeviceRule>),
    /// Every device (`--privileged`).
    Privileged,
    /// The device controller is not touched.
    Off,
}

/// One thing to show below `/sys/fs/cgroup` in the container, read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Directory name below `/sys/fs/cgroup`; empty for pure v2 (the directory itself).
    pub name: String,
    /// The container's own group on the host: the source of the bind mount.
    pub host: PathBuf,
    /// Symbolic links to make beside it, each pointing at `name` (`cpu` to `cpu,cpuacct`).
    pub links: Vec<String>,
}

/// The control group of one container. Dropping it removes nothing: call [`Cgroup::remove`].
#[derive(Debug)]
pub struct Cgroup {
    name: String,
    groups: Vec<Group>,
}

/// Which versions this machine's hierarchies are of: `1`, `2`, or `1 and 2` where both are in use.
///
/// # Errors
/// No cgroup file system is mounted.
pub fn versions() -> Result<&'static str, CgroupError> {
    let all = hierarchy::detect()?;
    let has = |version| all.iter().any(|hierarchy| hierarchy.version == version);
    Ok(match (has(Version::V1), has(Version::V2)) {
        (true, true) => "1 and 2",
        (true, false) => "1",
        (false, _) => "2",
    })
}

impl Cgroup {
    /// Makes the group `runner/NAME` and writes the limits; also returns warnings for the user,
    /// a line each. Nothing is left behind on error.
    ///
    /// # Errors
    /// Limits that contradict each other or the machine, no cgroup file system, a group of this
    /// name that exists already, or what the kernel refuses.
    pub fn create(
        name: &str,
        limits: &Limits,
        devices: DevicePolicy,
    ) -> Result<(Cgroup, Vec<String>), CgroupError> {
        check_name(name)?;
        limits.check()?;
        let mut cgroup = Cgroup {
            name: name.to_owned(),
            groups: Vec::new(),
        };
        match cgroup.build(&hierarchy::detect()?, limits, devices) {
            Ok(warnings) => Ok((cgroup, warnings)),
            Err(error) => {
                // Only what was made here is in the list; the first error is the one to tell.
                let _ = cgroup.remove();
                Err(error)
            }
        }
    }

    fn build(
        &mut self,
        hierarchies: &[Hierarchy],
        limits: &Limits,
        devices: DevicePolicy,
    ) -> Result<Vec<String>, CgroupError> {
        let needed = needed(limits);
        for hierarchy in hierarchies {
            self.groups
                .push(Group::make(hierarchy, &self.name, &needed)?);
        }
        let (settings, mut warnings) = settings::plan(limits, |controller| {
            self.with(controller).map(|g| g.version)
        })?;
        for setting in &settings {
            warnings.extend(self.apply(setting)?);
        }
        warnings.extend(self.restrict_devices(devices)?);
        Ok(warnings)
    }

    /// Puts other limits in force; those that are not given stay as they are. Gives warnings for the
    /// user. After an error the limits are as they were.
    ///
    /// # Errors
    /// What the kernel refuses, as a memory limit below what is in use.
    pub fn update(&self, old: &Limits, new: &Limits) -> Result<Vec<String>, CgroupError> {
        let changed = self.put_in_force(new);
        if changed.is_err() {
            // The first error is the one to report.
            let _ = self.put_in_force(old);
        }
        changed
    }

    fn put_in_force(&self, limits: &Limits) -> Result<Vec<String>, CgroupError> {
        let version = |controller: &str| self.with(controller).map(|g| g.version);
        let (settings, mut warnings) = settings::plan(limits, version)?;
        // On v1 memory may not be above memory with swap at any moment: which of the two goes first
        // depends on whether they grow. Whatever is refused is tried again behind the others.
        let mut again = Vec::new();
        for setting in &settings {
            match self.apply(setting) {
                Ok(warning) => warnings.extend(warning),
                Err(_) => again.push(setting),
            }
        }
        for setting in again {
            warnings.extend(self.apply(setting)?);
        }
        Ok(warnings)
    }

    /// Writes one setting; a missing file may be a warning.
    fn apply(&self, setting: &Setting) -> Result<Option<String>, CgroupError> {
        let Some(group) = self.with(setting.controller) else {
            return Ok(None);
        };
        match (group.write(setting.file, &setting.value), setting.missing) {
            (Ok(()), _) => Ok(None),
            (Err(CgroupError::Io { source, .. }), Missing::Ignore | Missing::Warn(_))
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(match setting.missing {
                    Missing::Warn(line) => Some(line.to_owned()),
                    _ => None,
                })
            }
            (Err(error), _) => Err(error),
        }
    }

    fn restrict_devices(&self, policy: DevicePolicy) -> Result<Option<String>, CgroupError> {
        match (&policy, self.with("devices"), self.unified()) {
            (DevicePolicy::Off, ..) => {}
            (DevicePolicy::Privileged, Some(v1), _) => v1.write("devices.allow", "a")?,
            (DevicePolicy::Container(more), Some(v1), _) => {
                v1.write("devices.deny", "a")?;
                for rule in devices::RULES.iter().chain(more) {
                    v1.write("devices.allow", &rule.v1_line())?;
                }
            }
            // On v2 a group without a program of its own allows what its parents allow.
            (DevicePolicy::Privileged, None, _) => {}
            (DevicePolicy::Container(more), None, Some(v2)) => {
                let rules: Vec<_> = devices::RULES.iter().chain(more).copied().collect();
                let broken = |what| move |e| failed(what, &v2.directory, e);
                let program = sys::load(&devices::program(&rules))
                    .map_err(broken("load the device program (CONFIG_CGROUP_BPF) for"))?;
                sys::attach(&program, v2.descriptor())
                    .map_err(broken("attach the device program to"))?;
            }
            (DevicePolicy::Container(_), None, None) => {
                return Ok(Some(
                    "WARNING: No device control: the devices controller is not mounted".to_owned(),
                ));
            }
        }
        Ok(None)
    }

    /// Opens the existing group of a container; `None` when no hierarchy has it.
    ///
    /// # Errors
    /// A name that is not ours, no cgroup file system, or what the kernel refuses.
    pub fn open(name: &str) -> Result<Option<Cgroup>, CgroupError> {
        check_name(name)?;
        let mut groups = Vec::new();
        for hierarchy in hierarchy::detect()? {
            groups.extend(Group::open(&hierarchy, name)?);
        }
        Ok((!groups.is_empty()).then(|| Cgroup {
            name: name.to_owned(),
            groups,
        }))
    }

    /// The name given at creation.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Moves the caller, which has no other thread, into the group in every hierarchy of v1; in v2
    /// it is to be born in it ([`Cgroup::unified_fd`]).
    ///
    /// Any other way to move a process, by its number or by `cgroup.procs`, takes a lock that all forks
    /// of the machine share, and waits 10 ms and more for it (kernel/cgroup/cgroup.c,
    /// `cgroup_procs_write_start`).
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn enter(&self) -> Result<(), CgroupError> {
        let mut old = self.groups.iter().filter(|g| g.version == Version::V1);
        old.try_for_each(|group| group.write("tasks", "0"))
    }

    /// The group in the v2 hierarchy, for `clone3(CLONE_INTO_CGROUP)`.
    pub fn unified_fd(&self) -> Option<BorrowedFd<'_>> {
        self.unified().map(Group::descriptor)
    }

    /// Whether the kernel's OOM killer has killed a process of this group since it was made;
    /// remembered by the group, so right after the last process died too.
    ///
    /// # Errors
    /// The group's file cannot be read.
    pub fn oom_killed(&self) -> Result<bool, CgroupError> {
        let Some(group) = self.with("memory") else {
            return Ok(false);
        };
        let file = match group.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        Ok(group
            .counter(file, "oom_kill")?
            .is_some_and(|kills| kills > 0))
    }

    /// The memory limit in force, in bytes; `None` when there is none.
    pub fn memory_limit(&self) -> Option<u64> {
        let group = self.with("memory")?;
        let file = match group.version {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        };
        // v1 writes "no limit" as the largest multiple of a page.
        let bytes: u64 = group.read(file).ok()?.trim().parse().ok()?;
        (bytes < 1 << 62).then_some(bytes)
    }

    /// The processes in the group now, as the caller's pid namespace numbers them.
    pub fn members(&self) -> Vec<i32> {
        let all = self.groups.iter().flat_map(Group::members);
        all.collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// Kills every process of the group with SIGKILL and returns when none is left.
    ///
    /// The v2 group does it in one step where the kernel can (5.14); else the v1 freezer holds
    /// the processes still while they are signalled, so that a fork bomb cannot outrun it.
    ///
    /// # Errors
    /// [`CgroupError::Busy`] when a process did not die within 10 s (uninterruptible sleep).
    pub fn kill_all(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(200);
        while let Some(busy) = self.groups.iter().find(|group| !group.members().is_empty()) {
            if Instant::now() > deadline {
                return Err(CgroupError::Busy {
                    path: busy.directory.clone(),
                    seconds: PATIENCE.as_secs(),
                });
            }
            let at_once = self
                .unified()
                .is_some_and(|g| g.write("cgroup.kill", "1").is_ok());
            if !at_once || pause > Duration::from_millis(20) {
                self.kill_frozen();
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Freezes all processes; returns when they are still.
    ///
    /// # Errors
    /// No freezer, or [`CgroupError::Busy`] when a process did not freeze within 10 s.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.set_frozen(true)
    }

    /// Lets all processes run again.
    ///
    /// # Errors
    /// As [`Cgroup::freeze`].
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.set_frozen(false)
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), CgroupError> {
        let v1 = self.with("freezer").filter(|g| g.version == Version::V1);
        let group = v1.or_else(|| self.unified());
        let Some(group) = group else {
            return Err(CgroupError::Missing {
                why: "no freezer is mounted".to_owned(),
            });
        };
        let (file, value) = match (v1.is_some(), frozen) {
            (true, true) => ("freezer.state", "FROZEN"),
            (true, false) => ("freezer.state", "THAWED"),
            (false, true) => ("cgroup.freeze", "1"),
            (false, false) => ("cgroup.freeze", "0"),
        };
        group.write(file, value)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let done = match v1 {
                Some(v1) => v1.read(file)?.trim() == value,
                None => group.counter("cgroup.events", "frozen")? == Some(u64::from(frozen)),
            };
            if done {
                return Ok(());
            }
            if Instant::now() > deadline {
                // Half frozen helps nobody.
                let _ = group.write(file, if v1.is_some() { "THAWED" } else { "0" });
                return Err(CgroupError::Busy {
                    path: group.directory.clone(),
                    seconds: PATIENCE.as_secs(),
                });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Signals all members, still meanwhile where there is a freezer. A frozen v1 process dies
    /// only when thawed.
    fn kill_frozen(&self) {
        let freezer = self.with("freezer").filter(|g| g.version == Version::V1);
        let state = |state| freezer.map(|group| group.write("freezer.state", state));
        // A group that cannot freeze is signalled all the same, again and again.
        let _ = state("FROZEN");
        self.groups.iter().for_each(Group::signal_members);
        let _ = state("THAWED");
    }

    /// Removes the group everywhere (and an empty `runner` parent), retrying while it is busy:
    /// the kernel lets go of a group a moment after its last process.
    ///
    /// # Errors
    /// [`CgroupError::Busy`] after 10 s; kill its processes first.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + PATIENCE;
        let mut result = Ok(());
        for group in &self.groups {
            let mut pause = Duration::from_micros(200);
            let removed = loop {
                match group.remove() {
                    Ok(true) => break Ok(()),
                    Ok(false) if Instant::now() < deadline => std::thread::sleep(pause),
                    Ok(false) => {
                        let path = group.directory.clone();
                        break Err(CgroupError::Busy {
                            path,
                            seconds: PATIENCE.as_secs(),
                        });
                    }
                    Err(error) => break Err(error),
                }
                pause = (pause * 2).min(Duration::from_millis(50));
            };
            // The others go all the same; the first failure is reported.
            result = result.and(removed);
        }
        result
    }

    /// Kills and removes what a dead monitor left of a group; fine when there is nothing.
    ///
    /// # Errors
    /// As [`Cgroup::open`], [`Cgroup::kill_all`] and [`Cgroup::remove`].
    pub fn remove_stale(name: &str) -> Result<(), CgroupError> {
        match Self::open(name)? {
            Some(cgroup) => cgroup.kill_all().and_then(|()| cgroup.remove()),
            None => Ok(()),
        }
    }

    /// What the container sees below `/sys/fs/cgroup`: its own groups, as directories named
    /// like the host's mounts.
    pub fn view(&self) -> Vec<View> {
        let pure = self.groups.iter().all(|group| group.version == Version::V2);
        self.groups
            .iter()
            .map(|group| {
                let name = group
                    .mount
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy();
                let name = if pure {
                    String::new()
                } else {
                    name.into_owned()
                };
                let many = group.version == Version::V1 && group.controllers.len() > 1;
                let links = group
                    .controllers
                    .iter()
                    .filter(|c| many && **c != name)
                    .cloned();
                View {
                    host: group.directory.clone(),
                    links: links.collect(),
                    name,
                }
            })
            .collect()
    }

    fn with(&self, controller: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.has(controller))
    }

    fn unified(&self) -> Option<&Group> {
        self.groups
            .iter()
            .find(|group| group.version == Version::V2)
    }
}

/// The controllers that these limits need.
fn needed(limits: &Limits) -> Vec<&'static str> {
    let memory = limits.memory.is_some() || limits.memory_swap.is_some();
    [
        ("memory", memory),
        ("cpu", limits.cpus.is_some()),
        ("cpuset", limits.cpuset_cpus.is_some()),
        ("pids", limits.pids.is_some_and(|n| n > 0)),
    ]
    .iter()
    .filter_map(|&(controller, wanted)| wanted.then_some(controller))
    .chain(limits.tuning.needed())
    .collect()
}

/// A name that is a single plain directory name.
fn check_name(name: &str) -> Result<(), CgroupError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let good = (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain);
    if good {
        Ok(())
    } else {
        Err(CgroupError::Name {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
