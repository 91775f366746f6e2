//! Which control group hierarchies this machine has, and where they are mounted.
//!
//! ```text
//! v1       /sys/fs/cgroup/memory, /sys/fs/cgroup/cpu,cpuacct, ...   one tree per controller set
//! v2       /sys/fs/cgroup                                           one tree for all
//! hybrid   v1 trees, and /sys/fs/cgroup/unified (v2) with the controllers that v1 left
//! ```
//!
//! Nothing above this module asks "is it v1 or v2": it asks which hierarchy has a controller, so
//! any mixture works. The facts come from `/proc/self/mountinfo`, parsed as data.

use super::CgroupError;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Which interface a hierarchy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// `memory.limit_in_bytes` and friends; a tree per controller.
    V1,
    /// `memory.max` and friends; one tree.
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// Its controllers; for v1 a named hierarchy is `name=systemd`.
    pub(super) controllers: Vec<String>,
}

/// Finds the hierarchies of the machine.
pub(super) fn detect() -> Result<Vec<Hierarchy>, CgroupError> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read(path).map_err(|source| CgroupError::Io {
        what: "read",
        path: path.to_owned(),
        source,
    })?;
    let mut found = parse(&text);
    for hierarchy in found.iter_mut().filter(|h| h.version == Version::V2) {
        // Missing inside some old kernels' nested mounts: then it simply has no controllers.
        let list = fs::read_to_string(hierarchy.mount.join("cgroup.controllers"));
        let list = list.unwrap_or_default();
        hierarchy.controllers = list.split_whitespace().map(str::to_owned).collect();
    }
    if found.is_empty() {
        return Err(CgroupError::Missing {
            why: "no hierarchy is mounted".to_owned(),
        });
    }
    Ok(found)
}

/// The hierarchies in the text of a mountinfo file, each once: the first mount that shows the
/// hierarchy's root, else the first mount of it.
fn parse(mountinfo: &[u8]) -> Vec<Hierarchy> {
    let mut found: Vec<(Hierarchy, bool)> = Vec::new();
    for line in mountinfo.split(|&b| b == b'\n') {
        let Some((hierarchy, whole)) = parse_line(line) else {
            continue;
        };
        let same = found.iter_mut().find(|(other, _)| {
            other.version == hierarchy.version && other.controllers == hierarchy.controllers
        });
        match same {
            Some(slot) if whole && !slot.1 => *slot = (hierarchy, whole),
            Some(_) => {}
            None => found.push((hierarchy, whole)),
        }
    }
    found.into_iter().map(|(hierarchy, _)| hierarchy).collect()
}

/// The hierarchy of one mountinfo line, and whether the mount shows it from its root.
fn parse_line(line: &[u8]) -> Option<(Hierarchy, bool)> {
    let mut fields = line.split(|&b| b == b' ');
    let root = fields.nth(3)?;
    let mount = unescape(fields.next()?);
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let version = match rest.next()? {
        b"cgroup" => Version::V1,
        b"cgroup2" => Version::V2,
        _ => return None,
    };
    let options = String::from_utf8_lossy(rest.nth(1)?).into_owned();
    let controllers = match version {
        Version::V1 => options
            .split(',')
            .filter(|o| is_controller(o))
            .map(str::to_owned)
            .collect(),
        Version::V2 => Vec::new(),
    };
    Some((
        Hierarchy {
            version,
            mount,
            controllers,
        },
        root == b"/",
    ))
}

/// Whether a v1 mount option names a controller (or a named hierarchy).
fn is_controller(option: &str) -> bool {
    const OTHERS: [&str; 9] = [
        "rw",
        "ro",
        "xattr",
        "noprefix",
        "clone_children",
        "cpuset_v2_mode",
        "seclabel",
        "favordynmods",
        "nofavordynmods",
    ];
    !option.is_empty() && !OTHERS.contains(&option) && !option.starts_with("release_agent=")
}

/// Undoes the kernel's `\ooo` escapes.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = |d: &u8| (b'0'..=b'7').contains(d);
        if first == b'\\' && tail.len() >= 3 && tail[..3].iter().all(octal) {
            let value = tail[..3]
                .iter()
                .fold(0_u32, |n, d| n * 8 + u32::from(d - b'0'));
            bytes.push(value as u8);
            rest = &tail[3..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_machine() {
        let text = b"23 27 0:22 / /sys rw,relatime - sysfs sysfs rw\n\
            36 31 0:33 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
            37 31 0:34 /docker/1 /odd\\040place rw shared:3 - cgroup cgroup rw,cpu,cpuacct\n\
            38 31 0:34 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let found = parse(text);
        let view: Vec<_> = found
            .iter()
            .map(|h| {
                (
                    h.version,
                    h.mount.to_str().unwrap(),
                    h.controllers.join("+"),
                )
            })
            .collect();
        assert_eq!(
            view,
            [
                (Version::V1, "/sys/fs/cgroup/memory", "memory".to_owned()),
                (
                    Version::V1,
                    "/sys/fs/cgroup/cpu,cpuacct",
                    "cpu+cpuacct".to_owned()
                ),
                (
                    Version::V1,
                    "/sys/fs/cgroup/systemd",
                    "name=systemd".to_owned()
                ),
                (Version::V2, "/sys/fs/cgroup/unified", String::new()),
            ]
        );
    }

    #[test]
    fn a_part_only_and_rubbish() {
        let found = parse(b"1 2 0:3 /docker/a /x\\040y rw - cgroup cgroup rw,pids\nrubbish\n1 2 3");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].mount, Path::new("/x y"));
    }
}
