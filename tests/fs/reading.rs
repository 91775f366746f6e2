//! R1, R2, R4, R5: what the merged tree shows.

use std::fs;

use tests::layers::{Form, Layer};
use tests::lowers::Lowers;
use tests::mounts::Union;
use tests::scratch::Scratch;
use tests::snapshot::{Snapshot, View};
use tests::stage::Stage;
use tests::sys;

/// Three layers that meet in every way: file over directory, directory over file, whiteouts of
/// each kind of object, opaque directories, whiteouts below them, all metadata.
fn layers() -> [Layer; 3] {
    let top = Layer::new()
        .whiteout("file-gone")
        .whiteout("tree-gone")
        .whiteout("link-gone")
        .whiteout("never-there")
        .dir("merged")
        .mode(0o2771)
        .owner(5, 6)
        .xattr("user.top", "1")
        .whiteout("merged/gone")
        .file("merged/both", "top")
        .file("file-over-dir", "a file now")
        .dir("dir-over-file")
        .file("dir-over-file/x", "x")
        .opaque("opaque")
        .file("opaque/own", "own")
        .opaque("opaque-empty")
        .symlink("dir-to-symlink", "merged");
    let middle = Layer::new()
        .dir("merged")
        .file("merged/both", "middle")
        .file("merged/gone", "gone")
        .file("merged/middle", "middle")
        .whiteout("merged/bottom-gone")
        .dir("opaque")
        .whiteout("opaque/nothing")
        .file("opaque/hidden", "hidden")
        .file("back-again", "back")
        .opaque("merged/deep")
        .file("merged/deep/shown", "1");
    let bottom = Layer::new()
        .file("file-gone", "1")
        .file("tree-gone/a/b/c", "1")
        .symlink("link-gone", "nowhere")
        .dir("merged")
        .mode(0o700)
        .file("merged/both", "bottom")
        .file("merged/bottom", "bottom")
        .mode(0o4751)
        .owner(7, 8)
        .xattr("user.binary", [0, 1, 2, 255])
        .xattr("trusted.t", "t")
        .link("merged/bottom-link", "merged/bottom")
        .file("merged/bottom-gone", "1")
        .file("merged/deep/hidden", "1")
        .file("file-over-dir/inner", "1")
        .file("dir-over-file", "1")
        .file("opaque/hidden2", "1")
        .file("opaque-empty/hidden", "1")
        .dir("dir-to-symlink")
        .fifo("fifo")
        .mode(0o640)
        .socket("socket")
        .char_device("null", 1, 3)
        .block_device("disk", 7, 200)
        .file("empty", "")
        .dir("dir-empty");
    [top, middle, bottom]
}

fn write(scratch: &Scratch, form: Form) -> Vec<std::path::PathBuf> {
    let all = layers();
    let at = |i| scratch.join(format!("{form:?}-{i}"));
    let fresh = |i| {
        if at(i).exists() {
            scratch.join(format!("again-{i}"))
        } else {
            at(i)
        }
    };
    (0..3).map(|i| all[i].write_as(fresh(i), form)).collect()
}

#[test]
fn r1_r2_merged_tree_equals_overlay_with_whiteouts_in_all_forms() {
    let scratch = Scratch::new();
    let overlay = Union::of(&write(&scratch, Form::Kernel), scratch.dir("overlay")).overlay("");
    // The layers' own marks (an opaque=x, a `.wh.` file) change directory times between forms.
    let view = View {
        no_dir_times: true,
        ..View::plain()
    };
    let wanted = Snapshot::of(overlay.path(), &view);
    for form in Form::ALL {
        let lowers = write(&scratch, form);
        let guard = Lowers::guard(&lowers);
        let mount = Union::of(&lowers, scratch.dir(format!("m-{form:?}"))).layerfs();
        wanted.assert_same(
            &Snapshot::of(mount.path(), &view),
            &format!("whiteouts as {form:?}"),
        );
        mount.unmount();
        guard.check();
    }
}

#[test]
fn r1_directory_times_are_the_topmost_ones() {
    let scratch = Scratch::new();
    let lowers = write(&scratch, Form::Kernel);
    let overlay = Union::of(&lowers, scratch.dir("overlay")).overlay("");
    let mount = Union::of(&lowers, scratch.dir("merged")).layerfs();
    Snapshot::of(overlay.path(), &View::plain()).assert_same(
        &Snapshot::of(mount.path(), &View::plain()),
        "with directory times",
    );
}

#[test]
fn r1_forms_can_be_mixed_in_one_stack_and_one_layer() {
    let scratch = Scratch::new();
    let all = layers();
    let forms = [Form::Oci, Form::Xattr, Form::KernelUser];
    let lowers: Vec<_> = (0..3)
        .map(|i| all[i].write_as(scratch.join(format!("mix-{i}")), forms[i]))
        .collect();
    Layer::new()
        .whiteout("empty")
        .write_as(&lowers[0], Form::Kernel);
    let kernel = write(&scratch, Form::Kernel);
    Layer::new()
        .whiteout("empty")
        .write_as(&kernel[0], Form::Kernel);
    let overlay = Union::of(&kernel, scratch.dir("overlay")).overlay("");
    let mount = Union::of(&lowers, scratch.dir("merged")).layerfs();
    let view = View {
        no_dir_times: true,
        ..View::plain()
    };
    Snapshot::of(overlay.path(), &view).assert_same(&Snapshot::of(mount.path(), &view), "mixed");
}

#[test]
fn r2_a_whiteout_never_hides_a_sibling_of_its_own_layer() {
    let scratch = Scratch::new();
    let top = Layer::new()
        .file("x", "top")
        .file(".wh.x", "")
        .write(scratch.join("top"));
    let bottom = Layer::new()
        .file("x", "bottom")
        .write(scratch.join("bottom"));
    let mount = Union::of(&[top, bottom], scratch.dir("merged")).layerfs();
    assert_eq!(fs::read(mount.join("x")).unwrap(), b"top");
    assert_eq!(
        Snapshot::of(mount.path(), &View::plain()).names(),
        [".", "x"]
    );
}

#[test]
fn r2_an_opaque_file_hides_lower_layers_only() {
    let scratch = Scratch::new();
    let top = Layer::new()
        .file("d/own", "1")
        .file("d/.wh..wh..opq", "")
        .write(scratch.join("top"));
    let bottom = Layer::new()
        .file("d/hidden", "1")
        .write(scratch.join("bottom"));
    let mount = Union::of(&[top, bottom], scratch.dir("merged")).layerfs();
    assert_eq!(
        Snapshot::of(mount.path(), &View::plain()).names(),
        [".", "d", "d/own"]
    );
}

#[test]
fn r2_odd_whiteouts_do_not_harm() {
    let scratch = Scratch::new();
    let top = Layer::new()
        .file("d/.wh.", "")
        .file("d/.wh...", "")
        .file("d/.wh..", "")
        .file("d/.wh..wh.plnk", "")
        .file("d/.wh.gone", "a whiteout with content")
        .dir("e/.wh.adir")
        .file("keep", "1")
        .write(scratch.join("top"));
    let bottom = Layer::new()
        .file("d/gone", "1")
        .file("d/stays", "1")
        .file("e/stays", "1")
        .write(scratch.join("bottom"));
    let union = Union::of(&[top, bottom], scratch.dir("merged"));
    let output = union.try_layerfs();
    if output.code != 0 {
        // Refusing the layer is an honest answer; it must name the place.
        let line = output.one_line_error(output.code);
        assert!(line.contains(".wh."), "{line}");
        return;
    }
    let mount = tests::mounts::Mount::adopt(&union.point);
    assert_eq!(fs::read(mount.join("d/stays")).unwrap(), b"1");
    assert!(!mount.join("d/gone").exists());
    for entry in fs::read_dir(mount.join("d")).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(
            !name.to_string_lossy().starts_with(".wh."),
            "shown: {name:?}"
        );
    }
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 3);
}

#[test]
fn r2_an_xattr_whiteout_outside_an_opaque_x_directory_is_an_empty_file() {
    let scratch = Scratch::new();
    let top = Layer::new().file("d/name", "").write(scratch.join("top"));
    sys::set_xattr(&top.join("d/name"), b"trusted.overlay.whiteout", b"y").unwrap();
    let bottom = Layer::new()
        .file("d/name", "bottom")
        .write(scratch.join("bottom"));
    // The kernel lists such a file and cannot open it; the contract asks for `x`.
    let mount = Union::of(&[top, bottom], scratch.dir("merged")).layerfs();
    assert_eq!(fs::read_dir(mount.join("d")).unwrap().count(), 1);
    assert_eq!(fs::read(mount.join("d/name")).unwrap(), b"");
    mount.unmount();
}

#[test]
fn r4_redirect_and_metacopy_in_a_lower_are_refused_unless_asked() {
    for (name, value, option) in [
        ("trusted.overlay.redirect", &b"/secret"[..], "redirect_dir"),
        ("user.overlay.redirect", b"/secret", "redirect_dir"),
        ("trusted.overlay.metacopy", b"", "metacopy"),
        ("user.overlay.metacopy", b"", "metacopy"),
    ] {
        let scratch = Scratch::new();
        let top = Layer::new()
            .dir("d")
            .file("f", "")
            .write(scratch.join("top"));
        let on = if option == "metacopy" { "f" } else { "d" };
        sys::set_xattr(&top.join(on), name.as_bytes(), value).unwrap();
        let bottom = Layer::new()
            .file("secret/x", "secret")
            .file("f", "data")
            .write(scratch.join("bottom"));
        let union = Union::of(&[top, bottom], scratch.dir("merged"));
        let output = union.try_layerfs();
        if output.code != 0 {
            let line = output.one_line_error(output.code);
            assert!(line.contains(option), "the error names the option: {line}");
            continue;
        }
        // Found at use rather than at mount: then an error there, never other content.
        let mount = tests::mounts::Mount::adopt(&union.point);
        assert!(fs::read(mount.join("d/x")).is_err(), "{name} was followed");
        if option == "metacopy" {
            assert!(fs::read(mount.join("f")).is_err(), "{name}: served wrongly");
        } else {
            let listed = fs::read_dir(mount.join("d")).map(Iterator::count);
            assert!(
                listed.is_err(),
                "{name}: the directory is served as if nothing were there"
            );
        }
        mount.unmount();
    }
}

#[test]
fn r4_redirect_and_metacopy_of_trusted_layers_are_followed() {
    let scratch = Scratch::new();
    // Made by the kernel itself, then used as a lower.
    let bottom = Layer::new().file("a/x", "x").file("big", vec![7; 200_000]);
    let bottom = bottom.write(scratch.join("bottom"));
    let layer = scratch.dir("layer");
    let union = Union::of(&[&bottom], scratch.dir("overlay")).upper(&layer, scratch.dir("work"));
    let overlay = union.overlay("redirect_dir=on,metacopy=on,index=off");
    fs::rename(overlay.join("a"), overlay.join("b")).unwrap();
    tests::process::call("chmod", &["600", overlay.join("big").to_str().unwrap()]).ok();
    overlay.unmount();
    let lowers = [layer, bottom];
    let seen =
        Union::of(&lowers, scratch.dir("overlay2")).overlay("redirect_dir=follow,metacopy=on");
    let mount = Union::of(&lowers, scratch.dir("merged"))
        .option("redirect_dir=follow")
        .option("metacopy=follow")
        .layerfs();
    Snapshot::of(seen.path(), &View::plain()).assert_same(
        &Snapshot::of(mount.path(), &View::plain()),
        "trusted layers",
    );
}

#[test]
fn r5_our_own_xattrs_are_hidden_and_nesting_works() {
    let layers = layers();
    let mut stage = Stage::new(&layers);
    fs::remove_file(stage.m("empty")).unwrap();
    fs::remove_dir(stage.m("dir-empty")).unwrap();
    fs::create_dir(stage.m("dir-empty")).unwrap();
    fs::write(stage.m("merged/new"), "new").unwrap();
    for name in [
        "trusted.overlay.opaque",
        "user.overlay.opaque",
        "user.fuseoverlayfs.opaque",
    ] {
        let listed = sys::xattr_names(&stage.m("dir-empty")).unwrap();
        assert!(
            !listed.contains(&name.as_bytes().to_vec()),
            "{name} is shown"
        );
    }
    // The mount as the lower of another one, changed there, remounted there.
    let upper = stage.scratch.dir("upper2");
    let work = stage.scratch.dir("work2");
    let union =
        Union::of(&[stage.union.point.clone()], stage.scratch.dir("merged2")).upper(upper, work);
    let nested = union.layerfs();
    // The root's own times are those of each upper's root.
    let view = View {
        no_dir_times: true,
        ..View::plain()
    };
    Snapshot::of(&stage.union.point, &view)
        .assert_same(&Snapshot::of(nested.path(), &view), "nested");
    fs::remove_dir_all(nested.join("merged")).unwrap();
    fs::create_dir(nested.join("merged")).unwrap();
    assert_eq!(fs::read_dir(nested.join("merged")).unwrap().count(), 0);
    assert!(stage.m("merged/new").exists());
    nested.unmount();
    let nested = union.layerfs();
    assert_eq!(fs::read_dir(nested.join("merged")).unwrap().count(), 0);
    nested.unmount();
    stage.unmount();
}

#[test]
fn r5_an_upper_inside_another_layerfs_works() {
    let outer = Stage::new(&[Layer::new().dir("u").dir("w").dir("low").file("low/f", "1")]);
    let union =
        Union::of(&[outer.m("low")], outer.scratch.dir("inner")).upper(outer.m("u"), outer.m("w"));
    let inner = union.layerfs();
    fs::write(inner.join("f"), "2").unwrap();
    fs::write(inner.join("g"), "3").unwrap();
    fs::remove_file(inner.join("f")).unwrap();
    fs::create_dir(inner.join("f")).unwrap();
    inner.unmount();
    let inner = union.layerfs();
    assert_eq!(
        Snapshot::of(inner.path(), &View::plain()).names(),
        [".", "f", "g"]
    );
    inner.unmount();
}

#[test]
fn r1_many_layers_and_a_deep_tree() {
    let scratch = Scratch::new();
    let mut lowers = Vec::new();
    let deep: std::path::PathBuf = (0..40).map(|i| format!("level{i}")).collect();
    for i in 0..60 {
        let layer = Layer::new()
            .file(format!("own{i}"), "1")
            .file("shared", format!("{i}"));
        lowers.push(
            layer
                .file(deep.join(format!("f{i}")), "1")
                .write(scratch.join(format!("l{i}"))),
        );
    }
    let mount = Union::of(&lowers, scratch.dir("merged")).layerfs();
    assert_eq!(fs::read(mount.join("shared")).unwrap(), b"0");
    assert_eq!(fs::read_dir(mount.join(&deep)).unwrap().count(), 60);
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 62);
}
