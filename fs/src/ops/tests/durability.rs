//! Contract F1 and F2: what a power cut takes, and what the next open puts back.

use std::os::unix::fs::symlink;

use super::*;

/// A world on the disk that holds the build, since /tmp may have nothing to lose.
fn world() -> World {
    let built = std::env::current_exe().unwrap();
    let dir = tempfile::tempdir_in(built.parent().unwrap()).unwrap();
    World::in_directory(dir)
}

fn marker(world: &World) -> PathBuf {
    world.path("work/layerfs/unsynced")
}

/// The power goes: files of the upper lose the data that was not synced, and the machine boots anew.
fn power_cut(world: &World, fs: FileSystem, lost: &[&str]) {
    drop(fs);
    for path in lost {
        fs::File::create(world.path("upper").join(path)).unwrap();
    }
    let Ok(target) = fs::read_link(marker(world)) else {
        return;
    };
    let session = target
        .to_str()
        .unwrap()
        .rsplit_once('.')
        .unwrap()
        .1
        .to_owned();
    fs::remove_file(marker(world)).unwrap();
    symlink(format!("another-boot.{session}"), marker(world)).unwrap();
}

fn write(fs: &FileSystem, path: &str, data: &str) {
    let node = find(fs, path).unwrap().node;
    let handle = fs.open_file(node, libc::O_RDWR).unwrap();
    fs.write(handle, 0, data.as_bytes()).unwrap();
    fs.release(handle);
}

fn read(fs: &FileSystem, path: &str) -> String {
    content(fs, find(fs, path).unwrap().node)
}

#[test]
fn f2_a_copy_that_lost_its_data_does_not_hide_the_layers() {
    let world = world();
    fs::create_dir(world.path("bottom/d")).unwrap();
    for name in ["bottom/d/f", "bottom/moved", "bottom/linked", "bottom/cut"] {
        fs::write(world.path(name), "good").unwrap();
    }
    fs::hard_link(world.path("bottom/linked"), world.path("bottom/twin")).unwrap();
    let fs = world.open();
    for name in ["d/f", "moved", "linked"] {
        write(&fs, name, "bad!");
    }
    let cut = find(&fs, "cut").unwrap().node;
    fs.open_file(cut, libc::O_RDWR | libc::O_TRUNC).unwrap();
    let root = NodeId::ROOT;
    let d = find(&fs, "d").unwrap().node;
    fs.rename(root, name("moved"), d, name("here"), RenameMode::Replace)
        .unwrap();
    fs.link(find(&fs, "d/f").unwrap().node, root, name("second"))
        .unwrap();
    power_cut(&world, fs, &["d/f", "d/here", "linked", "cut"]);

    let fs = world.open();
    for name in ["d/f", "second", "d/here", "linked", "twin", "cut"] {
        assert_eq!(read(&fs, name), "good", "{name}");
    }
    assert_eq!(find(&fs, "moved").unwrap_err(), Error::NotFound);
    assert!(!marker(&world).exists() && fs::read_link(marker(&world)).is_err());
    // What is put back is an ordinary copy from now on.
    write(&fs, "d/f", "new!");
    fs.close().unwrap();
    drop(fs);
    let fs = world.open();
    assert_eq!(read(&fs, "second"), "new!");
}

#[test]
fn f2_the_death_of_the_process_alone_loses_nothing() {
    let world = world();
    fs::write(world.path("bottom/f"), "good").unwrap();
    let fs = world.open();
    write(&fs, "f", "new!");
    assert!(
        fs::read_link(marker(&world)).is_ok(),
        "this disk has no order"
    );
    drop(fs);
    let fs = world.open();
    assert_eq!(read(&fs, "f"), "new!");
    assert!(fs::read_link(marker(&world)).is_err());
    // Nor does a power cut much later: the open has synced it.
    drop(fs);
    let fs = world.open();
    write(&fs, "f", "more");
    power_cut(&world, fs, &[]);
    assert_eq!(read(&world.open(), "f"), "more");
}

#[test]
fn f1_what_was_synced_is_not_put_back() {
    let world = world();
    fs::write(world.path("bottom/synced"), "good").unwrap();
    fs::write(world.path("bottom/settled"), "good").unwrap();
    let fs = world.open();
    write(&fs, "settled", "new!");
    fs.settle_all().unwrap();
    let node = find(&fs, "synced").unwrap().node;
    let handle = fs.open_file(node, libc::O_RDWR).unwrap();
    fs.write(handle, 0, b"new!").unwrap();
    fs.fsync(handle, true).unwrap();
    power_cut(&world, fs, &[]);
    let fs = world.open();
    assert_eq!(read(&fs, "synced"), "new!");
    assert_eq!(read(&fs, "settled"), "new!");
}

#[test]
fn f2_a_completed_metadata_copy_falls_back_to_the_layer() {
    let world = world();
    let large = "x".repeat(1 << 17);
    fs::write(world.path("bottom/large"), &large).unwrap();
    let fs = world.open();
    let node = find(&fs, "large").unwrap().node;
    let mode = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    fs.setattr(node, None, &mode).unwrap();
    write(&fs, "large", "written");
    power_cut(&world, fs, &["large"]);
    let fs = world.open();
    let entry = find(&fs, "large").unwrap();
    assert_eq!((entry.attr.mode, entry.attr.size), (0o600, 1 << 17));
    let handle = fs.open_file(entry.node, libc::O_RDONLY).unwrap();
    let mut buffer = vec![0; 1 << 18];
    let length = fs.read(handle, 0, &mut buffer).unwrap();
    assert!(buffer[..length] == *large.as_bytes());
}

#[test]
fn f2_an_upper_that_needs_recovery_is_not_read_as_a_layer() {
    let world = world();
    fs::write(world.path("bottom/f"), "good").unwrap();
    let fs = world.open();
    write(&fs, "f", "bad!");
    power_cut(&world, fs, &["f"]);
    let read_only = Config {
        read_only: true,
        ..world.config()
    };
    let refused = FileSystem::open(&read_only).unwrap_err();
    assert!(
        matches!(refused, OpenError::NeedsRecovery { .. }),
        "{refused}"
    );
    world.open().close().unwrap();
    let fs = FileSystem::open(&read_only).unwrap();
    assert_eq!(read(&fs, "f"), "good");
}
