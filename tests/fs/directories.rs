//! D1: listing a directory while it changes, and from any place in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Dir, Mode, OFlags, SeekFrom, open, seek};
use tests::layers::Layer;
use tests::stage::Stage;

/// Two layers whose directory `d` merges from `per` names each, some hidden.
fn layers(per: usize) -> [Layer; 2] {
    let mut top = Layer::new();
    let mut bottom = Layer::new();
    for i in 0..per {
        top = top.file(format!("d/top{i:04}"), "");
        bottom = bottom.file(format!("d/bottom{i:04}"), "");
        if i % 10 == 0 {
            top = top.whiteout(format!("d/bottom{i:04}"));
        }
    }
    [
        top.file("d/both", "top"),
        bottom.file("d/both", "bottom").dir("d/sub"),
    ]
}

fn directory(path: &Path) -> rustix::fd::OwnedFd {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

/// Names with how often each was listed, `.` and `..` included.
fn scan(path: &Path) -> BTreeMap<Vec<u8>, usize> {
    let mut seen = BTreeMap::new();
    for entry in Dir::new(directory(path)).unwrap() {
        *seen
            .entry(entry.unwrap().file_name().to_bytes().to_vec())
            .or_default() += 1;
    }
    seen
}

#[test]
fn d1_every_name_once_with_dots() {
    let stage = Stage::new(&layers(500));
    fs::write(stage.m("d/fresh"), "").unwrap();
    fs::remove_file(stage.m("d/top0001")).unwrap();
    let seen = scan(&stage.m("d"));
    assert!(seen.values().all(|n| *n == 1), "listed twice: {seen:?}");
    assert_eq!(seen.len(), 2 + 499 + 450 + 1 + 1 + 1);
    assert!(seen.contains_key(&b"."[..]) && seen.contains_key(&b".."[..]));
    let empty = scan(&stage.m("d/sub"));
    assert_eq!(empty.keys().collect::<Vec<_>>(), [&b"."[..], b".."]);
}

#[test]
fn d1_types_and_numbers_of_dots() {
    use std::os::unix::fs::MetadataExt;
    let stage = Stage::new(&layers(1));
    for (path, parent) in [("d/sub", "d"), ("d", "")] {
        for entry in Dir::new(directory(&stage.m(path))).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_bytes();
            let is = |p: &str| fs::metadata(stage.m(p)).unwrap().ino();
            if name == b"." {
                assert_eq!(entry.ino(), is(path), ". of {path}");
            } else if name == b".." {
                assert_eq!(entry.ino(), is(parent), ".. of {path}");
            }
            if name == b"." || name == b".." {
                assert_eq!(entry.file_type(), rustix::fs::FileType::Directory);
            }
        }
    }
}

#[test]
fn d1_names_present_throughout_appear_once_while_others_come_and_go() {
    let stage = Stage::new(&layers(1500));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut i = 0;
            while !stop.load(Ordering::Relaxed) {
                let name = stage.m(format!("d/moving{}", i % 50));
                fs::write(&name, "").unwrap();
                if i % 3 == 0 {
                    fs::rename(&name, stage.m(format!("d/renamed{}", i % 50))).unwrap();
                } else {
                    fs::remove_file(&name).unwrap();
                }
                i += 1;
            }
        });
        let result = std::panic::catch_unwind(|| {
            for _ in 0..30 {
                let seen = scan(&stage.m("d"));
                let steady =
                    |name: &&Vec<u8>| name.starts_with(b"top") || name.starts_with(b"bottom");
                assert_eq!(seen.keys().filter(steady).count(), 1500 + 1350);
                assert!(seen.iter().filter(|(k, _)| steady(k)).all(|(_, n)| *n == 1));
            }
        });
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn d1_removing_what_was_just_listed_removes_everything() {
    // What `rm -r` does: lists a part, removes it, lists on.
    let mut stage = Stage::new(&layers(1500));
    stage.both(|root| tests::process::call("rm", &["-r", root.join("d").to_str().unwrap()]).ok());
    stage.same_after_remount();
    let stage = Stage::new(&layers(700));
    let fd = directory(&stage.m("d"));
    let mut listed = 0;
    for entry in Dir::read_from(&fd).unwrap() {
        let entry = entry.unwrap();
        let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
        if entry.file_type() == rustix::fs::FileType::RegularFile {
            fs::remove_file(stage.m("d").join(name)).unwrap();
            listed += 1;
        }
    }
    assert_eq!(listed, 700 + 630 + 1);
    let rest = scan(&stage.m("d"));
    assert_eq!(rest.len(), 3, "left: {rest:?}");
}

#[test]
fn d1_offsets_are_cookies_that_can_be_returned_to() {
    let stage = Stage::new(&layers(300));
    let fd = directory(&stage.m("d"));
    // One pass with the cookie *after* each name.
    let read_all = || {
        let mut buffer = Vec::with_capacity(700);
        let mut entries = Vec::new();
        let mut raw = rustix::fs::RawDir::new(&fd, buffer.spare_capacity_mut());
        while let Some(entry) = raw.next() {
            let entry = entry.unwrap();
            entries.push((entry.file_name().to_owned(), entry.next_entry_cookie()));
        }
        entries
    };
    let entries = read_all();
    assert_eq!(entries.len(), 2 + 300 + 270 + 2);
    // Others change meanwhile; the cookies still lead to the same places.
    fs::write(stage.m("d/new-one"), "").unwrap();
    fs::remove_file(stage.m("d/top0007")).unwrap();
    for at in [0, 1, 2, 50, 333, entries.len() - 2] {
        seek(&fd, SeekFrom::Start(entries[at].1)).unwrap();
        let rest = read_all();
        let wanted: Vec<_> = entries[at + 1..].iter().map(|e| &e.0).collect();
        let gone =
            |name: &std::ffi::CStr| name.to_bytes() == b"top0007" || name.to_bytes() == b"new-one";
        let found: Vec<_> = rest.iter().map(|e| &e.0).filter(|n| !gone(n)).collect();
        let wanted: Vec<_> = wanted.into_iter().filter(|n| !gone(n)).collect();
        assert_eq!(found, wanted, "from entry {at}");
    }
    // rewinddir shows the change.
    seek(&fd, SeekFrom::Start(0)).unwrap();
    let names: Vec<_> = read_all().into_iter().map(|e| e.0).collect();
    assert!(names.iter().any(|n| n.to_bytes() == b"new-one"));
    assert!(!names.iter().any(|n| n.to_bytes() == b"top0007"));
}

#[test]
fn d1_a_large_merged_directory() {
    let mut stage = Stage::new(&layers(6000));
    assert_eq!(fs::read_dir(stage.m("d")).unwrap().count(), 6000 + 5400 + 2);
    for i in 0..2000 {
        fs::write(stage.m(format!("d/own{i}")), "").unwrap();
    }
    stage.remount();
    assert_eq!(
        fs::read_dir(stage.m("d")).unwrap().count(),
        6000 + 5400 + 2 + 2000
    );
}

#[test]
fn d1_a_removed_open_directory_lists_nothing() {
    let stage = Stage::new(&layers(1));
    stage.both(|root| {
        let fd = directory(&root.join("d/sub"));
        fs::remove_dir(root.join("d/sub")).unwrap();
        let names = Dir::read_from(&fd)
            .unwrap()
            .filter_map(Result::ok)
            .filter(|e| !e.file_name().to_bytes().starts_with(b"."))
            .count();
        let made = rustix::fs::mkdirat(&fd, "x", Mode::RWXU);
        (names, tests::stage::raw(made))
    });
}
