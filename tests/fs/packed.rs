//! Packed layers: the same union as from the directories they were made of, whatever is done to it; and
//! what is damaged or hostile is told, never served.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::layers::{Form, Layer, flatten};
use tests::mounts::Union;
use tests::packs::{archive, by_archive, pack};
use tests::process::{Output, call, run, run_with};
use tests::scratch::Scratch;
use tests::snapshot::{Snapshot, View, plain_copy};
use tools::programs;

fn layers() -> [Layer; 3] {
    let top = Layer::new()
        .dir("dir")
        .whiteout("dir/gone")
        .file("dir/new", "new")
        .opaque("opaque")
        .file("opaque/only", "only")
        .file("dir/replaced", "of the top")
        .mode(0o640);
    let middle = Layer::new()
        .whiteout("tree")
        .file("dir/replaced", "of the middle")
        .file("dir/again", "again");
    let bottom = Layer::new()
        .file("dir/gone", "gone")
        .file("dir/stays", vec![7; 300_000])
        .time(1_600_000_000, 123_456_789)
        .link("dir/other name", "dir/stays")
        .file("opaque/hidden", "hidden")
        .file("tree/below/deep", "deep")
        .symlink("dir/link", "stays")
        .fifo("dir/fifo")
        .char_device("dir/device", 5, 7)
        .file("suid", "x")
        .mode(0o4755)
        .owner(1, 2)
        .xattr("user.x", b"\x00\xff\n=")
        .file("empty", "")
        .file(format!("long/{}", "n".repeat(255)), "long");
    [top, middle, bottom]
}

fn packed(scratch: &Scratch, layer: &Layer, name: &str) -> PathBuf {
    by_archive(layer, &scratch.join(format!("{name}.lfs")))
}

#[test]
fn r1_packed_layers_show_what_the_directories_show() {
    let scratch = Scratch::new();
    let layers = layers();
    flatten(&layers, &scratch.join("plain"));
    let mut lowers: Vec<PathBuf> = (layers.iter().enumerate())
        .map(|(number, layer)| packed(&scratch, layer, &number.to_string()))
        .collect();
    let wanted = Snapshot::of(&scratch.join("plain"), &View::plain());
    {
        let mount = Union::of(&lowers, scratch.dir("packed")).layerfs();
        Snapshot::of(mount.path(), &View::plain()).assert_same(&wanted, "all layers packed");
    }
    // Beside directories, in any order.
    for number in 0..3 {
        let file = std::mem::replace(&mut lowers[number], scratch.join(format!("{number}.d")));
        let mount = Union::of(&lowers, scratch.dir(format!("mixed{number}"))).layerfs();
        let seen = Snapshot::of(mount.path(), &View::plain());
        seen.assert_same(&wanted, &format!("layer {number} a directory"));
        drop(mount);
        lowers[number] = file;
    }
}

/// Shell lines that change everything that can be changed, each in the root of the tree.
const LINES: &[&str] = &[
    "echo more >> dir/stays; cmp dir/stays 'dir/other name'; stat -c '%h %s' dir/stays",
    "chmod 600 dir/again; chown 3:4 dir/fifo; setfattr -n user.y -v z suid; getfattr -d suid",
    "mv dir moved; ls -A moved | sort; mkdir dir; ls -A dir",
    "mv moved/link moved/renamed; readlink moved/renamed; ln moved/new hard; rm moved/new; cat hard",
    "truncate -s 10 moved/replaced; truncate -s 100000 empty; cp --sparse=always empty copied; cat moved/replaced",
    "rm -r opaque long; mkdir opaque; ls -A . opaque | sort",
    "tar cf t.tar moved && mkdir x && tar xf t.tar -C x && diff -r --no-dereference -x fifo -x device moved x/moved; rm t.tar",
    "git init -q x && cd x && git add -A . 2>&1 | wc -l; git status --porcelain | sort",
];

#[test]
fn c1_changes_over_a_packed_layer_are_those_of_a_plain_tree() {
    let scratch = Scratch::new();
    let layers = layers();
    let plain = scratch.join("plain");
    flatten(&layers, &plain);
    let name = |(number, layer): (usize, &Layer)| packed(&scratch, layer, &number.to_string());
    let lowers: Vec<PathBuf> = layers.iter().enumerate().map(name).collect();
    let union =
        Union::of(&lowers, scratch.dir("union")).upper(scratch.dir("upper"), scratch.dir("work"));
    let start = fs::metadata(scratch.path()).unwrap();
    let view = View::since(std::os::unix::fs::MetadataExt::mtime(&start) - 5);
    let mount = union.layerfs();
    for line in LINES {
        let mut said = Vec::new();
        for root in [&*plain, mount.path()] {
            let output = run(Command::new("bash").args(["-c", line]).current_dir(root));
            let text = format!("{}{}", output.out(), output.err());
            said.push((output.code, text.replace(&*root.to_string_lossy(), "ROOT")));
        }
        assert_eq!(said[1], said[0], "left: over packed layers: {line}");
    }
    let skip = |view: View| View {
        skip: vec!["x/.git".into()],
        ..view
    };
    let view = skip(view);
    let wanted = Snapshot::of(&plain, &view);
    Snapshot::of(mount.path(), &view).assert_same(&wanted, "after the changes");
    mount.unmount();
    let mount = union.layerfs();
    Snapshot::of(mount.path(), &view).assert_same(&wanted, "after a remount");
    mount.unmount();
    let mut check = Command::new(programs::layerfs());
    check
        .arg("check")
        .arg(scratch.join("upper"))
        .arg("--work")
        .arg(scratch.join("work"));
    for lower in &lowers {
        check.arg("--lower").arg(lower);
    }
    run(&mut check).ok();
}

#[test]
fn a1_sparse_files_in_every_form_of_tar_read_as_gnu_tar_unpacks_them() {
    let scratch = Scratch::new();
    let tree = scratch.dir("tree");
    let file = fs::File::create(tree.join("sparse")).unwrap();
    file.set_len(9 << 20).unwrap();
    for at in [0, 1 << 20, (5 << 20) + 77] {
        file.write_all_at(&[at as u8 | 1; 5000], at).unwrap();
    }
    fs::write(tree.join("plain"), "plain").unwrap();
    for form in ["gnu", "0.0", "0.1", "1.0"] {
        let tar = scratch.join(format!("{form}.tar"));
        let mut command = Command::new("tar");
        match form {
            "gnu" => command.arg("--format=gnu"),
            version => command
                .arg("--format=pax")
                .arg(format!("--sparse-version={version}")),
        };
        run(command
            .args(["-S", "-cf"])
            .arg(&tar)
            .arg("-C")
            .arg(&tree)
            .arg("."))
        .ok();
        let lfs = scratch.join(format!("{form}.lfs"));
        pack(&tar, &lfs).ok();
        let mount = Union::of(&[&lfs], scratch.dir(form)).layerfs();
        let same = call("cmp", &[mount.join("sparse"), tree.join("sparse")]);
        assert_eq!(same.code, 0, "{form}: {same}");
        let (mut seen, mut end) = (Vec::new(), 0);
        let fd = fs::File::open(mount.join("sparse")).unwrap();
        while let Ok(data) = rustix::fs::seek(&fd, rustix::fs::SeekFrom::Data(end)) {
            end = rustix::fs::seek(&fd, rustix::fs::SeekFrom::Hole(data)).unwrap();
            seen.push(data);
        }
        assert_eq!(seen.len(), 3, "{form}: pieces at {seen:?}");
        drop(fd);
        mount.unmount();
    }
}

#[test]
fn however_an_archive_is_compressed_its_bytes_are_the_same_and_tar_lists_them() {
    let scratch = Scratch::new();
    let tree = layers()[2].write_as(scratch.join("tree"), Form::Oci);
    let tar = scratch.join("t.tar");
    archive(&tree, &tar);
    let plain = fs::read(&tar).unwrap();
    let gzip = run(Command::new("gzip").arg("-c").arg(&tar));
    let (out, zst) = (scratch.join("out.lfs"), scratch.join("t.tar.zst"));
    run(Command::new("zstd").args(["-q", "-o"]).arg(&zst).arg(&tar)).ok();
    let diff_id = |output: &Output| output.out().lines().next().unwrap().to_owned();
    let first = pack(&tar, &out);
    first.ok();
    let packed = fs::read(&out).unwrap();
    assert_eq!(
        packed[..plain.len()],
        plain,
        "the archive's bytes come first"
    );
    let listed = |file: &Path| run(Command::new("tar").arg("tvf").arg(file)).ok();
    assert_eq!(listed(&out), listed(&tar));
    let mut command = Command::new(programs::layerfs());
    command.arg("pack").arg("-").arg("-o").arg(&out);
    let second = run_with(
        &mut command,
        &gzip.stdout,
        std::time::Duration::from_secs(60),
    );
    second.ok();
    assert_eq!(diff_id(&second), diff_id(&first));
    let digest = run_with(
        &mut Command::new("sha256sum"),
        &gzip.stdout,
        std::time::Duration::from_secs(60),
    );
    let digest = format!("digest  sha256:{}", digest.out().split(' ').next().unwrap());
    assert_eq!(second.out().lines().nth(1), Some(&*digest));
    let third = pack(&zst, &out);
    third.ok();
    assert_eq!(diff_id(&third), diff_id(&first));
    assert_eq!(fs::read(&out).unwrap(), packed, "and so are the index's");
    for program in ["xz", "bzip2"] {
        // Two streams, one after the other, are one archive.
        let (file, bytes) = (scratch.join(program), fs::read(&tar).unwrap());
        let halves = bytes.split_at(bytes.len() / 2);
        let packed_halves = [halves.0, halves.1].map(|half| {
            let limit = std::time::Duration::from_secs(60);
            run_with(Command::new(program).arg("-c"), half, limit).stdout
        });
        fs::write(&file, packed_halves.concat()).unwrap();
        let again = pack(&file, &out);
        again.ok();
        assert_eq!(diff_id(&again), diff_id(&first), "{program}");
        assert_eq!(fs::read(&out).unwrap(), packed, "{program}");
    }
}

#[test]
fn what_is_no_sound_archive_is_refused_and_leaves_nothing() {
    let scratch = Scratch::new();
    let tree = layers()[2].write_as(scratch.join("tree"), Form::Oci);
    let tar = scratch.join("t.tar");
    archive(&tree, &tar);
    let whole = fs::read(&tar).unwrap();
    let [gzip, xz, bzip2] =
        ["gzip", "xz", "bzip2"].map(|by| run(Command::new(by).arg("-c").arg(&tar)).stdout);
    let out = scratch.join("out.lfs");
    for (bytes, says) in [
        (whole[..whole.len() / 2].to_vec(), "cut short"),
        (gzip[..gzip.len() / 2].to_vec(), "cut short"),
        (Vec::new(), "empty"),
        (b"no archive at all".repeat(100), "not a tar header"),
        (b"\xfd7zXZ\0....".repeat(100), "cannot read on"),
        (b"BZh91AY&SY....".repeat(100), "cannot read on"),
        (xz[..xz.len() / 2].to_vec(), "cut short"),
        (bzip2[..bzip2.len() / 2].to_vec(), "cut short"),
    ] {
        let bad = scratch.join("bad");
        fs::write(&bad, &bytes).unwrap();
        let told = pack(&bad, &out).one_line_error(1);
        assert!(told.contains(says) && told.contains("bad"), "{told}");
        assert!(!out.exists());
    }
    let mut command = Command::new(programs::layerfs());
    command.arg("pack").arg(&tar).arg("-o").arg(&out);
    let told = run(command.args(["--max-bytes", "10000"])).one_line_error(1);
    assert!(told.contains("more than 10000 bytes"), "{told}");
    let left = fs::read_dir(scratch.path()).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "tree, t.tar and bad: {names:?}");
}

#[test]
fn a_damaged_packed_layer_is_refused_or_found_by_verify() {
    let scratch = Scratch::new();
    let file = packed(&scratch, &layers()[2], "sound");
    let verify = |path: &Path| run(Command::new(programs::layerfs()).arg("verify").arg(path));
    verify(&file).ok();
    let bytes = fs::read(&file).unwrap();
    let bad = scratch.join("bad.lfs");
    let mount = |path: &Path| Union::of(&[path], scratch.join("bad")).try_layerfs();
    scratch.dir("bad");
    for length in [0, 63, bytes.len() / 2, bytes.len() - 64, bytes.len() - 1] {
        fs::write(&bad, &bytes[..length]).unwrap();
        let told = mount(&bad).one_line_error(1);
        assert!(
            told.contains("bad.lfs") && told.contains("cut short"),
            "{told}"
        );
        verify(&bad).one_line_error(1);
    }
    let tar = fs::metadata(scratch.join("sound.tar")).unwrap().len() as usize;
    let index = (tar + 1024).next_multiple_of(4096);
    for at in (0..tar)
        .step_by(tar / 7)
        .chain((index..bytes.len()).step_by(397))
    {
        let mut broken = bytes.clone();
        broken[at] ^= 1 << (at % 8);
        fs::write(&bad, &broken).unwrap();
        verify(&bad).one_line_error(1);
    }
}

/// The file is cut while it is mounted: EIO for what is gone, and the daemon lives.
#[test]
fn a_packed_layer_cut_under_a_mount_gives_eio() {
    let scratch = Scratch::new();
    let mut layer = Layer::new();
    for number in 0..2000 {
        layer = layer.file(format!("d{}/f{number}", number % 50), vec![1; 100]);
    }
    let file = packed(&scratch, &layer, "cut");
    let mount = Union::of(&[&file], scratch.dir("mount")).layerfs();
    assert_eq!(fs::read(mount.join("d1/f1")).unwrap().len(), 100);
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(8192)
        .unwrap();
    let error = fs::metadata(mount.join("d7/f7")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    assert_eq!(mount.daemons().len(), 1);
    mount.unmount();
}

#[test]
fn r7_a_packed_layer_is_never_written() {
    let scratch = Scratch::new();
    let file = packed(&scratch, &layers()[2], "kept");
    let before = fs::read(&file).unwrap();
    let union =
        Union::of(&[&file], scratch.dir("union")).upper(scratch.dir("upper"), scratch.dir("work"));
    let mount = union.layerfs();
    plain_copy(&mount.join("dir"), &mount.join("copy"));
    fs::write(mount.join("dir/stays"), "changed").unwrap();
    fs::remove_dir_all(mount.join("tree")).unwrap();
    mount.unmount();
    assert!(fs::read(&file).unwrap() == before);
}

/// bsdtar writes access lists as text with numbers, GNU tar as text with names, which numbers are where
/// nobody has them.
#[test]
fn access_lists_that_an_archive_has_as_text() {
    let scratch = Scratch::new();
    let tree = scratch.dir("tree");
    fs::write(tree.join("file"), "x").unwrap();
    fs::write(tree.join("plain"), "x").unwrap();
    fs::create_dir(tree.join("dir")).unwrap();
    let lists = "u:12345:rwx,g:54321:r,m:rw";
    for (flags, list, path) in [
        ("-m", lists, "file"),
        ("-m", lists, "dir"),
        ("-dm", lists, "dir"),
    ] {
        call("setfacl", &[flags, list, tree.join(path).to_str().unwrap()]).ok();
    }
    let view = View {
        no_dir_times: true,
        ..View::plain()
    };
    let wanted = Snapshot::of(&tree, &view);
    let names = fs::read_dir(&tree).unwrap().count();
    assert_eq!(names, 3);
    for (name, program, flags) in [
        ("bsd", "bsdtar", ["--acls", "--no-xattrs", "--format=pax"]),
        ("gnu", "tar", ["--acls", "--no-xattrs", "--format=pax"]),
    ] {
        let tar = scratch.join(format!("{name}.tar"));
        let mut make = Command::new(program);
        make.args(flags).arg("-cf").arg(&tar).arg("-C").arg(&tree);
        run(make.arg(".")).ok();
        let bytes = fs::read(&tar).unwrap();
        let says = |word: &[u8]| bytes.windows(word.len()).any(|part| part == word);
        assert!(says(b"SCHILY.acl.access"), "{program} writes no lists");
        assert!(!says(b"system.posix_acl_access"), "{program}");
        let lfs = scratch.join(format!("{name}.lfs"));
        pack(&tar, &lfs).ok();
        let mount = Union::of(&[&lfs], scratch.dir(name)).layerfs();
        // bsdtar cuts times to what a header holds where it need not write a record.
        Snapshot::of(mount.path(), &view).assert_same(&wanted, program);
        mount.unmount();
    }
}
