//! N6: files without a name, and the name they get later.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};
use tests::layers::Layer;
use tests::stage::{Stage, raw};
use tests::user::{ALICE, BOB, run_as, with_umask};

fn layer() -> Layer {
    Layer::new()
        .dir("lower")
        .mode(0o777)
        .file("lower/taken", "taken")
        .file("lower/gone", "gone")
        .dir("sgid")
        .mode(0o2777)
        .owner(0, 888)
}

fn tmpfile(dir: &Path, more: OFlags) -> Result<File, i32> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | more;
    raw(rustix::fs::open(dir, flags, Mode::from_raw_mode(0o666))).map(File::from)
}

/// Gives an open file a name, as open(2) tells to.
fn name(file: &File, path: &Path) -> Result<(), i32> {
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    raw(linkat(CWD, open, CWD, path, AtFlags::SYMLINK_FOLLOW))
}

#[test]
fn n6_a_file_without_a_name_is_a_file_and_gets_one() {
    let mut stage = Stage::new(&[layer()]);
    stage.both(|root| fs::remove_file(root.join("lower/gone")).unwrap());
    stage.both(|root| {
        with_umask(0o027, || {
            let dir = root.join("lower");
            let mut file = tmpfile(&dir, OFlags::empty())?;
            file.write_all(b"content").unwrap();
            let mut back = [0; 7];
            file.read_exact_at(&mut back, 0).unwrap();
            let before = file.metadata().unwrap();
            let shown = fs::read_dir(&dir).unwrap().count();
            let named = [
                name(&file, &dir.join("taken")),
                name(&file, &dir.join("new")),
                name(&file, &dir.join("gone")),
                name(&file, &root.join("elsewhere")),
            ];
            file.write_all(b" and more").unwrap();
            file.set_permissions(fs::Permissions::from_mode(0o604))
                .unwrap();
            let after = file.metadata().unwrap();
            let mode_and_links = |meta: &fs::Metadata| (meta.mode(), meta.nlink(), meta.size());
            let same = fs::metadata(dir.join("new")).unwrap().ino() == after.ino();
            let seen = (mode_and_links(&before), mode_and_links(&after), same);
            Ok::<_, i32>((back, shown, named, seen))
        })
    });
    stage.same_after_remount();
}

#[test]
fn n6_with_o_excl_it_never_gets_a_name() {
    let stage = Stage::new(&[layer()]);
    stage.both(|root| {
        let file = tmpfile(root, OFlags::EXCL)?;
        Ok::<_, i32>((name(&file, &root.join("new")), root.join("new").exists()))
    });
}

#[test]
fn n6_a_removed_file_gets_no_name_back() {
    let stage = Stage::new(&[layer()]);
    stage.both(|root| {
        let path = root.join("lower/taken");
        let lower = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(root.join("upper"), "x").unwrap();
        let upper = File::open(root.join("upper")).unwrap();
        fs::remove_file(root.join("upper")).unwrap();
        [&lower, &upper].map(|file| name(file, &root.join("back")))
    });
}

#[test]
fn n6_it_belongs_to_its_maker_and_the_directorys_group() {
    let mut stage = Stage::new(&[layer()]);
    stage.both(|root| {
        ["lower", "sgid"].map(|dir| {
            run_as(ALICE, BOB, &[], || {
                let dir = root.join(dir);
                let file = tmpfile(&dir, OFlags::empty())?;
                let meta = file.metadata().unwrap();
                name(&file, &dir.join("alices"))?;
                Ok::<_, i32>((meta.uid(), meta.gid(), meta.mode()))
            })
        })
    });
    stage.same_after_remount();
}

#[test]
fn n6_a_closed_or_killed_one_leaves_nothing() {
    let stage = Stage::new(&[layer()]);
    let (upper, work) = stage.union.upper.clone().unwrap();
    let files_below = |root: &Path| {
        let root = root.display().to_string();
        let found = tests::process::call("find", &[&root, "-type", "f", "-size", "+0"]).ok();
        found
            .lines()
            .filter(|line| !line.contains("/layerfs/stack"))
            .count()
    };
    let before = (files_below(&upper), files_below(&work));
    let mut file = tmpfile(&stage.m("lower"), OFlags::empty()).unwrap();
    file.write_all(b"content").unwrap();
    assert_eq!((files_below(&upper), files_below(&work)), before);
    drop(file);
    let mut file = tmpfile(&stage.m("lower"), OFlags::empty()).unwrap();
    file.write_all(b"content").unwrap();
    stage.mount().kill_daemon();
    drop(file);
    assert_eq!((files_below(&upper), files_below(&work)), before);
}

#[test]
fn n6_a_read_only_mount_has_none() {
    let scratch = tests::scratch::Scratch::new();
    let lower = layer().write(scratch.join("lower"));
    let mount = tests::mounts::Union::of(&[lower], scratch.dir("merged")).layerfs();
    let error = tmpfile(mount.path(), OFlags::empty()).err();
    assert_eq!(error, Some(libc::EROFS));
    mount.unmount();
}
