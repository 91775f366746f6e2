//! The harness itself, proved on the kernel's overlayfs and fuse-overlayfs.

use std::fs;

use tests::layers::{Form, Layer};
use tests::lowers::Lowers;
use tests::mounts::{Union, is_mounted};
use tests::operations::{Op, apply};
use tests::scratch::Scratch;
use tests::sequences::{self, Random, World};
use tests::snapshot::{Snapshot, View, plain_copy};

fn two_layers(scratch: &Scratch, form: Form) -> [std::path::PathBuf; 2] {
    let top = Layer::new()
        .dir("dir")
        .whiteout("dir/gone")
        .file("dir/new", "new")
        .opaque("opaque")
        .file("opaque/only", "only");
    let bottom = Layer::new()
        .file("dir/gone", "gone")
        .file("dir/stays", "stays")
        .file("opaque/hidden", "hidden")
        .file("suid", "x")
        .mode(0o4755)
        .owner(1, 2)
        .xattr("user.x", b"\x00\xff");
    [
        top.write_as(scratch.join(format!("top-{form:?}")), form),
        bottom.write(scratch.join(format!("bottom-{form:?}"))),
    ]
}

#[test]
fn overlay_and_fuse_overlayfs_show_the_same_union() {
    let scratch = Scratch::new();
    let lowers = two_layers(&scratch, Form::Kernel);
    let _guard = Lowers::guard(&lowers);
    let overlay = Union::of(&lowers, scratch.dir("overlay")).overlay("");
    let fuse = Union::of(&lowers, scratch.dir("fuse")).fuse_overlayfs();
    let seen = Snapshot::of(overlay.path(), &View::plain());
    assert_eq!(
        seen.names(),
        [
            ".",
            "dir",
            "dir/new",
            "dir/stays",
            "opaque",
            "opaque/only",
            "suid"
        ]
    );
    // fuse-overlayfs is known to be no full oracle; for this tree it is.
    let view = View {
        no_dir_times: true,
        ..View::plain()
    };
    let (a, b) = (
        Snapshot::of(overlay.path(), &view),
        Snapshot::of(fuse.path(), &view),
    );
    a.assert_same(&b, "overlay against fuse-overlayfs");
    fuse.unmount();
    overlay.unmount();
}

#[test]
fn a_plain_copy_of_the_merged_tree_is_the_same_tree() {
    let scratch = Scratch::new();
    let lowers = two_layers(&scratch, Form::Kernel);
    let overlay = Union::of(&lowers, scratch.dir("overlay")).overlay("");
    let copy = scratch.join("copy");
    plain_copy(overlay.path(), &copy);
    Snapshot::of(overlay.path(), &View::plain())
        .assert_same(&Snapshot::of(&copy, &View::plain()), "copy");
}

#[test]
fn differences_are_seen_in_every_attribute() {
    let scratch = Scratch::new();
    let layer = Layer::new()
        .file("f", "content")
        .xattr("user.x", "1")
        .dir("d");
    let (a, b) = (
        layer.write(scratch.join("a")),
        layer.write(scratch.join("b")),
    );
    let plain = View::plain();
    let same = Snapshot::of(&a, &plain);
    assert_eq!(same.diff(&Snapshot::of(&b, &plain)), "");
    let change = |op: Op| {
        let _ = fs::remove_dir_all(&b);
        layer.write(&b);
        assert!(apply(&b, &op).0.is_ok(), "{op:?}");
        assert_ne!(
            same.diff(&Snapshot::of(&b, &plain)),
            "",
            "{op:?} is not seen"
        );
    };
    change(Op::Chmod("f".into(), 0o600));
    change(Op::Chown("d".into(), 5, 5));
    change(Op::Utimens("f".into(), 5, 5));
    change(Op::SetXattr(
        "f".into(),
        "user.x".into(),
        b"2".into(),
        tests::operations::Create::Any,
    ));
    change(Op::Overwrite("f".into(), b"CONTENT".into()));
    change(Op::Link("f".into(), "g".into()));
    change(Op::Unlink("f".into()));
}

#[test]
#[should_panic(expected = "R7")]
fn a_written_lower_is_noticed() {
    let scratch = Scratch::new();
    let lower = Layer::new()
        .file("f", "content")
        .write(scratch.join("lower"));
    let guard = Lowers::guard(&[&lower]);
    fs::write(lower.join("f"), "CONTENT").unwrap();
    guard.check();
}

#[test]
fn a_scratch_directory_unmounts_and_removes_itself() {
    let scratch = Scratch::new();
    let lowers = two_layers(&scratch, Form::Kernel);
    let point = scratch.dir("overlay");
    let mount = Union::of(&lowers, &point).overlay("");
    std::mem::forget(mount);
    scratch.tmpfs("tmpfs", "1m");
    let path = scratch.path().to_owned();
    drop(scratch);
    assert!(!is_mounted(&point) && !path.exists());
}

#[test]
fn the_same_operations_on_two_plain_trees_agree() {
    let scratch = Scratch::new();
    let mut random = Random::new(1);
    let world = World {
        hard_links: true,
        whiteouts: false,
        lowers: 1,
    };
    let layer = &sequences::layers(&mut random, world)[0];
    let (a, b) = (
        layer.write(scratch.join("a")),
        layer.write(scratch.join("b")),
    );
    let mut worked = 0;
    for _ in 0..500 {
        let op = sequences::operation(&mut random, &sequences::present(&a));
        let (left, right) = (apply(&a, &op), apply(&b, &op));
        assert_eq!(left, right, "{op:?}");
        worked += usize::from(left.0.is_ok());
    }
    assert!(
        worked > 150,
        "only {worked} of 500 random operations succeed: a poor generator"
    );
    let view = View::since(1_500_000_000);
    Snapshot::of(&a, &view).assert_same(&Snapshot::of(&b, &view), "two plain trees");
}
