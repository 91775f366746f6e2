//! `runner import` of archives that try to write outside, and of damaged and endless ones.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};
use tests::container::Runner;
use tests::snapshot::{Snapshot, View};
use tests::tars::Archive;

/// A runner beside a directory of bait, with the path of the bait seen from the state directory.
fn setting() -> (Runner, PathBuf, Snapshot) {
    let runner = Runner::new();
    let bait = runner.scratch.dir("bait");
    fs::write(bait.join("file"), "untouched").unwrap();
    let picture = Snapshot::of(&bait, &View::everything());
    (runner, bait, picture)
}

/// Imports; refused in one line or accepted, the bait must be as it was and no stray name may
/// appear beside it. An accepted image must start with its names kept inside.
#[track_caller]
fn harmless(make: impl Fn(&Path) -> Archive) {
    let (runner, bait, picture) = setting();
    let file = runner.scratch.join("hostile.tar");
    make(&bait).write(&file);
    let output = runner.call("import", &[file.to_str().unwrap(), "hostile"]);
    assert!(!output.err().contains("panicked"), "{output}");
    if output.code != 0 {
        output.one_line_error(output.code);
        assert_eq!(
            runner.call("images", &[]).ok().lines().count(),
            1,
            "half an image: {output}"
        );
    } else {
        let run = runner.run(&["hostile", "/nothing"]);
        assert!([125, 127].contains(&run.code), "{run}");
        runner.call("rmi", &["hostile"]).ok();
    }
    picture.assert_same(&Snapshot::of(&bait, &View::everything()), "the outside");
    let mut names: Vec<_> = fs::read_dir(runner.scratch.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["bait", "hostile.tar", "state"]);
    for stray in [
        "/hostile-escape",
        "/tmp/hostile-escape",
        "/var/hostile-escape",
    ] {
        assert!(!Path::new(stray).exists(), "{stray} was made");
    }
}

#[test]
fn names_that_climb_or_are_absolute() {
    harmless(|_| Archive::new().file("../../../../../../../../hostile-escape"));
    harmless(|_| Archive::new().file("/hostile-escape"));
    harmless(|_| Archive::new().file("a/../../../../../../../hostile-escape"));
    harmless(|_| {
        Archive::new()
            .file("..")
            .file(".")
            .file("/")
            .file("a//b")
            .file("./././c")
    });
    harmless(|_| Archive::new().entry(EntryType::Directory, "../x/", "", b""));
}

#[test]
fn writing_through_a_symlink() {
    harmless(|bait| {
        Archive::new()
            .symlink("out", bait.to_str().unwrap())
            .file("out/file")
    });
    harmless(|bait| {
        Archive::new()
            .symlink("out", bait.to_str().unwrap())
            .file("out/new/deeper")
    });
    harmless(|_| {
        Archive::new()
            .symlink("up", "../../../../../../../../../tmp")
            .file("up/hostile-escape")
    });
    harmless(|bait| {
        let target = bait.join("file");
        Archive::new()
            .symlink("f", target.to_str().unwrap())
            .file("f")
    });
    harmless(|bait| {
        Archive::new()
            .symlink("a", bait.to_str().unwrap())
            .symlink("b", "a")
            .entry(EntryType::Directory, "b", "", b"")
            .file("b/file")
    });
}

#[test]
fn hard_links_out() {
    harmless(|bait| {
        Archive::new()
            .link("stolen", bait.join("file").to_str().unwrap())
            .file("stolen")
    });
    harmless(|_| Archive::new().link("stolen", "../bait/file").file("stolen"));
    harmless(|_| {
        Archive::new()
            .link("self", "self")
            .link("a", "b")
            .link("b", "a")
    });
    harmless(|bait| {
        let out = Archive::new().symlink("out", bait.to_str().unwrap());
        out.link("stolen", "out/file").file("stolen")
    });
    harmless(|_| Archive::new().link("dirlink", "."));
}

#[test]
fn whiteout_tricks() {
    harmless(|_| {
        Archive::new()
            .file(".wh.")
            .file(".wh...")
            .file(".wh..")
            .file("d/.wh..wh..opq")
    });
    harmless(|_| {
        Archive::new()
            .file(".wh.../bait")
            .file(".wh..wh.aufs")
            .link(".wh.x", ".wh.y")
    });
    harmless(|bait| {
        Archive::new()
            .symlink("out", bait.to_str().unwrap())
            .file("out/.wh.file")
    });
}

#[test]
fn things_that_change_kind_midway() {
    harmless(|_| {
        let a = Archive::new()
            .file("x")
            .entry(EntryType::Directory, "x", "", b"")
            .file("x/y");
        a.file("x").file("x/z")
    });
    harmless(|_| Archive::new().file("f").file("f/below").symlink("f", "/"));
    harmless(|_| {
        Archive::new()
            .entry(EntryType::Fifo, "p", "", b"")
            .file("p")
            .file("p/q")
    });
}

#[test]
fn device_nodes_and_setuid_bits_stay_inside() {
    let (runner, _, _) = setting();
    let file = runner.scratch.join("devices.tar");
    let mut archive = Archive::new();
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Block);
    header.set_path("disk").unwrap();
    header.set_mode(0o666);
    header.set_device_major(254).unwrap();
    header.set_device_minor(0).unwrap();
    header.set_size(0);
    header.set_cksum();
    archive = archive.member(&header, b"");
    archive.write(&file);
    let output = runner.call("import", &[file.to_str().unwrap(), "devices"]);
    if output.code != 0 {
        output.one_line_error(output.code);
        return;
    }
    // No one but root can reach what the store holds, and the container's root is nodev.
    let meta = fs::metadata(runner.state()).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o077,
        0
    );
    runner.call("rmi", &["devices"]).ok();
}

#[test]
fn sizes_that_lie() {
    let (runner, _, _) = setting();
    let whole = {
        let mut archive = Archive::new().file("a").file("b");
        archive = archive.entry(EntryType::Regular, "c", "", &vec![1; 5000]);
        archive.bytes()
    };
    let refuse = |name: &str, bytes: &[u8]| {
        let path = runner.scratch.join(name);
        fs::write(&path, bytes).unwrap();
        let output = runner.call("import", &[path.to_str().unwrap(), "bad"]);
        assert_ne!(output.code, 0, "{name} was accepted");
        output.one_line_error(output.code);
    };
    // The size field (octal at 124) of the first header, with a sum that fits. One that stays within the
    // data's only block would be no lie.
    for size in ["77777777777", "00000077777", "-1         ", "\u{0}\u{0}"] {
        let mut bytes = whole.clone();
        bytes[124..124 + size.len()].copy_from_slice(size.as_bytes());
        let mut header = Header::from_byte_slice(&bytes[..512]).clone();
        header.set_cksum();
        bytes[..512].copy_from_slice(header.as_bytes());
        if size.starts_with('\u{0}') {
            continue; // an empty field is 0 for most readers: no lie to detect
        }
        refuse("size.tar", &bytes);
    }
    let mut bytes = whole.clone();
    bytes[0] ^= 1;
    refuse("checksum.tar", &bytes);
    for at in [1, 511, 513, 1024, 3000] {
        refuse("cut.tar", &whole[..at]);
    }
}

#[test]
fn a_bomb_meets_the_end_of_the_disk_and_leaves_no_rest() {
    // 3 GiB of zeros in some 3 MB, into a state directory of 64 MiB.
    let (runner, _, _) = setting();
    let disk = runner.scratch.tmpfs("small", "64m");
    let bomb = runner.scratch.join("bomb.tar.gz");
    let mut encoder = flate2::write::GzEncoder::new(
        fs::File::create(&bomb).unwrap(),
        flate2::Compression::best(),
    );
    let mut header = Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_mode(0o644);
    header.set_size(3 << 30);
    header.set_cksum();
    encoder.write_all(header.as_bytes()).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..3 << 10 {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.write_all(&[0; 1024]).unwrap();
    encoder.finish().unwrap();
    let mut command = std::process::Command::new(tests::programs::runner());
    command
        .args(["import", "--root"])
        .arg(disk.join("state"))
        .arg(&bomb)
        .arg("bomb");
    let output = tests::process::run(&mut command);
    // Kept as holes it may well fit; if it does not, the error is clear and the room given back.
    if output.code != 0 {
        output.one_line_error(output.code);
        let size = tests::process::call("du", &["-s", "-B1024", disk.to_str().unwrap()]).ok();
        let size: u64 = size.split_whitespace().next().unwrap().parse().unwrap();
        assert!(size < 1024, "{size} KiB are left of the bomb");
    }
}

#[test]
fn extended_headers_that_lie() {
    let pax = |records: &[u8]| records.to_vec();
    for records in [
        pax(b"30 path=../../hostile-escape\n"),
        pax(b"19 path=/tmp/hostil\n"),
        pax(b"9999 path=x\n"),
        pax(b"0 path=x\n"),
        pax(b"11 size=-1\n"),
        pax(b"27 size=99999999999999999\n"),
        pax(b"no record at all"),
        pax(b"31 SCHILY.xattr.user.a/../b=xyz\n"),
        pax(b"40 SCHILY.xattr.trusted.overlay.opaque=y\n"),
        pax(b"46 SCHILY.xattr.trusted.overlay.redirect=/etc\n"),
    ] {
        harmless(|_| {
            Archive::new()
                .entry(EntryType::XHeader, "pax", "", &records)
                .file("target")
        });
    }
}

#[test]
fn overlay_marks_of_an_archive_show_nothing_else() {
    // A redirect in a layer must not lead to other files (threats: CVE-2023-0386 and kin).
    let (runner, _, _) = setting();
    let tree = tests::layers::Layer::new()
        .file("secret/x", "secret")
        .dir("d")
        .xattr("trusted.overlay.redirect", "/secret")
        .xattr("user.overlay.redirect", "/secret")
        .file("f", "own")
        .write(runner.scratch.join("tree"));
    let file = runner.scratch.join("marks.tar");
    let [to, from] = [&file, &tree].map(|p| p.to_str().unwrap().to_owned());
    tests::process::call(
        "tar",
        &[
            "--xattrs",
            "--xattrs-include=*",
            "-cf",
            &to,
            "-C",
            &from,
            ".",
        ],
    )
    .ok();
    let output = runner.call("import", &[&to, "marks"]);
    if output.code != 0 {
        let line = output.one_line_error(output.code);
        assert!(
            line.contains("redirect") || line.contains("xattr") || line.contains("overlay"),
            "{line}"
        );
        return;
    }
    let run = runner.run(&["marks", "/nothing"]);
    assert!([125, 127].contains(&run.code), "{run}");
    runner.call("rmi", &["marks"]).ok();
}
