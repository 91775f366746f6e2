//! A2, A3, A6: times, xattrs, ACLs, inode flags.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};
use tests::layers::{Layer, set_time};
use tests::stage::{Stage, code, raw};
use tests::sys;

fn layer() -> Layer {
    Layer::new()
        .file("f", "content")
        .xattr("user.x", "old")
        .dir("d")
        .symlink("l", "f")
        .fifo("p")
}

/// Which of mtime and ctime a change moves.
fn moved(path: &Path, change: impl FnOnce()) -> (bool, bool) {
    let before = fs::symlink_metadata(path).unwrap();
    // Both clocks of the file system tick at 4 ms or finer.
    std::thread::sleep(std::time::Duration::from_millis(12));
    change();
    let after = fs::symlink_metadata(path).unwrap();
    let differ = |a: (i64, i64), b: (i64, i64)| a != b;
    (
        differ(
            (before.mtime(), before.mtime_nsec()),
            (after.mtime(), after.mtime_nsec()),
        ),
        differ(
            (before.ctime(), before.ctime_nsec()),
            (after.ctime(), after.ctime_nsec()),
        ),
    )
}

#[test]
fn a2_mtime_and_ctime_move_as_posix_says() {
    let stage = Stage::new(&[layer()]);
    // First on the lower file (with copy-up), then the same again on the upper one.
    for round in 0..2 {
        stage.both(|root| {
            let f = &root.join("f");
            let rw = || OpenOptions::new().read(true).write(true).open(f).unwrap();
            vec![
                ("read", moved(f, || drop(fs::read(f).unwrap()))),
                // ctime may move: opening for writing may copy up.
                ("open to write", (moved(f, || drop(rw())).0, false)),
                (
                    "empty write",
                    moved(f, || assert_eq!(rw().write(b"").unwrap(), 0)),
                ),
                (
                    "chmod",
                    moved(f, || {
                        fs::set_permissions(f, std::os::unix::fs::PermissionsExt::from_mode(0o611))
                            .unwrap();
                    }),
                ),
                ("write", moved(f, || rw().write_all(b"C").unwrap())),
                (
                    "truncate to same size",
                    moved(f, || {
                        let file = rw();
                        file.set_len(file.metadata().unwrap().len()).unwrap();
                    }),
                ),
                (
                    "setxattr",
                    moved(f, || {
                        sys::set_xattr(f, b"user.n", format!("{round}").as_bytes()).unwrap();
                    }),
                ),
                (
                    "link",
                    moved(f, || {
                        fs::hard_link(f, root.join(format!("g{round}"))).unwrap()
                    }),
                ),
                (
                    "unlink of another name",
                    moved(f, || {
                        fs::remove_file(root.join(format!("g{round}"))).unwrap()
                    }),
                ),
                (
                    "rename",
                    moved(f, || {
                        fs::rename(f, root.join("h")).unwrap();
                        fs::rename(root.join("h"), f).unwrap();
                    }),
                ),
                ("utimens", moved(f, || set_time(f, 77, 88 + round))),
                (
                    "O_TRUNC of an empty file",
                    moved(f, || {
                        fs::write(f, "").unwrap();
                        fs::write(f, "").unwrap();
                    }),
                ),
                (
                    "mapping",
                    moved(f, || {
                        fs::write(f, "mapped").unwrap();
                        let file = rw();
                        let mut mapping = sys::Mapping::new(file.as_fd(), 6, true).unwrap();
                        mapping.bytes()[0] = b'X';
                        mapping.sync().unwrap();
                    }),
                ),
            ]
        });
    }
}

#[test]
fn a2_times_can_be_set_in_every_way() {
    let mut stage = Stage::new(&[layer()]);
    for name in ["f", "d", "l", "p"] {
        stage.both(|root| {
            let path = root.join(name);
            for (seconds, nanos) in [(0, 0), (1, 999_999_999), (-1, 5), (4_000_000_000, 1)] {
                set_time(&path, seconds, nanos);
                let meta = fs::symlink_metadata(&path).unwrap();
                assert_eq!(
                    (meta.mtime(), meta.mtime_nsec()),
                    (seconds, nanos),
                    "{name}"
                );
                assert_eq!(
                    (meta.atime(), meta.atime_nsec()),
                    (seconds, nanos),
                    "{name}"
                );
            }
        });
    }
    stage.same_after_remount();
    // Only one of the two, and now.
    for (arguments, name) in [(["-a", "-d", "@9.5"], "f"), (["-m", "-d", "@8.25"], "d")] {
        stage.both(|root| {
            let path = root.join(name);
            let mut all = arguments.to_vec();
            all.push(path.to_str().unwrap());
            tests::process::call("touch", &all).ok();
            let meta = fs::metadata(&path).unwrap();
            // Listing "d" may have renewed its access time at another moment.
            let atime = (name == "f").then(|| (meta.atime(), meta.atime_nsec()));
            (atime, meta.mtime(), meta.mtime_nsec())
        });
    }
    stage.both(|root| {
        tests::process::call("touch", &["-h", root.join("l").to_str().unwrap()]).ok();
        fs::symlink_metadata(root.join("l")).unwrap().mtime() > tests::stage::START
    });
}

#[test]
fn a3_errnos_and_sizes_of_xattrs() {
    let mut stage = Stage::new(&[layer()]);
    for name in ["f", "d", "l", "p"] {
        stage.both(|root| {
            let path = &root.join(name);
            let set = |name: &str, value: &[u8], flags| raw(lsetxattr(path, name, value, flags));
            let get = |name: &str, room: usize| {
                let mut buffer = vec![0; room];
                raw(lgetxattr(path, name, &mut buffer[..]))
            };
            let any = XattrFlags::empty();
            vec![
                set("user.x", b"new", XattrFlags::CREATE).map(|()| 0),
                set("user.y", b"new", XattrFlags::REPLACE).map(|()| 0),
                set("user.x", b"", XattrFlags::empty()).map(|()| 0),
                get("user.x", 10),
                get("user.none", 10),
                set("user.big", &[7; 3000], any).map(|()| 0),
                get("user.big", 2999),
                get("user.big", 3000),
                set("user.", b"", any).map(|()| 0),
                set("nosuch.space", b"", any).map(|()| 0),
                set("noprefix", b"", any).map(|()| 0),
                set(&format!("user.{}", "n".repeat(250)), b"v", any).map(|()| 0),
                set(&format!("user.{}", "n".repeat(251)), b"v", any).map(|()| 0),
                set("user.huge", &vec![1; 70_000], any).map(|()| 0),
                set("trusted.t", b"t", any).map(|()| 0),
                set("security.test", b"s", any).map(|()| 0),
                raw(rustix::fs::lremovexattr(path, "user.none")).map(|()| 0),
                raw(rustix::fs::lremovexattr(path, "trusted.t")).map(|()| 0),
                raw(rustix::fs::llistxattr(path, &mut [0_u8; 3][..])),
            ]
        });
    }
    stage.same_after_remount();
}

#[test]
fn a3_posix_acls_are_kept_inherited_and_obeyed() {
    let mut stage = Stage::new(&[layer()]);
    let alice = tests::user::ALICE;
    stage.both(|root| {
        let set = |args: &[&str]| {
            tests::process::run(
                std::process::Command::new("setfacl")
                    .args(args)
                    .current_dir(root),
            )
        };
        let mut results = vec![
            set(&["-m", &format!("u:{alice}:rw"), "f"]).code,
            set(&["-m", &format!("d:u:{alice}:rwx"), "d"]).code,
            set(&["-m", &format!("u:{alice}:rwx"), "d"]).code,
            set(&["-m", "u:1:rwx", "l"]).code,
            set(&["-m", "d:u:1:rwx", "f"]).code,
        ];
        tests::user::run_as(alice, alice, &[], || {
            results.push(code(fs::write(root.join("f"), "by alice")).map_or(-1, |()| 0));
            results.push(code(fs::write(root.join("d/mine"), "x")).map_or(-1, |()| 0));
        });
        fs::write(root.join("d/roots"), "x").unwrap();
        fs::create_dir(root.join("d/sub")).unwrap();
        // chmod changes the mask, and removing the ACL gives the plain mode back.
        fs::set_permissions(
            root.join("f"),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .unwrap();
        tests::user::run_as(alice, alice, &[], || {
            results.push(code(fs::read(root.join("f"))).map_or(-1, |_| 0));
        });
        results.push(set(&["-b", "d/roots"]).code);
        let list = std::process::Command::new("getfacl")
            .args(["-R", "-n", "."])
            .current_dir(root)
            .output();
        // Paragraphs come in the order of the directory, which is any.
        let list = String::from_utf8(list.unwrap().stdout).unwrap();
        let mut paragraphs: Vec<_> = list.split("\n\n").map(str::to_owned).collect();
        paragraphs.sort();
        (results, paragraphs)
    });
    stage.same_after_remount();
}

#[test]
fn a6_inode_flags_by_ioctl() {
    const NODUMP: u32 = 0x40;
    const NOATIME: u32 = 0x80;
    let stage = Stage::new(&[layer()]);
    for name in ["f", "d", "fresh"] {
        stage.both(|root| {
            let path = root.join(name);
            if name == "fresh" {
                fs::write(&path, "").unwrap();
            }
            let file = File::open(&path).unwrap();
            let before = code(sys::inode_flags(file.as_fd())).map(|f| f & (NODUMP | NOATIME));
            let set = code(sys::set_inode_flags(
                file.as_fd(),
                NODUMP | NOATIME | 0x80000,
            ));
            drop(file);
            let file = File::open(&path).unwrap();
            let after = code(sys::inode_flags(file.as_fd())).map(|f| f & (NODUMP | NOATIME));
            (
                before,
                set,
                after,
                code(sys::project_attr(file.as_fd())).map(|a| a[3]),
            )
        });
    }
    // An ioctl that nobody knows.
    stage.both(|root| {
        let file = File::open(root.join("f")).unwrap();
        code(sys::bare_ioctl(file.as_fd(), 0x7a_99))
    });
}

#[test]
fn a6_immutable_and_append_only_files() {
    let stage = Stage::new(&[layer().file("g", "g")]);
    stage.both(|root| {
        let chattr = |flag: &str, name: &str| {
            tests::process::call("chattr", &[flag, root.join(name).to_str().unwrap()]).code
        };
        let results = (
            chattr("+i", "f"),
            code(fs::write(root.join("f"), "x")),
            code(fs::remove_file(root.join("f"))),
            code(fs::rename(root.join("f"), root.join("x"))),
            code(fs::hard_link(root.join("f"), root.join("x"))),
            chattr("-i", "f"),
            code(fs::write(root.join("f"), "x")),
            chattr("+a", "g"),
            code(fs::write(root.join("g"), "x")),
            code(
                OpenOptions::new()
                    .append(true)
                    .open(root.join("g"))
                    .map(drop),
            ),
            chattr("-a", "g"),
        );
        (results, fs::read(root.join("g")).unwrap())
    });
}

#[test]
fn a5_statfs_tells_the_uppers_figures() {
    let scratch = tests::scratch::Scratch::new();
    let lower = layer().write(scratch.join("lower"));
    let small = scratch.tmpfs("small", "5m");
    scratch.dir("small/upper");
    scratch.dir("small/work");
    let point = scratch.dir("merged");
    let union =
        tests::mounts::Union::of(&[&lower], &point).upper(small.join("upper"), small.join("work"));
    let mount = union.layerfs();
    let figures = |p: &Path| {
        let s = rustix::fs::statvfs(p).unwrap();
        (s.f_blocks * s.f_frsize, s.f_files, s.f_namemax)
    };
    assert_eq!(figures(mount.path()), figures(&small));
    mount.unmount();
    let mount = tests::mounts::Union::of(&[&lower], &point).layerfs();
    assert_eq!(
        figures(mount.path()),
        figures(&lower),
        "read-only: the lower's"
    );
    mount.unmount();
}
