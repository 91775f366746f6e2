//! What a run was measured on.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::error::{Context, Result};
use crate::programs;

/// The machine, as far as it bears on the numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    /// Day, `2026-11-24`, in UTC.
    pub(super) date: String,
    pub(super) host: String,
    pub(super) kernel: String,
    pub(super) cpu: String,
    pub(super) cpus: usize,
    pub(super) memory_gib: u64,
    /// The file system that layers and uppers lie on, with its mount options.
    pub(super) disk: String,
    /// The commit of this tree; `+` for changes that are in none.
    pub(super) commit: String,
}

impl Machine {
    /// Looks at this machine; `scratch` lies on the disk that is measured.
    ///
    /// # Errors
    /// If `date` is missing.
    pub(super) fn look(scratch: &Path) -> Result<Self> {
        let names = rustix::system::uname();
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let memory = field(&text("/proc/meminfo"), "MemTotal")
            .and_then(|value| value.split(' ').next()?.parse::<u64>().ok())
            .unwrap_or_default();
        Ok(Self {
            date: say("date", &["-u", "+%Y-%m-%d"])?,
            host: names.nodename().to_string_lossy().into_owned(),
            kernel: names.release().to_string_lossy().into_owned(),
            cpu: field(&text("/proc/cpuinfo"), "model name").unwrap_or_default(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (memory >> 10).div_ceil(1 << 10),
            disk: disk_of(scratch),
            commit: commit(),
        })
    }
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(value)
}

/// Type and options of the mount that a path lies on.
fn disk_of(path: &Path) -> String {
    let mounts = crate::leaks::mount_table();
    let on = |point: &Path| path.starts_with(point);
    // The last of the longest: mounts cover those made before.
    let found = mounts.iter().filter(|m| on(&m.point));
    let found = found.max_by_key(|m| m.point.as_os_str().len());
    found.map_or_else(String::new, |mount| {
        let options = mount.line.split(' ').nth(5).unwrap_or_default();
        let own = mount.line.rsplit(' ').next().unwrap_or_default();
        format!("{} ({options}; {own})", mount.kind)
    })
}

fn commit() -> String {
    let top = programs::workspace().to_string_lossy().into_owned();
    let short = say("git", &["-C", &top, "rev-parse", "--short", "HEAD"]);
    let changed = say("git", &["-C", &top, "status", "--porcelain", "-uno"]);
    match (short, changed) {
        (Ok(commit), Ok(changed)) if changed.is_empty() => commit,
        (Ok(commit), Ok(_)) => format!("{commit}+"),
        _ => "unknown".to_owned(),
    }
}

/// What a program prints, trimmed; empty if it fails.
fn say(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().on(program)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_their_whole_name() {
        let text = "MemTotalExtra: 1 kB\nMemTotal:       24684084 kB\nMemFree: 2 kB\n";
        assert_eq!(field(text, "MemTotal").unwrap(), "24684084 kB");
        assert_eq!(field(text, "Mem"), None);
    }
}
