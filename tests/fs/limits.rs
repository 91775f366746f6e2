//! A7: no space, no inodes: the error arrives and nothing is half done.

use std::fs;
use std::path::PathBuf;

use tests::layers::Layer;
use tests::lowers::Lowers;
use tests::mounts::{Mount, Union};
use tests::scratch::Scratch;
use tests::snapshot::{Snapshot, View};
use tests::stage::code;

/// A writable union whose upper is a tmpfs of this size; fields drop in order.
struct Small {
    mount: Mount,
    _guard: Lowers,
    union: Union,
    disk: PathBuf,
    _scratch: Scratch,
}

fn small(layer: &Layer, size: &str) -> Small {
    let scratch = Scratch::new();
    let lower = layer.write(scratch.join("lower"));
    let disk = scratch.tmpfs("disk", size);
    let guard = Lowers::guard(&[&lower]);
    let union = Union::of(&[&lower], scratch.dir("merged"))
        .upper(scratch.dir("disk/upper"), scratch.dir("disk/work"));
    Small {
        mount: union.layerfs(),
        _guard: guard,
        union,
        disk,
        _scratch: scratch,
    }
}

#[test]
fn a7_writes_to_a_full_upper_fail_with_enospc() {
    let small = small(&Layer::new().file("f", "small").dir("d"), "1m");
    let result = code(fs::write(small.mount.join("big"), vec![1; 4 << 20]));
    assert_eq!(result, Err(libc::ENOSPC));
    fs::remove_file(small.mount.join("big")).unwrap();
    fs::write(small.mount.join("f"), "fits again").unwrap();
    assert_eq!(fs::read(small.mount.join("f")).unwrap(), b"fits again");
}

#[test]
fn a7_every_operation_on_a_full_upper_is_all_or_nothing() {
    let layer = Layer::new()
        .file("f", vec![b'x'; 100_000])
        .mode(0o640)
        .xattr("user.x", "x")
        .file("g", "g")
        .file("tree/a/b", "b")
        .file("victim", "v")
        .symlink("l", "f");
    let small = small(&layer, "2m");
    // No inode is left: every copy-up and every whiteout fails, or an operation needs none.
    let mut fillers = 0;
    let filler = small.disk.join("filler");
    fs::create_dir(&filler).unwrap();
    while fs::write(filler.join(format!("{fillers}")), "").is_ok() {
        fillers += 1;
    }
    fs::write(small.disk.join("filler/0"), vec![0; 4 << 20]).unwrap_err();
    let before = Snapshot::of(small.mount.path(), &View::plain());
    let at = |p: &str| small.mount.join(p);
    let attempts = [
        (
            "append",
            code(fs::OpenOptions::new().append(true).open(at("f")).map(drop)),
        ),
        (
            "chmod",
            code(fs::set_permissions(
                at("f"),
                std::os::unix::fs::PermissionsExt::from_mode(0o600),
            )),
        ),
        ("rename", code(fs::rename(at("f"), at("f2")))),
        (
            "rename directory",
            code(fs::rename(at("tree"), at("tree2"))),
        ),
        ("link", code(fs::hard_link(at("g"), at("h")))),
        ("create", code(fs::write(at("new"), ""))),
        ("mkdir", code(fs::create_dir(at("newdir")))),
        (
            "symlink",
            code(std::os::unix::fs::symlink("x", at("newlink"))),
        ),
        ("unlink", code(fs::remove_file(at("victim")))),
    ];
    let mut changed = Vec::new();
    for (what, result) in attempts {
        match result {
            Err(libc::ENOSPC) => {}
            // An operation that found room after all has happened; which ones may is not ours.
            Ok(()) => changed.push(what),
            Err(other) => panic!("{what}: errno {other} instead of ENOSPC"),
        }
    }
    let after = Snapshot::of(small.mount.path(), &View::plain());
    if changed.is_empty() || changed == ["append"] {
        before.assert_same(&after, "after operations that failed");
    }
    fs::remove_dir_all(&filler).unwrap();
    small.mount.unmount();
    let again = small.union.layerfs();
    after.assert_same(
        &Snapshot::of(again.path(), &View::plain()),
        "after a remount",
    );
    fs::write(again.join("new"), "works again").unwrap();
    again.unmount();
}
