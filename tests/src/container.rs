//! One state directory of `runner` and the calls on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{self, Output, wait_until};
use crate::programs;
use crate::scratch::Scratch;

/// A `runner` with a state directory of its own. Dropping it checks that no container, mount or
/// process of it is left.
#[derive(Debug)]
pub struct Runner {
    state: PathBuf,
    /// Where the test may put files. Dropped last.
    pub scratch: Scratch,
}

impl Runner {
    /// A fresh one.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let scratch = Scratch::new();
        Self {
            state: scratch.join("state"),
            scratch,
        }
    }

    /// Its state directory (`--root`).
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// `runner VERB --root STATE`; the verb's arguments are the caller's to add.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(programs::runner());
        command.arg(verb).arg("--root").arg(&self.state);
        command
    }

    /// Calls `runner VERB --root STATE ARGS...`.
    pub fn call(&self, verb: &str, args: &[&str]) -> Output {
        process::run(self.command(verb).args(args))
    }

    /// `runner run --rm ARGS...`.
    pub fn run(&self, args: &[&str]) -> Output {
        process::run(self.command("run").arg("--rm").args(args))
    }

    /// `runner run --rm FLAGS... host sh -c SCRIPT`.
    pub fn sh(&self, flags: &[&str], script: &str) -> Output {
        let mut command = self.command("run");
        process::run(
            command
                .arg("--rm")
                .args(flags)
                .args(["host", "sh", "-c", script]),
        )
    }

    /// The same in the tests' Debian root.
    pub fn debian(&self, flags: &[&str], script: &str) -> Output {
        let image = format!("dir:{}", debian().display());
        let mut command = self.command("run");
        process::run(
            command
                .arg("--rm")
                .args(flags)
                .args([&image, "sh", "-c", script]),
        )
    }

    /// What containers the state directory holds.
    pub fn containers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.state.join("containers"))
            .into_iter()
            .flatten();
        let names = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        // Files of the store itself, as its lock, are hidden.
        names.filter(|name| !name.starts_with('.')).collect()
    }

    /// Checks, for some seconds, that nothing of any container is left.
    #[track_caller]
    pub fn nothing_left(&self) {
        let quiet = wait_until(Duration::from_secs(5), || self.left().is_empty());
        assert!(quiet, "left behind:\n{}", self.left().join("\n"));
    }

    fn left(&self) -> Vec<String> {
        let mounts = crate::mounts::mounts_below(&self.state);
        let mounts = mounts.iter().map(|m| format!("mount {}", m.display()));
        let containers = self
            .containers()
            .into_iter()
            .map(|c| format!("container {c}"));
        let name = self.state.display().to_string();
        let processes = tools::leaks::processes_naming(&name);
        let processes = processes
            .into_iter()
            .map(|(pid, line)| format!("process {pid}: {line}"));
        mounts.chain(containers).chain(processes).collect()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.nothing_left();
        }
    }
}

/// The tests' Debian root directory.
pub fn debian() -> PathBuf {
    tools::testroot::provide()
        .unwrap_or_else(|e| panic!("no test root: {e}"))
        .root
}

/// Cgroup directories whose path holds `id`.
pub fn cgroups_of(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                if entry.file_name().to_string_lossy().contains(id) {
                    found.push(entry.path());
                }
                todo.push(entry.path());
            }
        }
    }
    found
}
