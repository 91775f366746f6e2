//! Odd archives, which are packed as GNU tar and bsdtar unpack them, and hostile ones, which are refused.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};
use tests::layers::{Form, Layer};
use tests::mounts::Union;
use tests::packs::{layerfs, of_directory, pack, unpack, untar};
use tests::process::run;
use tests::programs;
use tests::scratch::Scratch;
use tests::sequences::{Random, count, first_seed};
use tests::snapshot::{Snapshot, View};
use tests::tars::Archive;

/// What a tree and an unpacked layer have in common: directories that no member names have any time.
fn view() -> View {
    View {
        no_dir_times: true,
        bare_whiteouts: true,
        ..View::plain()
    }
}

/// Packs and unpacks; GNU tar must make the same of it, and bsdtar too if it takes it (it unpacks nothing
/// through symlinks).
#[track_caller]
fn agrees(name: &str, bytes: &[u8], bsdtar_too: bool) -> Snapshot {
    let scratch = Scratch::new();
    let (tar, lfs) = (scratch.join("a.tar"), scratch.join("a.lfs"));
    fs::write(&tar, bytes).unwrap();
    let packed = pack(&tar, &lfs);
    assert_eq!(packed.code, 0, "{name}: {packed}");
    layerfs(&["verify".as_ref(), &lfs]).ok();
    unpack(&lfs, &scratch.join("ours")).ok();
    let ours = Snapshot::of(&scratch.join("ours"), &view());
    let theirs = scratch.dir("gnu");
    untar(&tar, &theirs).ok();
    let theirs = Snapshot::of(&theirs, &view());
    theirs.assert_same(&ours, &format!("{name}: GNU tar and layerfs"));
    if bsdtar_too {
        let theirs = scratch.dir("bsd");
        let mut bsdtar = Command::new("bsdtar");
        bsdtar.args(["-xp", "--xattrs", "--numeric-owner", "-f"]);
        run(bsdtar.arg(&tar).arg("-C").arg(&theirs)).ok();
        let theirs = Snapshot::of(&theirs, &view());
        theirs.assert_same(&ours, &format!("{name}: bsdtar and layerfs"));
    }
    ours
}

#[test]
fn names_that_come_twice_or_change_their_kind() {
    let twice = Archive::new()
        .file("x")
        .entry(EntryType::Regular, "x", "", b"the later one")
        .dir("d")
        .dir("d")
        .file("kind")
        .dir("kind")
        .dir("back")
        .file("back")
        .symlink("link", "d")
        .file("link")
        .file("f")
        .symlink("f", "x");
    let seen = agrees("twice", &twice.bytes(), true);
    assert!(seen.get("x").unwrap().contains("size=13"));
    assert!(seen.get("kind").unwrap().starts_with('d'));
    let into = Archive::new().dir("s").symlink("into", "s").dir("into");
    agrees("a directory over a symlink", &into.bytes(), false);
}

#[test]
fn names_written_in_odd_ways() {
    let odd = Archive::new()
        .dir("./")
        .dir("./d/")
        .file("./d/./x")
        .file("d//y")
        .file("p/q/r/no parent")
        .entry(EntryType::Continuous, "contiguous", "", b"abc")
        .file(&"n".repeat(100))
        .file("caf\u{e9} \t\"'\\");
    agrees("odd names", &odd.bytes(), true);
    let absolute = Archive::new().file("/abs/x").link("y", "/abs/x");
    agrees("absolute names", &absolute.bytes(), false);
    let through = Archive::new()
        .dir("real")
        .symlink("s", "real")
        .file("s/f")
        .link("s/g", "real/f");
    agrees("through a symlink", &through.bytes(), false);
}

#[test]
fn headers_of_every_age() {
    let everything = |like: Header| {
        Archive::like(like)
            .dir("d")
            .file("d/f")
            .symlink("s", "d/f")
            .link("h", "d/f")
            .link("again", "h")
            .bytes()
    };
    agrees("v7", &everything(Header::new_old()), true);
    // The oldest mark directories by the slash alone.
    let mut header = Header::new_old();
    header.set_path("directory/").unwrap();
    header.set_mode(0o700);
    header.set_size(0);
    header.as_old_mut().linkflag = [0];
    header.set_cksum();
    let seen = agrees(
        "older than v7",
        &Archive::new().member(&header, b"").bytes(),
        true,
    );
    assert!(seen.get("directory").unwrap().starts_with('d'));
    agrees("ustar", &everything(Header::new_ustar()), true);
    agrees("gnu", &everything(Header::new_gnu()), true);
    // Long names: the prefix of ustar, GNU's extra members, and pax.
    let mut tar = Builder::new(Vec::new());
    let long = format!("{}/{}", "a".repeat(90), "b".repeat(90));
    for (number, mut header) in [Header::new_ustar(), Header::new_gnu()]
        .into_iter()
        .enumerate()
    {
        header.set_mode(0o600);
        header.set_mtime(1_600_000_000);
        header.set_size(0);
        let name = format!("{number}/{long}");
        tar.append_data(&mut header, name, &b""[..]).unwrap();
    }
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Symlink);
    header.set_mode(0o777);
    header.set_mtime(1_600_000_000);
    header.set_size(0);
    tar.append_link(&mut header, "link", "t/".repeat(75))
        .unwrap();
    agrees("long names", &tar.into_inner().unwrap(), true);
    // Numbers that octal digits cannot hold.
    let mut header = Header::new_gnu();
    header.set_path("large").unwrap();
    header.set_uid(3_000_000_000);
    header.set_gid(4_000_000_000);
    header.set_mode(0o6711);
    header.set_size(3);
    header.set_mtime(1 << 33);
    header.set_cksum();
    agrees(
        "binary numbers",
        &Archive::new().member(&header, b"abc").bytes(),
        true,
    );
}

#[test]
fn pax_records_of_every_kind() {
    let long = format!("{}/\u{fc}{}", "l".repeat(200), "m".repeat(200));
    let pax = Archive::new()
        .pax(&[
            ("path", long.as_bytes()),
            ("mtime", b"1.25"),
            ("uid", b"70000"),
            ("gid", b"2999999999"),
        ])
        .file("short")
        .pax(&[
            ("size", b"7"),
            ("atime", b"1.5"),
            ("comment", b"nothing\nto see"),
            ("VENDOR.key", b"\0\xff"),
        ])
        .entry(EntryType::Regular, "sized", "", b"content")
        .pax(&[
            ("SCHILY.xattr.user.a", b"b\n=\0\xff"),
            ("SCHILY.xattr.user.empty", b""),
        ])
        .file("attributes")
        .pax(&[("linkpath", "x".repeat(300).as_bytes())])
        .symlink("link", "y")
        .pax(&[("linkpath", long.as_bytes())])
        .link("hard", "y");
    agrees("pax", &pax.bytes(), true);
    // bsdtar reads -0.75.
    let old = Archive::new().pax(&[("mtime", b"-1.25")]).file("old");
    agrees("before 1970", &old.bytes(), false);
    let global = Archive::new()
        .entry(
            EntryType::XGlobalHeader,
            "global",
            "",
            b"52 comment=e3b0c44298fc1c149afbf4c8996fb92427ae41e4\n",
        )
        .file("after");
    agrees(
        "a global header, as git archive writes it",
        &global.bytes(),
        true,
    );
}

/// Members of random kinds under few names, so that they meet. No symlink leads up: GNU tar makes those at
/// the end, over what has come in their place meanwhile.
fn random_archive(seed: u64) -> Vec<u8> {
    const NAMES: [&str; 8] = ["a", "b", "a/x", "a/y", "b/x", "a/x/z", "./b/./y", "s/x"];
    const TARGETS: [&str; 4] = ["a", "b", "x", "nowhere"];
    let mut random = Random::new(seed);
    let mut archive = Archive::new();
    for _ in 0..2 + random.below(9) {
        let name = *random.pick(&NAMES);
        archive = match random.below(8) {
            0..3 => archive.entry(EntryType::Regular, name, "", &[b'd'; 9][random.below(9)..]),
            3..5 => archive.dir(name),
            5 => {
                let name = *random.pick(&["s", name]);
                archive.symlink(name, TARGETS[random.below(TARGETS.len())])
            }
            6 => archive.link(name, NAMES[random.below(NAMES.len())]),
            _ => archive.entry(EntryType::Fifo, name, "", b""),
        };
    }
    archive.bytes()
}

#[test]
fn random_archives_are_unpacked_as_gnu_tar_does() {
    let first = first_seed();
    let mut both = 0;
    for seed in first..first + count(150) as u64 {
        let scratch = Scratch::new();
        let (tar, lfs) = (scratch.join("a.tar"), scratch.join("a.lfs"));
        fs::write(&tar, random_archive(seed)).unwrap();
        let theirs = scratch.dir("gnu");
        // What one of them refuses (a file over a full directory, a link to nothing) need not be compared.
        if pack(&tar, &lfs).code != 0 || untar(&tar, &theirs).code != 0 {
            continue;
        }
        unpack(&lfs, &scratch.join("ours")).ok();
        let ours = Snapshot::of(&scratch.join("ours"), &view());
        let listed = run(Command::new("tar").arg("tvf").arg(&tar)).out();
        Snapshot::of(&theirs, &view()).assert_same(&ours, &format!("seed {seed}:\n{listed}"));
        both += 1;
    }
    assert!(both > 10, "only {both} were taken by both");
}

#[test]
fn ends_of_every_kind() {
    agrees("nothing in it", &[0; 1024], true);
    let mut bytes = Archive::new().file("x").bytes();
    agrees("two blocks of zeros", &bytes, true);
    bytes.resize(10 * 1024, 0);
    agrees("a full record", &bytes, true);
    bytes.extend_from_slice(b"what comes behind the end mark is no member");
    let lfs = agrees("something behind the end", &bytes, true);
    assert!(lfs.get("x").is_some());
}

/// Whiteouts hide what is below and never a sibling, wherever they stand; nor do they come as files only.
#[test]
fn whiteouts_in_any_order() {
    let scratch = Scratch::new();
    let below = Layer::new()
        .file("kept", "below")
        .file("d/gone", "below")
        .file("d/both", "below")
        .file("o/hidden", "below")
        .write_as(scratch.join("below"), Form::Kernel);
    let below = of_directory(&below, &scratch.join("below.lfs"));
    let orders = [
        [
            "d/.wh.gone",
            "d/both",
            "d/.wh.both",
            "o/new",
            "o/.wh..wh..opq",
        ],
        [
            "o/.wh..wh..opq",
            "o/new",
            "d/.wh.both",
            "d/both",
            "d/.wh.gone",
        ],
    ];
    for (number, order) in orders.iter().enumerate() {
        for linked in [false, true] {
            let mut archive = Archive::new().dir("d").dir("o");
            for name in order {
                let whiteout = name.contains(".wh.");
                archive = match linked && whiteout {
                    true => archive.link(name, ".wh..wh.plnk/1"),
                    false => archive.file(name),
                };
            }
            let (tar, lfs) = (
                scratch.join("a.tar"),
                scratch.join(format!("{number}{linked}.lfs")),
            );
            archive.write(&tar);
            pack(&tar, &lfs).ok();
            let mount = Union::of(&[&lfs, &below], scratch.dir("m")).layerfs();
            let seen = Snapshot::of(mount.path(), &view()).names();
            assert_eq!(
                seen,
                [".", "d", "d/both", "kept", "o", "o/new"],
                "{order:?} {linked}"
            );
            assert_eq!(fs::read(mount.join("d/both")).unwrap(), b"hostile");
            mount.unmount();
        }
    }
}

/// Refused in one line that names the file, and the place in it; nothing is there afterwards.
#[track_caller]
fn refused(bytes: &[u8], flags: &[&str], says: &str) {
    let scratch = Scratch::new();
    let tar = scratch.join("bad.tar");
    fs::write(&tar, bytes).unwrap();
    let mut command = Command::new(programs::layerfs());
    command
        .arg("pack")
        .arg(&tar)
        .arg("-o")
        .arg(scratch.join("out.lfs"));
    let told = run(command.args(flags)).one_line_error(1);
    assert!(
        told.contains("bad.tar") && told.contains(says),
        "{says}: {told}"
    );
    let left = fs::read_dir(scratch.path()).unwrap();
    assert_eq!(left.count(), 1, "only bad.tar: {told}");
}

#[test]
fn hostile_archives_are_refused_with_their_place() {
    let one = |name: &str| Archive::new().file("ok").file(name).bytes();
    let pax = |key: &str, value: &[u8]| Archive::new().pax(&[(key, value)]).file("x").bytes();
    for (bytes, says) in [
        (one("../x"), "'..' in its path"),
        (one("a/../../x"), "'..' in its path"),
        (one(".."), "'..' in its path"),
        (one("."), "it is the root"),
        (one(""), "it is the root"),
        (pax("path", b"a\0b"), "NUL"),
        (pax("path", &[b'n'; 256]), "more than 255 bytes"),
        (
            pax("path", "n/".repeat(2100).as_bytes()),
            "longer than 4095 bytes",
        ),
        (pax("size", b"9223372036854775807"), "size out of range"),
        (pax("size", b"18446744073709551616"), "size is no number"),
        (pax("size", b"-1"), "size is no number"),
        (pax("size", b"100000"), "cut short"),
        (pax("uid", b"4294967295"), "out of range"),
        (pax("mtime", b"yesterday"), "mtime is no time"),
        (
            Archive::new().symlink("s", "").bytes(),
            "leads to no possible path",
        ),
        (
            Archive::new().link("l", ".").bytes(),
            "a hard link to the root",
        ),
        (
            Archive::new().dir("d").link("l", "d").bytes(),
            "a hard link to a directory",
        ),
        (Archive::new().file("f").file("f/x").bytes(), "no directory"),
        (
            Archive::new()
                .symlink("a", "b")
                .symlink("b", "a")
                .file("a/x")
                .bytes(),
            "too many symbolic links",
        ),
        (Archive::new().file(".wh.d/x").bytes(), "below a whiteout"),
        (
            Archive::new()
                .entry(EntryType::XHeader, "", "", b"99 a=b\n")
                .file("x")
                .bytes(),
            "pax",
        ),
    ] {
        refused(&bytes, &[], "at byte ");
        refused(&bytes, &[], says);
    }
    let many = (0..20).fold(Archive::new(), |archive, number| {
        archive.file(&format!("{number}"))
    });
    refused(
        &many.bytes(),
        &["--max-members", "19"],
        "more than 19 members",
    );
    let deep = Archive::new()
        .pax(&[("path", "d/".repeat(1000).as_bytes())])
        .dir("x");
    refused(
        &deep.bytes(),
        &["--max-members", "100"],
        "more than 200 objects",
    );
}

#[test]
fn an_archive_cut_anywhere_is_refused() {
    let whole = Archive::new()
        .pax(&[("mtime", b"1.5")])
        .file("a")
        .entry(EntryType::Regular, "b", "", &[1; 1300])
        .bytes();
    // Behind the end mark's first block, all is there.
    let end = whole.len() - 512;
    for at in (1..end)
        .step_by(173)
        .chain((512..end).step_by(512))
        .chain([end - 1])
    {
        refused(&whole[..at], &[], "cut short");
    }
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let mut header = Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(1 << 30);
    header.set_cksum();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(header.as_bytes()).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..1 << 10 {
        gzip.write_all(&zeros).unwrap();
    }
    let bomb = gzip.finish().unwrap();
    assert!(bomb.len() < 2 << 20);
    refused(
        &bomb,
        &["--max-bytes", "50000000"],
        "more than 50000000 bytes",
    );
}

/// A packed layer whose bytes are changed by `damage`, which is given where its index begins; the short sums
/// of header and footer are right afterwards.
fn damaged(lfs: &Path, damage: impl FnOnce(&mut [u8], usize)) {
    let mut bytes = fs::read(lfs).unwrap();
    let end = bytes.len() - 64;
    let start = u64::from_le_bytes(bytes[end + 8..end + 16].try_into().unwrap()) as usize;
    damage(&mut bytes, start);
    for range in [start..start + 128, end..end + 64] {
        let (before, sum) = bytes[range].split_last_chunk_mut::<8>().unwrap();
        sum.copy_from_slice(&Sha256::digest(before)[..8]);
    }
    fs::write(lfs, &bytes).unwrap();
}

#[test]
fn a_layer_of_the_future_or_that_contradicts_itself_is_refused() {
    let scratch = Scratch::new();
    let tree = Layer::new()
        .file("a/x", "x")
        .file("b/y", "y")
        .write(scratch.join("tree"));
    let lfs = scratch.join("bad.lfs");
    let all = |lfs: &Path, says: &str| {
        for verb in ["ls", "inspect", "verify"] {
            let told = layerfs(&[verb.as_ref(), lfs]).one_line_error(1);
            assert!(told.contains("bad.lfs") && told.contains(says), "{told}");
        }
        let told = unpack(lfs, &scratch.join("out")).one_line_error(1);
        assert!(told.contains("bad.lfs") && told.contains(says), "{told}");
        Union::of(&[lfs], scratch.dir("m"))
            .try_layerfs()
            .one_line_error(1);
    };
    of_directory(&tree, &lfs);
    damaged(&lfs, |bytes, start| bytes[start + 8] = 2);
    all(&lfs, "newer version");
    of_directory(&tree, &lfs);
    damaged(&lfs, |bytes, _| {
        let end = bytes.len() - 64;
        bytes[end + 8..end + 16].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    });
    all(&lfs, "outside");
    of_directory(&tree, &lfs);
    damaged(&lfs, |bytes, start| {
        bytes[start + 56..start + 60].fill(0xff)
    });
    all(&lfs, "cut short, or longer");
}

/// Two names for one directory, each with more below: unpacked, 30 such directories would be a thousand
/// million.
#[test]
fn a_directory_with_two_names_is_not_unpacked() {
    let scratch = Scratch::new();
    let tree = Layer::new()
        .file("a/x", "x")
        .file("b/y", "y")
        .write(scratch.join("tree"));
    let lfs = of_directory(&tree, &scratch.join("bad.lfs"));
    // Behind the header: the nodes of the root, a, b, x and y, 64 bytes each; the root's two entries.
    damaged(&lfs, |bytes, start| {
        let entries = start + 128 + 5 * 64;
        let node = |bytes: &[u8], entry: usize| bytes[entries + 16 * entry + 8];
        assert_eq!(
            (node(bytes, 0), node(bytes, 1)),
            (1, 2),
            "the entries lie elsewhere"
        );
        bytes[entries + 8] = 2;
    });
    let told = layerfs(&["ls".as_ref(), "-R".as_ref(), &lfs]);
    assert_eq!(told.code, 1, "{told}");
    let told = unpack(&lfs, &scratch.join("out")).one_line_error(1);
    assert!(told.contains("bad.lfs"), "{told}");
    assert!(!scratch.join("out").exists());
    layerfs(&["verify".as_ref(), &lfs]).one_line_error(1);
}
