//! R3, R6: the upper on disk is overlay's, both ways.

use std::fs;
use std::os::unix::fs::FileTypeExt;

use tests::layers::Layer;
use tests::mounts::Union;
use tests::scratch::Scratch;
use tests::snapshot::{Snapshot, View};
use tests::stage::Stage;

const OVERLAY: &str = "metacopy=on,redirect_dir=on,index=off,xino=off";

fn layers() -> [Layer; 2] {
    let top = Layer::new()
        .file("top/f", "f")
        .file("both/top", "1")
        .whiteout("gone");
    let bottom = Layer::new()
        .file("gone", "1")
        .file("both/bottom", "1")
        .file("file", "content")
        .mode(0o4755)
        .xattr("user.x", "x")
        .file("big", vec![3; 300_000])
        .file("tree/a/b", "1")
        .file("tree/c", "1")
        .symlink("link", "file")
        .fifo("fifo")
        .dir("empty");
    [top, bottom]
}

/// Everything that leaves a mark in the upper.
fn session(root: &std::path::Path) {
    let at = |p: &str| root.join(p);
    fs::remove_file(at("both/bottom")).unwrap();
    fs::remove_dir_all(at("tree")).unwrap();
    fs::create_dir(at("tree")).unwrap();
    fs::write(at("tree/new"), "new").unwrap();
    fs::write(at("file"), "changed").unwrap();
    fs::rename(at("link"), at("link2")).unwrap();
    fs::rename(at("both"), at("both-renamed")).unwrap();
    fs::rename(at("top"), at("both-renamed/top-inside")).unwrap();
    tests::process::call("chmod", &["600", at("big").to_str().unwrap()]).ok();
    tests::process::call("chown", &["3:4", at("fifo").to_str().unwrap()]).ok();
    fs::remove_dir(at("empty")).unwrap();
    fs::write(at("empty"), "a file now").unwrap();
    tests::sys::set_xattr(&at("file"), b"user.y", b"y").unwrap();
}

#[test]
fn r3_our_upper_mounts_in_overlay_with_the_same_merged_tree() {
    let mut stage = Stage::new(&layers());
    session(&stage.union.point);
    session(&stage.p(""));
    stage.same_after_remount();
    stage.unmount();
    let overlay = stage.union.overlay(OVERLAY);
    let view = View::since(tests::stage::START);
    Snapshot::of(&stage.p(""), &view)
        .assert_same(&Snapshot::of(overlay.path(), &view), "our upper in overlay");
    overlay.unmount();
}

#[test]
fn r3_overlays_upper_mounts_in_layerfs_with_the_same_merged_tree() {
    let mut stage = Stage::new(&layers());
    stage.unmount();
    let overlay = stage.union.overlay(OVERLAY);
    session(overlay.path());
    let wanted = Snapshot::of(overlay.path(), &View::plain());
    overlay.unmount();
    stage.mount_again();
    wanted.assert_same(
        &Snapshot::of(&stage.union.point, &View::plain()),
        "overlay's upper in ours",
    );
    // And it can be worked on.
    fs::write(stage.m("both-renamed/more"), "1").unwrap();
    fs::write(stage.m("big"), "short").unwrap();
    stage.remount();
    assert_eq!(fs::read(stage.m("big")).unwrap(), b"short");
    assert_eq!(fs::read(stage.m("both-renamed/top")).unwrap(), b"1");
}

#[test]
fn r3_whiteouts_in_the_upper_are_the_kernels() {
    let stage = Stage::new(&layers());
    fs::remove_file(stage.m("file")).unwrap();
    fs::remove_dir(stage.m("empty")).unwrap();
    for name in ["file", "empty"] {
        let meta = fs::symlink_metadata(stage.u(name)).unwrap();
        assert!(meta.file_type().is_char_device(), "{name}: {meta:?}");
        assert_eq!(std::os::unix::fs::MetadataExt::rdev(&meta), 0, "{name}");
    }
    // A new name over nothing needs no whiteout when it goes.
    fs::write(stage.m("fresh"), "").unwrap();
    fs::remove_file(stage.m("fresh")).unwrap();
    assert!(
        fs::symlink_metadata(stage.u("fresh")).is_err(),
        "a whiteout of nothing"
    );
}

#[test]
fn r3_opaque_files_of_oci_layers_survive_a_session() {
    let scratch = Scratch::new();
    let [top, bottom] = layers();
    let lowers = [
        top.write_as(scratch.join("top"), tests::layers::Form::Oci),
        bottom.write_as(scratch.join("bottom"), tests::layers::Form::Oci),
    ];
    let union =
        Union::of(&lowers, scratch.dir("merged")).upper(scratch.dir("upper"), scratch.dir("work"));
    let mount = union.layerfs();
    session(mount.path());
    let wanted = Snapshot::of(mount.path(), &View::plain());
    mount.unmount();
    let mount = union.layerfs();
    wanted.assert_same(&Snapshot::of(mount.path(), &View::plain()), "remount");
    mount.unmount();
}

#[test]
fn r6_a_user_may_make_a_device_0_0_and_see_it() {
    let mut stage = Stage::new(&layers());
    for name in ["dev00", "file"] {
        let path = stage.m(name);
        let _ = fs::remove_file(&path);
        tests::process::call("mknod", &[path.to_str().unwrap(), "c", "0", "0"]).ok();
        let meta = fs::symlink_metadata(&path).unwrap();
        assert!(
            meta.file_type().is_char_device(),
            "{name} is not shown as it was made"
        );
        assert_eq!(std::os::unix::fs::MetadataExt::rdev(&meta), 0);
    }
    stage.remount();
    for name in ["dev00", "file"] {
        assert!(
            fs::symlink_metadata(stage.m(name)).is_ok(),
            "{name} is gone after a remount"
        );
        fs::remove_file(stage.m(name)).unwrap();
        assert!(fs::symlink_metadata(stage.m(name)).is_err());
    }
}

#[test]
fn r6_names_of_whiteouts_can_be_made_where_the_upper_does_not_use_them() {
    // This upper holds char 0/0, so `.wh.x` is a name like any other, or it is refused: EPERM.
    let mut stage = Stage::new(&layers());
    match fs::write(stage.m(".wh.file"), "mine") {
        Ok(()) => {
            assert!(stage.m("file").exists());
            stage.remount();
            assert_eq!(
                fs::read(stage.m(".wh.file")).unwrap(),
                b"mine",
                "made, then gone"
            );
            assert!(stage.m("file").exists(), "a user's file became a whiteout");
        }
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}"),
    }
}

#[test]
fn r3_r6_an_upper_keeps_the_form_it_was_begun_in() {
    let scratch = Scratch::new();
    let lower = Layer::new()
        .file("gone", "1")
        .file("kept", "2")
        .file("tree/a", "3")
        .write(scratch.join("lower"));
    let union =
        Union::of(&[lower], scratch.dir("merged")).upper(scratch.dir("upper"), scratch.dir("work"));
    let form = scratch.join("work/layerfs/form");
    union.layerfs().unmount();
    assert_eq!(fs::read_to_string(&form).unwrap(), "overlay\n");
    // As if it had been begun where no device node can be made.
    fs::write(&form, "aufs\n").unwrap();
    let mount = union.layerfs();
    fs::remove_file(mount.join("gone")).unwrap();
    fs::remove_dir_all(mount.join("tree")).unwrap();
    fs::create_dir(mount.join("tree")).unwrap();
    mount.unmount();
    assert!(scratch.join("upper/.wh.gone").exists());
    assert!(!scratch.join("upper/gone").exists());
    let mount = union.layerfs();
    let names = |path: &std::path::Path| {
        let entries = fs::read_dir(path).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(mount.path()), ["kept", "tree"]);
    assert!(names(&mount.join("tree")).is_empty(), "an opaque directory");
    let refused = fs::write(mount.join(".wh.mine"), "").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    mount.unmount();
    assert_eq!(fs::read_to_string(&form).unwrap(), "aufs\n");
    // A form of another version is refused, and nothing is touched.
    fs::write(&form, "frob\n").unwrap();
    let line = union.try_layerfs().one_line_error(1);
    assert!(line.contains("form") && line.contains("frob"), "{line}");
}
