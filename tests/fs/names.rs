//! N1–N5: removing, renaming and linking, on every mix of lower, upper and merged objects.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tests::layers::Layer;
use tests::operations::{Op, apply};
use tests::snapshot::{Snapshot, View};
use tests::stage::{START, Stage, code, raw};

/// Objects of each kind that a rename can meet, in a lower; [`prepare`] adds those of the upper.
fn layers() -> [Layer; 2] {
    let top = Layer::new()
        .file("merged/from-top", "1")
        .dir("merged-empty");
    let bottom = Layer::new()
        .file("lower-file", "lower file")
        .mode(0o640)
        .xattr("user.x", "x")
        .file("lower-dir/a/b", "1")
        .symlink("lower-dir/l", "a/b")
        .dir("lower-empty")
        .mode(0o750)
        .file("merged/from-bottom", "1")
        .file("merged/removed", "1")
        .file("merged-empty/removed", "1")
        .symlink("lower-link", "lower-file")
        .fifo("lower-fifo")
        .file("changed", "1")
        .file("white", "deleted before")
        .file("white-dir/x", "deleted before")
        .file("elsewhere/keep", "1");
    [top, bottom]
}

const OBJECTS: [&str; 14] = [
    "lower-file",
    "lower-dir",
    "lower-empty",
    "merged",
    "merged-empty",
    "lower-link",
    "lower-fifo",
    "changed",
    "upper-file",
    "upper-dir",
    "upper-empty",
    "white",
    "white-dir",
    "nothing",
];

fn prepare(root: &Path) {
    fs::remove_file(root.join("merged/removed")).unwrap();
    fs::remove_file(root.join("merged-empty/removed")).unwrap();
    fs::write(root.join("changed"), "changed").unwrap();
    fs::remove_file(root.join("white")).unwrap();
    fs::remove_dir_all(root.join("white-dir")).unwrap();
    fs::write(root.join("upper-file"), "upper file").unwrap();
    fs::create_dir_all(root.join("upper-dir/x")).unwrap();
    fs::create_dir(root.join("upper-empty")).unwrap();
}

/// Runs `op(from, to)` for every pair of objects, each on a fresh mount state; results and trees
/// must be those of a plain file system, also after a remount.
fn every_pair(op: impl Fn(PathBuf, PathBuf) -> Op, targets: &[&str]) {
    let mut stage = Stage::new(&layers());
    stage.unmount();
    let pristine = stage.p("");
    let (upper, work) = stage.union.upper.clone().unwrap();
    let mut failures = Vec::new();
    for from in OBJECTS {
        for to in targets {
            for directory in [&upper, &work] {
                fs::remove_dir_all(directory).unwrap();
                fs::create_dir(directory).unwrap();
            }
            let plain = stage.scratch.join("pair");
            let _ = fs::remove_dir_all(&plain);
            tests::snapshot::plain_copy(&pristine, &plain);
            stage.mount_again();
            prepare(&plain);
            prepare(&stage.union.point);
            let op = op(from.into(), to.into());
            let (wanted, found) = (apply(&plain, &op), apply(&stage.union.point, &op));
            let view = View::since(START);
            let tree = Snapshot::of(&plain, &view);
            let mut diff = tree.diff(&Snapshot::of(&stage.union.point, &view));
            stage.remount();
            let after = tree.diff(&Snapshot::of(&stage.union.point, &view));
            stage.unmount();
            if diff.is_empty() && !after.is_empty() {
                diff = format!("after a remount:\n{after}");
            }
            if wanted != found || !diff.is_empty() {
                failures.push(format!("{op:?}: plain {wanted:?}, union {found:?}\n{diff}"));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} pairs differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
    fs::remove_dir_all(&pristine).unwrap();
    fs::create_dir(&pristine).unwrap();
    stage.mount_again();
}

#[test]
fn n2_n3_rename_of_every_pair() {
    every_pair(Op::Rename, &OBJECTS);
}

#[test]
fn n3_rename_noreplace_of_every_pair() {
    every_pair(
        Op::RenameNoReplace,
        &["lower-file", "merged", "upper-dir", "white", "nothing"],
    );
}

#[test]
fn n3_exchange_of_every_pair() {
    every_pair(Op::Exchange, &OBJECTS);
}

#[test]
fn n3_rename_into_other_directories_and_itself() {
    for target in [
        "elsewhere/new",
        "upper-dir/new",
        "merged/new",
        "lower-dir/a/new",
    ] {
        every_pair(move |from, _| Op::Rename(from, target.into()), &[""]);
    }
    every_pair(
        |from, _| Op::Rename(from.clone(), from.join("inside")),
        &[""],
    );
}

#[test]
fn n5_link_of_every_pair() {
    every_pair(
        Op::Link,
        &[
            "lower-file",
            "elsewhere/new",
            "white",
            "nothing",
            "missing/x",
        ],
    );
}

#[test]
fn n1_removing_and_making_again() {
    let mut stage = Stage::new(&layers());
    stage.both(|root| {
        prepare(root);
        let at = |p: &str| root.join(p);
        // A directory over a whiteout is opaque.
        fs::create_dir(at("white-dir")).unwrap();
        fs::remove_dir_all(at("lower-dir")).unwrap();
        fs::create_dir(at("lower-dir")).unwrap();
        fs::write(at("lower-dir/a"), "now a file").unwrap();
        // A file over a removed directory, a directory over a removed file, and again.
        fs::remove_dir_all(at("merged")).unwrap();
        fs::write(at("merged"), "file").unwrap();
        fs::remove_file(at("lower-file")).unwrap();
        fs::create_dir(at("lower-file")).unwrap();
        fs::remove_dir(at("lower-file")).unwrap();
        fs::write(at("lower-file"), "second").unwrap();
        fs::remove_file(at("lower-file")).unwrap();
        std::os::unix::fs::symlink("x", at("lower-file")).unwrap();
    });
    stage.same_after_remount();
}

#[test]
fn n1_whiteouts_are_names_of_one_inode() {
    let layer = Layer::new().file("a", "1").file("b", "2").dir("d");
    let mut stage = Stage::new(&[layer]);
    for root in [stage.m(""), stage.p("")] {
        fs::remove_file(root.join("a")).unwrap();
        fs::write(root.join("b"), "copied up").unwrap();
        fs::remove_file(root.join("b")).unwrap();
        fs::remove_dir(root.join("d")).unwrap();
    }
    let [a, b, d] = ["a", "b", "d"].map(|name| fs::symlink_metadata(stage.u(name)).unwrap().ino());
    assert_eq!([a, b], [d, d]);
    stage.same_after_remount();
    stage.unmount();
    let left = fs::read_dir(stage.u("../work/layerfs/stage")).unwrap();
    assert_eq!(left.count(), 0, "a clean end leaves nothing in the stage");
}

#[test]
fn n1_a_name_removed_in_one_mount_stays_removed_in_the_next() {
    let mut stage = Stage::new(&layers());
    for round in 0..3 {
        stage.both(|root| {
            fs::write(root.join("again"), format!("{round}")).unwrap();
            let _ = fs::remove_file(root.join("lower-fifo"));
            fs::remove_file(root.join("again")).unwrap();
        });
        stage.same_after_remount();
    }
}

#[test]
fn n2_renamed_directories_survive_changes_below_and_further_renames() {
    let mut stage = Stage::new(&layers());
    stage.both(|root| {
        let at = |p: &str| root.join(p);
        fs::rename(at("lower-dir"), at("one")).unwrap();
        fs::write(at("one/a/b"), "changed").unwrap();
        fs::write(at("one/a/new"), "new").unwrap();
        fs::rename(at("one"), at("elsewhere/two")).unwrap();
        fs::rename(at("elsewhere/two/a"), at("three")).unwrap();
        // The old names can be used again and show nothing of the past.
        fs::create_dir(at("lower-dir")).unwrap();
        fs::create_dir(at("one")).unwrap();
        fs::rename(at("merged"), at("lower-dir/merged")).unwrap();
    });
    stage.same_after_remount();
    stage.both(|root| {
        let at = |p: &str| root.join(p);
        fs::rename(at("lower-dir/merged"), at("merged")).unwrap();
        fs::rename(at("merged"), at("merged-again")).unwrap();
        fs::remove_file(at("merged-again/from-bottom")).unwrap();
        fs::rename(at("elsewhere/two"), at("lower-dir/back")).unwrap();
        fs::remove_dir_all(at("three")).unwrap();
    });
    stage.same_after_remount();
}

#[test]
fn n2_open_files_and_working_directories_follow_a_renamed_directory() {
    let stage = Stage::new(&layers());
    stage.both(|root| {
        let file = fs::File::open(root.join("lower-dir/a/b")).unwrap();
        let directory = fs::File::open(root.join("lower-dir/a")).unwrap();
        fs::rename(root.join("lower-dir"), root.join("moved")).unwrap();
        let flags = rustix::fs::OFlags::RDONLY;
        let again = rustix::fs::openat(&directory, "b", flags, rustix::fs::Mode::empty());
        let same = fs::File::from(again.unwrap()).metadata().unwrap().ino()
            == file.metadata().unwrap().ino();
        (
            same,
            fs::read(root.join("moved/a/b")).unwrap(),
            root.join("lower-dir").exists(),
        )
    });
}

#[test]
fn n4_rmdir_of_merged_directories_sees_through_whiteouts() {
    let mut stage = Stage::new(&layers());
    stage.both(|root| {
        let at = |p: &str| root.join(p);
        let full = code(fs::remove_dir(at("merged")));
        fs::remove_file(at("merged/from-top")).unwrap();
        fs::remove_file(at("merged/from-bottom")).unwrap();
        let one_left = code(fs::remove_dir(at("merged")));
        fs::remove_file(at("merged/removed")).unwrap();
        fs::remove_file(at("merged-empty/removed")).unwrap();
        (
            full,
            one_left,
            code(fs::remove_dir(at("merged"))),
            code(fs::remove_dir(at("merged-empty"))),
            code(fs::remove_dir(at("lower-empty"))),
            code(fs::remove_dir(at("lower-file"))),
            code(fs::remove_dir(at("nothing"))),
        )
    });
    // One whiteout is left of each, no directory full of them.
    for name in ["merged", "merged-empty", "lower-empty"] {
        assert!(
            !stage.u(name).is_dir(),
            "{name} is still a directory in the upper"
        );
    }
    stage.same_after_remount();
}

#[test]
fn n3_renaming_over_a_merged_directory_that_only_looks_empty() {
    let mut stage = Stage::new(&layers());
    stage.both(|root| {
        let at = |p: &str| root.join(p);
        fs::remove_file(at("merged-empty/removed")).unwrap();
        fs::rename(at("lower-dir"), at("merged-empty")).unwrap();
        fs::create_dir(at("fresh")).unwrap();
        fs::write(at("fresh/f"), "f").unwrap();
        fs::rename(at("fresh"), at("lower-empty")).unwrap();
    });
    stage.same_after_remount();
}

#[test]
fn n3_a_name_never_vanishes_while_it_is_replaced() {
    let stage = Stage::new(&[Layer::new().file("target", "0").file("d/target", "0")]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut seen = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for name in ["target", "d/target"] {
                    let content = fs::read(stage.m(name));
                    assert!(content.is_ok(), "{name} vanished: {content:?}");
                    seen += 1;
                }
            }
            seen
        });
        for i in 0..300 {
            for name in ["target", "d/target"] {
                fs::write(stage.m("new"), format!("{i}")).unwrap();
                fs::rename(stage.m("new"), stage.m(name)).unwrap();
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(watch.join().unwrap() > 0);
    });
    assert_eq!(fs::read(stage.m("d/target")).unwrap(), b"299");
}

#[test]
fn a5_names_to_255_bytes_and_odd_ones() {
    let mut stage = Stage::new(&[Layer::new().dir("d").file("x".repeat(255), "lower")]);
    stage.both(|root| {
        let long = "y".repeat(255);
        let mut results = vec![
            code(fs::write(root.join(&long), "1")),
            code(fs::write(root.join("y".repeat(256)), "1")),
            code(fs::create_dir(root.join("d").join(&long))),
            code(fs::read(root.join("x".repeat(256))).map(drop)),
            code(fs::rename(
                root.join("x".repeat(255)),
                root.join("d").join("z".repeat(255)),
            )),
            code(fs::remove_file(root.join("y".repeat(255)))),
        ];
        for name in [
            &b"new\nline"[..],
            b"\xff\xfe",
            b" ",
            b"-rf",
            b"\\",
            b"a:b,c",
            b".whx",
        ] {
            results.push(code(fs::write(
                root.join("d").join(tests::sys::path_of(name)),
                name,
            )));
        }
        results
    });
    stage.same_after_remount();
}

/// As on ext4 where the transport carries it; without a trace where not.
#[test]
fn n6_a_file_without_a_name_gets_one_by_linkat() {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;

    let stage = Stage::new(&layers());
    let mut unnamed = fs::OpenOptions::new();
    unnamed.read(true).write(true).custom_flags(libc::O_TMPFILE);
    let mut file = match unnamed.mode(0o640).open(stage.m("merged")) {
        Ok(file) => file,
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
            return stage.same("after a refusal");
        }
    };
    file.write_all(b"unnamed").unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    stage.same("nobody sees it yet");
    let through = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = |name: &Path| {
        let follow = rustix::fs::AtFlags::SYMLINK_FOLLOW;
        raw(rustix::fs::linkat(
            rustix::fs::CWD,
            &*through,
            rustix::fs::CWD,
            name,
            follow,
        ))
    };
    assert_eq!(link(&stage.m("lower-file")), Err(libc::EEXIST));
    assert_eq!(link(&stage.m("merged/named")), Ok(()));
    assert_eq!(fs::read(stage.m("merged/named")).unwrap(), b"unnamed");
    let meta = fs::metadata(stage.m("merged/named")).unwrap();
    assert_eq!((meta.nlink(), meta.mode() & 0o7777), (1, 0o640));
}
