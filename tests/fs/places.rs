//! R7, R8: layers are never written; layers may lie anywhere, also around the mount point.

use std::fs;
use std::path::Path;

use tests::layers::Layer;
use tests::lowers::Lowers;
use tests::mounts::{Union, is_mounted};
use tests::scratch::Scratch;
use tests::stage::{Stage, code};

#[test]
fn r7_no_way_of_writing_reaches_the_lower() {
    let layers = [Layer::new()
        .file("f", vec![1; 10_000])
        .mode(0o4755)
        .file("d/g", "g")];
    let stage = Stage::new(&layers);
    // Each through an fd opened before copy-up where that is possible.
    let file = fs::File::open(stage.m("f")).unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(&path, "through proc").unwrap();
    let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    file.set_times(times).unwrap();
    rustix::fs::fsetxattr(&file, "user.z", b"z", rustix::fs::XattrFlags::empty()).unwrap();
    fs::write(stage.m("d/g"), "other").unwrap();
    drop(file);
    // The guard in `Stage` compares the lower, times included, when it is dropped.
}

#[test]
fn r7_reading_leaves_even_access_times_of_a_lower_alone() {
    let stage = Stage::new(&[Layer::new().file("f", "content").dir("d").symlink("l", "f")]);
    let atime = |p: &Path| std::os::unix::fs::MetadataExt::atime(&fs::symlink_metadata(p).unwrap());
    let lower = &stage.union.lowers[0];
    // With relatime an atime older than mtime would be renewed by any read.
    let names = ["f", "d", "l"];
    let before: Vec<_> = names.iter().map(|n| atime(&lower.join(n))).collect();
    fs::read(stage.m("f")).unwrap();
    fs::read_dir(stage.m("d")).unwrap().count();
    fs::read_link(stage.m("l")).unwrap();
    let after: Vec<_> = names.iter().map(|n| atime(&lower.join(n))).collect();
    assert_eq!(before, after);
}

#[test]
fn r8_a_lower_may_contain_the_mount_point() {
    let scratch = Scratch::new();
    let lower = Layer::new()
        .file("f", "f")
        .dir("inside/point")
        .write(scratch.join("lower"));
    let guard = Lowers::guard(&[&lower]);
    let union = Union::of(&[&lower], lower.join("inside/point"))
        .upper(scratch.dir("upper"), scratch.dir("work"));
    let mount = union.layerfs();
    assert_eq!(fs::read(mount.join("f")).unwrap(), b"f");
    // The mount point as seen through itself is the layer's own empty directory.
    assert_eq!(fs::read_dir(mount.join("inside/point")).unwrap().count(), 0);
    fs::write(mount.join("inside/point/new"), "new").unwrap();
    fs::write(mount.join("f"), "changed").unwrap();
    assert_eq!(fs::read(lower.join("f")).unwrap(), b"f");
    mount.unmount();
    guard.check();
}

#[test]
fn r8_the_root_directory_may_be_a_lower() {
    let scratch = Scratch::new();
    let union = Union::of(&[Path::new("/")], scratch.dir("merged"))
        .upper(scratch.dir("upper"), scratch.dir("work"));
    let mount = union.layerfs();
    let there = fs::read(mount.join("etc/passwd")).unwrap();
    assert_eq!(there, fs::read("/etc/passwd").unwrap());
    // Seen through itself: the scratch directory with an empty mount point, no recursion.
    let own = mount.join(union.point.strip_prefix("/").unwrap());
    assert_eq!(fs::read_dir(own).unwrap().count(), 0);
    // Other file systems below / are not passed through: the layer's own bare directories show.
    assert_eq!(fs::read_dir(mount.join("proc")).unwrap().count(), 0);
    fs::write(mount.join("etc/layerfs-test"), "only above").unwrap();
    fs::remove_dir_all(mount.join("etc/apt")).unwrap();
    assert!(Path::new("/etc/apt").exists() && !Path::new("/etc/layerfs-test").exists());
    mount.unmount();
}

#[test]
fn r8_nested_lowers_work() {
    let scratch = Scratch::new();
    let outer = Layer::new()
        .file("inner/a", "a")
        .file("b", "b")
        .write(scratch.join("outer"));
    let union = Union::of(&[outer.join("inner"), outer.clone()], scratch.dir("merged"));
    let mount = union.layerfs();
    assert_eq!(fs::read(mount.join("a")).unwrap(), b"a");
    assert_eq!(fs::read(mount.join("inner/a")).unwrap(), b"a");
    mount.unmount();
    // The same directory twice is no contradiction either, or it is refused in one line.
    let twice = Union::of(&[&outer, &outer], scratch.dir("twice"));
    let output = twice.try_layerfs();
    if output.code == 0 {
        tests::mounts::Mount::adopt(&twice.point).unmount();
    } else {
        output.one_line_error(output.code);
    }
}

#[test]
fn r8_overlaps_of_upper_work_and_lower_are_refused() {
    let scratch = Scratch::new();
    let [low, up, work] = ["low", "up", "work"].map(|n| scratch.dir(n));
    let up_in = scratch.dir("up/in");
    let point = scratch.dir("merged");
    std::os::unix::fs::symlink(&up, scratch.join("alias")).unwrap();
    let alias = scratch.join("alias/in");
    for (lower, upper, workdir) in [
        (&low, &low, &work),
        (&low, &up, &up),
        (&low, &up, &up),
        (&alias, &up, &work),
        (&up_in, &up, &work),
        (&low, &up, &up_in),
        (&low, &up_in, &up),
    ] {
        let output = Union::of(&[lower], &point)
            .upper(upper, workdir)
            .try_layerfs();
        assert_ne!(
            output.code, 0,
            "{lower:?} {upper:?} {workdir:?} was accepted"
        );
        output.one_line_error(output.code);
        assert!(!is_mounted(&point));
    }
}

#[test]
fn r8_an_upper_inside_the_lower_is_seen_once() {
    // Needed for a lower of `/`; the merged view shows the upper's own directory as it is below.
    let scratch = Scratch::new();
    let low = Layer::new().file("f", "f").write(scratch.join("low"));
    let union = Union::of(&[&low], scratch.dir("merged"))
        .upper(scratch.dir("low/in/upper"), scratch.dir("low/in/work"));
    let output = union.try_layerfs();
    if output.code != 0 {
        output.one_line_error(output.code);
        return;
    }
    let mount = tests::mounts::Mount::adopt(&union.point);
    fs::write(mount.join("f"), "changed").unwrap();
    fs::create_dir_all(mount.join("in/upper/deeper")).unwrap();
    fs::remove_dir_all(mount.join("in")).unwrap();
    assert!(!mount.join("in").exists());
    assert_eq!(fs::read(low.join("f")).unwrap(), b"f");
    assert_eq!(fs::read(low.join("in/upper/f")).unwrap(), b"changed");
    mount.unmount();
}

#[test]
fn r8_names_with_colons_commas_and_spaces() {
    let scratch = Scratch::new();
    let name = |n: &str| scratch.dir(format!("{n} with : and , and \\ and \"q\" é"));
    let (low, up, work, point) = (name("low"), name("up"), name("work"), name("point"));
    fs::write(low.join("f"), "f").unwrap();
    let union = Union::of(&[&low], &point).upper(&up, &work);
    let mount = union.layerfs();
    fs::write(mount.join("g"), "g").unwrap();
    assert_eq!(fs::read(mount.join("f")).unwrap(), b"f");
    mount.unmount();
    assert_eq!(fs::read(up.join("g")).unwrap(), b"g");
}

#[test]
fn r8_a_daemon_does_not_depend_on_its_working_directory() {
    let scratch = Scratch::new();
    let base = scratch.dir("base");
    for name in ["low", "up", "work", "point"] {
        scratch.dir(format!("base/{name}"));
    }
    fs::write(base.join("low/f"), "f").unwrap();
    let mut command = Union::of(&["low"], "point")
        .upper("up", "work")
        .layerfs_command();
    tests::process::run(command.current_dir(&base)).ok();
    let mount = tests::mounts::Mount::adopt(base.join("point"));
    fs::write(mount.join("f"), "changed").unwrap();
    assert_eq!(fs::read(base.join("up/f")).unwrap(), b"changed");
    tests::process::call(
        tests::programs::layerfs().to_str().unwrap(),
        &["unmount", mount.path().to_str().unwrap()],
    )
    .ok();
    assert!(!is_mounted(&base.join("point")));
    drop(mount);
}

#[test]
fn r8_a_mount_without_upper_is_read_only() {
    let scratch = Scratch::new();
    let lower = Layer::new()
        .file("f", "f")
        .dir("d")
        .write(scratch.join("lower"));
    let guard = Lowers::guard(&[&lower]);
    let mount = Union::of(&[&lower], scratch.dir("merged")).layerfs();
    let erofs = Err(libc::EROFS);
    assert_eq!(code(fs::write(mount.join("f"), "x")), erofs);
    assert_eq!(code(fs::write(mount.join("new"), "x")), erofs);
    assert_eq!(code(fs::create_dir(mount.join("new"))), erofs);
    assert_eq!(code(fs::remove_file(mount.join("f"))), erofs);
    assert_eq!(code(fs::remove_dir(mount.join("d"))), erofs);
    assert_eq!(code(fs::rename(mount.join("f"), mount.join("g"))), erofs);
    assert_eq!(code(fs::hard_link(mount.join("f"), mount.join("g"))), erofs);
    assert_eq!(
        code(tests::sys::set_xattr(&mount.join("f"), b"user.x", b"x")),
        erofs
    );
    assert_eq!(fs::read(mount.join("f")).unwrap(), b"f");
    mount.unmount();
    // `--read-only` with an upper shows the upper and refuses changes.
    let union = Union::of(&[&lower], scratch.dir("merged"))
        .upper(
            Layer::new().file("u", "u").write(scratch.join("upper")),
            scratch.dir("work"),
        )
        .flag("--read-only");
    let mount = union.layerfs();
    assert_eq!(fs::read(mount.join("u")).unwrap(), b"u");
    assert_eq!(code(fs::write(mount.join("f"), "x")), erofs);
    mount.unmount();
    guard.check();
}
