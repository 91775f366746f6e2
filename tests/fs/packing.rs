//! Packed layers from directories, and back: every form of whiteout, and everything that a file has.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tests::layers::{Form, Layer, flatten};
use tests::mounts::Union;
use tests::packs::{pack, untar};
use tests::process::run;
use tests::scratch::Scratch;
use tests::snapshot::{Snapshot, View};

fn layers() -> [Layer; 2] {
    let top = Layer::new()
        .dir("dir")
        .whiteout("dir/gone")
        .file("dir/new", "new")
        .opaque("opaque")
        .file("opaque/only", "only")
        .file("dir/replaced", "of the top")
        .whiteout("tree");
    let bottom = Layer::new()
        .file("dir/gone", "gone")
        .file("dir/replaced", "of the bottom")
        .file("dir/stays", vec![7; 300_000])
        .time(1_600_000_000, 123_456_789)
        .link("dir/other name", "dir/stays")
        .file("opaque/hidden", "hidden")
        .file("tree/below/deep", "deep")
        .symlink("dir/link", "s".repeat(300))
        .fifo("dir/fifo")
        .char_device("dir/device", 5, 700)
        .block_device("dir/block", 8, 1)
        .file("suid", "x")
        .mode(0o4755)
        .owner(1, 3_000_000_000)
        .xattr("user.x", b"\x00\xff\n=")
        .file("empty", "")
        .file(format!("long/{}", "n".repeat(255)), "long");
    [top, bottom]
}

#[test]
fn r2_a_packed_directory_shows_what_the_directory_shows_in_every_form() {
    let scratch = Scratch::new();
    let layers = layers();
    let plain = scratch.join("plain");
    flatten(&layers, &plain);
    let wanted = Snapshot::of(&plain, &View::plain());
    for form in Form::ALL {
        let write = |(number, layer): (usize, &Layer)| -> PathBuf {
            let tree = layer.write_as(scratch.join(format!("{form:?}{number}")), form);
            let file = scratch.join(format!("{form:?}{number}.lfs"));
            pack(&tree, &file).ok();
            file
        };
        let lowers: Vec<PathBuf> = layers.iter().enumerate().map(write).collect();
        let mount = Union::of(&lowers, scratch.dir(format!("{form:?}"))).layerfs();
        let seen = Snapshot::of(mount.path(), &View::plain());
        seen.assert_same(&wanted, &format!("{form:?}"));
        mount.unmount();
    }
    // The forms differ on disk, the archives do not.
    let bytes = |form: Form| fs::read(scratch.join(format!("{form:?}0.lfs"))).unwrap();
    for form in Form::ALL {
        let same = bytes(form) == bytes(Form::Kernel);
        assert!(same, "{form:?}: not the bytes of another form");
    }
}

#[test]
fn gnu_tar_unpacks_what_was_packed_from_a_directory() {
    let scratch = Scratch::new();
    let tree = layers()[1].write(scratch.join("tree"));
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 20 << 20).unwrap();
    let (file, again) = (scratch.join("a.lfs"), scratch.join("b.lfs"));
    pack(&tree, &file).ok();
    pack(&tree, &again).ok();
    assert!(
        fs::read(&file).unwrap() == fs::read(&again).unwrap(),
        "the same tree, other bytes"
    );
    assert!(fs::metadata(&file).unwrap().len() < 1 << 20, "no holes");
    let out = scratch.dir("out");
    untar(&file, &out).ok();
    let wanted = Snapshot::of(&tree, &View::plain());
    Snapshot::of(&out, &View::plain()).assert_same(&wanted, "unpacked by GNU tar");
}

#[test]
fn what_no_layer_can_hold_is_told_and_the_rest_is_packed() {
    let scratch = Scratch::new();
    let tree = Layer::new()
        .file("kept", "kept")
        .socket("socket")
        .write(scratch.join("tree"));
    // The output lies in the tree, and so does an older one.
    let file = tree.join("out.lfs");
    let first = pack(&tree, &file);
    first.ok();
    assert!(
        first.err().contains("socket") && first.err().contains("left out"),
        "{first}"
    );
    let bytes = fs::read(&file).unwrap();
    tests::layers::set_time(&tree, 1_600_000_000, 0);
    pack(&tree, &file).ok();
    let listed = run(Command::new("tar").arg("tf").arg(&file)).ok();
    assert_eq!(listed, "./\nkept\n");
    assert_eq!(fs::read(&file).unwrap().len(), bytes.len());
    // Data that lies in another layer cannot be packed.
    let copy = tree.join("kept");
    tests::sys::set_xattr(&copy, b"trusted.overlay.metacopy", b"").unwrap();
    let told = pack(&tree, &scratch.join("x.lfs")).one_line_error(1);
    assert!(told.contains("kept") && told.contains("metadata"), "{told}");
    assert!(!scratch.join("x.lfs").exists());
}
