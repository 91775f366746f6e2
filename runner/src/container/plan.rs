//! From a specification to the plans that `mounts` and `init` carry out. Nothing is changed here.

use super::directory::Directory;
use super::protocol::Exec;
use super::spec::{Rights, Spec};
use super::volume::{Tmpfs, Volume};
use crate::cgroup::{DeviceRule, View};
use crate::error::{Error, Result};
use crate::image::Store;
use crate::init::{self, TerminalSize};
use crate::mounts::plan::{self, Bind, Device, Op, Standard};
use crate::mounts::union::Union;
use crate::network::{self, Inside, Source};
use crate::security::masks;
use crate::sys::mount::Propagation;
use rustix::mount::MountAttrFlags;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

const CGROUPS: &str = "/sys/fs/cgroup";

/// Names in the host's `/dev` that a container has of its own.
const OWN_DEVICES: [&str; 16] = [
    "console",
    "fd",
    "full",
    "hugepages",
    "mqueue",
    "null",
    "ptmx",
    "pts",
    "random",
    "shm",
    "stderr",
    "stdin",
    "stdout",
    "tty",
    "urandom",
    "zero",
];

/// The union that is the container's root.
pub(super) fn union(spec: &Spec, directory: &Directory) -> Union {
    Union {
        lowers: Store::at(directory.root()).stacked(&spec.lowers),
        upper: directory.join("upper"),
        work: directory.join("work"),
        target: directory.join("rootfs"),
        name: format!("runner-{}", spec.id.short()),
        changing: spec.lowers_change(),
        volatile: spec.remove,
    }
}

/// What the container wants of the network.
pub(super) fn network<'a>(
    spec: &'a Spec,
    name: &'a str,
    directory: &'a Directory,
) -> network::Wanted<'a> {
    network::Wanted {
        root: directory.root(),
        container: spec.id.as_str(),
        name,
        hostname: &spec.hostname,
        settings: &spec.network,
        directory: directory.path(),
    }
}

/// What the first process does.
pub(super) fn init(
    spec: &Spec,
    directory: &Directory,
    cgroups: &[View],
    network: Inside,
    terminal: TerminalSize,
) -> Result<init::Plan> {
    let mut devices = Vec::new();
    if spec.rights.privileged {
        host_devices(Path::new("/dev"), &mut devices)?;
    }
    for (device, _) in wished_devices(spec)? {
        devices.retain(|other| other.path != device.path);
        devices.push(device);
    }
    Ok(init::Plan {
        mounts: mounts(spec, directory, cgroups, &devices),
        hostname: spec.hostname.clone(),
        network,
        program: init::Program {
            args: spec.command.args(),
            env: spec.command.env.clone(),
            cwd: spec.command.cwd.clone(),
            user: spec.command.user.clone(),
            capabilities: spec.rights.capabilities()?,
            filter: spec.rights.filter()?,
            rlimits: spec.limits.process.rlimits.clone(),
            oom_score_adj: spec.limits.process.oom_score_adj,
            groups: spec.command.groups.clone(),
            no_new_privileges: spec.rights.no_new_privileges,
        },
        sysctls: spec.limits.process.sysctls.clone(),
        terminal: spec.command.terminal.then_some(terminal),
        small_init: spec.command.small_init,
    })
}

/// What a command does that joins the container.
pub(super) fn exec(spec: &Spec, exec: &Exec) -> Result<init::Program> {
    let rights = match exec.privileged {
        true => &Rights {
            privileged: true,
            no_new_privileges: false,
            ..spec.rights.clone()
        },
        false => &spec.rights,
    };
    let mut env = spec.command.env.clone();
    for (name, value) in &exec.env {
        env.retain(|(known, _)| known != name);
        env.push((name.clone(), value.clone()));
    }
    let own = &spec.command;
    Ok(init::Program {
        args: exec.args.clone(),
        env,
        cwd: exec.cwd.clone().unwrap_or_else(|| own.cwd.clone()),
        user: exec.user.clone().unwrap_or_else(|| own.user.clone()),
        capabilities: rights.capabilities()?,
        filter: rights.filter()?,
        rlimits: spec.limits.process.rlimits.clone(),
        oom_score_adj: spec.limits.process.oom_score_adj,
        groups: match exec.user {
            // Another user has other groups.
            Some(_) => Vec::new(),
            None => own.groups.clone(),
        },
        no_new_privileges: rights.no_new_privileges,
    })
}

fn mounts(spec: &Spec, directory: &Directory, cgroups: &[View], devices: &[Device]) -> plan::Plan {
    let privileged = spec.rights.privileged;
    let mut ops = plan::standard(&Standard {
        privileged,
        terminal: spec.command.terminal,
        devices,
        shm: spec.limits.shm,
    });
    ops.extend(cgroup_view(cgroups, privileged));
    ops.extend(etc_files(spec, directory));
    ops.extend(user_mounts(&spec.volumes, &spec.tmpfs));
    if !privileged {
        let per_cpu = (masks::CPU_DIRECTORY, masks::MASKED_PER_CPU);
        ops.extend(plan::hidden(masks::MASKED, per_cpu, masks::READONLY));
    }
    plan::Plan {
        rootfs: directory.join("rootfs"),
        ops,
        read_only_root: spec.read_only,
    }
}

/// The container's own control groups below `/sys/fs/cgroup`.
fn cgroup_view(views: &[View], privileged: bool) -> Vec<Op> {
    let plain = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let attributes = if privileged {
        plain
    } else {
        plain | MountAttrFlags::MOUNT_ATTR_RDONLY
    };
    let top = Path::new(CGROUPS);
    let bind = |view: &View| {
        Op::Bind(Bind {
            source: view.host.clone(),
            target: top.join(&view.name),
            attributes,
            recursive: false,
            propagation: Propagation::Private,
        })
    };
    // Pure v2: the group itself; else a directory that holds one per hierarchy.
    match views {
        [] => return Vec::new(),
        [only] if only.name.is_empty() => return vec![bind(only)],
        _ => {}
    }
    let mut ops = vec![plan::filesystem(
        "tmpfs",
        top,
        &[("mode", "755")],
        plain,
        true,
    )];
    for view in views {
        ops.push(bind(view));
        ops.extend(
            view.links
                .iter()
                .map(|link| plan::link(top.join(link), &view.name)),
        );
    }
    ops.push(Op::Seal {
        at: top.to_owned(),
        attributes,
    });
    ops
}

/// With another container's network come its files.
fn etc_files(spec: &Spec, directory: &Directory) -> impl Iterator<Item = Op> {
    let place = match &spec.network.source {
        Source::Container(id) => directory.path().with_file_name(id),
        _ => directory.path().to_owned(),
    };
    ["hosts", "hostname", "resolv.conf"]
        .map(|name| {
            Op::Bind(Bind {
                source: place.join(name),
                target: Path::new("/etc").join(name),
                attributes: MountAttrFlags::empty(),
                recursive: false,
                propagation: Propagation::Private,
            })
        })
        .into_iter()
}

/// Volumes and temporary file systems, outer ones first.
fn user_mounts(volumes: &[Volume], tmpfs: &[Tmpfs]) -> Vec<Op> {
    let volumes = volumes.iter().map(|volume| {
        let propagation = if volume.slave {
            Propagation::Slave
        } else {
            Propagation::Private
        };
        let bind = Bind {
            source: volume.source.clone(),
            target: volume.target.clone(),
            attributes: volume.forbid.attributes(volume.read_only),
            recursive: true,
            propagation,
        };
        (volume.target.clone(), Op::Bind(bind))
    });
    let tmpfs = tmpfs.iter().map(|tmpfs| {
        let options: Vec<_> = tmpfs
            .options
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let attributes = tmpfs.forbid.attributes(tmpfs.read_only);
        let op = plan::filesystem("tmpfs", &tmpfs.target, &options, attributes, false);
        (tmpfs.target.clone(), op)
    });
    let mut all: Vec<(PathBuf, Op)> = volumes.chain(tmpfs).collect();
    all.sort_by_key(|(target, _)| target.components().count());
    all.into_iter().map(|(_, op)| op).collect()
}

/// The devices that were asked for, as the machine has them now, and what may be done with each.
fn wished_devices(spec: &Spec) -> Result<Vec<(Device, &str)>> {
    let mut all = Vec::new();
    for wish in &spec.rights.devices {
        let host = fs::canonicalize(&wish.host).map_err(Error::io("find", &wish.host))?;
        let mut found = Vec::new();
        if host.is_dir() {
            host_devices(&host, &mut found)?;
        } else {
            let meta = fs::metadata(&host).map_err(Error::io("look at", &host))?;
            found.extend(device(host.clone(), &meta));
        }
        for mut device in found {
            let below = device.path.strip_prefix(&host).unwrap_or(Path::new(""));
            device.path = match below.as_os_str().is_empty() {
                true => wish.inside.clone(),
                false => wish.inside.join(below),
            };
            all.push((device, wish.access.as_str()));
        }
    }
    Ok(all)
}

/// What the container's control group lets it do with them.
pub(super) fn device_rules(spec: &Spec) -> Result<Vec<DeviceRule>> {
    let wished = wished_devices(spec)?;
    let rules = wished.iter().map(|(device, access)| {
        let (major, minor) = (
            rustix::fs::major(device.number),
            rustix::fs::minor(device.number),
        );
        DeviceRule::allow(device.block, major, minor, access)
    });
    Ok(rules.collect())
}

/// A device node; nothing if it is something else.
fn device(path: PathBuf, meta: &fs::Metadata) -> Option<Device> {
    let kind = meta.file_type();
    (kind.is_char_device() || kind.is_block_device()).then(|| Device {
        path,
        block: kind.is_block_device(),
        number: meta.rdev(),
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
    })
}

/// Every device node of the host that a container has not of its own.
fn host_devices(directory: &Path, found: &mut Vec<Device>) -> Result<()> {
    let entries = fs::read_dir(directory).map_err(Error::io("list", directory))?;
    for entry in entries {
        let entry = entry.map_err(Error::io("list", directory))?;
        let name = entry.file_name();
        let top = directory == Path::new("/dev");
        if top && OWN_DEVICES.iter().any(|own| name == *own) {
            continue;
        }
        let path = entry.path();
        // Gone between listing and looking: it is no device then.
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        if meta.is_dir() {
            host_devices(&path, found)?;
        } else {
            found.extend(device(path, &meta));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outer_mounts_come_first() {
        let volume = |target: &str| Volume {
            name: None,
            copy: false,
            source: PathBuf::from("/etc"),
            target: PathBuf::from(target),
            read_only: true,
            forbid: Default::default(),
            slave: false,
        };
        let tmpfs = Tmpfs::parse("/a").unwrap();
        let ops = user_mounts(&[volume("/a/b/c"), volume("/a/b")], &[tmpfs]);
        let targets: Vec<_> = ops
            .iter()
            .map(|op| match op {
                Op::Bind(bind) => &bind.target,
                Op::Filesystem(fs) => &fs.target,
                other => panic!("unexpected {other:?}"),
            })
            .collect();
        assert_eq!(targets, ["/a", "/a/b", "/a/b/c"].map(Path::new));
    }

    #[test]
    fn cgroups_of_v1_lie_in_a_sealed_directory() {
        let view = View {
            name: "cpu,cpuacct".to_owned(),
            host: PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/runner/x"),
            links: vec!["cpu".to_owned()],
        };
        let ops = cgroup_view(&[view], false);
        assert!(matches!(ops.first(), Some(Op::Filesystem(_))));
        assert!(matches!(ops.last(), Some(Op::Seal { .. })));
        assert_eq!(ops.len(), 4);
        let pure = View {
            name: String::new(),
            host: PathBuf::from("/sys/fs/cgroup/runner/x"),
            links: Vec::new(),
        };
        assert_eq!(cgroup_view(&[pure], false).len(), 1);
    }
}
