//! One state directory of `runner` and the calls on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::packs;
use crate::process::{self, Output, wait_until};
use crate::programs;
use crate::scratch::Scratch;
use crate::snapshot::{Snapshot, View};

/// A `runner` with a state directory of its own. Dropping it removes its containers and checks that
/// no mount, process or file of them is left.
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

    /// `runner run -d FLAGS... DEBIAN sh -c SCRIPT`; gives the id.
    #[track_caller]
    pub fn detached(&self, flags: &[&str], script: &str) -> String {
        let image = format!("dir:{}", debian().display());
        let mut command = self.command("run");
        command
            .arg("-d")
            .args(flags)
            .args([&image, "sh", "-c", script]);
        let id = process::run(&mut command).ok().trim().to_owned();
        assert_eq!(id.len(), 64, "no id: {id:?}");
        id
    }

    /// Calls a verb that must succeed; standard output without the last line's end.
    #[track_caller]
    pub fn ok(&self, verb: &str, args: &[&str]) -> String {
        let out = self.call(verb, args).ok();
        out.strip_suffix('\n').unwrap_or(&out).to_owned()
    }

    /// One field of `inspect`, by a template.
    #[track_caller]
    pub fn inspect(&self, container: &str, template: &str) -> String {
        self.ok("inspect", &["--format", template, container])
    }

    /// Waits until a template of `inspect` gives this.
    #[track_caller]
    pub fn wait_for(&self, container: &str, template: &str, wanted: &str) {
        let mut last = String::new();
        let came = wait_until(Duration::from_secs(120), || {
            last = self.inspect(container, template);
            last == wanted
        });
        assert!(
            came,
            "{template} of {container} is {last:?}, not {wanted:?}"
        );
    }

    /// Waits until the log of a container holds this.
    #[track_caller]
    pub fn wait_for_log(&self, container: &str, wanted: &str) {
        let mut last = String::new();
        let came = wait_until(Duration::from_secs(120), || {
            let output = self.call("logs", &[container]);
            last = output.out() + &output.err();
            last.contains(wanted)
        });
        assert!(
            came,
            "{wanted:?} is not in the log of {container}: {last:?}"
        );
    }

    /// What `export` shows of a container, but for the places in `without`.
    pub fn exported(&self, container: &str, without: &[&str]) -> Snapshot {
        let file = self.scratch.join("exported.tar");
        self.ok("export", &["-o", file.to_str().unwrap(), container]);
        unpacked(&file, &self.scratch.join("exported"), without)
    }

    /// The same of an image, by a container that never runs.
    pub fn shown(&self, image: &str, without: &[&str]) -> Snapshot {
        self.ok("create", &["--name", "shown", image, "none"]);
        let shown = self.exported("shown", without);
        self.ok("rm", &["shown"]);
        shown
    }

    /// Removes all containers, by force.
    pub fn clear(&self) {
        let all = self.call("ps", &["-aq"]).out();
        let ids: Vec<&str> = all.lines().collect();
        if !ids.is_empty() {
            self.call("rm", &[&["-f"], ids.as_slice()].concat());
        }
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
        let quiet = wait_until(Duration::from_secs(120), || self.left().is_empty());
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
        let rests = ["locks", "names", "pins"].into_iter().flat_map(|part| {
            let entries = fs::read_dir(self.state.join(part)).into_iter().flatten();
            entries.map(move |e| format!("{part}/{}", e.unwrap().file_name().display()))
        });
        // The build cache is no container's.
        let rests = rests.filter(|rest| rest != "pins/build-cache.json");
        mounts
            .chain(containers)
            .chain(processes)
            .chain(rests)
            .collect()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // Also when none is left: what a killed monitor has left is taken down by the next command.
        if !self.containers().is_empty() || self.state.join("networks.json").exists() {
            self.clear();
        }
        if !std::thread::panicking() {
            self.nothing_left();
        }
    }
}

/// What GNU tar makes of an archive in `out`, which is emptied before, but for the places in `without`; times
/// of directories do not count.
pub fn unpacked(file: &Path, out: &Path, without: &[&str]) -> Snapshot {
    let _ = fs::remove_dir_all(out);
    fs::create_dir(out).unwrap();
    packs::untar(file, out).ok();
    for place in without {
        let place = out.join(place);
        let _ = fs::remove_file(&place).or_else(|_| fs::remove_dir_all(&place));
    }
    let view = View {
        no_dir_times: true,
        ..View::plain()
    };
    Snapshot::of(out, &view)
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
