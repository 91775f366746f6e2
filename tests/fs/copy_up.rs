//! C1–C4, C6: bringing a lower object up.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use tests::layers::Layer;
use tests::process::{call, run};
use tests::scratch::Scratch;
use tests::stage::{Stage, code};
use tests::sys;

#[test]
fn c1_every_attribute_comes_along() {
    let layer = Layer::new()
        .file("d/file", "content")
        .mode(0o4755)
        .owner(1234, 4321)
        .time(987_654_321, 999_999_999)
        .xattr("user.text", "value")
        .xattr("user.binary", [0, 1, 2, 253, 254, 255])
        .xattr(b"user.odd \xff\x01 name", "v")
        .xattr("user.empty", "")
        .xattr("user.large", vec![b'x'; 2000])
        .xattr("trusted.t", "t")
        .xattr("security.capability", CAPABILITY)
        .file("old", "before 1970")
        .time(-5, 500)
        .dir("sticky")
        .mode(0o3777)
        .owner(7, 8)
        .symlink("link", "d/file")
        .owner(3, 4)
        .fifo("fifo")
        .mode(0o622);
    let mut stage = Stage::new(&[layer]);
    stage.same("before");
    // A change of one attribute that each object has: the others must stay.
    stage.both(|root| {
        for name in ["d/file", "old", "sticky", "link", "fifo"] {
            let name = root.join(name);
            sys::set_xattr(&name, b"trusted.mark", b"1").unwrap();
        }
    });
    stage.same_after_remount();
    stage.both(|root| {
        call(
            "touch",
            &["-h", "-d", "@5.5", root.join("link").to_str().unwrap()],
        )
        .code
    });
    stage.same_after_remount();
}

/// cap_net_raw+ep as the kernel stores it (revision 2).
const CAPABILITY: &[u8] = &[
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

#[test]
fn c1_content_and_times_of_a_file_changed_later_in_the_session() {
    let mut stage = Stage::new(&[Layer::new().file("f", vec![b'a'; 100_000]).mode(0o640)]);
    stage.both(|root| {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(root.join("f"))
            .unwrap();
        file.write_all_at(b"MIDDLE", 50_000).unwrap();
    });
    stage.same_after_remount();
}

#[test]
fn c1_acls_come_along() {
    let acl = |p: &Path| call("getfacl", &["-n", "-p", "-E", p.to_str().unwrap()]).ok();
    let scratch = Scratch::new();
    let lower = Layer::new()
        .file("f", "1")
        .dir("d")
        .file("d/x", "1")
        .write(scratch.join("lower"));
    let at = |p: &str| lower.join(p).to_str().unwrap().to_owned();
    call("setfacl", &["-m", "u:1234:rw,g:77:r,m::rw", &at("f")]).ok();
    call("setfacl", &["-m", "d:u:1234:rwx,u:5:rx", &at("d")]).ok();
    let union = tests::mounts::Union::of(&[&lower], scratch.dir("merged"))
        .upper(scratch.dir("upper"), scratch.dir("work"));
    let mount = union.layerfs();
    for name in ["f", "d"] {
        let strip = |text: String| text.lines().skip(1).collect::<Vec<_>>().join("\n");
        let wanted = strip(acl(&lower.join(name)));
        assert_eq!(
            strip(acl(&mount.join(name))),
            wanted,
            "{name} before copy-up"
        );
        call("touch", &["-a", mount.join(name).to_str().unwrap()]).ok();
        call("chown", &["1:1", mount.join(name).to_str().unwrap()]).ok();
        let after = strip(acl(&mount.join(name)));
        let owner = |text: &str| text.replace("# owner: 1", "# owner: 0");
        assert_eq!(
            owner(&after).replace("# group: 1", "# group: 0"),
            wanted,
            "{name} after copy-up"
        );
    }
    mount.unmount();
}

fn blocks(path: &Path) -> u64 {
    fs::symlink_metadata(path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .blocks()
        * 512
}

/// Bytes that the upper holds in all.
fn upper_bytes(stage: &Stage) -> u64 {
    call("du", &["-s", "-B1", stage.u("").to_str().unwrap()])
        .ok()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

const MIB: u64 = 1 << 20;

/// A stage whose lower holds a file of `mib` MiB of real data.
fn with_large_file(mib: usize) -> Stage {
    let layer = Layer::new()
        .file("dir/large", vec![b'x'; mib << 20])
        .mode(0o644);
    Stage::new(&[layer])
}

#[test]
fn c2_metadata_changes_of_a_large_file_copy_no_data() {
    let mut stage = with_large_file(256);
    let large = stage.m("dir/large");
    let text = large.to_str().unwrap().to_owned();
    for command in [
        vec!["chmod", "600"],
        vec!["chown", "12:13"],
        vec!["setfattr", "-n", "user.new", "-v", "value"],
    ] {
        run(Command::new(command[0]).args(&command[1..]).arg(&large)).ok();
        assert!(
            upper_bytes(&stage) < MIB,
            "{command:?} allocated {} bytes",
            upper_bytes(&stage)
        );
    }
    // Not by `touch`: it opens the file for writing.
    tests::layers::set_time(&large, 1_000_000, 250_000_000);
    assert!(
        upper_bytes(&stage) < MIB,
        "utimensat allocated {} bytes",
        upper_bytes(&stage)
    );
    let meta = fs::metadata(&large).unwrap();
    assert_eq!(meta.size(), 256 * MIB);
    assert_eq!(
        (meta.mode() & 0o7777, meta.uid(), meta.gid()),
        (0o600, 12, 13)
    );
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000, 250_000_000));
    assert!(
        meta.blocks() * 512 >= 256 * MIB,
        "the merged file claims to be sparse: {meta:?}"
    );
    fs::rename(&large, stage.m("dir/moved")).unwrap();
    assert!(
        upper_bytes(&stage) < MIB,
        "a rename allocated {} bytes",
        upper_bytes(&stage)
    );
    stage.remount();
    let moved = stage.m("dir/moved");
    assert_eq!(fs::metadata(&moved).unwrap().size(), 256 * MIB);
    call(
        "cmp",
        &[
            stage.p("dir/large").to_str().unwrap(),
            moved.to_str().unwrap(),
        ],
    )
    .ok();
    // The first write brings the data, all of it.
    let file = fs::OpenOptions::new().write(true).open(&moved).unwrap();
    file.write_all_at(b"y", 128 * MIB).unwrap();
    drop(file);
    let plain = fs::OpenOptions::new()
        .write(true)
        .open(stage.p("dir/large"))
        .unwrap();
    plain.write_all_at(b"y", 128 * MIB).unwrap();
    stage.remount();
    let moved = stage.m("dir/moved");
    call(
        "cmp",
        &[
            stage.p("dir/large").to_str().unwrap(),
            moved.to_str().unwrap(),
        ],
    )
    .ok();
    assert_eq!(
        fs::metadata(&moved).unwrap().mode() & 0o7777,
        0o600,
        "{text}"
    );
}

#[test]
fn c2_truncating_open_copies_no_data() {
    let stage = with_large_file(64);
    fs::write(stage.m("dir/large"), "short").unwrap();
    assert!(upper_bytes(&stage) < MIB);
    assert_eq!(fs::read(stage.m("dir/large")).unwrap(), b"short");
}

#[test]
fn c2_truncating_open_writes_only_what_is_written() {
    // On a tmpfs that cannot hold the large file, a copy before the truncation would be ENOSPC.
    let scratch = Scratch::new();
    let lower = Layer::new()
        .file("large", vec![b'x'; 32 << 20])
        .write(scratch.join("lower"));
    let small = scratch.tmpfs("small", "4m");
    let union = tests::mounts::Union::of(&[&lower], scratch.dir("merged"))
        .upper(scratch.dir("small/upper"), scratch.dir("small/work"));
    let mount = union.layerfs();
    fs::write(mount.join("large"), "short").unwrap();
    assert_eq!(fs::read(mount.join("large")).unwrap(), b"short");
    fs::remove_file(mount.join("large")).unwrap();
    assert!(!mount.join("large").exists());
    mount.unmount();
    drop(small);
}

#[test]
fn c2_removing_copies_nothing() {
    let stage = with_large_file(64);
    fs::remove_file(stage.m("dir/large")).unwrap();
    assert!(upper_bytes(&stage) < MIB);
    fs::remove_dir(stage.m("dir")).unwrap();
    assert!(fs::read_dir(&stage.union.point).unwrap().next().is_none());
    assert!(
        !stage.u("dir").is_dir(),
        "a removed lower directory was copied up"
    );
}

#[test]
fn c3_appending_to_a_sparse_gigabyte_keeps_the_holes() {
    let scratch = Scratch::new();
    let lower = scratch.dir("lower");
    let mut file = fs::File::create(lower.join("sparse")).unwrap();
    file.set_len(1 << 30).unwrap();
    file.seek(SeekFrom::Start(1 << 29)).unwrap();
    file.write_all(b"island").unwrap();
    drop(file);
    let union = tests::mounts::Union::of(&[&lower], scratch.dir("merged"))
        .upper(scratch.dir("upper"), scratch.dir("work"));
    let mount = union.layerfs();
    let path = mount.join("sparse");
    fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"!")
        .unwrap();
    let upper = scratch.join("upper/sparse");
    let meta = fs::metadata(&upper).unwrap();
    assert_eq!(meta.size(), (1 << 30) + 1);
    assert!(
        blocks(&upper) < 8 * MIB,
        "the copy holds {} bytes",
        blocks(&upper)
    );
    let mut buffer = [0; 6];
    fs::File::open(&path)
        .unwrap()
        .read_exact_at(&mut buffer, 1 << 29)
        .unwrap();
    assert_eq!(&buffer, b"island");
    mount.unmount();
}

#[test]
fn c3_a_large_copy_up_is_byte_for_byte() {
    let scratch = Scratch::new();
    // Holes and data in turn, of odd sizes.
    let lower = scratch.dir("lower");
    let file = fs::File::create(lower.join("f")).unwrap();
    let mut at = 1;
    for i in 0..200_u64 {
        file.write_all_at(&vec![i as u8 + 1; 777], at).unwrap();
        at += 5_000 + i * 37;
    }
    file.set_len(at + 100_000).unwrap();
    let union = tests::mounts::Union::of(&[&lower], scratch.dir("merged"))
        .upper(scratch.dir("upper"), scratch.dir("work"));
    let mount = union.layerfs();
    let open = fs::OpenOptions::new()
        .write(true)
        .open(mount.join("f"))
        .unwrap();
    open.write_all_at(b"", 0).unwrap();
    open.write_all_at(&[1], 1).unwrap();
    drop(open);
    assert!(scratch.join("upper/f").exists());
    let [a, b] = [lower.join("f"), mount.join("f")].map(|p| p.to_str().unwrap().to_owned());
    call("cmp", &[a, b]).ok();
    mount.unmount();
}

#[test]
fn c4_parents_are_copied_up_with_their_own_metadata() {
    let layer = Layer::new()
        .dir("a")
        .mode(0o2750)
        .owner(11, 12)
        .xattr("user.a", "a")
        .dir("a/b")
        .mode(0o1711)
        .time(876_543_210, 123)
        .file("a/b/f", "f");
    let mut stage = Stage::new(&[layer]);
    stage.both(|root| fs::write(root.join("a/b/f"), "changed").unwrap());
    stage.same_after_remount();
    // The directories kept their times: nothing was made in them.
    let meta = fs::metadata(stage.m("a/b")).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (876_543_210, 123));
}

#[test]
fn c4_a_copy_up_alone_changes_no_time_of_the_parent() {
    let stage = Stage::new(&[Layer::new().file("d/f", "f").file("d/g", "g")]);
    let times = |p: &str| {
        let m = fs::metadata(stage.m(p)).unwrap();
        (m.mtime(), m.mtime_nsec())
    };
    let before = (times("d"), times(""));
    fs::write(stage.m("d/f"), "changed").unwrap();
    call("chmod", &["600", stage.m("d/g").to_str().unwrap()]).ok();
    assert_eq!((times("d"), times("")), before);
    let ctime = |p: &str| {
        let m = fs::metadata(stage.m(p)).unwrap();
        (m.ctime(), m.ctime_nsec())
    };
    let before = ctime("d");
    fs::write(stage.m("d/f"), "changed again").unwrap();
    assert_eq!(ctime("d"), before, "ctime of a directory already copied up");
}

#[test]
fn c4_creating_and_removing_children_changes_the_parents_times() {
    let stage = Stage::new(&[Layer::new().file("d/f", "f").file("e/f", "f").dir("x")]);
    type Change<'a> = (&'a str, &'a dyn Fn(&Path));
    let changes: [Change<'_>; 5] = [
        ("d", &|root| fs::write(root.join("d/new"), "").unwrap()),
        ("e", &|root| fs::remove_file(root.join("e/f")).unwrap()),
        ("x", &|root| fs::create_dir(root.join("x/sub")).unwrap()),
        ("d", &|root| {
            fs::rename(root.join("d/f"), root.join("x/f")).unwrap()
        }),
        ("x", &|root| {
            fs::hard_link(root.join("x/f"), root.join("x/g")).unwrap()
        }),
    ];
    for (parent, change) in changes {
        stage.both(|root| {
            tests::layers::set_time(&root.join(parent), 1_000, 0);
            change(root);
            let meta = fs::metadata(root.join(parent)).unwrap();
            (parent, meta.mtime() > 1_000, meta.ctime() > 1_000)
        });
    }
}

#[test]
fn c6_special_files_copy_up_and_devices_are_never_opened() {
    let layer = Layer::new()
        .fifo("fifo")
        .time(5, 6)
        .socket("socket")
        .owner(1, 2)
        .char_device("watchdog", 10, 130)
        .mode(0o640)
        .block_device("disk", 7, 250)
        .symlink("link", "nowhere")
        .xattr("trusted.l", "l");
    let mut stage = Stage::new(&[layer]);
    stage.same("before");
    stage.both(|root| {
        for name in ["fifo", "socket", "watchdog", "disk", "link"] {
            let path = root.join(name);
            call("chown", &["-h", "44:55", path.to_str().unwrap()]).ok();
            sys::set_xattr(&path, b"trusted.n", b"n").unwrap();
        }
        fs::rename(root.join("watchdog"), root.join("moved")).unwrap();
        fs::hard_link(root.join("disk"), root.join("disk2")).unwrap();
        fs::hard_link(root.join("link"), root.join("link2")).unwrap();
    });
    stage.same_after_remount();
}

#[test]
fn c6_fifos_and_sockets_work_as_such() {
    let stage = Stage::new(&[Layer::new().fifo("fifo").dir("d")]);
    let script = "cat fifo & echo through > fifo; wait";
    stage.both(|root| run(Command::new("sh").args(["-c", script]).current_dir(root)).ok());
    let path = stage.m("d/listener");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let client = std::os::unix::net::UnixStream::connect(&path);
    assert_eq!(code(client.map(drop)), Ok(()));
    drop(listener);
}

#[test]
fn c1_a_copy_up_that_cannot_succeed_leaves_the_tree_as_it_was() {
    let scratch = Scratch::new();
    let lower = Layer::new()
        .file("large", vec![b'x'; 8 << 20])
        .mode(0o640)
        .write(scratch.join("lower"));
    let small = scratch.tmpfs("small", "2m");
    let union = tests::mounts::Union::of(&[&lower], scratch.dir("merged"))
        .upper(small.join("upper"), small.join("work"));
    scratch.dir("small/upper");
    scratch.dir("small/work");
    let mount = union.layerfs();
    let open = fs::OpenOptions::new()
        .append(true)
        .open(mount.join("large"));
    let result = open.and_then(|mut f| f.write_all(b"!"));
    assert_eq!(code(result), Err(libc::ENOSPC));
    assert_eq!(fs::metadata(mount.join("large")).unwrap().size(), 8 << 20);
    let [a, b] = [lower.join("large"), mount.join("large")].map(|p| p.to_str().unwrap().to_owned());
    call("cmp", &[a, b]).ok();
    assert!(
        !small.join("upper/large").exists(),
        "half a copy was left in the upper"
    );
    // Nothing of the attempt holds the space.
    fs::write(mount.join("fits"), vec![1; 1 << 20]).unwrap();
    mount.unmount();
}
