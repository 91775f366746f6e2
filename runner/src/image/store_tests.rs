//! The store: names, locks, and what a kill leaves behind.

use super::*;
use std::fs;
use std::path::Path;

fn tree(root: &Path, text: &str) -> Source {
    let path = root.join(format!("in-{text}"));
    fs::create_dir_all(path.join("etc")).unwrap();
    fs::write(path.join("etc/os"), text).unwrap();
    Source::Path(path)
}

fn layers(store: &Store) -> usize {
    let entries = fs::read_dir(store.root().join("layers")).unwrap().flatten();
    entries.filter(|entry| entry.path().is_dir()).count()
}

fn text(image: &Image) -> String {
    fs::read_to_string(image.lowers()[0].join("etc/os")).unwrap()
}

#[test]
fn import_list_resolve_remove() {
    let all = tempfile::tempdir().unwrap();
    let store = Store::open(&all.path().join("deep/store")).unwrap();
    let one = store.import(&tree(all.path(), "one"), "one").unwrap();
    let two = store
        .import(&tree(all.path(), "two"), "localhost:5000/a/two:1")
        .unwrap();
    assert_eq!(store.list().unwrap().len(), 2);
    assert_eq!(one.size, 3);
    assert_eq!(text(&store.resolve("one:latest").unwrap()), "one");
    assert_eq!(text(&store.resolve(two.short_id()).unwrap()), "two");
    assert_eq!(store.remove("localhost:5000/a/two:1").unwrap(), two);
    assert_eq!((store.list().unwrap(), layers(&store)), (vec![one], 1));
    for name in ["two", "one:2", "ffffffffffff", "sha256:00"] {
        let error = store.resolve(name).unwrap_err().to_string();
        assert!(
            error.contains("no such image") && error.contains("runner import"),
            "{error}"
        );
        assert!(store.remove(name).is_err());
    }
    assert!(matches!(
        store.resolve("No Name"),
        Err(ImageError::Name { .. })
    ));
    assert!(matches!(
        store.import(&Source::Stdin, "host"),
        Err(ImageError::Name { .. })
    ));
}

#[test]
fn the_same_archive_is_one_layer() {
    let all = tempfile::tempdir().unwrap();
    let store = Store::open(all.path()).unwrap();
    let file = all.path().join("a.tar");
    let mut builder = tar::Builder::new(fs::File::create(&file).unwrap());
    builder.append_dir("etc", "/etc").unwrap();
    builder.finish().unwrap();
    let source = Source::Path(file);
    store.import(&source, "a").unwrap();
    store.import(&source, "b").unwrap();
    assert_eq!(layers(&store), 1);
    let held = store.resolve("b").unwrap();
    store.remove("a").unwrap(); // the other name keeps it
    assert!(matches!(store.remove("b"), Err(ImageError::InUse { .. })));
    store.pin("container", &held.lowers()).unwrap();
    drop(held);
    assert!(matches!(store.remove("b"), Err(ImageError::InUse { .. })));
    store.unpin("container").unwrap();
    store.unpin("container").unwrap();
    store.remove("b").unwrap();
    assert_eq!(layers(&store), 0);
}

#[test]
fn a_moved_name_keeps_the_layer_in_use() {
    let all = tempfile::tempdir().unwrap();
    let store = Store::open(&all.path().join("s")).unwrap();
    store.import(&tree(all.path(), "old"), "x").unwrap();
    let held = store.resolve("x").unwrap();
    store.import(&tree(all.path(), "new"), "x").unwrap();
    assert_eq!(text(&held), "old");
    assert_eq!(text(&store.resolve("x").unwrap()), "new");
    assert_eq!(layers(&store), 2);
    drop(held);
    store.import(&tree(all.path(), "other"), "y").unwrap();
    assert_eq!(layers(&store), 2); // old is gone, y came
}

#[test]
fn what_a_kill_leaves_is_swept_but_not_under_an_import() {
    let all = tempfile::tempdir().unwrap();
    let root = all.path().join("s");
    let store = Store::open(&root).unwrap();
    let orphan = root.join("layers").join("0".repeat(64));
    let scratch = root.join("layers/.tmp-0123456789abcdef");
    fs::create_dir_all(scratch.join("usr/bin")).unwrap();
    fs::create_dir_all(&orphan).unwrap();
    fs::write(root.join("images/.tmp-1"), "{").unwrap();
    let busy = fs::File::open(root.join("store.lock"));
    let busy = busy
        .or_else(|_| fs::File::create(root.join("store.lock")))
        .unwrap();
    rustix::fs::flock(&busy, rustix::fs::FlockOperation::LockShared).unwrap();
    Store::open(&root).unwrap();
    assert!(scratch.exists() && orphan.exists());
    drop(busy);
    Store::open(&root).unwrap();
    assert!(!scratch.exists() && !orphan.exists() && !root.join("images/.tmp-1").exists());
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn crafted_records_are_refused() {
    let all = tempfile::tempdir().unwrap();
    let store = Store::open(all.path()).unwrap();
    let record = all.path().join("images/x%3Alatest.json");
    let id = "a".repeat(64);
    let json = |layer: &str, extra: &str| {
        format!(
            r#"{{"name":"x:latest","id":"{id}","created":1,"size":1,"layers":["{layer}"],"config":{{}}{extra}}}"#
        )
    };
    for bad in [
        json("../../etc", ""),
        json(&id, r#","more":1"#),
        "{".to_owned(),
        String::new(),
    ] {
        fs::write(&record, bad).unwrap();
        assert!(matches!(store.resolve("x"), Err(ImageError::Record { .. })));
    }
    fs::write(&record, json(&id, "")).unwrap();
    assert!(store.resolve("x").is_err()); // its layer is missing
    fs::remove_file(&record).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &record).unwrap();
    assert!(matches!(store.resolve("x"), Err(ImageError::Io { .. })));
}

#[test]
fn the_machine_and_directories_are_images_too() {
    let all = tempfile::tempdir().unwrap();
    let store = Store::open(&all.path().join("s")).unwrap();
    let host = store.resolve("host").unwrap();
    assert_eq!((host.lowers(), host.id), (vec!["/".into()], None));
    assert!(host.config.cmd.is_empty());
    let name = format!("dir:{}/s/../s", all.path().display());
    assert_eq!(
        store.resolve(&name).unwrap().lowers(),
        [all.path().canonicalize().unwrap().join("s")]
    );
    for (name, word) in [
        ("dir:", "no path"),
        ("dir:/nonexistent", "no such"),
        ("dir:/etc/passwd", "not a directory"),
    ] {
        assert!(
            store.resolve(name).unwrap_err().to_string().contains(word),
            "{name}"
        );
    }
}

#[test]
fn a_store_inside_of_its_source_is_left_out() {
    let all = tempfile::tempdir().unwrap();
    fs::write(all.path().join("file"), "x").unwrap();
    let store = Store::open(&all.path().join("s")).unwrap();
    store
        .import(&Source::Path(all.path().to_owned()), "x")
        .unwrap();
    let layer = store.resolve("x").unwrap().lowers().remove(0);
    assert!(layer.join("file").exists() && !layer.join("s").exists());
}

/// What the victim of the test below does: it imports until it is killed.
fn import_for_ever(root: &Path) {
    for n in 0.. {
        let store = Store::open(&root.join("s")).unwrap();
        store
            .import(&Source::Path(root.join("in-x")), &format!("x:{}", n % 3))
            .unwrap();
        let _ = store.remove("x:1");
    }
}

#[test]
fn killed_at_any_moment() {
    const VICTIM: &str = "RUNNER_TEST_IMPORT";
    if let Some(root) = std::env::var_os(VICTIM) {
        return import_for_ever(Path::new(&root));
    }
    let all = tempfile::tempdir().unwrap();
    tree(all.path(), "x");
    (0..200).for_each(|n| fs::write(all.path().join(format!("in-x/{n}")), [1; 5000]).unwrap());
    for round in 0..25_u64 {
        let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg(format!(
                "{}::killed_at_any_moment",
                module_path!().split_once("::").unwrap().1
            ))
            .env(VICTIM, all.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(3 + round * 7 % 60));
        victim.kill().unwrap();
        assert!(!victim.wait().unwrap().success());
        let store = Store::open(&all.path().join("s")).unwrap();
        for record in store.list().unwrap() {
            let layer = store.resolve(&record.name).unwrap().lowers().remove(0);
            assert_eq!(fs::read_dir(layer).unwrap().count(), 201, "half a layer");
        }
    }
    let store = Store::open(&all.path().join("s")).unwrap();
    store
        .import(&Source::Path(all.path().join("in-x")), "last")
        .unwrap();
    for record in store.list().unwrap() {
        store.remove(&record.name).unwrap();
    }
    let left = fs::read_dir(all.path().join("s/layers")).unwrap().flatten();
    assert_eq!(left.count(), 0);
}
