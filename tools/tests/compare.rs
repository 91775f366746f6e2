//! The comparison as a program: that it measures, tells, and leaves nothing behind.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A directory for scratch and results, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let prefix = tools::leaks::SCRATCH_PREFIX;
        let path = PathBuf::from(format!("{prefix}{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn compare(&self) -> Command {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests mount: run them as root"
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
        command.env("LAYERFS_BIN", tools::programs::layerfs());
        command.arg("--short").arg("--scratch").arg(&self.0);
        command.arg("--out").arg(self.0.join("out"));
        command
    }

    /// What is there beside the results; nothing, after the program has ended.
    fn left(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().path());
        let mounts = tools::leaks::mount_table().into_iter().map(|m| m.point);
        let below = mounts.filter(|point| point.starts_with(&self.0));
        entries
            .filter(|path| !path.ends_with("out"))
            .chain(below)
            .collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Only after a failure there is a mount inside, and that is told by the leak check.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn samples(out: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(out.join("samples.json")).unwrap()).unwrap()
}

#[test]
fn a_small_comparison_fills_table_plot_and_samples_and_leaves_nothing() {
    let place = Place::new("small");
    let status = place
        .compare()
        .args(["--only", "chown -R", "--rounds", "2"])
        .args(["--contenders", "plain,overlayfs,layerfs-device"])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(place.left(), [] as [PathBuf; 0]);

    let out = place.0.join("out");
    let samples = samples(&out);
    let rows = samples["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["failed"], serde_json::json!({}));
    let contenders = samples["contenders"].as_array().unwrap();
    assert_eq!(contenders.len(), 3, "{contenders:?}");
    for contender in contenders {
        let key = contender["key"].as_str().unwrap();
        let taken = rows[0]["samples"][key].as_array().unwrap();
        assert_eq!(taken.len(), 2, "{key}");
        assert!(taken.iter().all(|t| t.as_f64().unwrap() > 0.0), "{key}");
    }
    let table = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(
        table.contains("| chown -R of a lower tree | ms | ≤ 0.15 |"),
        "{table}"
    );
    let plot = fs::read_to_string(out.join("plot.svg")).unwrap();
    roxmltree::Document::parse(&plot).unwrap();
}

#[test]
fn an_interrupted_comparison_leaves_nothing() {
    let place = Place::new("interrupted");
    let mut child = place
        .compare()
        .args(["--only", "^rm$", "--rounds", "100"])
        .args(["--contenders", "layerfs-device"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    // In the midst of a turn: something is mounted.
    let mounted = || place.left().iter().any(|path| path.ends_with("mnt"));
    while !mounted() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "ended before it mounted"
        );
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let said: Vec<_> = said.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said:?}");
    assert_eq!(said, ["compare: interrupted"]);
    assert_eq!(place.left(), [] as [PathBuf; 0]);
}

#[test]
fn a_program_that_is_not_there_is_told_in_one_line() {
    let place = Place::new("missing");
    let output = place
        .compare()
        .args(["--only", "^fio$", "--contenders", "overlayfs"])
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let wanted = "compare: fio is not installed: run with --install, or without what needs it \
                  (--contenders, --only)\n";
    assert_eq!(said, wanted);
}
