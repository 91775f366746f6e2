//! The operations without any mount: what FUSE would ask, asked directly.

mod durability;
#[cfg(feature = "shuttle")]
mod models;
mod races;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::FileSystem;
use crate::error::{Error, OpenError};
use crate::types::{
    Caller, Config, DirEntry, Entry, Kind, Metacopy, NodeId, RenameMode, SetAttr, SetXattrMode,
    UpperConfig,
};

/// Two layers and an upper in a directory of their own.
struct World {
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        Self::in_directory(tempfile::tempdir().unwrap())
    }

    fn in_directory(dir: TempDir) -> Self {
        for name in ["top", "bottom", "upper", "work"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self) -> Config {
        Config {
            lowers: vec![self.path("top"), self.path("bottom")],
            upper: Some(UpperConfig {
                upper: self.path("upper"),
                work: self.path("work"),
            }),
            read_only: false,
            volatile: false,
            trust_redirect: false,
            metacopy: Metacopy::Upper,
            noatime: false,
        }
    }

    fn open(&self) -> FileSystem {
        FileSystem::open(&self.config()).unwrap()
    }
}

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

/// The node of a path, looked up name by name.
fn find(fs: &FileSystem, path: &str) -> Result<Entry, Error> {
    let mut entry = Entry {
        node: NodeId::ROOT,
        attr: fs.getattr(NodeId::ROOT, None)?,
    };
    for part in path.split('/') {
        entry = fs.lookup(entry.node, name(part))?;
    }
    Ok(entry)
}

fn names(fs: &FileSystem, node: NodeId) -> Vec<String> {
    let mut names = Vec::new();
    let mut take = |entry: &DirEntry<'_>| {
        names.push(entry.name.to_string_lossy().into_owned());
        true
    };
    fs.readdir(node, 0, &mut take).unwrap();
    names.retain(|name| name != "." && name != "..");
    names.sort();
    names
}

fn content(fs: &FileSystem, node: NodeId) -> String {
    let handle = fs.open_file(node, libc::O_RDONLY).unwrap();
    let mut buffer = vec![0; 1 << 16];
    let length = fs.read(handle, 0, &mut buffer).unwrap();
    fs.release(handle);
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn c5_a_handle_from_before_copy_up_reads_what_is_written_after() {
    let world = World::new();
    fs::write(world.path("bottom/f"), "old").unwrap();
    let fs = world.open();
    let node = find(&fs, "f").unwrap().node;
    let reader = fs.open_file(node, libc::O_RDONLY).unwrap();
    let writer = fs.open_file(node, libc::O_RDWR).unwrap();
    assert!(
        !world.path("upper/f").exists(),
        "opening for writing copies nothing yet"
    );
    assert_eq!(fs.write(writer, 0, b"new").unwrap(), 3);
    let mut buffer = [0; 8];
    assert_eq!(fs.read(reader, 0, &mut buffer).unwrap(), 3);
    assert_eq!(&buffer[..3], b"new");
    assert_eq!(fs::read(world.path("bottom/f")).unwrap(), b"old");
    assert_eq!(fs.write(reader, 0, b"x"), Err(Error::BadHandle));
}

#[test]
fn i1_the_inode_number_survives_copy_up_rename_and_another_open() {
    let world = World::new();
    fs::create_dir(world.path("bottom/d")).unwrap();
    fs::write(world.path("bottom/f"), "x").unwrap();
    let (file, dir) = {
        let fs = world.open();
        let (file, dir) = (find(&fs, "f").unwrap(), find(&fs, "d").unwrap());
        let change = SetAttr {
            mode: Some(0o600),
            ..SetAttr::default()
        };
        assert_eq!(
            fs.setattr(file.node, None, &change).unwrap().ino,
            file.attr.ino
        );
        let to = RenameMode::Replace;
        fs.rename(NodeId::ROOT, name("f"), dir.node, name("g"), to)
            .unwrap();
        fs.rename(NodeId::ROOT, name("d"), NodeId::ROOT, name("e"), to)
            .unwrap();
        assert_eq!(find(&fs, "e/g").unwrap().node, file.node);
        (file.attr.ino, dir.attr.ino)
    };
    let fs = world.open();
    assert_eq!(find(&fs, "e/g").unwrap().attr.ino, file);
    assert_eq!(find(&fs, "e").unwrap().attr.ino, dir);
    assert_eq!(find(&fs, "f").unwrap_err(), Error::NotFound);
}

#[test]
fn i3_i4_an_unlinked_node_lives_until_it_is_forgotten() {
    let world = World::new();
    let fs = world.open();
    let (entry, handle) = fs
        .create(
            &Caller::default(),
            NodeId::ROOT,
            name("f"),
            0o644,
            0o022,
            libc::O_RDWR,
        )
        .unwrap();
    fs.write(handle, 0, b"data").unwrap();
    fs.unlink(NodeId::ROOT, name("f")).unwrap();
    assert_eq!(fs.getattr(entry.node, None).unwrap().nlink, 0);
    let change = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    assert_eq!(fs.setattr(entry.node, None, &change).unwrap().mode, 0o600);
    assert_eq!(
        fs.link(entry.node, NodeId::ROOT, name("g")).unwrap_err(),
        Error::NotFound
    );
    // Its inode number cannot be given to another while it is known.
    for index in 0..50 {
        let other = fs
            .mknod(
                &Caller::default(),
                NodeId::ROOT,
                name(&format!("n{index}")),
                libc::S_IFREG | 0o600,
                0,
                0,
            )
            .unwrap();
        assert_ne!(other.node, entry.node);
    }
    assert_eq!(content(&fs, entry.node), "data");
    fs.release(handle);
    fs.forget(entry.node, 1);
    assert_eq!(fs.getattr(entry.node, None), Err(Error::Stale));
}

#[test]
fn forgetting_everything_leaves_only_the_root() {
    let world = World::new();
    fs::create_dir_all(world.path("bottom/a/b/c")).unwrap();
    fs::write(world.path("bottom/a/b/c/f"), "").unwrap();
    let fs = world.open();
    let mut known = Vec::new();
    let mut here = NodeId::ROOT;
    for part in ["a", "b", "c", "f"] {
        here = fs.lookup(here, name(part)).unwrap().node;
        known.push(here);
    }
    assert_eq!(fs.nodes(), 5);
    // Parents first: they linger as long as a child holds them, and go with it.
    for node in known {
        fs.forget(node, 1);
    }
    assert_eq!(fs.nodes(), 1);
}

#[test]
fn n1_a_directory_over_a_whiteout_is_opaque() {
    let world = World::new();
    fs::create_dir(world.path("bottom/d")).unwrap();
    fs::write(world.path("bottom/d/old"), "").unwrap();
    let fs = world.open();
    let dir = find(&fs, "d").unwrap().node;
    assert_eq!(fs.rmdir(NodeId::ROOT, name("d")), Err(Error::NotEmpty));
    fs.unlink(dir, name("old")).unwrap();
    fs.rmdir(NodeId::ROOT, name("d")).unwrap();
    let whiteout = fs::symlink_metadata(world.path("upper/d")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    let fresh = fs
        .mkdir(&Caller::default(), NodeId::ROOT, name("d"), 0o755, 0)
        .unwrap();
    assert!(names(&fs, fresh.node).is_empty());
    drop(fs);
    let fs = world.open();
    assert!(names(&fs, find(&fs, "d").unwrap().node).is_empty());
}

/// Scans a directory of `f0` to `f39` by sevens, removing what was seen and making new names, and
/// checks that each of the forty comes once.
fn scan_while_changing(fs: &FileSystem, directory: NodeId) {
    let mut seen: Vec<String> = Vec::new();
    let mut offset = 0;
    loop {
        let (before, from) = (seen.len(), offset);
        let mut take = |entry: &DirEntry<'_>| {
            if seen.len() == before + 7 {
                return false;
            }
            seen.push(entry.name.to_string_lossy().into_owned());
            offset = entry.next;
            true
        };
        fs.readdir(directory, from, &mut take).unwrap();
        if seen.len() == before {
            break;
        }
        for gone in seen[before..].iter().filter(|name| name.starts_with('f')) {
            fs.unlink(directory, name(gone)).unwrap();
        }
        if before < 40 {
            let new = format!("new{before}");
            fs.mkdir(&Caller::default(), directory, name(&new), 0o755, 0)
                .unwrap();
        }
    }
    seen.retain(|name| !name.starts_with("new"));
    let mut wanted: Vec<String> = (0..40).map(|index| format!("f{index}")).collect();
    wanted.extend([".".to_owned(), "..".to_owned()]);
    wanted.sort();
    seen.sort();
    assert_eq!(seen, wanted);
}

#[test]
fn d1_a_scan_of_a_merged_directory_gives_each_name_once_whatever_changes_meanwhile() {
    let world = World::new();
    for index in 0..40 {
        let layer = ["top", "bottom", "upper"][index % 3];
        fs::write(world.path(&format!("{layer}/f{index}")), "").unwrap();
    }
    scan_while_changing(&world.open(), NodeId::ROOT);
}

#[test]
fn d1_a_scan_of_a_directory_of_the_upper_gives_each_name_once_whatever_changes_meanwhile() {
    let world = World::new();
    fs::create_dir(world.path("upper/d")).unwrap();
    for index in 0..40 {
        fs::write(world.path(&format!("upper/d/f{index}")), "").unwrap();
    }
    let fs = world.open();
    let directory = find(&fs, "d").unwrap().node;
    scan_while_changing(&fs, directory);
}

#[test]
fn d1_a_listing_that_is_kept_follows_every_change() {
    let world = World::new();
    fs::create_dir_all(world.path("bottom/d/sub")).unwrap();
    for index in 0..5 {
        fs::write(world.path(&format!("bottom/d/f{index}")), "").unwrap();
    }
    let fs = world.open();
    let d = find(&fs, "d").unwrap().node;
    let caller = Caller::default();
    let check = |step: &str| {
        let kept = names(&fs, d);
        let mut looked_up: Vec<String> = ["f0", "f1", "f2", "f3", "f4", "sub", "x", "y", "z"]
            .iter()
            .filter(|name| fs.lookup(d, OsStr::new(name)).is_ok())
            .map(|name| (*name).to_owned())
            .collect();
        looked_up.sort();
        assert_eq!(kept, looked_up, "after {step}");
    };
    check("nothing");
    fs.mkdir(&caller, d, name("x"), 0o755, 0).unwrap();
    check("mkdir");
    fs.unlink(d, name("f0")).unwrap();
    check("unlink");
    fs.rename(d, name("f1"), d, name("f0"), RenameMode::Replace)
        .unwrap();
    check("rename over a whiteout");
    fs.rename(d, name("x"), d, name("sub"), RenameMode::Exchange)
        .unwrap();
    check("exchange");
    fs.rmdir(d, name("sub")).unwrap();
    check("rmdir");
    fs.link(find(&fs, "d/f2").unwrap().node, d, name("y"))
        .unwrap();
    check("link");
    fs.rename(
        d,
        name("f3"),
        NodeId::ROOT,
        name("out"),
        RenameMode::Replace,
    )
    .unwrap();
    check("rename away");
    fs.symlink(&caller, d, name("z"), name("nowhere")).unwrap();
    fs.unlink(d, name("f4")).unwrap();
    check("symlink and unlink");
    fs.mknod(&caller, d, name("f4"), libc::S_IFCHR | 0o600, 0, 0)
        .unwrap();
    check("a char 0/0 node");
}

#[test]
fn c2_metadata_changes_of_a_large_file_copy_no_data() {
    let world = World::new();
    fs::write(world.path("bottom/big"), vec![7; 1 << 20]).unwrap();
    let fs = world.open();
    let node = find(&fs, "big").unwrap().node;
    let change = SetAttr {
        mode: Some(0o640),
        ..SetAttr::default()
    };
    let attr = fs.setattr(node, None, &change).unwrap();
    assert_eq!((attr.mode, attr.size), (0o640, 1 << 20));
    let copy = fs::metadata(world.path("upper/big")).unwrap();
    assert_eq!(
        (copy.size(), copy.permissions().mode() & 0o777),
        (1 << 20, 0o640)
    );
    assert!(copy.blocks() <= 8, "{} blocks", copy.blocks());
    let handle = fs.open_file(node, libc::O_RDWR).unwrap();
    fs.write(handle, 5, b"!").unwrap();
    let mut buffer = vec![0; 1 << 20];
    assert_eq!(fs.read(handle, 0, &mut buffer).unwrap(), 1 << 20);
    assert!(
        buffer[..5]
            .iter()
            .chain(&buffer[6..])
            .all(|byte| *byte == 7)
            && buffer[5] == b'!'
    );
}

#[test]
fn r5_marks_set_by_a_user_are_not_marks() {
    let world = World::new();
    fs::create_dir(world.path("bottom/d")).unwrap();
    fs::write(world.path("bottom/d/f"), "").unwrap();
    let fs = world.open();
    let dir = find(&fs, "d").unwrap().node;
    let mark = name("trusted.overlay.opaque");
    fs.setxattr(&Caller::default(), dir, mark, b"y", SetXattrMode::Any)
        .unwrap();
    assert_eq!(fs.getxattr(dir, mark).unwrap(), b"y");
    assert_eq!(fs.listxattr(dir).unwrap(), b"trusted.overlay.opaque\0");
    drop(fs);
    let fs = world.open();
    let dir = find(&fs, "d").unwrap().node;
    assert_eq!(names(&fs, dir), ["f"]);
    assert_eq!(fs.getxattr(dir, mark).unwrap(), b"y");
}

#[test]
fn a7_a_union_without_upper_refuses_every_change() {
    let world = World::new();
    fs::write(world.path("top/f"), "x").unwrap();
    let fs = FileSystem::open(&Config {
        upper: None,
        ..world.config()
    })
    .unwrap();
    let node = find(&fs, "f").unwrap().node;
    let caller = Caller::default();
    let root = NodeId::ROOT;
    assert_eq!(fs.unlink(root, name("f")), Err(Error::ReadOnly));
    assert_eq!(fs.rmdir(root, name("f")), Err(Error::ReadOnly));
    assert_eq!(
        fs.mkdir(&caller, root, name("d"), 0o755, 0).unwrap_err(),
        Error::ReadOnly
    );
    assert_eq!(fs.link(node, root, name("g")).unwrap_err(), Error::ReadOnly);
    assert_eq!(fs.open_file(node, libc::O_RDWR), Err(Error::ReadOnly));
    assert_eq!(
        fs.setattr(node, None, &SetAttr::default()),
        Err(Error::ReadOnly)
    );
    let to = RenameMode::Replace;
    assert_eq!(
        fs.rename(root, name("f"), root, name("g"), to),
        Err(Error::ReadOnly)
    );
    assert_eq!(content(&fs, node), "x");
}

#[test]
fn names_that_cannot_be_are_refused() {
    let world = World::new();
    let fs = world.open();
    let long = "n".repeat(256);
    for (text, error) in [
        (&*long, Error::NameTooLong),
        ("", Error::Invalid),
        ("a/b", Error::Invalid),
        (".", Error::Invalid),
        ("..", Error::Invalid),
    ] {
        assert_eq!(fs.lookup(NodeId::ROOT, name(text)).unwrap_err(), error);
    }
    let made = fs
        .mkdir(&Caller::default(), NodeId::ROOT, name(&long[1..]), 0o755, 0)
        .unwrap();
    assert_eq!(made.attr.kind, Kind::Directory);
}

#[test]
fn an_upper_is_used_by_one_mount_at_a_time() {
    let world = World::new();
    let first = world.open();
    assert!(matches!(
        FileSystem::open(&world.config()),
        Err(OpenError::InUse { .. })
    ));
    drop(first);
    world.open();
}

#[test]
fn f3_a_volatile_upper_that_was_not_closed_is_not_trusted_again() {
    let world = World::new();
    let volatile = Config {
        volatile: true,
        ..world.config()
    };
    drop(FileSystem::open(&volatile).unwrap());
    let error = FileSystem::open(&world.config()).unwrap_err();
    assert!(matches!(error, OpenError::VolatileCrash { .. }), "{error}");
    fs::remove_file(world.path("work/layerfs/volatile")).unwrap();
    FileSystem::open(&volatile).unwrap().close().unwrap();
    world.open();
}

#[test]
fn what_a_crash_left_in_the_stage_is_gone_after_the_next_open() {
    let world = World::new();
    let left = world.path("work/layerfs/stage/17/deep");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("f"), "").unwrap();
    let _fs = world.open();
    let stage: Vec<_> = fs::read_dir(world.path("work/layerfs/stage"))
        .unwrap()
        .collect();
    assert!(stage.is_empty(), "{stage:?}");
    assert!(
        Path::new(&world.path("upper"))
            .read_dir()
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn r4_a_redirect_that_leaves_the_layer_is_damage() {
    let world = World::new();
    fs::create_dir_all(world.path("bottom/d")).unwrap();
    fs::write(world.dir.path().join("secret"), "secret").unwrap();
    for redirect in ["..", "../..", "/../..", "d/../..", "."] {
        let dir = world.path("upper/moved");
        fs::create_dir_all(&dir).unwrap();
        rustix::fs::setxattr(
            &dir,
            "trusted.overlay.redirect",
            redirect.as_bytes(),
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
        let fs = world.open();
        assert_eq!(
            find(&fs, "moved").unwrap_err(),
            Error::Damaged,
            "{redirect}"
        );
    }
}

/// Once `.` was looked up as a name of its directory, which then lay in itself: the next rename into it
/// never ended.
#[test]
fn d1_n2_dots_of_a_listing_are_no_names_of_directories() {
    let world = World::new();
    let fs = world.open();
    let caller = Caller::default();
    let outer = fs
        .mkdir(&caller, NodeId::ROOT, name("outer"), 0o755, 0)
        .unwrap()
        .node;
    let inner = fs
        .mkdir(&caller, outer, name("inner"), 0o755, 0)
        .unwrap()
        .node;
    fs.mkdir(&caller, NodeId::ROOT, name("moved"), 0o755, 0)
        .unwrap();
    for directory in [outer, inner] {
        let mut dots = 0;
        fs.readdirplus(directory, 0, &mut |entry, found| {
            if entry.name == "." || entry.name == ".." {
                assert_eq!(found.node, NodeId(0));
                dots += 1;
            }
            true
        })
        .unwrap();
        assert_eq!(dots, 2);
    }
    let mode = RenameMode::Replace;
    fs.rename(NodeId::ROOT, name("moved"), inner, name("moved"), mode)
        .unwrap();
    let into_itself = fs.rename(NodeId::ROOT, name("outer"), inner, name("x"), mode);
    assert_eq!(into_itself, Err(Error::Invalid));
}
