//! The store: names, locks, and what a kill leaves behind.

use super::*;
use crate::publish::Reach;
use std::fs;
use std::path::Path;

fn tree(root: &Path, text: &str) -> Source {
    let path = root.join(format!("in-{text}"));
    fs::create_dir_all(path.join("etc")).unwrap();
    fs::write(path.join("etc/os"), text).unwrap();
    Source::Path(path)
}

fn import(store: &Store, source: &Source, name: &str) -> Result<Record, ImageError> {
    store.import(source, Some(name), Config::default(), "")
}

fn layers(store: &Store) -> usize {
    let entries = fs::read_dir(store.root().join("layers")).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".lfs")).count()
}

/// A file's contents lie in the layer as they are.
fn holds(layer: &Path, text: &str) -> bool {
    let bytes = fs::read(layer).unwrap();
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

fn names(records: &[Record]) -> Vec<String> {
    let all = records.iter().flat_map(|record| &record.names);
    all.map(ToString::to_string).collect()
}

#[test]
fn import_list_resolve_remove() {
    let all = tempfile::tempdir().unwrap();
    let store = Store::open(&all.path().join("deep/store")).unwrap();
    let one = import(&store, &tree(all.path(), "one"), "one").unwrap();
    let two = import(&store, &tree(all.path(), "two"), "localhost:5000/a/two:1").unwrap();
    assert_eq!(store.list().unwrap().len(), 2);
    assert_eq!(one.size, 3);
    assert!(holds(
        &store.resolve("one:latest").unwrap().lowers()[0],
        "one"
    ));
    assert!(holds(
        &store.resolve(two.short_id()).unwrap().lowers()[0],
        "two"
    ));
    let removed = store.remove("localhost:5000/a/two:1", false).unwrap();
    assert_eq!(removed.untagged, two.names);
    assert_eq!(
        (removed.image, removed.layers, removed.bytes),
        (Some(two.id), two.layers, 3)
    );
    assert_eq!((store.list().unwrap(), layers(&store)), (vec![one], 1));
    for name in ["two", "one:2", "ffffffffffff", "sha256:00"] {
        let error = store.resolve(name).unwrap_err().to_string();
        assert!(
            error.contains("no such image") && error.contains("runner import"),
            "{error}"
        );
        assert!(store.remove(name, false).is_err());
    }
    assert!(matches!(
        store.resolve("No Name"),
        Err(ImageError::Name { .. })
    ));
    assert!(matches!(
        import(&store, &Source::Stdin, "host"),
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
    import(&store, &source, "a").unwrap();
    import(&store, &source, "b").unwrap();
    assert_eq!(layers(&store), 1);
    let held = store.resolve("b").unwrap();
    store.remove("a", false).unwrap(); // the other name keeps it
    assert!(matches!(
        store.remove("b", false),
        Err(ImageError::InUse { .. })
    ));
    store
        .pin("container", held.id.as_deref(), &held.lowers(), Reach::Disk)
        .unwrap();
    drop(held);
    let error = store.remove("b", false).unwrap_err().to_string();
    assert!(error.contains("in use by container"), "{error}");
    // By force the image goes, and its layer stays as long as the container.
    store.remove("b", true).unwrap();
    assert_eq!((store.list().unwrap(), layers(&store)), (vec![], 1));
    import(&store, &source, "b").unwrap();
    store.unpin("container").unwrap();
    store.unpin("container").unwrap();
    store.remove("b", false).unwrap();
    assert_eq!(layers(&store), 0);
}

#[test]
fn a_moved_name_keeps_the_layer_in_use() {
    let all = tempfile::tempdir().unwrap();
    let store = Store::open(&all.path().join("s")).unwrap();
    import(&store, &tree(all.path(), "old"), "x").unwrap();
    let held = store.resolve("x").unwrap();
    import(&store, &tree(all.path(), "new"), "x").unwrap();
    assert!(holds(&held.lowers()[0], "old"));
    assert!(holds(&store.resolve("x").unwrap().lowers()[0], "new"));
    assert_eq!(layers(&store), 2);
    // The old one is there without a name, until it is pruned; and not while it is in use.
    assert_eq!(names(&store.list().unwrap()), ["x:latest"]);
    assert_eq!(store.list().unwrap().len(), 2);
    assert!(store.prune(false, |_| true).unwrap().is_empty());
    drop(held);
    assert_eq!(store.prune(false, |_| true).unwrap().len(), 1);
    assert_eq!((layers(&store), store.list().unwrap().len()), (1, 1));
    assert!(store.prune(false, |_| true).unwrap().is_empty());
    assert_eq!(store.prune(true, |_| true).unwrap().len(), 1);
    assert_eq!(layers(&store), 0);
}

#[test]
fn one_image_of_several_names() {
    let all = tempfile::tempdir().unwrap();
    let store = Store::open(&all.path().join("s")).unwrap();
    let id = import(&store, &tree(all.path(), "x"), "a:1").unwrap().id;
    for name in ["a:2", "docker.io/library/a:3", "other"] {
        store.tag(&id, &name.parse().unwrap()).unwrap();
    }
    assert_eq!(
        names(&store.list().unwrap()),
        ["a:1", "a:2", "a:3", "other:latest"]
    );
    let removed = store.remove("a:2", false).unwrap();
    assert_eq!((removed.untagged.len(), removed.image), (1, None));
    assert!(matches!(
        store.remove(&id[..12], false),
        Err(ImageError::SeveralNames { .. })
    ));
    let removed = store.remove(&id[..12], true).unwrap();
    assert_eq!(
        (removed.untagged.len(), removed.image),
        (3, Some(id.clone()))
    );
    assert!(matches!(
        store.tag(&id, &"b".parse().unwrap()),
        Err(ImageError::Unknown { .. })
    ));
}

/// An image is the digest of its configuration; what is no configuration is none, nor is one whose
/// layers are not there.
#[test]
fn an_image_is_its_configuration() {
    let all = tempfile::tempdir().unwrap();
    let store = Store::open(&all.path().join("s")).unwrap();
    let id = import(&store, &tree(all.path(), "x"), "a").unwrap().id;
    let bytes = store.config_bytes(&id).unwrap();
    assert_eq!(record::digest(&bytes), id);
    assert_eq!(store.create_exact(&bytes).unwrap(), id);
    let missing = "0".repeat(64);
    let config = OciConfig::new();
    assert!(store.create_image(config.clone(), &[missing]).is_err());
    for bad in [
        "",
        "[]",
        "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:../x\"]}}",
    ] {
        assert!(store.create_exact(bad.as_bytes()).is_err(), "{bad}");
    }
    // Without any layer: as of FROM scratch.
    let empty = store.create_image(config, &[]).unwrap();
    assert!(store.resolve(&empty).unwrap().lowers().is_empty());
    assert_eq!(store.list().unwrap().len(), 2);
}

#[test]
fn what_a_kill_leaves_is_swept_but_not_under_an_import() {
    let all = tempfile::tempdir().unwrap();
    let root = all.path().join("s");
    let store = Store::open(&root).unwrap();
    let orphan = root.join("layers").join(format!("{}.lfs", "0".repeat(64)));
    let scratch = root.join("layers/.tmp-0123456789abcdef");
    fs::create_dir_all(scratch.join("usr/bin")).unwrap();
    fs::write(&orphan, "x").unwrap();
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
    let tag = all.path().join("tags/x%3Alatest.json");
    let id = "a".repeat(64);
    for bad in [
        r#"{"name":"x:latest","id":"../../etc/passwd"}"#.to_owned(),
        format!(r#"{{"name":"x:latest","id":"{id}","more":1}}"#),
        format!(r#"{{"name":"../x","id":"{id}"}}"#),
        "{".to_owned(),
        String::new(),
    ] {
        fs::write(&tag, &bad).unwrap();
        assert!(store.resolve("x").is_err(), "{bad}");
    }
    fs::write(&tag, format!(r#"{{"name":"x:latest","id":"{id}"}}"#)).unwrap();
    assert!(matches!(
        store.resolve("x"),
        Err(ImageError::Unknown { .. })
    ));
    // A configuration that is not what its name says.
    fs::write(all.path().join(format!("images/{id}.json")), "{}").unwrap();
    assert!(matches!(store.resolve("x"), Err(ImageError::Record { .. })));
    fs::remove_file(&tag).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &tag).unwrap();
    assert!(matches!(store.resolve("x"), Err(ImageError::Io { .. })));
}

#[test]
fn the_machine_and_directories_are_images_too() {
    let all = tempfile::tempdir().unwrap();
    let store = Store::open(&all.path().join("s")).unwrap();
    let host = store.resolve("host").unwrap();
    assert_eq!((host.lowers(), &host.id), (vec!["/".into()], &None));
    assert!(host.start().cmd.is_empty());
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
    import(&store, &Source::Path(all.path().to_owned()), "x").unwrap();
    let layer = store.resolve("x").unwrap().layers.remove(0);
    let (archive, _) = store.archive(&layer).unwrap();
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    let names: Vec<_> = entries
        .map(|e| e.unwrap().path().unwrap().into_owned())
        .collect();
    assert_eq!(names, [Path::new("."), Path::new("file")]);
}

/// What the victim of the test below does: it imports until it is killed.
fn import_for_ever(root: &Path) {
    for n in 0.. {
        let store = Store::open(&root.join("s")).unwrap();
        import(
            &store,
            &Source::Path(root.join("in-x")),
            &format!("x:{}", n % 3),
        )
        .unwrap();
        let _ = store.remove("x:1", false);
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
            let layer = store.resolve(&record.id).unwrap().layers.remove(0);
            store.layers.verify(&layer.diff_id).unwrap();
        }
    }
    let store = Store::open(&all.path().join("s")).unwrap();
    import(&store, &Source::Path(all.path().join("in-x")), "last").unwrap();
    for record in store.list().unwrap() {
        store.remove(&record.id, true).unwrap();
    }
    let left = fs::read_dir(all.path().join("s/layers")).unwrap().flatten();
    assert_eq!(left.count(), 0);
}
