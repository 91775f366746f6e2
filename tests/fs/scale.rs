//! Large things: a database in a lower, a directory of a million names, a hundred thousand open files,
//! the longest paths, five hundred layers. In short form a tenth of the numbers.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::layers::Layer;
use tests::mounts::{Mount, Union};
use tests::process::run_with;
use tests::programs;
use tests::scratch::Scratch;
use tests::stage::Stage;

/// The whole number in the long form, a tenth in the short one.
fn tenth(whole: usize) -> usize {
    if programs::long() { whole } else { whole / 10 }
}

/// A figure of the daemon's memory in KiB, `VmRSS` or `VmHWM`.
fn memory(mount: &Mount, figure: &str) -> u64 {
    let pid = mount.daemons()[0];
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with(figure))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Makes the database; or works in it as process `id`; or tells what is in it.
const DATABASE: &str = r#"
import hashlib, sqlite3, sys
task, path, me = sys.argv[1], sys.argv[2], int(sys.argv[3])
base = sqlite3.connect(path, timeout=120, isolation_level=None)
rows = 45000
text = lambda row, version: ("%08d-%d." % (row, version)) * 200
if task == "make":
    base.execute("create table t(id integer primary key, version integer, text text)")
    base.execute("begin")
    base.executemany("insert into t values(?,0,?)", ((row, text(row, 0)) for row in range(rows)))
    base.execute("commit")
elif task == "work":
    assert base.execute("pragma journal_mode=wal").fetchone()[0] == "wal"
    for step in range(60):
        base.execute("begin immediate")
        for row in range(step * 7 + me, rows, 1500):
            base.execute("update t set version=version+1, text=? where id=?", (text(row, me + 1), row))
        base.execute("insert into t values(?,?,?)", (rows + step * 2 + me, 1, text(step, me)))
        base.execute("delete from t where id=?", (rows // 2 + step * 2 + me,))
        base.execute("commit")
        base.execute("select count(*) from t where version > 0").fetchone()
    base.execute("pragma wal_checkpoint(full)")
else:
    busy, log, done = base.execute("pragma wal_checkpoint(truncate)").fetchone()
    assert busy == 0, "a checkpoint that is never done"
    print(base.execute("pragma integrity_check").fetchone()[0])
    digest = hashlib.sha256()
    for row in base.execute("select id, version, length(text) from t order by id"):
        digest.update(repr(row).encode())
    print(digest.hexdigest())
"#;

fn database(task: &str, path: &Path, id: usize) -> String {
    let mut python = Command::new("python3");
    python
        .args(["-c", DATABASE, task])
        .arg(path)
        .arg(id.to_string());
    run_with(&mut python, b"", Duration::from_secs(400)).ok()
}

/// A 90 MB database of a lower, in WAL mode, by two processes: as in a plain copy.
#[test]
fn a1_c1_a_database_of_a_lower_is_as_good_as_a_plain_one() {
    let scratch = Scratch::new();
    let lower = scratch.dir("lower");
    database("make", &lower.join("base"), 0);
    assert!(fs::metadata(lower.join("base")).unwrap().len() > 90_000_000);
    let plain = scratch.dir("plain");
    fs::copy(lower.join("base"), plain.join("base")).unwrap();
    let before = fs::read(lower.join("base")).unwrap();
    let union = Union::of(&[&lower], scratch.dir("merged"))
        .upper(scratch.dir("upper"), scratch.dir("work"));
    let mount = union.layerfs();
    let told = [&plain, mount.path()].map(|root: &Path| {
        std::thread::scope(|scope| {
            for id in 0..2 {
                scope.spawn(move || database("work", &root.join("base"), id));
            }
        });
        database("tell", &root.join("base"), 0)
    });
    assert!(told[0].starts_with("ok\n"), "{}", told[0]);
    assert_eq!(
        told[1], told[0],
        "left: on the union, right: on a plain tree"
    );
    mount.unmount();
    let mount = union.layerfs();
    assert_eq!(
        database("tell", &mount.join("base"), 0),
        told[0],
        "after a remount"
    );
    mount.unmount();
    assert!(
        fs::read(lower.join("base")).unwrap() == before,
        "R7: the lower was written"
    );
}

/// How long a step took, for people to read; times are never asserted.
fn timed<T>(what: &str, count: usize, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    let micros = begun.elapsed().as_micros() as f64 / count as f64;
    eprintln!("{what}: {count} names, {micros:.1} µs each");
    result
}

/// Half of a million names in a lower, half in the upper: listed and removed in bounded memory.
#[test]
fn d2_a_directory_of_a_million_names_is_listed_and_removed() {
    // More whiteouts than one inode of ext4 can have names.
    let count = (tenth(1_000_000) / 2).max(66_000);
    let scratch = Scratch::new();
    let lower = scratch.dir("lower");
    fs::create_dir(lower.join("d")).unwrap();
    for number in 0..count {
        File::create(lower.join(format!("d/lower-{number}"))).unwrap();
    }
    let union = Union::of(&[&lower], scratch.dir("merged"))
        .upper(scratch.dir("upper"), scratch.dir("work"));
    let mount = union.layerfs();
    let before = memory(&mount, "VmRSS");
    let directory = mount.join("d");
    let list = || {
        fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
    };
    timed("make", count, || {
        for number in 0..count {
            File::create(directory.join(format!("upper-{number}"))).unwrap();
        }
    });
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    for _ in 0..2 {
        assert_eq!(timed("list", 2 * count, || list().count()), 2 * count);
    }
    timed("remove", 2 * count, || {
        fs::remove_dir_all(&directory).unwrap()
    });
    assert!(!directory.exists());
    fs::create_dir(&directory).unwrap();
    assert_eq!(list().count(), 0, "nothing of it comes back");
    // The names of the directory, and the nodes that the kernel had looked up at once.
    let grown = memory(&mount, "VmHWM").saturating_sub(before);
    eprintln!("memory: {grown} KiB for {} names", 2 * count);
    let allowed = 32 * 1024 + 2 * count as u64 * 400 / 1024;
    assert!(
        grown < allowed,
        "the daemon grew by {grown} KiB, {allowed} are allowed"
    );
    mount.unmount();
    assert_eq!(fs::read_dir(lower.join("d")).unwrap().count(), count, "R7");
}

#[test]
fn i4_a_hundred_thousand_files_are_open_at_once() {
    let count = tenth(100_000);
    let (spare, limit) = (1_000, getrlimit(Resource::Nofile));
    let wanted = Some((count + spare) as u64);
    if limit.current < wanted {
        let maximum = limit.maximum.max(wanted);
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: wanted,
                maximum,
            },
        )
        .unwrap();
    }
    let scratch = Scratch::new();
    let lower = Layer::new()
        .file("lower", "lower")
        .dir("d")
        .write(scratch.join("lower"));
    let union =
        Union::of(&[lower], scratch.dir("merged")).upper(scratch.dir("upper"), scratch.dir("work"));
    let mount = union.layerfs();
    // Half are files of their own, half are handles of one lower file.
    let mut open: Vec<File> = Vec::with_capacity(count);
    for number in 0..count / 2 {
        let path = mount.join(format!("d/{number}"));
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .unwrap();
        file.write_all(number.to_string().as_bytes()).unwrap();
        open.push(file);
        open.push(File::open(mount.join("lower")).unwrap());
    }
    fs::remove_dir_all(mount.join("d")).unwrap();
    fs::write(mount.join("lower"), "LOWER").unwrap();
    for (number, file) in open.iter().enumerate() {
        let mut text = [0; 16];
        let length = file.read_at(&mut text, 0).unwrap();
        let own = (number / 2).to_string();
        let wanted = if number % 2 == 0 {
            own.as_bytes()
        } else {
            b"LOWER"
        };
        assert_eq!(&text[..length], wanted, "open file {number}");
    }
    drop(open);
    assert_eq!(fs::read(mount.join("lower")).unwrap(), b"LOWER");
    mount.unmount();
}

/// Goes down `names`, making them where they are missing; gives the last directory.
fn go_down(root: &Path, names: &[String]) -> OwnedFd {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    let mut here: OwnedFd = File::open(root).unwrap().into();
    for name in names {
        match mkdirat(here.as_fd(), name.as_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => panic!("mkdir: {error}"),
        }
        here = openat(here.as_fd(), name.as_str(), flags, Mode::empty()).unwrap();
    }
    here
}

/// Paths longer than PATH_MAX, reached step by step: the same as on a plain tree, in a lower and new.
#[test]
fn a5_n2_paths_beyond_the_longest_are_reached_step_by_step() {
    let names: Vec<String> = (0..24).map(|i| format!("{i:0>250}")).collect();
    let scratch = Scratch::new();
    let lower = scratch.dir("lower");
    let put = |directory: &OwnedFd, text: &str| {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC;
        let file = openat(directory, "file", flags, Mode::from_raw_mode(0o644)).unwrap();
        File::from(file).write_all(text.as_bytes()).unwrap();
    };
    let get = |directory: &OwnedFd| {
        let file = openat(directory, "file", OFlags::RDONLY, Mode::empty()).unwrap();
        std::io::read_to_string(File::from(file)).unwrap()
    };
    put(&go_down(&lower, &names), "lower");
    let union = Union::of(&[&lower], scratch.dir("merged"))
        .upper(scratch.dir("upper"), scratch.dir("work"));
    let mount = union.layerfs();
    let whole: PathBuf = names.iter().collect();
    assert_eq!(
        tests::stage::code(fs::metadata(mount.join(&whole))).err(),
        Some(libc::ENAMETOOLONG)
    );
    let deep = go_down(mount.path(), &names);
    assert_eq!(get(&deep), "lower");
    put(&deep, "changed");
    drop(deep);
    // Its redirect names a path of its layer; the directories above it move along.
    fs::rename(mount.join(&names[0]), mount.join("moved")).unwrap();
    let mut moved = names.clone();
    moved[0] = "moved".to_owned();
    assert_eq!(get(&go_down(mount.path(), &moved)), "changed");
    mount.unmount();
    let mount = union.layerfs();
    assert_eq!(get(&go_down(mount.path(), &moved)), "changed");
    fs::remove_dir_all(mount.join("moved")).unwrap();
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0);
    mount.unmount();
    assert_eq!(get(&go_down(&lower, &names)), "lower", "R7");
}

#[test]
fn r1_five_hundred_layers() {
    const LAYERS: usize = 500;
    let layers: Vec<Layer> = (0..LAYERS)
        .map(|number| {
            let layer = Layer::new()
                .file("every", number.to_string())
                .file(format!("d/own-{number}"), number.to_string())
                .file(format!("d/{}", number % 50), number.to_string());
            // Each hides a name of the layer below it.
            match number + 1 < LAYERS {
                true => layer.whiteout(format!("d/own-{}", number + 1)),
                false => layer,
            }
        })
        .collect();
    let mut stage = Stage::new(&layers);
    assert_eq!(fs::read_to_string(stage.m("every")).unwrap(), "0");
    assert_eq!(fs::read_dir(stage.m("d")).unwrap().count(), 51);
    for number in 0..50 {
        let text = fs::read_to_string(stage.m(format!("d/{number}"))).unwrap();
        assert_eq!(text, number.to_string(), "the topmost layer's");
    }
    stage.both(|root| {
        fs::write(root.join("every"), "written").unwrap();
        fs::rename(root.join("d"), root.join("e")).unwrap();
        fs::remove_file(root.join("e/7")).unwrap();
    });
    stage.same_after_remount();
}
