//! What a container's tree is made of, as data: the order of operations, and nothing done yet.
//!
//! `container` builds a [`Plan`] from a validated specification; [`super::source`] opens what
//! lies on the host; [`super::apply`] carries it out in the child. A plan can be looked at in a
//! test without any mount.

use crate::sys::mount::Propagation;
use rustix::mount::MountAttrFlags;
use std::path::{Path, PathBuf};

/// Bytes of `/dev/shm`.
const SHM_SIZE: &str = "65536k";

/// Everything that makes the container's tree out of its bare root, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where the union is mounted (in the monitor's mount namespace).
    pub rootfs: PathBuf,
    /// What to do below it.
    pub ops: Vec<Op>,
    /// Whether the root itself is read-only at the end; what is mounted below it stays as it is.
    pub read_only_root: bool,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Mount a new file system instance.
    Filesystem(Filesystem),
    /// Attach a copy of a host path.
    Bind(Bind),
    /// Make a device node.
    Device(Device),
    /// Make a symbolic link in a directory of ours (`/dev`, `/sys/fs/cgroup`).
    Link {
        /// Where.
        at: PathBuf,
        /// What it says.
        to: PathBuf,
    },
    /// Open a pseudo terminal in `/dev/pts` and show it as `/dev/console`.
    Console,
    /// Change the attributes of what is mounted at this path.
    Seal {
        /// The mount's root.
        at: PathBuf,
        /// What to add.
        attributes: MountAttrFlags,
    },
    /// Make unreadable, if there.
    Mask(PathBuf),
    /// Mask this name in every `cpu*` directory below a directory.
    MaskPerProcessor {
        /// The directory of processors.
        directory: PathBuf,
        /// The name below each.
        name: PathBuf,
    },
    /// Make unwritable, if there.
    ReadOnly(PathBuf),
}

/// A new file system instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    /// `tmpfs`, `proc`, ...
    pub kind: &'static str,
    /// Options of the instance; one without value is a flag.
    pub options: Vec<(String, Option<String>)>,
    /// Attributes of the mount.
    pub attributes: MountAttrFlags,
    /// Where.
    pub target: PathBuf,
    /// The target must be a plain directory of the image, reached without symbolic links.
    pub strict: bool,
}

/// A copy of a host path shown in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
    /// Attributes to add, on all mounts below too if recursive.
    pub attributes: MountAttrFlags,
    /// With the mounts below the source.
    pub recursive: bool,
    /// Whether later mounts on the host appear.
    pub propagation: Propagation,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where.
    pub path: PathBuf,
    /// Block device; else a character device.
    pub block: bool,
    /// Number, as `st_rdev`.
    pub number: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
}

/// What the standard part of the tree depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standard<'a> {
    /// All of the host's devices; writable `/sys`; nothing masked.
    pub privileged: bool,
    /// A pseudo terminal at `/dev/console`.
    pub terminal: bool,
    /// More devices, made after the standard ones.
    pub devices: &'a [Device],
    /// Bytes of `/dev/shm`, if not the usual.
    pub shm: Option<u64>,
}

/// `/proc`, `/dev` with all in it, `/sys`: before volumes.
pub fn standard(wanted: &Standard<'_>) -> Vec<Op> {
    let no_exec = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let plain = no_exec | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mut ops = vec![
        filesystem("proc", "/proc", &[], plain, true),
        filesystem(
            "tmpfs",
            "/dev",
            &[("mode", "755"), ("size", SHM_SIZE)],
            no_exec,
            true,
        ),
    ];
    ops.extend(standard_devices().map(Op::Device));
    for (at, to) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    ] {
        ops.push(link(at, to));
    }
    ops.extend(wanted.devices.iter().cloned().map(Op::Device));
    let ptys = [
        ("newinstance", ""),
        ("ptmxmode", "0666"),
        ("mode", "0620"),
        ("gid", "5"),
    ];
    ops.push(filesystem("devpts", "/dev/pts", &ptys, no_exec, true));
    let size = wanted
        .shm
        .map_or(SHM_SIZE.to_owned(), |bytes| bytes.to_string());
    let shm = [("mode", "1777"), ("size", size.as_str())];
    ops.push(filesystem("tmpfs", "/dev/shm", &shm, plain, true));
    ops.push(filesystem("mqueue", "/dev/mqueue", &[], plain, true));
    if wanted.terminal {
        ops.push(Op::Console);
    }
    let sys = if wanted.privileged {
        plain
    } else {
        plain | MountAttrFlags::MOUNT_ATTR_RDONLY
    };
    ops.push(filesystem("sysfs", "/sys", &[], sys, true));
    ops
}

/// The parts of `/proc` and `/sys` that are hidden or frozen: after volumes.
pub fn hidden(masked: &[&str], per_processor: (&str, &str), read_only: &[&str]) -> Vec<Op> {
    let masks = masked.iter().map(|path| Op::Mask(PathBuf::from(path)));
    let frozen = read_only
        .iter()
        .map(|path| Op::ReadOnly(PathBuf::from(path)));
    let (directory, name) = per_processor;
    masks
        .chain([Op::MaskPerProcessor {
            directory: PathBuf::from(directory),
            name: PathBuf::from(name),
        }])
        .chain(frozen)
        .collect()
}

/// An [`Op::Filesystem`]; an option with an empty value is a flag.
pub fn filesystem(
    kind: &'static str,
    target: impl AsRef<Path>,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
    strict: bool,
) -> Op {
    let options = options
        .iter()
        .map(|(key, value)| {
            (
                (*key).to_owned(),
                (!value.is_empty()).then(|| (*value).to_owned()),
            )
        })
        .collect();
    Op::Filesystem(Filesystem {
        kind,
        options,
        attributes,
        target: target.as_ref().to_owned(),
        strict,
    })
}

/// An [`Op::Link`].
pub fn link(at: impl AsRef<Path>, to: impl AsRef<Path>) -> Op {
    Op::Link {
        at: at.as_ref().to_owned(),
        to: to.as_ref().to_owned(),
    }
}

fn standard_devices() -> impl Iterator<Item = Device> {
    [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ]
    .into_iter()
    .map(|(name, major, minor)| Device {
        path: Path::new("/dev").join(name),
        block: false,
        number: rustix::fs::makedev(major, minor),
        mode: 0o666,
        owner: (0, 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dev_comes_before_what_lies_in_it() {
        let ops = standard(&Standard {
            privileged: false,
            terminal: true,
            devices: &[],
            shm: None,
        });
        let place = |wanted: &str| {
            ops.iter()
                .position(|op| match op {
                    Op::Filesystem(fs) => fs.target == Path::new(wanted),
                    Op::Device(device) => device.path == Path::new(wanted),
                    Op::Console => wanted == "console",
                    _ => false,
                })
                .unwrap()
        };
        assert!(place("/dev") < place("/dev/null"));
        assert!(place("/dev") < place("/dev/pts"));
        assert!(place("/dev/pts") < place("console"));
        assert!(place("/proc") < place("/sys"));
    }
}
