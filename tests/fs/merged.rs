//! One index of several packed layers: in everything the layers themselves, and nothing else if it is
//! damaged, or if they are.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::layers::{Layer, flatten};
use tests::mounts::Union;
use tests::packs::{self, layerfs, merged, pack, untar};
use tests::process::{Output, run};
use tests::scratch::Scratch;
use tests::snapshot::{Snapshot, View};
use tests::stage::Stage;
use tests::tars::Archive;
use tools::programs;

/// Four layers, topmost first, in which everything that a stack can do to a name is done.
fn layers() -> [Layer; 4] {
    let first = Layer::new()
        .whiteout("dir/gone")
        .file("dir/replaced", "of the first")
        .mode(0o640)
        .opaque("opaque")
        .file("opaque/only", "only")
        .file("was a directory", "file");
    let second = Layer::new()
        .whiteout("tree")
        .dir("was a file")
        .file("was a file/below", "now")
        .file("dir/again", "again")
        .link("dir/another name", "dir/again");
    let third = Layer::new()
        .dir("tree")
        .file("tree/shown to nobody", "x")
        .dir("was a directory")
        .file("was a directory/below", "x")
        .file("opaque/hidden", "hidden")
        .time(1_600_000_000, 5);
    let fourth = Layer::new()
        .file("dir/gone", "gone")
        .file("dir/stays", vec![7; 300_000])
        .time(1_600_000_000, 123_456_789)
        .link("dir/other name", "dir/stays")
        .file("was a file", "file")
        .file("tree/below/deep", "deep")
        .symlink("dir/link", "stays")
        .fifo("dir/fifo")
        .char_device("dir/device", 5, 7)
        .file("suid", "x")
        .mode(0o4755)
        .owner(1, 2)
        .xattr("user.x", b"\x00\xff\n=")
        .file(format!("long/{}", "n".repeat(255)), "long");
    [first, second, third, fourth]
}

/// The layers as packed ones, with their directories beside them.
fn packed(scratch: &Scratch, layers: &[Layer]) -> Vec<PathBuf> {
    let pack = |(number, layer): (usize, &Layer)| {
        packs::by_archive(layer, &scratch.join(format!("{number}.lfs")))
    };
    layers.iter().enumerate().map(pack).collect()
}

#[test]
fn r1_i1_a_merged_index_is_its_layers() {
    let scratch = Scratch::new();
    let layers = layers();
    let plain = scratch.join("plain");
    flatten(&layers, &plain);
    let packs = packed(&scratch, &layers);
    let wanted = Snapshot::of(&plain, &View::plain());
    let mount = Union::of(&packs, scratch.dir("packed")).layerfs();
    let identity = Snapshot::of(mount.path(), &View::everything());
    mount.unmount();
    let directory = |number: usize| packs[number].with_extension("d");
    let index = |name: &str, layers: &[PathBuf]| merged(layers, &scratch.join(name));
    let top = index("top.idx", &packs[..2]);
    let bottom = index("bottom.idx", &packs[1..]);
    for (name, lowers, same_numbers) in [
        ("all", vec![index("all.idx", &packs)], true),
        (
            "two",
            vec![top.clone(), index("low.idx", &packs[2..])],
            true,
        ),
        (
            "of merged",
            vec![index("of.idx", &[packs[0].clone(), bottom.clone()])],
            true,
        ),
        ("one", vec![index("one.idx", &packs[..1]), bottom], true),
        ("above", vec![top, directory(2), directory(3)], false),
        (
            "below",
            vec![directory(0), index("below.idx", &packs[1..])],
            false,
        ),
    ] {
        let mount = Union::of(&lowers, scratch.dir("mount")).layerfs();
        Snapshot::of(mount.path(), &View::plain()).assert_same(&wanted, name);
        if same_numbers {
            Snapshot::of(mount.path(), &View::everything()).assert_same(&identity, name);
        }
        mount.unmount();
    }
}

/// GNU tar knows no layers: it unpacks one over the other, where a hard link finds what is there.
#[test]
fn hard_links_to_files_of_lower_layers() {
    let scratch = Scratch::new();
    let tar = |name: &str, archive: Archive| {
        let tar = scratch.join(format!("{name}.tar"));
        archive.write(&tar);
        let file = scratch.join(format!("{name}.lfs"));
        pack(&tar, &file).ok();
        file
    };
    let bottom = Archive::new().dir("etc").file("etc/file").dir("only");
    let middle = Archive::new().link("etc/linked", "etc/file").dir("usr");
    let top = Archive::new()
        .link("again", "etc/linked")
        .link("usr/more", "etc/file");
    let lowers = [
        tar("top", top),
        tar("middle", middle),
        tar("bottom", bottom),
    ];
    let plain = scratch.dir("plain");
    for lower in lowers.iter().rev() {
        untar(&lower.with_extension("tar"), &plain).ok();
    }
    // A union counts the names that the file's own layer has.
    let view = View {
        no_links: true,
        no_dir_times: true,
        ..View::plain()
    };
    let wanted = Snapshot::of(&plain, &view);
    let index = merged(&lowers, &scratch.join("image.idx"));
    for lowers in [lowers.to_vec(), vec![index.clone()]] {
        let mount = Union::of(&lowers, scratch.dir("mount")).layerfs();
        Snapshot::of(mount.path(), &view).assert_same(&wanted, "hard links across layers");
        let number = |name: &str| fs::metadata(mount.join(name)).unwrap().ino();
        for name in ["etc/linked", "again", "usr/more"] {
            assert_eq!(number(name), number("etc/file"), "{name}");
        }
        mount.unmount();
    }
    // A target that lies in a directory below the index; one that nobody has; a directory.
    let loose = Archive::new()
        .link("found", "etc/file")
        .link("lost", "etc/nothing")
        .link("directory", "only");
    let loose = tar("loose", loose);
    let over = merged(&[loose], &scratch.join("loose.idx"));
    let directory = scratch.dir("below");
    untar(&scratch.join("bottom.tar"), &directory).ok();
    for below in [directory, index] {
        let mount = Union::of(&[&over, &below], scratch.dir("mount")).layerfs();
        assert_eq!(fs::read(mount.join("found")).unwrap(), b"hostile");
        for name in ["lost", "directory"] {
            let error = fs::symlink_metadata(mount.join(name)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{name}");
        }
        mount.unmount();
    }
}

/// What is done over the index goes on over the layers, and the other way round.
#[test]
fn i2_an_upper_is_of_the_index_and_of_its_layers() {
    let mut stage = Stage::merged(&layers());
    let packs: Vec<PathBuf> = (0..4)
        .map(|number| stage.scratch.join(format!("lower{number}.lfs")))
        .collect();
    let index = stage.union.lowers.clone();
    let check = |stage: &Stage, lowers: &[PathBuf]| {
        let mut check = Command::new(programs::layerfs());
        check.arg("check").arg(stage.u("")).arg("--work");
        check.arg(stage.scratch.join("work"));
        for lower in lowers {
            check.arg("--lower").arg(lower);
        }
        run(&mut check).ok();
    };
    let sh = |script: &'static str| {
        move |root: &Path| {
            let output = run(Command::new("sh").args(["-c", script]).current_dir(root));
            (output.code, output.out(), output.err())
        }
    };
    for (script, next) in [
        (
            "echo more >> 'dir/other name'; cat dir/stays | wc -c; mv dir moved",
            &packs,
        ),
        (
            "ln moved/again hard; rm 'moved/another name'; stat -c '%h' hard; chmod 600 suid",
            &index,
        ),
        (
            "mv moved/stays .; echo x >> stays; cmp stays 'moved/other name'; ls -A moved",
            &packs,
        ),
        (
            "rm -r opaque moved; mkdir opaque; stat -c '%h %s' stays; rm stays",
            &index,
        ),
    ] {
        stage.both(sh(script));
        stage.same("before the other form");
        stage.unmount();
        check(&stage, &stage.union.lowers);
        check(&stage, next);
        stage.union.lowers = next.clone();
        stage.mount_again();
        stage.same(&format!("over the other form, after: {script}"));
    }
    stage.unmount();
}

fn mount(lower: &Path, scratch: &Scratch) -> Output {
    Union::of(&[lower], scratch.dir("mount")).try_layerfs()
}

#[test]
fn a_layer_that_is_missing_or_another_is_told() {
    let scratch = Scratch::new();
    let store = scratch.dir("store/layers");
    let stacks = scratch.dir("store/stacks");
    let layer = |text: &str, name: &str| {
        let tree = Layer::new().file("file", text).write(scratch.join(name));
        packs::of_directory(&tree, &store.join(format!("{name}.lfs")))
    };
    let layers = [layer("one", "one"), layer("two", "two")];
    let index = merged(&layers, &stacks.join("image.idx"));
    let verify = || layerfs(&["verify".as_ref(), index.as_path()]);
    verify().ok();
    // They are named from where the index lies: all may be moved together, and by any path be reached.
    let moved = scratch.join("moved");
    fs::rename(scratch.join("store"), &moved).unwrap();
    std::os::unix::fs::symlink(moved.join("stacks"), scratch.join("link")).unwrap();
    for index in [
        moved.join("stacks/image.idx"),
        scratch.join("link/image.idx"),
    ] {
        let mount = Union::of(&[&index], scratch.dir("mount")).layerfs();
        assert_eq!(fs::read(mount.join("file")).unwrap(), b"one");
        mount.unmount();
    }
    fs::rename(&moved, scratch.join("store")).unwrap();

    let told = |output: Output, why: &str| {
        let told = output.one_line_error(1);
        let says = ["image.idx", "one.lfs", why, "layerfs merge"];
        assert!(says.iter().all(|word| told.contains(word)), "{told}");
    };
    let away = scratch.join("away");
    fs::rename(&layers[0], &away).unwrap();
    told(mount(&index, &scratch), "No such file");
    told(verify(), "No such file");
    fs::copy(&layers[1], &layers[0]).unwrap();
    told(mount(&index, &scratch), "not the layer that was merged");
    fs::write(&layers[0], "nothing").unwrap();
    told(mount(&index, &scratch), "no packed layer");
    fs::remove_file(&layers[0]).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &layers[0],
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    told(mount(&index, &scratch), "no packed layer");
    fs::rename(&away, &layers[0]).unwrap();
    verify().ok();

    // What cannot be merged leaves what is there as it is.
    let before = fs::read(&index).unwrap();
    let merge = ["merge", "/dev/null", "-o"].map(Path::new);
    layerfs(&[&merge[..], &[&index]].concat()).one_line_error(1);
    assert!(fs::read(&index).unwrap() == before);
    assert_eq!(fs::read_dir(&stacks).unwrap().count(), 1);
}

#[test]
fn a_damaged_index_is_refused_or_found_by_verify() {
    let scratch = Scratch::new();
    let index = merged(&packed(&scratch, &layers()), &scratch.join("image.idx"));
    let bytes = fs::read(&index).unwrap();
    let bad = scratch.join("bad.idx");
    let verify = || layerfs(&["verify".as_ref(), bad.as_path()]);
    for length in [0, 63, 4096, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&bad, &bytes[..length]).unwrap();
        let told = mount(&bad, &scratch).one_line_error(1);
        assert!(told.contains("bad.idx"), "{told}");
        verify().one_line_error(1);
    }
    for at in (4096..bytes.len()).step_by(131) {
        let mut broken = bytes.clone();
        broken[at] ^= 1 << (at % 8);
        fs::write(&bad, &broken).unwrap();
        verify().one_line_error(1);
    }
    // It has no archive, and says so as one.
    let listed = run(Command::new("tar").arg("tf").arg(&index));
    assert_eq!(listed.ok(), "");
}

/// A layer is cut under a mount of the index: EIO for what was there, all else is served.
#[test]
fn a_layer_cut_under_a_mount_of_the_index_gives_eio() {
    let scratch = Scratch::new();
    let top = Layer::new().file("sound", "sound");
    let bottom = Layer::new().file("cut", vec![1; 100_000]);
    let packs = packed(&scratch, &[top, bottom]);
    let index = merged(&packs, &scratch.join("image.idx"));
    let mount = Union::of(&[&index], scratch.dir("mount")).layerfs();
    let file = fs::File::options().write(true).open(&packs[1]).unwrap();
    file.set_len(8192).unwrap();
    let error = fs::read(mount.join("cut")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    assert_eq!(fs::read(mount.join("sound")).unwrap(), b"sound");
    assert_eq!(fs::metadata(mount.join("cut")).unwrap().len(), 100_000);
    mount.unmount();
}

#[test]
fn the_other_verbs_take_an_index() {
    let scratch = Scratch::new();
    let layers = layers();
    let packs = packed(&scratch, &layers);
    let index = merged(&packs, &scratch.join("image.idx"));
    let plain = scratch.join("plain");
    flatten(&layers, &plain);
    let wanted = Snapshot::of(&plain, &View::plain());
    // unpack gives the tree, and cat what is in it.
    let tree = scratch.join("tree");
    packs::unpack(&index, &tree).ok();
    let mut bare = Command::new("find");
    run(bare.arg(&tree).args(["-name", ".wh.*", "-delete"])).ok();
    let no_times = |root: &Path| {
        let view = View {
            no_dir_times: true,
            ..View::plain()
        };
        Snapshot::of(root, &view)
    };
    no_times(&tree).assert_same(&no_times(&plain), "unpacked");
    assert!(
        !wanted
            .diff(&Snapshot::of(&scratch.dir("empty"), &View::plain()))
            .is_empty()
    );
    let cat = layerfs(&["cat".as_ref(), index.as_path(), "dir/stays".as_ref()]);
    assert_eq!(cat.stdout, vec![7; 300_000]);
    let inspect = layerfs(&["inspect".as_ref(), index.as_path()]).ok();
    let of = |line: &str| line.starts_with("of ");
    let listed: Vec<_> = inspect.lines().filter(|line| of(line)).collect();
    assert_eq!(listed.len(), 4, "{inspect}");
    assert!(
        listed[0].ends_with("/0.lfs"),
        "the topmost first: {inspect}"
    );
    // which tells the layer.
    let which = |lowers: &[PathBuf]| {
        let mut which = Command::new(programs::layerfs());
        which.arg("which");
        for lower in lowers {
            which.arg("--lower").arg(lower);
        }
        run(which.args(["dir/replaced", "dir/stays", "suid"])).ok()
    };
    assert_eq!(which(&[index]), which(&packs));
}

/// Chain ids as the specification's own example computes them, here by the machine's sha256sum.
#[test]
fn the_chain_id_is_that_of_the_specification() {
    let scratch = Scratch::new();
    let packs = packed(&scratch, &layers());
    let id = |pack: &PathBuf| {
        let tar = pack.with_extension("tar");
        let sum = run(Command::new("sha256sum").arg(tar)).ok();
        format!("sha256:{}", sum.split(' ').next().unwrap())
    };
    let above = |chain: String, diff: String| {
        let script = format!("printf '%s' '{chain} {diff}' | sha256sum");
        let sum = run(Command::new("sh").args(["-c", &script])).ok();
        format!("sha256:{}", sum.split(' ').next().unwrap())
    };
    let wanted = packs.iter().rev().map(id).reduce(above).unwrap();
    let index = scratch.join("image.idx");
    let mut merge = Command::new(programs::layerfs());
    let said = run(merge.arg("merge").args(&packs).arg("-o").arg(&index)).ok();
    assert!(said.contains(&format!("chain id {wanted}\n")), "{said}");
}

#[test]
fn five_hundred_layers_are_one_index() {
    let scratch = Scratch::new();
    let mut layers = Vec::new();
    for number in 0..500_u32 {
        let mut layer = Layer::new().file("count", format!("{number}"));
        layer = layer.file(format!("dir/{number}"), format!("{number}"));
        if number % 3 == 0 {
            layer = layer.whiteout(format!("dir/{}", number + 1));
        }
        layers.push(layer);
    }
    let packs: Vec<_> = (layers.iter().enumerate())
        .map(|(number, layer)| {
            let tree = layer.write(scratch.join(format!("d{number}")));
            packs::of_directory(&tree, &scratch.join(format!("{number}.lfs")))
        })
        .collect();
    let index = merged(&packs, &scratch.join("image.idx"));
    let mount = Union::of(&[&index], scratch.dir("mount")).layerfs();
    assert_eq!(fs::read(mount.join("count")).unwrap(), b"0");
    let mut seen = 0;
    for number in 0..500_u32 {
        let file = fs::File::open(mount.join(format!("dir/{number}")));
        assert_eq!(file.is_err(), number % 3 == 1, "{number}");
        if let Ok(file) = file {
            let mut bytes = [0; 3];
            let length = file.read_at(&mut bytes, 0).unwrap();
            assert_eq!(bytes[..length], *number.to_string().as_bytes());
            seen += 1;
        }
    }
    assert_eq!(fs::read_dir(mount.join("dir")).unwrap().count(), seen);
    mount.unmount();
}
