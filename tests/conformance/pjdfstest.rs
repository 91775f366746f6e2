//! pjdfstest 0.2.2: 398 cases, none of which may fail.
//!
//! Not run: `chflags`, birth times by `stat`, and NFSv4 ACLs, which Linux does not have; and the one
//! case that asks for the number of links a file may have, which no FUSE mount can tell.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::layers::Layer;
use tests::mounts::Union;
use tests::process::run_with;
use tests::programs;
use tests::scratch::Scratch;
use tests::stage::Stage;

/// Cases of the suite.
const CASES: usize = 398;

/// Cases that may be skipped: by the whole name.
const SKIPPED: &[&str] = &["link::link_count_max"];

/// Users and groups that every Debian has. The nap is longer than the tick of ext4's clock (4 ms).
const CONFIGURATION: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
stat_st_birthtime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.01
[dummy_auth]
entries = [["nobody", "nogroup"], ["games", "games"]]
"#;

/// Runs in a mount namespace of its own: there the directory lies at a short path, since a socket's may
/// have 107 bytes, and mount(8)'s helper, which knows no `PATH`, finds our program.
const PLACE: &str = "mount -t tmpfs none /usr/local/sbin && ln -s \"$0\" /usr/local/sbin/layerfs && \
     mount --bind \"$1\" /mnt && shift && exec \"$@\"";

/// Cases that make the mount read-only for a moment. They run by themselves: the suite leaves files open
/// for writing, and fails these on ext4 too when it runs them after the others.
const REMOUNTING: &str = "::erofs_";

/// The suite, in one directory.
struct Suite<'a> {
    scratch: &'a Scratch,
    /// Where it works.
    directory: PathBuf,
    /// A directory of another file system.
    other: &'a Path,
}

/// Case → how it ended, with the reason.
type Verdicts = BTreeMap<String, String>;

impl Suite<'_> {
    /// Runs all cases; none may fail.
    fn passes(&self) {
        let mut verdicts = self.run(None);
        verdicts.extend(self.run(Some(REMOUNTING)));
        assert_passed(&verdicts);
    }

    /// Runs the cases whose names contain `pattern`; without one, all that need no remount.
    fn run(&self, pattern: Option<&str>) -> Verdicts {
        let output = run_with(&mut self.command(pattern), b"", Duration::from_secs(300));
        let text = output.out();
        let mut verdicts = Verdicts::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some((case, end @ ("ok" | "FAILED" | "skipped"))) = line.rsplit_once(' ') else {
                continue;
            };
            let why = lines.peek().map_or("", |line| line.trim());
            let verdict = if end == "ok" {
                end
            } else {
                &format!("{end}: {why}")
            };
            verdicts.insert(case.trim().to_owned(), verdict.to_owned());
        }
        assert!(!verdicts.is_empty(), "{output}");
        verdicts
    }

    fn command(&self, pattern: Option<&str>) -> Command {
        let name = self.directory.display().to_string().replace('/', "-");
        let configuration = self.scratch.join(format!("pjdfstest{name}.toml"));
        let remount = format!("allow_remount = {}\n", pattern.is_some());
        fs::write(
            &configuration,
            CONFIGURATION.replace("[dummy", &(remount + "[dummy")),
        )
        .unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-c", PLACE])
            .arg(programs::layerfs())
            .arg(&self.directory)
            .arg(programs::suite("pjdfstest"))
            .arg("-c")
            .arg(configuration)
            .arg("-s")
            .arg(self.other)
            .args(["-p", "/mnt"])
            .args(pattern)
            .env("NO_COLOR", "1");
        command
    }
}

fn assert_passed(verdicts: &Verdicts) {
    let bad: Vec<String> = verdicts
        .iter()
        .filter(|(case, verdict)| *verdict != "ok" && !SKIPPED.contains(&case.as_str()))
        .map(|(case, verdict)| format!("{case}: {verdict}"))
        .collect();
    assert!(
        bad.is_empty(),
        "{} cases of pjdfstest do not pass:\n{}",
        bad.len(),
        bad.join("\n")
    );
    assert_eq!(verdicts.len(), CASES, "cases ran");
}

fn layers() -> [Layer; 2] {
    let top = Layer::new().dir("merged").file("merged/top", "1");
    let bottom = Layer::new()
        .dir("merged")
        .file("merged/bottom", "1")
        .dir("lower/deep")
        .file("lower/deep/file", "1");
    [top, bottom]
}

fn passes_in(stage: &Stage, directory: &str) {
    let other = stage.scratch.tmpfs("other", "16m");
    let suite = Suite {
        scratch: &stage.scratch,
        directory: stage.m(directory),
        other: &other,
    };
    suite.passes();
}

#[test]
fn pjdfstest_in_a_merged_directory() {
    passes_in(&Stage::new(&layers()), "merged");
}

#[test]
fn pjdfstest_with_writes_held_back() {
    passes_in(&Stage::with(&layers(), &["io=writeback"]), "merged");
}

#[test]
fn pjdfstest_in_a_directory_of_a_lower() {
    passes_in(&Stage::new(&layers()), "lower/deep");
}

#[test]
fn pjdfstest_over_packed_layers() {
    passes_in(&Stage::packed(&layers()), "merged");
}

#[test]
fn pjdfstest_over_a_merged_index() {
    passes_in(&Stage::merged(&layers()), "merged");
}

/// Lowers and upper lie in another layerfs, so the upper is in the form of AUFS: no whiteouts as device
/// nodes, no RENAME_WHITEOUT.
#[test]
fn pjdfstest_in_a_layerfs_on_a_layerfs() {
    let outer = Stage::new(&layers());
    let (upper, work) = (outer.m("upper"), outer.m("work"));
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    let point = outer.scratch.dir("inner");
    let lowers = [outer.m("merged"), outer.m("lower")];
    let inner = Union::of(&lowers, &point).upper(upper, work).layerfs();
    let other = outer.scratch.tmpfs("other", "16m");
    let suite = Suite {
        scratch: &outer.scratch,
        directory: point.join("deep"),
        other: &other,
    };
    suite.passes();
    inner.unmount();
}

/// In both at once, on one mount: neither suite may see the other. They do not remount, which would
/// stop the other.
#[test]
fn pjdfstest_across_both_at_once() {
    let stage = Stage::new(&layers());
    let other = stage.scratch.tmpfs("other", "16m");
    std::thread::scope(|scope| {
        for directory in ["merged", "lower/deep"] {
            let suite = Suite {
                scratch: &stage.scratch,
                directory: stage.m(directory),
                other: &other,
            };
            scope.spawn(move || {
                let mut verdicts = suite.run(None);
                for (case, verdict) in &mut verdicts {
                    if case.contains(REMOUNTING) {
                        *verdict = "ok".to_owned();
                    }
                }
                assert_passed(&verdicts);
            });
        }
    });
}
