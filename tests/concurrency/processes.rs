//! Several processes in the same directories: nothing is lost, nothing is torn, no error that a plain
//! file system would not give, no deadlock; the end can be told as some order of what each did.
//!
//! All the while the kernel drops its caches, so that lookups and forgets run through everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tests::layers::Layer;
use tests::lowers::Lowers;
use tests::mounts::{Mount, Union};
use tests::process::{Output, run_with, wait_until};
use tests::programs;
use tests::scratch::Scratch;
use tests::snapshot::{Snapshot, View};
use tests::work::{BLOCK, DIRECTORIES, SLOTS, WRITTEN, block_is_whole, pattern, slot};

/// Processes that do the same.
const MANY: usize = 4;

/// Longer than any of this takes: a deadlock ends here, by the death of the daemon.
const WATCHDOG: Duration = Duration::from_secs(240);

fn times(short: usize) -> usize {
    if programs::long() { short * 20 } else { short }
}

/// A mount where processes meet; fields drop in order.
struct Meeting {
    mount: Option<Mount>,
    _guard: Lowers,
    union: Union,
    _scratch: Scratch,
}

impl Meeting {
    fn new(layers: &[Layer]) -> Self {
        let scratch = Scratch::new();
        let write = |(i, layer): (usize, &Layer)| layer.write(scratch.join(format!("lower{i}")));
        let lowers: Vec<_> = layers.iter().enumerate().map(write).collect();
        let union = Union::of(&lowers, scratch.dir("merged"))
            .upper(scratch.dir("upper"), scratch.dir("work"));
        Self {
            mount: Some(union.layerfs()),
            _guard: Lowers::guard(&lowers),
            union,
            _scratch: scratch,
        }
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.union.point.join(name)
    }

    /// Runs tasks at once, `(task, processes, steps)`, with caches dropped meanwhile; gives what each
    /// process said, in the order given.
    fn work(&self, tasks: &[(&str, usize, usize)]) -> Vec<Output> {
        let done = AtomicBool::new(false);
        let go = self.path("go");
        let outputs = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Inodes and dentries: the kernel forgets all that nobody holds.
                    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
                    std::thread::sleep(Duration::from_millis(15));
                }
            });
            let mut workers = Vec::new();
            for (task, processes, steps) in tasks {
                for _ in 0..*processes {
                    let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
                    command.arg(task).arg(&self.union.point);
                    command.args([workers.len().to_string(), steps.to_string()]);
                    let limit = WATCHDOG + Duration::from_secs(60);
                    workers.push(scope.spawn(move || run_with(&mut command, b"", limit)));
                }
            }
            scope.spawn(|| {
                let ended = wait_until(WATCHDOG, || done.load(Ordering::Relaxed));
                if !ended {
                    eprintln!("{tasks:?}: no end in sight");
                    self.mount.as_ref().unwrap().kill_daemon();
                }
            });
            File::create(&go).unwrap();
            let ends: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            done.store(true, Ordering::Relaxed);
            ends
        });
        fs::remove_file(&go).unwrap();
        let outputs: Vec<Output> = outputs.into_iter().map(Result::unwrap).collect();
        let faults: Vec<_> = outputs.iter().filter(|output| output.code != 0).collect();
        assert!(faults.is_empty(), "{}", faults[0]);
        outputs
    }

    /// The names that processes won, each of which must have been won once, by its number.
    fn claimed(&self, task: &str, names: usize) -> BTreeMap<String, usize> {
        let outputs = self.work(&[(task, MANY, names)]);
        let mut winners = BTreeMap::new();
        for (id, output) in outputs.iter().enumerate() {
            for name in output.out().lines() {
                let before = winners.insert(name.to_owned(), id);
                assert_eq!(before, None, "{task} of {name} worked twice");
            }
        }
        assert_eq!(winners.len(), names, "{task}: each name is won by one");
        winners
    }

    /// The tree is the same after a remount, and whole.
    fn same_after_remount(&mut self) {
        check_tree(&self.union.point);
        let before = Snapshot::of(&self.union.point, &View::plain());
        self.mount.take().unwrap().unmount();
        self.mount = Some(self.union.layerfs());
        let after = Snapshot::of(&self.union.point, &View::plain());
        before.assert_same(&after, "before and after a remount");
        check_tree(&self.union.point);
    }
}

/// D1, D3, I1, I2 at rest: listed numbers are those of stat, directories count their subdirectories,
/// files count their names.
fn check_tree(root: &Path) {
    let mut names: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        let mut subdirectories = 0;
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            assert_eq!(entry.ino(), meta.ino(), "{:?}", entry.path());
            if meta.is_dir() {
                subdirectories += 1;
                todo.push(entry.path());
            } else {
                names.entry(meta.ino()).or_insert((meta.nlink(), 0)).1 += 1;
            }
        }
        let nlink = fs::metadata(&directory).unwrap().nlink();
        assert_eq!(
            nlink,
            2 + subdirectories,
            "links of {}",
            directory.display()
        );
    }
    for (ino, (nlink, found)) in names {
        assert_eq!(nlink, found, "st_nlink and names of inode {ino}");
    }
}

#[test]
fn n1_each_name_is_removed_once_and_made_once() {
    const NAMES: usize = 60;
    let mut layer = Layer::new()
        .dir("taken")
        .dir("links")
        .dir("symlinks")
        .file("source", "s");
    for name in 0..NAMES {
        layer = layer
            .file(format!("files/{name}"), "old")
            .dir(format!("dirs/{name}"))
            .file(format!("moved/{name}"), name.to_string());
    }
    let mut meeting = Meeting::new(&[layer]);
    for _ in 0..times(2) {
        meeting.claimed("unlink", NAMES);
        let makers = meeting.claimed("create", NAMES);
        for (name, maker) in makers {
            let text = fs::read_to_string(meeting.path("files").join(name)).unwrap();
            assert_eq!(text, maker.to_string());
        }
        meeting.claimed("rmdir", NAMES);
        meeting.claimed("mkdir", NAMES);
    }
    for (name, taker) in meeting.claimed("take", NAMES) {
        let text = fs::read_to_string(meeting.path(format!("taken/{name}-{taker}"))).unwrap();
        assert_eq!(text, name);
    }
    meeting.claimed("link-to", NAMES);
    assert_eq!(
        fs::metadata(meeting.path("source")).unwrap().nlink(),
        NAMES as u64 + 1
    );
    for (name, maker) in meeting.claimed("symlink", NAMES) {
        let target = fs::read_link(meeting.path("symlinks").join(name)).unwrap();
        assert_eq!(target, Path::new(&maker.to_string()));
    }
    meeting.same_after_remount();
}

/// Every line of every process is there once, each process's in its order, after what the layer has.
fn check_log(text: &str, head: &str, steps: usize) {
    let lines = text
        .strip_prefix(head)
        .expect("the layer's lines come first");
    let mut next = [0; MANY];
    for line in lines.lines() {
        let (id, step) = line
            .split_once(' ')
            .unwrap_or_else(|| panic!("torn: {line:?}"));
        let id: usize = id.parse().unwrap();
        assert_eq!(
            step,
            next[id].to_string(),
            "a line of process {id} is lost or torn"
        );
        next[id] += 1;
    }
    assert_eq!(next, [steps; MANY]);
}

#[test]
fn a1_c5_appends_of_many_processes_are_all_there() {
    let steps = times(300);
    for size in [100, 200_000] {
        let head = "line of the layer\n".repeat(size / 18);
        let layer = Layer::new().file("log", &head).link("log-too", "log");
        let mut meeting = Meeting::new(&[layer]);
        meeting.work(&[("append", MANY, steps)]);
        let text = fs::read_to_string(meeting.path("log")).unwrap();
        check_log(&text, &head, steps);
        assert_eq!(fs::read_to_string(meeting.path("log-too")).unwrap(), text);
        meeting.same_after_remount();
    }
}

#[test]
fn a4_a_number_under_a_lock_is_counted_right() {
    let steps = times(200);
    let mut meeting = Meeting::new(&[Layer::new().file("number", "00000000\n")]);
    meeting.work(&[("count", MANY, steps)]);
    let text = fs::read_to_string(meeting.path("number")).unwrap();
    assert_eq!(text.trim().parse::<usize>().unwrap(), MANY * steps);
    meeting.same_after_remount();
}

/// Tokens in half of the slots: files and directories of a lower, merged ones, new ones.
fn tokens() -> [Layer; 2] {
    let (mut top, mut bottom) = (Layer::new().dir("merged"), Layer::new());
    for directory in DIRECTORIES {
        bottom = bottom.dir(directory);
    }
    for number in (0..SLOTS).step_by(2) {
        let (path, token) = (slot(number), format!("token {number} end"));
        bottom = match number % 4 {
            0 => bottom.file(&path, &token),
            _ => bottom
                .file(format!("{path}/id"), &token)
                .file(format!("{path}/sub/deep"), &token),
        };
        if number % 8 == 2 {
            top = top.file(format!("{path}/id"), &token);
        }
    }
    [top, bottom]
}

/// The tokens there are: what each says of itself.
fn found_tokens(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for directory in DIRECTORIES {
        for entry in fs::read_dir(root.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            let id = if path.is_dir() {
                path.join("id")
            } else {
                path.clone()
            };
            let token = fs::read_to_string(id).unwrap();
            if path.is_dir() {
                assert_eq!(fs::read_to_string(path.join("sub/deep")).unwrap(), token);
            }
            assert!(found.insert(token), "a token is there twice");
        }
    }
    found
}

#[test]
fn n2_n3_tokens_that_are_moved_and_exchanged_are_conserved() {
    let mut meeting = Meeting::new(&tokens());
    let before = found_tokens(&meeting.union.point);
    assert_eq!(before.len(), SLOTS / 2);
    for _ in 0..times(1) {
        meeting.work(&[("shuffle", MANY, 400), ("look", 2, 400)]);
        assert_eq!(found_tokens(&meeting.union.point), before);
    }
    meeting.same_after_remount();
    assert_eq!(found_tokens(&meeting.union.point), before);
}

#[test]
fn i2_n5_links_made_and_taken_at_once_are_counted_right() {
    let mut layer = Layer::new();
    for directory in DIRECTORIES {
        layer = layer.dir(directory);
    }
    for file in 0..8 {
        layer = layer.file(format!("kept/{file}"), format!("file {file}"));
        if file % 2 == 0 {
            layer = layer.link(format!("lower/over-{file}"), format!("kept/{file}"));
        }
    }
    let mut meeting = Meeting::new(&[Layer::new().dir("merged"), layer]);
    meeting.work(&[("link", MANY, times(150))]);
    for directory in DIRECTORIES {
        for entry in fs::read_dir(meeting.path(directory)).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .replace("over-", "");
            let file = name.split('-').next().unwrap();
            let kept = meeting.path("kept").join(file);
            let (a, b) = (fs::metadata(&path).unwrap(), fs::metadata(kept).unwrap());
            assert_eq!(a.ino(), b.ino(), "{}", path.display());
        }
    }
    meeting.same_after_remount();
}

#[test]
fn n2_trees_that_many_build_move_and_remove_stay_whole() {
    let mut layers = [Layer::new(), Layer::new()];
    for (number, layer) in layers.iter_mut().enumerate() {
        for path in ["tree/a/b/c", "tree/b/a", "tree/c/c/a", "tree/a/a"] {
            *layer = std::mem::take(layer).dir(path);
        }
        *layer = std::mem::take(layer).dir(format!("tree/b/{number}"));
    }
    let mut meeting = Meeting::new(&layers);
    for _ in 0..times(1) {
        meeting.work(&[("grow", MANY + 2, 500)]);
        check_tree(&meeting.union.point);
    }
    meeting.same_after_remount();
}

#[test]
fn a1_a_file_replaced_by_rename_is_never_torn() {
    let mut meeting = Meeting::new(&[Layer::new().file("current", vec![7; BLOCK])]);
    meeting.work(&[("replace", 2, times(200)), ("read-whole", 3, times(300))]);
    assert!(block_is_whole(&fs::read(meeting.path("current")).unwrap()));
    meeting.same_after_remount();
}

#[test]
fn c1_c5_files_that_come_up_while_they_are_read_and_mapped_are_whole() {
    const FILES: usize = 24;
    for _ in 0..times(1) {
        let mut layer = Layer::new();
        for number in 0..FILES {
            layer = layer.file(format!("large/{number}"), pattern(number));
        }
        let mut meeting = Meeting::new(&[layer]);
        // Processes 0 to 2 write byte 0 to 2.
        meeting.work(&[("bring-up", 3, FILES), ("read-large", 3, FILES)]);
        for number in 0..FILES {
            let text = fs::read(meeting.path(format!("large/{number}"))).unwrap();
            assert_eq!(&text[..3], b"ABC", "a write is lost");
            assert_eq!(text[WRITTEN..], pattern(number)[WRITTEN..]);
        }
        meeting.same_after_remount();
    }
}

/// Resident KiB of the daemon.
fn resident(mount: &Mount) -> u64 {
    let pid = mount.daemons()[0];
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Nodes do not leak: what the kernel forgot is let go of. 20 000 of them are some MiB each round.
#[test]
fn i3_forgotten_nodes_are_let_go_of() {
    let mut layer = Layer::new();
    for number in 0..10_000 {
        layer = layer.file(format!("d{}/f{number}", number % 200), "");
    }
    let meeting = Meeting::new(&[layer]);
    let round = || {
        let mut seen = 0;
        for directory in fs::read_dir(&meeting.union.point).unwrap() {
            for file in fs::read_dir(directory.unwrap().path()).unwrap() {
                seen += u64::from(file.unwrap().metadata().unwrap().is_file());
            }
        }
        assert_eq!(seen, 10_000);
        fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
        resident(meeting.mount.as_ref().unwrap())
    };
    // The allocator and the daemon's caches of directories grow in the first rounds.
    let settled = (0..4).map(|_| round()).max().unwrap();
    let later = (0..times(5)).map(|_| round()).max().unwrap();
    assert!(
        later < settled + 4 * 1024,
        "resident: {settled} KiB after four rounds, {later} KiB later"
    );
}
