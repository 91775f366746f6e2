//! C7, and the rules of permission: the union gives exactly what a plain file system gives.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use tests::layers::Layer;
use tests::stage::{Stage, code, raw};
use tests::sys;
use tests::user::{ALICE, BOB, run_as, with_umask};

/// cap_net_raw+ep as the kernel stores it (revision 2).
const CAPABILITY: &[u8] = &[
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

fn layer() -> Layer {
    let mut layer = Layer::new().dir("").mode(0o755).dir("open").mode(0o777);
    for (name, mode) in [
        ("suid", 0o4777),
        ("sgid", 0o2777),
        ("both", 0o6777),
        ("lock", 0o2767),
    ] {
        layer = layer
            .file(format!("open/{name}"), "content")
            .mode(mode)
            .owner(ALICE, ALICE);
    }
    layer = layer
        .file("open/capable", "content")
        .mode(0o777)
        .xattr("security.capability", CAPABILITY);
    layer = layer
        .file("open/bobs", "content")
        .mode(0o6755)
        .owner(BOB, BOB);
    layer
}

/// Mode and capability of each file.
fn privileges(root: &Path) -> Vec<(String, u32, bool)> {
    let mut all: Vec<_> = fs::read_dir(root.join("open"))
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| {
            let capable = sys::xattr(&e.path(), b"security.capability")
                .unwrap()
                .is_some();
            let mode = e.metadata().unwrap().mode() & 0o7777;
            (e.file_name().into_string().unwrap(), mode, capable)
        })
        .collect();
    all.sort();
    all
}

const FILES: [&str; 6] = ["suid", "sgid", "both", "lock", "capable", "bobs"];

/// Does `change` to every file as Alice on both trees, on files of the lower and again on the
/// copied-up ones; the privileges that are left must be those of ext4.
#[track_caller]
fn same_privileges(change: impl Fn(&Path) -> Result<(), i32> + Sync + Copy + Send) {
    let stage = Stage::new(&[layer()]);
    for round in ["lower", "upper"] {
        stage.both(|root| {
            let results: Vec<_> = FILES
                .iter()
                .map(|f| {
                    let path = root.join("open").join(f);
                    run_as(ALICE, ALICE, &[], || change(&path))
                })
                .collect();
            (round, results, privileges(root))
        });
        // Give the bits back for the second round, on the copied-up files.
        stage.both(|root| {
            for (f, mode) in [("suid", 0o4777), ("sgid", 0o2777), ("both", 0o6777)] {
                fs::set_permissions(root.join("open").join(f), PermissionsExt::from_mode(mode))
                    .unwrap();
            }
            sys::set_xattr(
                &root.join("open/capable"),
                b"security.capability",
                CAPABILITY,
            )
            .unwrap();
        });
    }
}

#[test]
fn c7_privileges_drop_on_write() {
    same_privileges(|path| {
        let file = code(fs::OpenOptions::new().write(true).open(path))?;
        code(file.write_all_at(b"x", 0))
    });
}

#[test]
fn c7_privileges_drop_on_truncate_and_truncating_open() {
    same_privileges(|path| {
        let file = code(fs::OpenOptions::new().write(true).open(path))?;
        code(file.set_len(3))
    });
    same_privileges(|path| {
        code(fs::OpenOptions::new().write(true).truncate(true).open(path)).map(drop)
    });
}

#[test]
fn c7_privileges_drop_on_fallocate_and_copy_file_range() {
    same_privileges(|path| {
        let file = code(fs::OpenOptions::new().write(true).open(path))?;
        raw(rustix::fs::fallocate(
            &file,
            rustix::fs::FallocateFlags::empty(),
            0,
            100,
        ))
    });
    same_privileges(|path| {
        let from = code(fs::File::open(path))?;
        let file = code(fs::OpenOptions::new().write(true).open(path))?;
        let (mut a, mut b) = (0, 3);
        raw(rustix::fs::copy_file_range(
            &from,
            Some(&mut a),
            &file,
            Some(&mut b),
            2,
        ))
        .map(drop)
    });
}

#[test]
fn c7_privileges_drop_on_chown_and_chmod_rules_hold() {
    same_privileges(|path| {
        let gid = Some(rustix::fs::Gid::from_raw(ALICE));
        raw(rustix::fs::chownat(
            rustix::fs::CWD,
            path,
            None,
            gid,
            rustix::fs::AtFlags::empty(),
        ))
    });
    same_privileges(|path| code(fs::set_permissions(path, PermissionsExt::from_mode(0o6755))));
    // chown by root drops them too (files), and by a plain write of root they stay or go as on ext4.
    let stage = Stage::new(&[layer()]);
    stage.both(|root| {
        for f in FILES {
            let path = root.join("open").join(f);
            std::os::unix::fs::chown(&path, Some(BOB), Some(BOB)).unwrap();
        }
        privileges(root)
    });
    let stage = Stage::new(&[layer()]);
    stage.both(|root| {
        for f in FILES {
            fs::OpenOptions::new()
                .write(true)
                .open(root.join("open").join(f))
                .unwrap()
                .write_all_at(b"r", 1)
                .unwrap();
        }
        privileges(root)
    });
}

#[test]
fn c7_privileges_drop_after_a_write_through_a_mapping_fd_or_append() {
    same_privileges(|path| {
        let mut file = code(fs::OpenOptions::new().append(true).open(path))?;
        code(std::io::Write::write_all(&mut file, b"x"))
    });
}

#[test]
fn c7_a_setuid_program_runs_with_its_owner_and_not_after_a_foreign_write() {
    let stage = Stage::new(&[Layer::new().dir("bin").mode(0o777)]);
    stage.both(|root| {
        let id = root.join("bin/id");
        fs::copy("/usr/bin/id", &id).unwrap();
        std::os::unix::fs::chown(&id, Some(BOB), Some(BOB)).unwrap();
        fs::set_permissions(&id, PermissionsExt::from_mode(0o4777)).unwrap();
        let ask = || {
            let script = format!("exec {} -u", id.display());
            let mut command = std::process::Command::new("sh");
            std::os::unix::process::CommandExt::uid(&mut command, ALICE);
            tests::process::run(command.args(["-c", &script]))
                .ok()
                .trim()
                .to_owned()
        };
        let before = ask();
        let size = fs::metadata(&id).unwrap().len();
        run_as(ALICE, ALICE, &[], || {
            fs::OpenOptions::new()
                .write(true)
                .open(&id)
                .unwrap()
                .write_all_at(b"\0", size)
                .unwrap();
        });
        (before, ask())
    });
}

#[test]
fn c7_permissions_are_those_of_the_merged_tree() {
    let layer = Layer::new()
        .dir("private")
        .mode(0o700)
        .file("private/f", "1")
        .dir("sticky")
        .mode(0o1777)
        .file("sticky/alices", "1")
        .owner(ALICE, ALICE)
        .file("sticky/bobs", "1")
        .owner(BOB, BOB)
        .file("read-only", "1")
        .mode(0o444)
        .file("group", "1")
        .mode(0o060)
        .owner(0, 777)
        .dir("open")
        .mode(0o777);
    let stage = Stage::new(&[layer]);
    stage.both(|root| {
        run_as(ALICE, ALICE, &[777], || {
            let at = |p: &str| root.join(p);
            vec![
                code(fs::read(at("private/f")).map(drop)),
                code(fs::write(at("read-only"), "x")),
                code(fs::write(at("group"), "x")),
                code(fs::remove_file(at("sticky/bobs"))),
                code(fs::rename(at("sticky/bobs"), at("sticky/mine"))),
                code(fs::rename(at("sticky/alices"), at("sticky/bobs"))),
                code(fs::rename(at("sticky/alices"), at("sticky/mine"))),
                code(fs::create_dir(at("new"))),
                code(fs::set_permissions(
                    at("read-only"),
                    PermissionsExt::from_mode(0o666),
                )),
                code(std::os::unix::fs::chown(at("sticky/mine"), Some(BOB), None)),
                code(std::os::unix::fs::chown(at("sticky/mine"), None, Some(777))),
                code(fs::hard_link(at("read-only"), at("open/link"))),
                code(sys::set_xattr(&at("sticky/mine"), b"trusted.x", b"x")),
                code(sys::set_xattr(&at("read-only"), b"user.x", b"x")),
            ]
        })
    });
    stage.same("after the user's attempts");
}

#[test]
fn a7_new_objects_get_the_callers_ids_and_the_directorys_group() {
    let layer = Layer::new()
        .dir("open")
        .mode(0o777)
        .dir("sgid")
        .mode(0o2777)
        .owner(0, 888)
        .dir("tmp")
        .mode(0o1777);
    let mut stage = Stage::new(&[layer]);
    stage.both(|root| {
        for directory in ["open", "sgid", "tmp"] {
            run_as(ALICE, BOB, &[], || {
                let at = |p: &str| root.join(directory).join(p);
                fs::write(at("file"), "x").unwrap();
                fs::create_dir(at("dir")).unwrap();
                fs::create_dir(at("dir/inner")).unwrap();
                std::os::unix::fs::symlink("x", at("link")).unwrap();
                tests::operations::apply(
                    root,
                    &tests::operations::Op::Fifo(Path::new(directory).join("fifo"), 0o2666),
                );
                // A file with setgid made by someone outside the group loses the bit.
                rustix::fs::open(
                    at("sgid-file"),
                    rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY,
                    rustix::fs::Mode::from_raw_mode(0o2777),
                )
                .unwrap();
            });
        }
    });
    stage.same_after_remount();
}

#[test]
fn a7_modes_obey_the_umask_and_default_acls_replace_it() {
    let mut stage = Stage::new(&[Layer::new().dir("plain").dir("acl")]);
    stage.both(|root| {
        let acl = root.join("acl");
        tests::process::call(
            "setfacl",
            &[
                "-m",
                "d:u:1234:rwx,d:g::rx,d:o::-,d:m::rwx",
                acl.to_str().unwrap(),
            ],
        )
        .ok();
        for directory in ["plain", "acl"] {
            for umask in [0, 0o022, 0o077] {
                with_umask(umask, || {
                    let at = |p: &str| root.join(directory).join(format!("{p}{umask:o}"));
                    fs::write(at("file"), "x").unwrap();
                    fs::create_dir(at("dir")).unwrap();
                    fs::write(at("dir").join("inner"), "x").unwrap();
                    let fifo = Path::new(directory).join(format!("fifo{umask:o}"));
                    let op = tests::operations::Op::Fifo(fifo, 0o666);
                    assert!(tests::operations::apply(root, &op).0.is_ok());
                });
            }
        }
    });
    stage.same_after_remount();
}
