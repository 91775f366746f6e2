//! What a test run left on the machine: mounts, processes, cgroups, scratch directories, packet
//! filtering tables, interfaces, loop devices.
//!
//! Other people may run layerfs on the same machine, and runs before may have been cut short, so a thing
//! counts as ours only if it appeared since [`Before`] was taken, and is or names a scratch directory of
//! the tests, is empty (cgroups), or is called as the runner calls its own (tables, interfaces).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How the path of every scratch directory begins.
pub const SCRATCH_PREFIX: &str = "/var/tmp/layerfs-tests-";

/// How the names of interfaces begin that runners make.
const PREFIXES: [&str; 3] = ["runner", "rn-", "rv"];

/// One line of /proc/thread-self/mountinfo: a thread may have mounts of its own.
#[derive(Debug, Clone)]
pub struct MountLine {
    /// Where it is mounted.
    pub point: PathBuf,
    /// File system type, e.g. `fuse.layerfs`.
    pub kind: String,
    /// The whole line.
    pub line: String,
}

/// All mounts that this process sees, in the order they were made.
pub fn mount_table() -> Vec<MountLine> {
    parse_mounts(&fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default())
}

fn parse_mounts(text: &str) -> Vec<MountLine> {
    let parse = |line: &str| {
        let point = unescape(line.split(' ').nth(4)?);
        let kind = line.split(" - ").nth(1)?.split(' ').next()?.to_owned();
        Some(MountLine {
            point,
            kind,
            line: line.to_owned(),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// Undoes the kernel's `\040` escapes.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let octal = (bytes[i] == b'\\')
            .then(|| bytes.get(i + 1..i + 4))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                i += 4;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

/// layerfs mounts at or below `path`.
pub fn fuse_mounts_below(path: &Path) -> Vec<PathBuf> {
    mount_table()
        .into_iter()
        .filter(|m| m.kind.starts_with("fuse") && m.point.starts_with(path))
        .map(|m| m.point)
        .collect()
}

/// Live processes whose command line, working directory or an open file's path holds `text`, apart
/// from this one.
pub fn processes_naming(text: &str) -> Vec<(i32, String)> {
    let Ok(all) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found: Vec<_> = all
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != std::process::id() as i32)
        .filter_map(|pid| {
            let raw = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&raw).replace('\0', " ");
            (line.contains(text) || holds(pid, text)).then_some((pid, line))
        })
        .collect();
    found.sort();
    found
}

/// Whether a process works in or has open something whose path holds `text`.
fn holds(pid: i32, text: &str) -> bool {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    let open = fs::read_dir(directory.join("fd"))
        .into_iter()
        .flatten()
        .flatten();
    open.map(|entry| entry.path())
        .chain([directory.join("cwd")])
        .filter_map(|link| fs::read_link(link).ok())
        .any(|target| target.to_string_lossy().contains(text))
}

/// The bridges that runners made whose root directory lies below `path`.
pub fn bridges_of(path: &Path) -> Vec<String> {
    let below = format!("{}/", path.display());
    let ours = |name: &PathBuf| {
        let alias = Path::new("/sys/class/net").join(name).join("ifalias");
        fs::read_to_string(alias).is_ok_and(|alias| alias.contains(&below))
    };
    let all = fs::read_dir("/sys/class/net").into_iter().flatten();
    let names = all.flatten().map(|entry| PathBuf::from(entry.file_name()));
    names
        .filter(ours)
        .map(|name| name.display().to_string())
        .collect()
}

/// Some of the paths below a directory, to tell what keeps it.
pub fn paths_below(directory: &Path, most: usize) -> Vec<PathBuf> {
    let (mut found, mut todo) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if found.len() == most {
                return found;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                todo.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

/// What was there before a test run.
#[derive(Debug, Default)]
pub struct Before {
    /// Cgroups and scratch directories; tables and interfaces as `table NAME`, `interface NAME`,
    /// loop devices as `loop device NAME`.
    things: BTreeSet<PathBuf>,
}

impl Before {
    /// Looks now.
    pub fn now() -> Self {
        Self { things: things() }
    }

    /// One path per line.
    pub fn to_text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for path in &self.things {
            out.extend(path.as_os_str().as_bytes());
            out.push(b'\n');
        }
        out
    }

    /// Reads what [`Self::to_text`] wrote.
    pub fn from_text(text: &[u8]) -> Self {
        let lines = text.split(|b| *b == b'\n').filter(|l| !l.is_empty());
        let things = lines
            .map(|l| PathBuf::from(OsString::from_vec(l.to_vec())))
            .collect();
        Self { things }
    }

    /// What of ours is there now, one line each.
    pub fn leaks(&self) -> Vec<String> {
        let old = self.things.iter().filter(|path| is_scratch(path));
        let old: Vec<String> = old.map(|path| format!("{}/", path.display())).collect();
        let ours = |text: &str| {
            text.contains(SCRATCH_PREFIX) && !old.iter().any(|path| text.contains(path.as_str()))
        };
        let mut found = Vec::new();
        for mount in mount_table() {
            if ours(&mount.line) {
                found.push(format!("mount {} ({})", mount.point.display(), mount.kind));
            }
        }
        for (pid, line) in processes_naming(SCRATCH_PREFIX) {
            if ours(&line) || !line.contains(SCRATCH_PREFIX) {
                found.push(format!("process {pid}: {line}"));
            }
        }
        for path in things().difference(&self.things) {
            if is_scratch(path) {
                let holds = paths_below(path, 10);
                found.push(format!("directory {} with {holds:?}", path.display()));
                continue;
            }
            if path.is_relative() {
                found.push(path.display().to_string());
                continue;
            }
            let tasks = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
            if tasks.is_empty() && path.exists() {
                found.push(format!("empty cgroup {}", path.display()));
            }
        }
        found
    }
}

/// What is looked at before and after.
fn things() -> BTreeSet<PathBuf> {
    let mut found = cgroups();
    found.extend(tables());
    found.extend(interfaces());
    found.extend(loop_devices());
    let scratch = fs::read_dir("/var/tmp").into_iter().flatten();
    let scratch = scratch.flatten().map(|entry| entry.path());
    found.extend(scratch.filter(|path| is_scratch(path)));
    found
}

fn is_scratch(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.starts_with(SCRATCH_PREFIX.as_bytes())
}

/// The packet filtering tables of runners.
fn tables() -> Vec<PathBuf> {
    let listed = Command::new("nft").args(["list", "tables"]).output();
    let text = listed.map(|done| done.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("table inet "))
        .filter(|name| name.starts_with("runner"));
    names
        .map(|name| PathBuf::from(format!("table {name}")))
        .collect()
}

/// Bridges of runners, and the ends of containers' cables.
fn interfaces() -> Vec<PathBuf> {
    let all = fs::read_dir("/sys/class/net").into_iter().flatten();
    let names = all
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
        .map(|name| PathBuf::from(format!("interface {name}")))
        .collect()
}

/// Loop devices whose image lies, or lay, in a scratch directory.
fn loop_devices() -> Vec<PathBuf> {
    let all = fs::read_dir("/sys/block").into_iter().flatten();
    let ours = |device: &PathBuf| {
        let image = fs::read_to_string(device.join("loop/backing_file"));
        image.is_ok_and(|image| image.starts_with(SCRATCH_PREFIX))
    };
    let names = all.flatten().map(|entry| entry.path()).filter(ours);
    names
        .filter_map(|device| Some(device.file_name()?.to_string_lossy().into_owned()))
        .map(|name| PathBuf::from(format!("loop device {name}")))
        .collect()
}

/// All cgroup directories whose path speaks of the runner.
fn cgroups() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut todo = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|t| t.is_dir()) {
                continue;
            }
            let path = entry.path();
            if path.to_string_lossy().contains("runner") {
                found.insert(path.clone());
            }
            todo.push(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_escapes_are_undone() {
        let line = "36 35 98:0 / /a\\040b\\134c rw shared:1 - fuse.layerfs layerfs rw\n";
        let mounts = parse_mounts(line);
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].point, Path::new("/a b\\c"));
        assert_eq!(mounts[0].kind, "fuse.layerfs");
    }

    #[test]
    fn before_survives_its_text() {
        let before = Before {
            things: ["/a".into(), "/b c".into(), "table x".into()].into(),
        };
        assert_eq!(Before::from_text(&before.to_text()).things, before.things);
    }
}
