//! I1, I2, I4, D3: numbers that programs use to tell objects apart.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use tests::layers::Layer;
use tests::stage::Stage;

fn layers() -> [Layer; 2] {
    let top = Layer::new().file("d/top", "top").dir("d/sub");
    let bottom = Layer::new()
        .file("d/file", "file")
        .file("d/other", "other")
        .link("d/linked", "d/other")
        .link("linked-too", "d/other")
        .symlink("sym", "d/file")
        .fifo("fifo")
        .file("tree/a/b", "b");
    [top, bottom]
}

fn ino(path: &Path) -> u64 {
    fs::symlink_metadata(path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .ino()
}

/// Every path of the mount with its inode number; checks d_ino, uniqueness and st_dev.
fn numbers(stage: &Stage) -> HashMap<PathBuf, u64> {
    let root = &stage.union.point;
    let dev = fs::metadata(root).unwrap().dev();
    let mut all = HashMap::new();
    let mut seen: HashMap<u64, PathBuf> = HashMap::new();
    let mut todo = vec![root.clone()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let (path, meta) = (entry.path(), entry.metadata().unwrap());
            assert_eq!(entry.ino(), meta.ino(), "I1: d_ino of {}", path.display());
            assert_eq!(meta.dev(), dev, "I1: st_dev of {}", path.display());
            if let Some(other) = seen.insert(meta.ino(), path.clone()) {
                let shared = meta.nlink() > 1 && !meta.is_dir();
                assert!(
                    shared,
                    "I1: {} and {} share a number",
                    other.display(),
                    path.display()
                );
            }
            if meta.is_dir() {
                todo.push(path.clone());
            }
            all.insert(path.strip_prefix(root).unwrap().to_owned(), meta.ino());
        }
    }
    all
}

#[test]
fn i1_inode_numbers_are_unique_and_equal_d_ino() {
    let stage = Stage::new(&layers());
    fs::write(stage.m("new"), "").unwrap();
    fs::create_dir(stage.m("newdir")).unwrap();
    assert_eq!(numbers(&stage).len(), 14);
}

#[test]
fn i1_inode_number_stays_across_copy_up_rename_link_and_remount() {
    let mut stage = Stage::new(&layers());
    let file = ino(&stage.m("d/file"));
    fs::write(stage.m("d/file"), "changed").unwrap();
    assert_eq!(ino(&stage.m("d/file")), file, "copy-up");
    fs::rename(stage.m("d/file"), stage.m("renamed")).unwrap();
    assert_eq!(ino(&stage.m("renamed")), file, "rename");
    fs::hard_link(stage.m("renamed"), stage.m("second")).unwrap();
    assert_eq!(ino(&stage.m("second")), file, "link");
    let directory = ino(&stage.m("tree"));
    fs::rename(stage.m("tree"), stage.m("tree2")).unwrap();
    assert_eq!(ino(&stage.m("tree2")), directory, "directory rename");
    let inner = ino(&stage.m("tree2/a/b"));
    for name in ["sym", "fifo"] {
        let before = ino(&stage.m(name));
        rustix::fs::chownat(
            rustix::fs::CWD,
            stage.m(name),
            Some(rustix::fs::Uid::from_raw(9)),
            None,
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )
        .unwrap();
        assert_eq!(ino(&stage.m(name)), before, "copy-up of {name}");
    }
    fs::write(stage.m("fresh"), "").unwrap();
    let before = numbers(&stage);
    stage.remount();
    assert_eq!(ino(&stage.m("renamed")), file, "remount");
    assert_eq!(
        ino(&stage.m("tree2/a/b")),
        inner,
        "remount, below a renamed directory"
    );
    assert_eq!(numbers(&stage), before, "remount, every number");
}

#[test]
fn i1_metadata_changes_keep_the_number_even_of_a_merged_directory() {
    let mut stage = Stage::new(&layers());
    let before = numbers(&stage);
    for path in ["d", "d/sub", "d/top", "d/file", "tree", "tree/a"] {
        tests::process::call("chmod", &["700", stage.m(path).to_str().unwrap()]).ok();
    }
    assert_eq!(numbers(&stage), before, "after chmod");
    stage.remount();
    assert_eq!(numbers(&stage), before, "after a remount");
}

#[test]
fn i2_hard_links_stay_one_inode_after_copy_up() {
    let mut stage = Stage::new(&layers());
    let names = ["d/other", "d/linked", "linked-too"];
    let check = |stage: &Stage, when: &str| {
        let number = ino(&stage.m(names[0]));
        for name in names {
            let meta = fs::metadata(stage.m(name)).unwrap();
            assert_eq!((meta.ino(), meta.nlink()), (number, 3), "{name} {when}");
        }
    };
    check(&stage, "at first stat");
    stage.both(|root| fs::write(root.join(names[1]), "changed").unwrap());
    check(&stage, "after a write through one name");
    for name in names {
        assert_eq!(fs::read(stage.m(name)).unwrap(), b"changed", "{name}");
    }
    stage.same_after_remount();
    check(&stage, "after a remount");
    stage.both(|root| fs::remove_file(root.join(names[0])).unwrap());
    stage.both(|root| fs::metadata(root.join(names[2])).unwrap().nlink());
    stage.both(|root| fs::hard_link(root.join(names[2]), root.join("fourth")).unwrap());
    stage.both(|root| fs::metadata(root.join(names[1])).unwrap().nlink());
    stage.same_after_remount();
}

#[test]
fn i2_nlink_is_right_when_a_lower_name_is_removed_or_hidden() {
    let mut stage = Stage::new(&layers());
    stage.both(|root| {
        fs::remove_file(root.join("linked-too")).unwrap();
        fs::metadata(root.join("d/other")).unwrap().nlink()
    });
    stage.both(|root| {
        fs::rename(root.join("d/file"), root.join("d/linked")).unwrap();
        fs::metadata(root.join("d/other")).unwrap().nlink()
    });
    stage.same_after_remount();
}

#[test]
fn i4_an_unlinked_open_file_keeps_working() {
    let stage = Stage::new(&layers());
    for name in ["d/file", "d/top", "new"] {
        stage.both(|root| {
            let path = root.join(name);
            if name == "new" {
                fs::write(&path, "new").unwrap();
            }
            let mut file = fs::OpenOptions::new()
                .read(true)
                .append(true)
                .open(&path)
                .unwrap();
            fs::remove_file(&path).unwrap();
            file.write_all(b"-after").unwrap();
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o611))
                .unwrap();
            let meta = file.metadata().unwrap();
            let mut content = String::new();
            std::io::Seek::rewind(&mut file).unwrap();
            file.read_to_string(&mut content).unwrap();
            (
                meta.nlink(),
                meta.size(),
                meta.mode(),
                content,
                path.exists(),
            )
        });
    }
}

#[test]
fn i4_an_unlinked_file_opened_for_reading_keeps_its_content() {
    let stage = Stage::new(&layers());
    stage.both(|root| {
        let mut file = fs::File::open(root.join("d/file")).unwrap();
        fs::remove_file(root.join("d/file")).unwrap();
        fs::write(root.join("d/file"), "another").unwrap();
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        (
            content,
            file.metadata().unwrap().nlink(),
            fs::read(root.join("d/file")).unwrap(),
        )
    });
}

#[test]
fn i4_an_unlinked_file_can_be_linked_back_only_as_a_plain_file_system_does() {
    let stage = Stage::new(&layers());
    // The kernel refuses linking an inode without names (ENOENT) wherever the file lies.
    let result = stage.ask_both(|root| {
        let file = fs::File::open(root.join("d/file")).unwrap();
        fs::remove_file(root.join("d/file")).unwrap();
        let source = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        tests::stage::raw(rustix::fs::linkat(
            rustix::fs::CWD,
            source,
            rustix::fs::CWD,
            root.join("back"),
            rustix::fs::AtFlags::SYMLINK_FOLLOW,
        ))
    });
    assert_eq!(result, Err(libc::ENOENT));
}

#[test]
fn i4_a_removed_directory_that_is_a_working_directory() {
    let stage = Stage::new(&layers());
    let script = "rmdir ../sub && ls -la . ; touch x; echo $?";
    stage.both(|root| {
        let mut command = std::process::Command::new("sh");
        let output =
            tests::process::run(command.args(["-c", script]).current_dir(root.join("d/sub")));
        output.out().lines().last().unwrap_or_default().to_owned()
    });
}

#[test]
fn d3_directory_link_counts_are_consistent() {
    let stage = Stage::new(&layers());
    let nlink = |p: &Path| fs::metadata(p).unwrap().nlink();
    let sub = |p: &Path| {
        let entries = fs::read_dir(p).unwrap().map(|e| e.unwrap());
        entries.filter(|e| e.file_type().unwrap().is_dir()).count() as u64
    };
    let all = ["", "d", "d/sub", "tree", "tree/a", "fresh"];
    fs::create_dir(stage.m("fresh")).unwrap();
    fs::create_dir(stage.m("fresh/child")).unwrap();
    let ones = all.iter().filter(|p| nlink(&stage.m(p)) == 1).count();
    if ones > 0 {
        assert_eq!(ones, all.len(), "1 for some directories only");
    } else {
        for path in all {
            assert_eq!(nlink(&stage.m(path)), 2 + sub(&stage.m(path)), "{path}");
        }
    }
    // `find` relies on it: with a wrong count it would skip subdirectories.
    let count = |root: &Path| {
        tests::process::call("find", &[root.to_str().unwrap(), "-type", "d"])
            .ok()
            .lines()
            .count()
    };
    assert_eq!(count(&stage.union.point), 1 + 6);
}
