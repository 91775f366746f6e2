//! The sequences that are killed, cut off and lied to: every row of DESIGN.md's "Order of writes",
//! over one pair of layers that holds every kind of object.

use std::path::PathBuf;

use tests::layers::Layer;
use tests::operations::{Create, Op};

/// A sequence of operations, each of which is one step of a program: there is no state between. (The
/// kernel splits a write at the end of a page that it does not hold, so none crosses one.)
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) ops: Vec<Op>,
}

/// A size that is copied up as metadata only.
const LARGE: usize = 100_000;

/// Bytes that are never zero and tell where they belong.
pub(crate) fn data(seed: usize, length: usize) -> Vec<u8> {
    let byte = |i: usize| ((i / 512 + i + seed * 37) % 255 + 1) as u8;
    (0..length).map(byte).collect()
}

/// The layers, topmost first; each names every directory it uses.
pub(crate) fn layers() -> Vec<Layer> {
    let top = Layer::new()
        .file("topfile", data(1, 700))
        .dir("toponly")
        .file("toponly/t", "t")
        .dir("merged")
        .mode(0o770)
        .file("merged/c", data(2, 5000))
        .whiteout("merged/b")
        .dir("merged/sub")
        .file("merged/sub/t", "t")
        .opaque("opaque")
        .file("opaque/shown", "shown")
        .whiteout("wh");
    let bottom = Layer::new()
        .file("small", data(3, 3000))
        .mode(0o4751)
        .owner(1, 2)
        .xattr("user.a", "a")
        .file("big", data(4, LARGE))
        .file("big2", data(5, LARGE))
        .file("gone", data(6, 100))
        .file("wh", "hidden")
        .file("hard1", data(7, 3000))
        .link("hard2", "hard1")
        .file("large1", data(8, LARGE))
        .link("large2", "large1")
        .symlink("link", "small")
        .fifo("fifo")
        .owner(5, 6)
        .socket("socket")
        .char_device("device", 1, 3)
        .dir("d")
        .mode(0o2750)
        .owner(3, 4)
        .file("d/f", data(9, 9000))
        .link("d/hard3", "hard1")
        .dir("d/e")
        .file("d/e/f", data(10, 11_000))
        .dir("deep")
        .dir("deep/x")
        .dir("deep/x/y")
        .xattr("user.y", "y")
        .dir("deep/x/y/z")
        .file("deep/x/y/z/file", data(11, 2000))
        .dir("merged")
        .file("merged/a", data(12, 200))
        .file("merged/b", "b")
        .dir("merged/sub")
        .file("merged/sub/s", "s")
        .dir("opaque")
        .file("opaque/hidden", "hidden")
        .dir("full")
        .file("full/f1", "1")
        .file("full/f2", "2")
        .dir("empty")
        .mode(0o700)
        .dir("empty2");
    vec![top, bottom]
}

fn p(path: &str) -> PathBuf {
    path.into()
}

fn rename(from: &str, to: &str) -> Op {
    Op::Rename(p(from), p(to))
}

fn unlink(path: &str) -> Op {
    Op::Unlink(p(path))
}

fn mkdir(path: &str) -> Op {
    Op::Mkdir(p(path), 0o750)
}

fn create(path: &str) -> Op {
    Op::Create(p(path), 0o640)
}

fn append(path: &str) -> Op {
    Op::Append(p(path), data(20, 300))
}

fn write(path: &str, offset: u64) -> Op {
    Op::Write(p(path), offset, data(21, 2000))
}

fn link(from: &str, to: &str) -> Op {
    Op::Link(p(from), p(to))
}

fn xattr(path: &str) -> Op {
    Op::SetXattr(p(path), "user.new".into(), b"new".into(), Create::Any)
}

/// All scenarios.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let scenario = |name, ops| Scenario { name, ops };
    vec![
        scenario("create", creations()),
        scenario("create_over_whiteouts", over_whiteouts()),
        scenario("remove", removals()),
        scenario("remove_hard_links", hard_links_removed()),
        scenario("rename_files", files_renamed()),
        scenario("rename_directories", directories_renamed()),
        scenario("exchange", exchanged()),
        scenario("link", linked()),
        scenario("copy_up_files", files_copied_up()),
        scenario("copy_up_metadata_only", metadata_copied_up()),
        scenario("copy_up_hard_links", hard_links_copied_up()),
        scenario("copy_up_others", others_copied_up()),
        scenario("indexed", indexed()),
    ]
}

/// The scenario of that name.
pub(crate) fn scenario(name: &str) -> Scenario {
    scenarios()
        .into_iter()
        .find(|scenario| scenario.name == name)
        .unwrap_or_else(|| panic!("no scenario {name}"))
}

fn creations() -> Vec<Op> {
    vec![
        create("new"),
        write("new", 0),
        mkdir("dir"),
        create("dir/in"),
        Op::Symlink(p("small"), p("symlink")),
        Op::Fifo(p("pipe"), 0o600),
        Op::Socket(p("sock"), 0o600),
        Op::Device(p("null"), 1, 3),
        Op::Device(p("zero"), 0, 0),
        create("d/new"),
        Op::Device(p("d/e/zero"), 0, 0),
        mkdir("deep/x/y/dir"),
        create("merged/sub/new"),
        create("opaque/new"),
    ]
}

fn over_whiteouts() -> Vec<Op> {
    vec![
        create("wh"),
        create("merged/b"),
        unlink("small"),
        create("small"),
        Op::Rmdir(p("empty")),
        mkdir("empty"),
        create("empty/in"),
        unlink("link"),
        Op::Symlink(p("big"), p("link")),
        unlink("fifo"),
        Op::Fifo(p("fifo"), 0o600),
        unlink("device"),
        Op::Device(p("device"), 0, 0),
        unlink("gone"),
        mkdir("gone"),
        unlink("d/f"),
        mkdir("d/f"),
        Op::Rmdir(p("d/f")),
        create("d/f"),
    ]
}

fn removals() -> Vec<Op> {
    vec![
        unlink("small"),
        append("d/f"),
        unlink("d/f"),
        create("new"),
        unlink("new"),
        unlink("merged/a"),
        unlink("merged/c"),
        unlink("merged/sub/s"),
        unlink("merged/sub/t"),
        Op::Rmdir(p("merged/sub")),
        Op::Rmdir(p("merged")),
        Op::Rmdir(p("empty")),
        mkdir("dir"),
        Op::Rmdir(p("dir")),
        unlink("link"),
        unlink("fifo"),
        unlink("device"),
        unlink("full/f1"),
        create("full/new"),
        unlink("full/f2"),
        unlink("full/new"),
        Op::Rmdir(p("full")),
        unlink("opaque/shown"),
        Op::Rmdir(p("opaque")),
    ]
}

fn hard_links_removed() -> Vec<Op> {
    vec![
        unlink("hard1"),
        unlink("d/hard3"),
        append("hard2"),
        unlink("hard2"),
        Op::Chmod(p("large1"), 0o600),
        unlink("large1"),
        unlink("large2"),
    ]
}

fn files_renamed() -> Vec<Op> {
    vec![
        rename("small", "small2"),
        rename("big", "small2"),
        rename("gone", "topfile"),
        unlink("d/f"),
        rename("small2", "d/f"),
        create("new"),
        rename("new", "new2"),
        rename("new2", "deep/x/y/z/file"),
        rename("link", "link2"),
        rename("fifo", "d/fifo"),
        rename("hard1", "hard9"),
        rename("hard2", "topfile"),
        rename("merged/c", "merged/b"),
        rename("d/e/f", "hard9"),
        Op::RenameNoReplace(p("device"), p("d/device")),
        Op::RenameNoReplace(p("socket"), p("wh")),
        rename("large1", "large3"),
        rename("large2", "large3"),
    ]
}

fn directories_renamed() -> Vec<Op> {
    vec![
        rename("d", "d2"),
        rename("merged", "merged2"),
        mkdir("dir"),
        create("dir/in"),
        rename("dir", "dir2"),
        rename("dir2", "empty"),
        unlink("full/f1"),
        unlink("full/f2"),
        rename("deep", "full"),
        Op::Rmdir(p("empty2")),
        rename("toponly", "empty2"),
        rename("d2/e", "e"),
        rename("d2", "merged2/d2"),
        mkdir("d"),
        create("d/f"),
        rename("full/x/y", "d/y"),
        rename("merged2/sub", "merged2/sub2"),
        rename("opaque", "opaque2"),
    ]
}

fn exchanged() -> Vec<Op> {
    let exchange = |a: &str, b: &str| Op::Exchange(p(a), p(b));
    vec![
        exchange("small", "big"),
        exchange("d", "merged"),
        exchange("d", "topfile"),
        create("new"),
        exchange("new", "topfile/c"),
        mkdir("dir"),
        exchange("dir", "deep"),
        exchange("hard1", "link"),
        exchange("empty", "fifo"),
        exchange("dir/x/y", "merged/e"),
        exchange("opaque", "toponly"),
    ]
}

fn linked() -> Vec<Op> {
    vec![
        link("small", "small2"),
        link("big", "d/big3"),
        link("link", "link2"),
        unlink("gone"),
        link("small", "gone"),
        link("hard1", "deep/x/hard"),
        create("new"),
        link("new", "merged/b"),
        link("fifo", "fifo2"),
        link("device", "d/device"),
        unlink("small"),
        unlink("hard1"),
        unlink("small2"),
    ]
}

fn files_copied_up() -> Vec<Op> {
    vec![
        append("small"),
        Op::Chmod(p("d/f"), 0o600),
        Op::Utimens(p("gone"), 900_000_000, 7),
        xattr("topfile"),
        Op::Chown(p("merged/a"), 8, 9),
        Op::Truncate(p("d/e/f"), 3),
        Op::Truncate(p("merged/c"), 6000),
        append("deep/x/y/z/file"),
        Op::Punch(p("d/f"), 0, 4096),
        Op::Extend(p("gone"), 100, 5000),
        Op::Truncate(p("merged/sub/t"), 0),
        write("big", 49_200),
        Op::Truncate(p("big2"), 70_000),
        Op::RemoveXattr(p("opaque/shown"), "user.a".into()),
    ]
}

fn metadata_copied_up() -> Vec<Op> {
    vec![
        Op::Chmod(p("big"), 0o4755),
        Op::Chown(p("big"), 8, 9),
        xattr("big"),
        Op::Utimens(p("big"), 900_000_000, 7),
        rename("big", "d/big"),
        append("d/big"),
        Op::Chown(p("big2"), 8, 9),
        Op::Truncate(p("big2"), 70_000),
        Op::Truncate(p("big2"), 90_000),
        Op::RemoveXattr(p("d/big"), "user.new".into()),
    ]
}

fn hard_links_copied_up() -> Vec<Op> {
    vec![
        append("hard1"),
        Op::Chmod(p("large2"), 0o600),
        write("large1", 20_500),
        link("hard2", "d/hard4"),
        unlink("hard1"),
        rename("d/hard3", "hard5"),
        Op::Truncate(p("hard2"), 10),
        rename("d", "d2"),
        append("d2/hard4"),
        unlink("large2"),
    ]
}

fn others_copied_up() -> Vec<Op> {
    vec![
        Op::Chmod(p("deep/x/y"), 0o700),
        Op::Chown(p("merged"), 8, 9),
        Op::Utimens(p("empty"), 900_000_000, 7),
        xattr("d"),
        Op::RemoveXattr(p("deep/x/y"), "user.y".into()),
        Op::Chmod(p("."), 0o711),
        Op::Chown(p("link"), 8, 9),
        Op::Utimens(p("link"), 900_000_000, 7),
        Op::Chown(p("fifo"), 8, 9),
        Op::Utimens(p("device"), 900_000_000, 7),
        Op::Chmod(p("socket"), 0o600),
        xattr("opaque"),
        Op::Utimens(p("d/e"), 900_000_000, 7),
        append("d/e/f"),
    ]
}

/// A hard-linked file one of whose names cannot be reached by its path in the layer stays indexed.
fn indexed() -> Vec<Op> {
    vec![
        rename("d", "d2"),
        append("hard1"),
        link("hard1", "new"),
        link("hard2", "d2/e/new"),
        unlink("hard1"),
        append("d2/hard3"),
        rename("hard2", "hard6"),
        rename("small", "d2/hard3"),
        unlink("hard6"),
        rename("new", "deep/x/y/new"),
        unlink("d2/e/new"),
        unlink("deep/x/y/new"),
    ]
}
