//! What `unpack`, `ls`, `cat` and `inspect` make of packed layers, beside GNU tar and bsdtar.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tests::layers::Layer;
use tests::mounts::Union;
use tests::packs::{archive, by_archive, layerfs, of_directory, pack, unpack, untar};
use tests::process::{Output, Running, run, wait_until};
use tests::scratch::Scratch;
use tests::snapshot::{Snapshot, View};

/// Everything but whiteouts.
fn objects() -> Layer {
    Layer::new()
        .file("dir/stays", vec![7; 300_000])
        .time(1_600_000_000, 123_456_789)
        .link("dir/other name", "dir/stays")
        .link("another", "dir/stays")
        .symlink("dir/link", "s".repeat(300))
        .fifo("dir/fifo")
        .char_device("dir/device", 5, 700)
        .block_device("dir/block", 8, 1)
        .file("suid", "x")
        .mode(0o4755)
        .owner(1, 3_000_000_000)
        .xattr("user.x", b"\x00\xff\n=")
        .file("capable", "x")
        .xattr(
            "security.capability",
            b"\x01\0\0\x02\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        )
        .dir("sticky")
        .mode(0o3777)
        .owner(1000, 5)
        .file("sticky/old", "old")
        .time(-5, 999_999_999)
        .file("none", "none")
        .mode(0)
        .file("empty", "")
        .file("caf\u{e9} \n\t'\"", "odd")
        .file(format!("long/{}/x", "n".repeat(255)), "long")
}

/// ACL entries, and who has them.
const ACLS: [(&str, &str); 2] = [("u:1000:rw,g:5:r", "suid"), ("d:u:1000:rwx", "sticky")];

/// The objects on disk, with ACLs and a sparse file, which layers of tests do not have.
fn tree(scratch: &Scratch) -> PathBuf {
    let tree = objects().write(scratch.join("tree"));
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    for at in [0, 20 << 20, (50 << 20) - 3] {
        sparse.write_all_at(b"end", at).unwrap();
    }
    for (entry, name) in ACLS {
        run(Command::new("setfacl")
            .args(["-m", entry])
            .arg(tree.join(name)))
        .ok();
    }
    tree
}

fn blocks(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks()
}

#[test]
fn unpacking_makes_what_gnu_tar_and_bsdtar_make() {
    let scratch = Scratch::new();
    let tree = tree(&scratch);
    // bsdtar and GNU tar do not read each other's, and bsdtar gives `.` no time.
    let no_acls = View {
        recent: Some(1_700_000_000),
        skip: ACLS.map(|(_, name)| name.into()).to_vec(),
        ..View::plain()
    };
    let wanted = Snapshot::of(&tree, &no_acls);
    let by_gnu = scratch.join("gnu.tar");
    archive(&tree, &by_gnu);
    let by_bsd = scratch.join("bsd.tar");
    let mut bsdtar = Command::new("bsdtar");
    bsdtar.args(["--format=pax", "--xattrs", "-cf"]);
    run(bsdtar.arg(&by_bsd).arg("-C").arg(&tree).arg(".")).ok();
    for tar in [by_gnu, by_bsd] {
        let name = tar.file_stem().unwrap().to_str().unwrap().to_owned();
        let lfs = scratch.join(format!("{name}.lfs"));
        pack(&tar, &lfs).ok();
        let out = scratch.join(format!("{name}.out"));
        let unpacked = layerfs(&["unpack".as_ref(), &lfs, &out]);
        assert_eq!(unpacked.ok() + &unpacked.err(), "", "nothing to say");
        // Of bsdtar's order of members, GNU tar does not restore every directory's time.
        let view = match &*name {
            "gnu" => View::plain(),
            _ => View {
                no_dir_times: true,
                ..no_acls.clone()
            },
        };
        let ours = Snapshot::of(&out, &view);
        let oracle = scratch.dir(format!("{name}.gnu"));
        untar(&tar, &oracle).ok();
        let theirs = Snapshot::of(&oracle, &view);
        theirs.assert_same(&ours, &format!("{name}: GNU tar and layerfs"));
        let oracle = scratch.dir(format!("{name}.bsd"));
        let mut bsdtar = Command::new("bsdtar");
        bsdtar.args(["-xp", "--xattrs", "--no-acls", "--numeric-owner", "-f"]);
        run(bsdtar.arg(&tar).arg("-C").arg(&oracle)).ok();
        let theirs = Snapshot::of(&oracle, &no_acls);
        let ours = Snapshot::of(&out, &no_acls);
        theirs.assert_same(&ours, &format!("{name}: bsdtar and layerfs"));
        wanted.assert_same(&ours, &format!("{name}: the tree and what became of it"));
        let (holes, sparse) = (blocks(&out.join("sparse")), blocks(&tree.join("sparse")));
        assert!(
            holes <= sparse,
            "{name}: {holes} blocks, there were {sparse}"
        );
    }
}

#[test]
fn r2_what_is_unpacked_in_either_form_shows_what_the_packed_layer_shows() {
    let scratch = Scratch::new();
    let top = Layer::new()
        .dir("dir")
        .whiteout("dir/stays")
        .opaque("sticky")
        .file("sticky/new", "new")
        .whiteout("long");
    let [top, bottom] = [(top, "top"), (objects(), "bottom")]
        .map(|(layer, name)| by_archive(&layer, &scratch.join(format!("{name}.lfs"))));
    let mount = Union::of(&[&top, &bottom], scratch.dir("packed")).layerfs();
    let wanted = Snapshot::of(mount.path(), &View::plain());
    mount.unmount();
    assert!(wanted.get("sticky/new").is_some() && wanted.get("sticky/old").is_none());
    for form in ["overlay", "aufs"] {
        let out = scratch.join(format!("{form}.out"));
        let words = ["unpack", "--whiteouts", form].map(Path::new);
        layerfs(&[&words[..], &[&top, &out]].concat()).ok();
        let mount = Union::of(&[&out, &bottom], scratch.dir(form)).layerfs();
        let seen = Snapshot::of(mount.path(), &View::plain());
        wanted.assert_same(&seen, form);
        mount.unmount();
        // And packed again it is the same layer, to the last byte of the index's names.
        let again = of_directory(&out, &scratch.join(format!("{form}.lfs")));
        let listed = |layer: &Path| layerfs(&["ls".as_ref(), "-lR".as_ref(), layer]).ok();
        assert_eq!(listed(&again), listed(&top), "{form}");
    }
    let overlay = Union::of(
        &[&scratch.join("overlay.out"), &scratch.join("bottom.d")],
        scratch.dir("k"),
    );
    let mount = overlay.overlay("");
    wanted.assert_same(
        &Snapshot::of(mount.path(), &View::plain()),
        "in the kernel's overlayfs",
    );
    mount.unmount();
}

#[test]
fn a_directory_that_is_there_is_filled_if_it_is_empty() {
    let scratch = Scratch::new();
    let layer = by_archive(&Layer::new().file("d/f", "f"), &scratch.join("a.lfs"));
    // What it would give to new files must not show in them.
    let out = scratch.dir("out");
    run(Command::new("setfacl").args(["-m", "d:u:7:rwx"]).arg(&out)).ok();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o2777)).unwrap();
    unpack(&layer, &out).ok();
    let wanted = Snapshot::of(&scratch.join("a.d"), &View::plain());
    wanted.assert_same(&Snapshot::of(&out, &View::plain()), "in place");
    for taken in [out.clone(), scratch.join("a.tar")] {
        unpack(&layer, &taken).one_line_error(1);
    }
    wanted.assert_same(&Snapshot::of(&out, &View::plain()), "not touched");
    let told = unpack(&layer, &scratch.join("no/such")).one_line_error(1);
    assert!(
        told.contains("no/such: ") && told.contains("no such file"),
        "{told}"
    );
}

fn left(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = names
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_cannot_be_unpacked_leaves_nothing() {
    let scratch = Scratch::new();
    let check = |layer: &Path, room: &Path, says: &str| {
        let there = room.join("there");
        fs::create_dir(&there).unwrap();
        fs::set_permissions(&there, fs::Permissions::from_mode(0o750)).unwrap();
        std::os::unix::fs::chown(&there, Some(7), Some(8)).unwrap();
        for target in [&there, &room.join("new")] {
            let told = unpack(layer, target).one_line_error(1);
            assert!(told.contains(says) && !told.contains("/."), "{told}");
        }
        assert_eq!(left(room), ["there"], "the new one is not there");
        assert_eq!(left(&there), [""; 0], "the old one is empty");
        let meta = fs::metadata(&there).unwrap();
        assert_eq!(
            (meta.mode() & 0o7777, meta.uid(), meta.gid()),
            (0o750, 7, 8)
        );
    };
    let outside = scratch.join("outside.tar");
    let members = tests::tars::Archive::new()
        .dir("d")
        .file("d/f")
        .link("x", "etc/passwd");
    members.write(&outside);
    let lfs = scratch.join("outside.lfs");
    pack(&outside, &lfs).ok();
    check(&lfs, &scratch.dir("room"), "x is a hard link to etc/passwd");
    let big = Layer::new().file("a", "a").file("b", vec![1; 3 << 20]);
    let big = by_archive(&big, &scratch.join("big.lfs"));
    check(&big, &scratch.tmpfs("small", "1m"), "No space left");
    // An index whose archive ends too early: found when the data is copied, not taken for zeros.
    let bytes = fs::read(&big).unwrap();
    let damaged = scratch.join("damaged.lfs");
    fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    check(&damaged, &scratch.dir("other room"), "cut short");
}

#[test]
fn a_kill_leaves_no_half_directory_under_the_name() {
    let scratch = Scratch::new();
    let mut layer = Layer::new();
    for number in 0..3000 {
        layer = layer.file(format!("d{}/f{number}", number % 50), "f");
    }
    let lfs = by_archive(&layer, &scratch.join("a.lfs"));
    let room = scratch.dir("room");
    let mut unpack = Command::new(tests::programs::layerfs());
    unpack.arg("unpack").arg(&lfs).arg(room.join("out"));
    let mut running = Running::start(&mut unpack);
    assert!(wait_until(Duration::from_secs(60), || !left(&room).is_empty()));
    running.signal(rustix::process::Signal::KILL);
    running.wait(Duration::from_secs(60));
    let names = left(&room);
    // Once in many runs it is done before it is killed: then it is whole.
    match names[0].as_str() {
        "out" => assert_eq!(fs::read_dir(room.join("out")).unwrap().count(), 50),
        half => assert!(half.starts_with(".out."), "{names:?}"),
    }
    assert_eq!(names.len(), 1, "{names:?}");
    fs::remove_dir_all(room.join(&names[0])).unwrap();
    layerfs(&["unpack".as_ref(), &lfs, &room.join("out")]).ok();
}

fn listed_by_tar(tar: &Path) -> BTreeSet<String> {
    let list = run(Command::new("tar")
        .args(["--quoting-style=literal", "-tf"])
        .arg(tar))
    .ok();
    let names = list
        .lines()
        .map(|name| name.trim_start_matches("./").trim_end_matches('/'));
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn ls_lists_what_tar_lists() {
    let scratch = Scratch::new();
    let layer = Layer::new()
        .dir("dir")
        .whiteout("dir/gone")
        .opaque("dir/opaque")
        .file("dir/opaque/f", "f")
        .mode(0o4751)
        .owner(7, 8)
        .time(1_600_000_000, 5)
        .symlink("s", "dir/opaque")
        .char_device("c", 5, 7)
        .xattr("trusted.x", b"\xff");
    let lfs = by_archive(&layer, &scratch.join("a.lfs"));
    let ls = |flags: &[&str]| {
        let flags = flags.iter().map(Path::new);
        let args: Vec<&Path> = [Path::new("ls"), &lfs].into_iter().chain(flags).collect();
        layerfs(&args)
    };
    let all: BTreeSet<String> = ls(&["-R"]).ok().lines().map(str::to_owned).collect();
    assert_eq!(all, listed_by_tar(&scratch.join("a.tar")));
    assert_eq!(ls(&[]).ok(), "c\ndir\ns\n");
    assert_eq!(ls(&["/dir/./opaque/"]).ok(), ".wh..wh..opq\nf\n");
    assert_eq!(ls(&["dir/opaque/f"]).ok(), "f\n");
    let long = ls(&["-l", "dir/opaque/f"]).ok();
    let words: Vec<&str> = long.split_whitespace().collect();
    let time = ["2020-09-13", "12:26:40.000000005"];
    let columns = ["-rwsr-x--x", "1", "7", "8", "1", time[0], time[1], "f"];
    assert_eq!(words, columns);
    let column = |line: &str, name: &str| line.find(name).unwrap();
    let listed = ls(&["-l", "dir"]).ok();
    let places: BTreeSet<usize> = listed
        .lines()
        .zip([".wh.gone", "opaque"])
        .map(|(l, n)| column(l, n))
        .collect();
    assert_eq!(places.len(), 1, "names stand below each other:\n{listed}");
    let json: serde_json::Value =
        serde_json::from_str(&ls(&["-R", "--format", "json"]).ok()).unwrap();
    let of = |path: &str| {
        let found = json
            .as_array()
            .unwrap()
            .iter()
            .find(|object| object["path"] == path);
        found.unwrap_or_else(|| panic!("{path} is not in {json:#}"))
    };
    assert_eq!(of("dir/gone")["type"], "whiteout");
    assert_eq!(of("dir/opaque")["opaque"], true);
    assert_eq!(of("s")["target"], "dir/opaque");
    assert_eq!(of("c")["device"]["minor"], 7);
    assert_eq!(of("c")["attributes"][0]["value_hex"], "ff");
    assert_eq!(of("dir/opaque/f")["mode"], "4751");
    assert_eq!(json.as_array().unwrap().len(), all.len() - 1);
    for (path, why) in [
        ("no", "no such file"),
        ("s/f", "not a directory"),
        ("../x", "invalid"),
    ] {
        let told = ls(&[path]).one_line_error(1);
        assert!(
            told.contains("a.lfs") && told.contains(path) && told.contains(why),
            "{told}"
        );
    }
    ls(&["dir/gone"]).one_line_error(1);
}

#[test]
fn cat_prints_files_and_nothing_else() {
    let scratch = Scratch::new();
    let tree = tree(&scratch);
    let lfs = of_directory(&tree, &scratch.join("a.lfs"));
    let cat = |paths: &[&str]| -> Output {
        let paths = paths.iter().map(Path::new);
        let args: Vec<&Path> = [Path::new("cat"), &lfs].into_iter().chain(paths).collect();
        layerfs(&args)
    };
    let both = cat(&["dir/other name", "sparse"]);
    both.ok();
    let mut wanted = fs::read(tree.join("dir/stays")).unwrap();
    wanted.extend(fs::read(tree.join("sparse")).unwrap());
    assert!(both.stdout == wanted);
    for (path, why) in [
        ("dir", "is a directory"),
        ("dir/link", "a symbolic link to sss"),
        ("dir/fifo", "no file"),
        ("nothing", "no such file"),
    ] {
        let told = cat(&[path]).one_line_error(1);
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn inspect_tells_digests_sizes_and_counts() {
    let scratch = Scratch::new();
    let layer = objects().whiteout("gone").opaque("opaque");
    let lfs = by_archive(&layer, &scratch.join("a.lfs"));
    let inspect = |flag: &str| layerfs(&["inspect".as_ref(), &lfs, flag.as_ref()]);
    let json: serde_json::Value = serde_json::from_str(&inspect("--format=json").ok()).unwrap();
    let tar = fs::read(scratch.join("a.tar")).unwrap();
    let digest: String = Sha256::digest(&tar)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(json["archive"]["diff_id"], format!("sha256:{digest}"));
    assert_eq!(json["archive"]["bytes"], tar.len());
    let objects = &json["objects"];
    assert_eq!(
        (&objects["links"], &objects["whiteouts"], &objects["opaque"]),
        (&2.into(), &1.into(), &1.into())
    );
    let kinds = ["files", "directories", "symlinks", "others"];
    let nodes: u64 = kinds
        .iter()
        .map(|kind| objects[kind].as_u64().unwrap())
        .sum();
    let dump = inspect("--debug").ok();
    let printed = dump
        .lines()
        .filter(|line| line.starts_with("node "))
        .count();
    assert_eq!(printed as u64, nodes);
    let whole = json["index"]["bytes"].as_u64().unwrap();
    let parts = json["index"]["parts"].as_object().unwrap();
    let sum: u64 = parts.values().map(|bytes| bytes.as_u64().unwrap()).sum();
    assert_eq!(sum + 128, whole, "and the header");
    assert!(inspect("--format=text").ok().contains(&digest));
    let told = layerfs(&["inspect".as_ref(), &scratch.join("a.tar")]).one_line_error(1);
    assert!(told.contains("no packed layer"), "{told}");
}

/// No unpacking leaves the directory: what the layer holds lies in it under the names it has there.
#[test]
fn what_is_unpacked_stays_inside() {
    let scratch = Scratch::new();
    let bait = scratch.dir("bait");
    fs::write(bait.join("file"), "untouched").unwrap();
    let picture = Snapshot::of(&bait, &View::everything());
    let out = bait.to_str().unwrap();
    let tar = scratch.join("hostile.tar");
    tests::tars::Archive::new()
        .symlink("out", out)
        .file("out/file")
        .symlink("up", "../../../../../../..")
        .file("up/x")
        .symlink("deep", "a/b/c")
        .file("deep/file")
        .link("deep/again", "a/b/c/file")
        .write(&tar);
    let lfs = scratch.join("hostile.lfs");
    pack(&tar, &lfs).ok();
    unpack(&lfs, &scratch.join("unpacked")).ok();
    picture.assert_same(&Snapshot::of(&bait, &View::everything()), "the outside");
    let unpacked = scratch.join("unpacked");
    assert_eq!(fs::read(unpacked.join("a/b/c/again")).unwrap(), b"hostile");
    assert!(
        unpacked
            .join(out.trim_start_matches('/'))
            .join("file")
            .is_file()
    );
    assert!(unpacked.join("x").is_file());
}
