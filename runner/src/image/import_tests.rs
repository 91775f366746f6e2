//! What import takes and what it refuses; honest input against GNU tar.

use super::*;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tar::{Builder, EntryType, Header};

/// A store, and a directory for input.
struct Place {
    _all: tempfile::TempDir,
    store: Store,
    input: PathBuf,
}

fn place() -> Place {
    let all = tempfile::tempdir().unwrap();
    let input = all.path().join("input");
    fs::create_dir_all(&input).unwrap();
    let store = Store::open(&all.path().join("store")).unwrap();
    Place {
        _all: all,
        store,
        input,
    }
}

impl Place {
    fn source(&self, archive: &[u8]) -> Source {
        let file = self.input.join("a.tar");
        fs::write(&file, archive).unwrap();
        Source::Path(file)
    }

    fn import(&self, archive: &[u8]) -> Result<Record, String> {
        let source = self.source(archive);
        let result = self.store.import(&source, Some("x"), Config::default(), "");
        let layers = fs::read_dir(self.store.root().join("layers")).unwrap();
        let mut names = layers.flatten().map(|e| e.file_name());
        assert!(names.all(|name| !name.to_string_lossy().starts_with(".tmp-")));
        result.map_err(|error| {
            let text = error.to_string();
            assert!(!text.contains('\n') && text.contains("a.tar"), "{text}");
            assert!(self.store.list().unwrap().is_empty());
            text
        })
    }

    /// The only layer of an image: what GNU tar makes of its archive.
    fn unpacked(&self, record: &Record) -> PathBuf {
        let layer = self.store.layer(&record.layers[0]).unwrap().unwrap();
        let (mut archive, length) = self.store.archive(&layer).unwrap();
        let mut bytes = Vec::new();
        archive.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, length);
        let file = self.input.join("out.tar");
        fs::write(&file, bytes).unwrap();
        let place = self.input.join("unpacked");
        let _ = fs::remove_dir_all(&place);
        fs::create_dir(&place).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["--xattrs", "--xattrs-include=*", "-xpf"]);
        assert!(
            tar.arg(&file)
                .arg("-C")
                .arg(&place)
                .status()
                .unwrap()
                .success()
        );
        place
    }
}

fn entry(to: &mut Builder<Vec<u8>>, name: &[u8], data: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(EntryType::Regular);
    header.set_size(data.len() as u64);
    header.set_mode(0o4755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_cksum();
    to.append(&header, data).unwrap();
}

fn archive(fill: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    fill(&mut builder);
    builder.into_inner().unwrap()
}

#[test]
fn damage_is_told_with_its_place_and_leaves_nothing() {
    let place = place();
    let good = archive(|b| {
        entry(b, b"a", &[7; 3000]);
        entry(b, b"b", b"x");
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
    for start in [&b"\xfd7zXZ\0...."[..], b"BZh91AY&SY...."] {
        assert!(place.import(start).is_err());
    }
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
    let many = archive(|b| (0..5).for_each(|n| entry(b, &[b'a' + n], &[0; 10])));
    let source = place.source(&many);
    for (members, bytes) in [(4, 1 << 20), (100, 4096)] {
        let limits = Limits { members, bytes };
        let made = place
            .store
            .import_within(&source, None, Config::default(), "", limits);
        let error = made.unwrap_err().to_string();
        assert!(error.contains("more than"), "{error}");
    }
}

#[test]
fn a_layer_is_the_archive_bit_for_bit() {
    let place = place();
    let bytes = archive(|b| entry(b, b"etc/os", b"x"));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&bytes).unwrap();
    let packed = packed.finish().unwrap();
    let limits = Limits::default();
    let added = place
        .store
        .add_layer(&packed[..], "here", None, limits)
        .unwrap();
    assert_eq!(added.layer.diff_id, record::digest(&bytes));
    assert_eq!(added.digest, record::digest(&packed));
    assert_eq!(added.length, packed.len() as u64);
    let (mut archive, length) = place.store.archive(&added.layer).unwrap();
    let mut kept = Vec::new();
    archive.read_to_end(&mut kept).unwrap();
    assert_eq!((kept.len() as u64, kept), (length, bytes.clone()));

    let other = "0".repeat(64);
    let wrong = place
        .store
        .add_layer(&bytes[..], "there", Some(&other), limits);
    let text = wrong.unwrap_err().to_string();
    assert!(
        text.starts_with("there: ") && text.contains("nothing of it is kept"),
        "{text}"
    );
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

#[test]
fn a_directory_becomes_the_archive_that_gnu_tar_unpacks_to_the_same() {
    let place = place();
    let tree = place.input.join("tree");
    fs::create_dir(&tree).unwrap();
    build_tree(&tree);
    let wanted = picture(&tree);
    let source = Source::Path(tree);
    let import = |name| {
        place
            .store
            .import(&source, Some(name), Config::default(), "")
    };
    let record = import("copy").unwrap();
    let made = place.unpacked(&record);
    assert_eq!(picture(&made), wanted);
    assert!(fs::metadata(made.join("sparse")).unwrap().blocks() < 1000);
    let mut value = [0_u8; 10];
    let length = rustix::fs::getxattr(made.join("d/file"), "user.note", &mut value).unwrap();
    assert_eq!(&value[..length], b"a\nb\0c");
    // The same tree is the same layer.
    assert_eq!(import("again").unwrap().layers, record.layers);
}
