//! Any bytes in the place of a packed layer: an error or wrong answers, never a panic or an endless loop.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Write;
use std::path::Path;

use rustix::io::ReadWriteFlags;
use tar::{Builder, EntryType, Header};
use zerocopy::IntoBytes;

use super::format::{self, Footer};
use super::reader::ROOT;
use super::{Limits, Pack, pack};

fn archive() -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    let mut put = |name: &str, kind, link: &str, data: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(data.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        tar.append_data(&mut header, name, data).unwrap();
    };
    for directory in 0..6 {
        put(&format!("d{directory}"), EntryType::Directory, "", b"");
        for file in 0..9 {
            put(
                &format!("d{directory}/f{file}"),
                EntryType::Regular,
                "",
                b"content",
            );
        }
        put(&format!("d{directory}/l"), EntryType::Symlink, "f1", b"");
        put(&format!("d{directory}/h"), EntryType::Link, "d0/f3", b"");
        put(
            &format!("d{directory}/.wh.gone"),
            EntryType::Regular,
            "",
            b"",
        );
        put(
            &format!("d{directory}/out"),
            EntryType::Link,
            "not/here",
            b"",
        );
    }
    tar.into_inner().unwrap()
}

/// Follows every number there is; gives the names met.
fn walk(pack: &Pack) -> usize {
    let mut seen = 0;
    let mut todo = vec![ROOT];
    while let Some(directory) = todo.pop() {
        let Ok(names) = pack.names(directory) else {
            continue;
        };
        for named in names.flatten() {
            seen += 1;
            // A damaged index may show directories again and again, each time deeper.
            if seen > 10_000 {
                return seen;
            }
            let _ = pack.lookup(directory, named.name);
            let Some(number) = named.node else { continue };
            let Ok(node) = pack.node(number) else {
                continue;
            };
            let _ = (pack.xattrs(node), pack.target(node), pack.outside(node));
            if let Ok(data) = pack.data(node) {
                let mut buffer = [0; 600];
                let none = ReadWriteFlags::empty();
                let _ = data.read(node.size.get() / 2, &mut buffer, none);
                let _ = (data.next_data(3), data.next_hole(3));
            }
            if u32::from(named.kind) == libc::S_IFDIR >> 12 {
                todo.push(number);
            }
        }
    }
    seen
}

fn write(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn every_flip_of_a_bit_is_an_error_or_a_wrong_answer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("layer.lfs");
    let archive = archive();
    let mut file = File::create(&path).unwrap();
    let packed = pack(&*archive, "archive", &mut file, Limits::default()).unwrap();
    assert_eq!((packed.archive, packed.members), (archive.len() as u64, 84));
    let sound = std::fs::read(&path).unwrap();
    assert_eq!(walk(&Pack::open(&path).unwrap()), 6 + 6 * 13);
    let start = (archive.len() + 1024).next_multiple_of(4096);
    let end = sound.len() - size_of::<Footer>();
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..3000 {
        let mut bytes = sound.clone();
        for _ in 0..=round % 3 {
            let at = random.usize(start..end);
            bytes[at] = match random.u8(0..4) {
                0 => 0,
                1 => 255,
                _ => bytes[at] ^ (1 << random.u8(0..8)),
            };
        }
        // The header's checksum is made anew, so that what lies behind it is reached.
        let check = start + size_of::<format::Header>() - 8;
        let sum = format::check(&bytes[start..check]);
        bytes[check..check + 8].copy_from_slice(&sum.to_le_bytes());
        write(&path, &bytes);
        if let Ok(pack) = Pack::open(&path) {
            walk(&pack);
        }
    }
}

#[test]
fn a_footer_that_points_outside_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("layer.lfs");
    for (at, length) in [
        (0, 0),
        (4096, 0),
        (u64::MAX, 1),
        (0, u64::MAX),
        (1, 63),
        (0, 64),
    ] {
        let mut footer = Footer {
            magic: format::FOOTER_MAGIC,
            at: at.into(),
            length: length.into(),
            index: [0; 32],
            check: 0.into(),
        };
        footer.check = format::check(&footer.as_bytes()[..size_of::<Footer>() - 8]).into();
        write(&path, &[&[0; 64], footer.as_bytes()].concat());
        assert!(Pack::open(&path).is_err(), "{at} {length}");
    }
}

/// A pax header in front of an empty file.
fn with_records(records: &str) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    let mut put = |kind, data: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_path("member").unwrap();
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        header.set_cksum();
        tar.append(&header, data).unwrap();
    };
    put(EntryType::XHeader, records.as_bytes());
    put(EntryType::Regular, b"");
    tar.into_inner().unwrap()
}

/// Found by the fuzz target `archive`: such a file was packed, and could not be read.
#[test]
fn a_size_that_no_file_can_have_is_refused() {
    for records in [
        "39 GNU.sparse.size=9223372036854775808\n19 GNU.sparse.map=\n",
        "40 GNU.sparse.size=18446744073709551615\n19 GNU.sparse.map=\n",
        "29 size=18446744073709551104\n",
        "28 size=9223372036854775807\n",
    ] {
        let mut output = tempfile::tempfile().unwrap();
        let archive = with_records(records);
        let error = pack(&*archive, "archive", &mut output, Limits::default()).unwrap_err();
        let told = error.to_string();
        assert!(told.contains("size out of range"), "{records}: {told}");
    }
}

/// Each name makes hundreds of directories: the memory that a small archive can ask for is bounded.
#[test]
fn names_that_make_directories_count() {
    let mut tar = Builder::new(Vec::new());
    for number in 0..20 {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(0);
        let path = format!("{number}/{}x", "d/".repeat(1000));
        tar.append_data(&mut header, path, &b""[..]).unwrap();
    }
    let archive = tar.into_inner().unwrap();
    let pack_some = |members| {
        let limits = Limits {
            members,
            ..Limits::default()
        };
        let mut output = tempfile::tempfile().unwrap();
        pack(&*archive, "archive", &mut output, limits)
    };
    assert_eq!(pack_some(11_000).unwrap().members, 20);
    let told = pack_some(5000).unwrap_err().to_string();
    assert!(told.contains("more than 10000 objects"), "{told}");
}
