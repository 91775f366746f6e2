//! Archives made to do harm, and honest ones against GNU tar.

use super::*;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use tar::{Builder, EntryType, Header};

/// A store, a place outside of it that must stay as it is, and a directory for input.
struct Place {
    _all: tempfile::TempDir,
    store: Store,
    outside: PathBuf,
    input: PathBuf,
}

fn place() -> Place {
    let all = tempfile::tempdir().unwrap();
    let (outside, input) = (all.path().join("outside"), all.path().join("input"));
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(&input).unwrap();
    fs::write(outside.join("victim"), "safe").unwrap();
    let store = Store::open(&all.path().join("store")).unwrap();
    Place {
        _all: all,
        store,
        outside,
        input,
    }
}

impl Place {
    fn import(&self, archive: &[u8]) -> Result<PathBuf, String> {
        let file = self.input.join("a.tar");
        fs::write(&file, archive).unwrap();
        let result = self.store.import(&Source::Path(file), "x");
        let safe = fs::read(self.outside.join("victim")).unwrap() == b"safe";
        let alone = fs::read_dir(&self.outside).unwrap().count() == 1;
        assert!(safe && alone, "the outside was touched");
        let layers = || {
            fs::read_dir(self.store.root().join("layers"))
                .unwrap()
                .flatten()
        };
        assert!(layers().all(|e| !e.file_name().to_string_lossy().starts_with(".tmp-")));
        match result {
            Ok(record) => Ok(self.store.root().join("layers").join(&record.layers[0])),
            Err(error) => {
                let text = error.to_string();
                assert!(!text.contains('\n') && text.contains("a.tar"), "{text}");
                assert!(self.store.list().unwrap().is_empty());
                Err(text)
            }
        }
    }
}

/// Appends an entry with a name that the builder would refuse.
fn entry(to: &mut Builder<Vec<u8>>, name: &[u8], kind: EntryType, link: &[u8], data: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    header.set_size(data.len() as u64);
    header.set_mode(0o4755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    if kind.is_character_special() {
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
    }
    header.set_cksum();
    to.append(&header, data).unwrap();
}

fn archive(fill: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    fill(&mut builder);
    builder.into_inner().unwrap()
}

const FILE: EntryType = EntryType::Regular;
const LINK: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;
const DIR: EntryType = EntryType::Directory;

/// Name, kind, link target and data of an entry.
type Entry<'a> = (&'a [u8], EntryType, &'a [u8], &'a [u8]);

/// Archives that must be refused, each with a word of the reason.
#[rustfmt::skip]
fn refused<'a>(out: &'a [u8], victim: &'a [u8]) -> Vec<(&'static str, Vec<Entry<'a>>)> {
    let char = EntryType::Char;
    vec![
        ("'..'", vec![(b"../outside/victim", FILE, b"", b"bad")]),
        ("'..'", vec![(b"a/../../../outside/new", DIR, b"", b"")]),
        ("symbolic link", vec![(b"l", LINK, out, b""), (b"l/victim", FILE, b"", b"bad")]),
        ("symbolic link", vec![(b"l", LINK, b"../../../outside", b""), (b"l/n/d", FILE, b"", b"")]),
        ("symbolic link", vec![(b"l", LINK, b".", b""), (b"l/x", DIR, b"", b"")]),
        ("symbolic link", vec![(b"l", LINK, out, b""), (b"l/link", LINK, b"x", b"")]),
        ("symbolic link", vec![(b"l", LINK, out, b""), (b"f", FILE, b"", b""), (b"l/h", HARD, b"f", b"")]),
        ("not there", vec![(b"h", HARD, victim, b"")]),
        ("not there", vec![(b"l", LINK, out, b""), (b"h", HARD, b"l/victim", b"")]),
        ("'..'", vec![(b"h", HARD, b"../../outside/victim", b"")]),
        ("itself", vec![(b"h", HARD, b"h", b"")]),
        ("itself", vec![(b"h", HARD, b"/", b"")]),
        ("below itself", vec![(b"d/f", FILE, b"", b"x"), (b"d", HARD, b"d/f", b"")]),
        ("hard link", vec![(b"d", DIR, b"", b""), (b"h", HARD, b"d", b"")]),
        ("not a directory", vec![(b"f", FILE, b"", b""), (b"f/x", FILE, b"", b"")]),
        ("0:0", vec![(b"etc/passwd", char, b"", b"")]),
        (".wh.", vec![(b"etc/.wh.passwd", FILE, b"", b"")]),
        (".wh.", vec![(b".wh.d/file", FILE, b"", b"")]),
        (".wh.", vec![(b"a", FILE, b"", b""), (b".wh.b", HARD, b"a", b"")]),
        ("root", vec![(b"./", LINK, out, b"")]),
        ("root", vec![(b"/", FILE, b"", b"x")]),
        ("unknown type", vec![(b"x", EntryType::new(b'M'), b"", b"")]),
    ]
}

#[test]
fn nothing_reaches_the_outside() {
    let place = place();
    let outside = place.outside.to_str().unwrap().to_owned();
    let victim = format!("{outside}/victim");
    for (word, entries) in refused(outside.as_bytes(), victim.as_bytes()) {
        let bytes = archive(|b| entries.iter().for_each(|e| entry(b, e.0, e.1, e.2, e.3)));
        let why = place.import(&bytes).unwrap_err();
        assert!(why.contains(word), "want {word:?}: {why}");
    }
}

#[test]
fn links_are_kept_as_links_and_replaced_not_followed() {
    let place = place();
    let outside = place.outside.to_str().unwrap().to_owned();
    let victim = format!("{outside}/victim");
    let layer = place
        .import(&archive(|b| {
            entry(b, b"l", LINK, victim.as_bytes(), b"");
            entry(b, b"l", FILE, b"", b"new"); // replaces the link
            entry(b, b"/abs/file", FILE, b"", b"1"); // leading slash dropped, directory made
            entry(b, b"d/old", FILE, b"", b"1");
            entry(b, b"d", LINK, outside.as_bytes(), b""); // a link over a directory
            entry(b, b"s", LINK, b"/nowhere", b"");
            entry(b, b"s2", HARD, b"s", b""); // a name for the link itself
            entry(b, b"again", FILE, b"", b"1");
            entry(b, b"again", FILE, b"", b"22");
            entry(b, b"tmp", LINK, b"x", b"");
            entry(b, b"tmp/", DIR, b"", b""); // a directory over a link
            entry(b, b"tmp/in", FILE, b"", b"");
        }))
        .unwrap();
    assert_eq!(fs::read(layer.join("l")).unwrap(), b"new");
    assert_eq!(fs::read_link(layer.join("d")).unwrap(), Path::new(&outside));
    assert_eq!(
        fs::read_link(layer.join("s2")).unwrap(),
        Path::new("/nowhere")
    );
    assert_eq!(fs::read(layer.join("again")).unwrap(), b"22");
    assert_eq!(
        fs::metadata(layer.join("abs")).unwrap().mode() & 0o7777,
        0o755
    );
    assert_eq!(
        fs::metadata(layer.join("tmp")).unwrap().mode() & 0o7777,
        0o4755
    );
    assert!(layer.join("tmp/in").is_file());
    assert_eq!(
        fs::metadata(layer.join("l")).unwrap().mode() & 0o7777,
        0o4755
    ); // setuid kept
}

#[test]
fn damage_is_told_with_its_place_and_leaves_nothing() {
    let place = place();
    let good = archive(|b| {
        entry(b, b"a", FILE, b"", &[7; 3000]);
        entry(b, b"b", FILE, b"", b"x");
    });
    for length in [1, 511, 512, 600, 512 + 3072, 512 + 3072 + 512] {
        let why = place.import(&good[..length]).unwrap_err();
        assert!(
            why.contains("cut short") && why.contains("byte"),
            "{length}: {why}"
        );
    }
    let mut bad = good.clone();
    bad[512 + 3072 + 1] ^= 1;
    assert!(place.import(&bad).unwrap_err().contains("checksum"));
    assert!(place.import(b"").unwrap_err().contains("empty"));
    assert!(
        place
            .import(b"not a tar at all")
            .unwrap_err()
            .contains("cut short")
    );
    assert!(place.import(b"\xfd7zXZ\0....").unwrap_err().contains("xz"));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&good).unwrap();
    let packed = packed.finish().unwrap();
    for length in [20, packed.len() / 2, packed.len() - 9, packed.len() - 4] {
        let why = place.import(&packed[..length]).unwrap_err();
        assert!(why.contains("byte"), "{why}");
    }
    let mut flipped = packed.clone();
    let at = flipped.len() - 6; // in the checksum of gzip's end
    flipped[at] ^= 1;
    assert!(place.import(&flipped).is_err());
    assert!(place.import(&packed).is_ok());
}

#[test]
fn limits_hold() {
    let place = place();
    let file = place.input.join("big.tar");
    let many = archive(|b| (0..5).for_each(|n| entry(b, &[b'a' + n], FILE, b"", &[0; 10])));
    fs::write(&file, many).unwrap();
    for limits in [
        ImportLimits {
            entries: 4,
            bytes: 1000,
        },
        ImportLimits {
            entries: 100,
            bytes: 49,
        },
    ] {
        let source = Source::Path(file.clone());
        let error = place.store.import_within(&source, "x", limits).unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
    }
}

#[test]
fn pax_attributes_win_and_overlays_own_are_stripped() {
    let place = place();
    let mut builder = Builder::new(Vec::new());
    let value: &[u8] = b"a\n12 size=99\n\0\xff";
    builder
        .append_pax_extensions([
            ("SCHILY.xattr.user.binary", value),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("mtime", b"-1.5"),
            ("uid", b"3000000"),
        ])
        .unwrap();
    entry(&mut builder, b"f", FILE, b"", b"data");
    let layer = place.import(&builder.into_inner().unwrap()).unwrap();
    let stat = fs::metadata(layer.join("f")).unwrap();
    assert_eq!(
        (stat.mtime(), stat.mtime_nsec(), stat.uid()),
        (-2, 500_000_000, 3_000_000)
    );
    let mut names = [0_u8; 1000];
    let length = rustix::fs::listxattr(layer.join("f"), &mut names).unwrap();
    assert_eq!(&names[..length], b"user.binary\0");
    let mut found = [0_u8; 100];
    let length = rustix::fs::getxattr(layer.join("f"), "user.binary", &mut found).unwrap();
    assert_eq!(&found[..length], value);
}

/// A tree with one of everything.
fn build_tree(root: &Path) {
    let script = r#"
        set -e; cd "$1"
        mkdir -p d/e/f empty "$(printf 'x%.0s' $(seq 150))/$(printf 'y%.0s' $(seq 150))"
        echo hello > d/file; echo deep > d/e/f/deep; ln d/file d/e/hard
        ln -s ../nowhere d/link; ln -s "$(printf 'z%.0s' $(seq 200))" long
        echo long > "$(printf 'x%.0s' $(seq 150))/$(printf 'y%.0s' $(seq 150))/file"
        mkfifo fifo; mknod null c 1 3; mknod disk b 8 0
        cp /bin/true suid; chmod 4711 suid; chmod 700 d/e; chmod 1777 empty
        truncate -s 10M sparse; printf data | dd of=sparse bs=1 seek=5000000 conv=notrunc 2>/dev/null
        truncate -s 3M hole; chown 12:34 d/file; chown -h 5:6 d/link
        touch -d '2001-02-03 04:05:06.123456789' d/file d/e empty
        touch -h -d '2002-02-03 04:05:06.5' d/link"#;
    let status = Command::new("bash")
        .args(["-c", script, "-"])
        .arg(root)
        .status()
        .unwrap();
    assert!(status.success());
    let name = root.join("d/file");
    rustix::fs::setxattr(
        &name,
        "user.note",
        b"a\nb\0c",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
}

/// Everything that can be seen of a tree, a line per name.
fn picture(root: &Path) -> Vec<String> {
    let script = r#"cd "$1"; find . -mindepth 1 -printf '%p %y %m %U:%G %s %T@ %l\n' |
        sed -E '/^[^ ]+ d /s/ [0-9]+ ([0-9]+\.[0-9]+) $/ \1/' | sort
        find . -type f -size -20M -print0 | sort -z | xargs -0 sha256sum
        find . -mindepth 1 -samefile d/file | sort
        find . \( -type c -o -type b \) -exec stat -c '%n %t:%T' {} + | sort"#;
    let output = Command::new("bash")
        .args(["-c", script, "-"])
        .arg(root)
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// What GNU tar makes of an archive.
fn unpacked_by_tar(place: &Place, file: &Path) -> Vec<String> {
    let other = place.input.join("other");
    fs::create_dir(&other).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "-xpf"])
        .arg(file)
        .arg("-C")
        .arg(&other);
    assert!(tar.status().unwrap().success());
    let seen = picture(&other);
    fs::remove_dir_all(&other).unwrap();
    seen
}

#[test]
fn honest_input_comes_out_as_gnu_tar_and_cp_would_have_it() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = place();
    let tree = place.input.join("tree");
    fs::create_dir(&tree).unwrap();
    build_tree(&tree);
    let wanted = picture(&tree);
    let whole: &[&str] = &["--format=posix", "--xattrs"];
    let forms: [&[&str]; 7] = [
        whole,
        &["--format=gnu"],
        &["--format=gnu", "-S"],
        &["--format=posix", "--xattrs", "-S", "--sparse-version=1.0"],
        &["--format=posix", "-S", "--sparse-version=0.1"],
        &["--format=posix", "-S", "--sparse-version=0.0"],
        &["--format=posix", "-z"],
    ];
    for form in forms {
        let file = place.input.join("tree.tar");
        let mut tar = Command::new("tar");
        tar.args(form)
            .arg("-cf")
            .arg(&file)
            .arg("-C")
            .arg(&tree)
            .arg(".");
        assert!(tar.status().unwrap().success());
        let record = place
            .store
            .import(&Source::Path(file.clone()), "tree")
            .unwrap();
        let layer = place.store.resolve("tree").unwrap().lowers().remove(0);
        assert!(layer.ends_with(&record.layers[0]));
        let ours = picture(&layer);
        if form.contains(&"--format=posix") {
            assert_eq!(ours, wanted, "{form:?}");
        }
        assert_eq!(ours, unpacked_by_tar(&place, &file), "{form:?}");
        if form.contains(&"-S") {
            assert!(
                fs::metadata(layer.join("sparse")).unwrap().blocks() < 1000,
                "{form:?}"
            );
        }
        if form.contains(&"--xattrs") {
            let mut value = [0_u8; 10];
            let length = rustix::fs::getxattr(layer.join("d/file"), "user.note", &mut value);
            assert_eq!(&value[..length.unwrap()], b"a\nb\0c");
        }
    }
    place.store.import(&Source::Path(tree), "copy").unwrap();
    let layer = place.store.resolve("copy").unwrap().lowers().remove(0);
    assert_eq!(picture(&layer), wanted);
    assert!(fs::metadata(layer.join("sparse")).unwrap().blocks() < 1000);
    assert!(
        fs::symlink_metadata(layer.join("null"))
            .unwrap()
            .file_type()
            .is_char_device()
    );
}
