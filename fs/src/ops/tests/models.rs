//! The real operations, their locks under shuttle's scheduler: it tries one order of the threads after
//! the other, at every lock, and finds deadlocks by itself.
//!
//! ```text
//!   cargo nextest run -p layerfs --features shuttle models::     LAYERFS_ORDERS=N tries N orders each
//! ```
//!
//! Threads are as the kernel's requests are: a node is used while its lookup counts. What is on disk is
//! real; system calls are steps that nothing divides.

use std::sync::Arc;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::thread;

use super::*;
use crate::inode::{Anchor, Node, Place, State, Table, UpperPlace};
use crate::types::Handle;

/// Tries orders of `model`: half at random, half with few changes of thread at the worst places.
fn check(model: impl Fn() + Send + Sync + 'static) {
    let orders = std::env::var("LAYERFS_ORDERS")
        .ok()
        .and_then(|orders| orders.parse().ok())
        .unwrap_or(300);
    let model = Arc::new(model);
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let mut config = shuttle::Config::default();
        // Our operations keep buffers of a page and more on the stack.
        config.stack_size = 1 << 20;
        let model = model.clone();
        shuttle::Runner::new(scheduler, config).run(move || model());
    };
    run(Box::new(RandomScheduler::new(orders / 2)));
    run(Box::new(PctScheduler::new(3, orders / 2)));
}

/// Runs the bodies as threads, to their ends.
fn together(bodies: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = bodies.into_iter().map(thread::spawn).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// A body for [`together`].
fn body(
    fs: &Arc<FileSystem>,
    act: impl FnOnce(&FileSystem) + Send + 'static,
) -> Box<dyn FnOnce() + Send> {
    let fs = fs.clone();
    Box::new(move || act(&fs))
}

/// Takes back the lookups of nodes, as the kernel does when it drops its caches.
fn forget_all(fs: &FileSystem, nodes: &[NodeId]) {
    for node in nodes {
        fs.forget(*node, 1);
    }
    // What lingers is looked at with the next forgets.
    for _ in 0..8 {
        fs.forget(NodeId::ROOT, 0);
    }
}

fn write_at(fs: &FileSystem, node: NodeId, offset: u64, text: &str) {
    let handle = fs.open_file(node, libc::O_RDWR).unwrap();
    assert_eq!(fs.write(handle, offset, text.as_bytes()), Ok(text.len()));
    fs.release(handle);
}

fn read_at(fs: &FileSystem, handle: Handle, offset: u64, length: usize) -> String {
    let mut buffer = vec![0; length];
    let got = fs.read(handle, offset, &mut buffer).unwrap();
    String::from_utf8(buffer[..got].to_vec()).unwrap()
}

/// A node of the table alone, below `parent`.
fn bare_node(id: NodeId, parent: Option<&Arc<Node>>) -> Node {
    let null = std::fs::File::open("/dev/null").unwrap();
    let mut state = State {
        links: Default::default(),
        place: Place::Upper(Box::new(UpperPlace::plain(Anchor::Pinned(Arc::new(
            null.into(),
        ))))),
    };
    if let Some(parent) = parent {
        state.add_link(parent, name("x"));
    }
    Node::new(id, id.0, Kind::File, None, state)
}

#[test]
fn i3_lookup_against_forget_in_the_table() {
    check(|| {
        let table = Arc::new(Table::new(bare_node(NodeId::ROOT, None)));
        let looks = |table: &Arc<Table>| {
            let table = table.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    let (parent, child) = (NodeId(70), NodeId(71));
                    let above = table.insert(parent, || bare_node(parent, None));
                    table.count(parent);
                    let node = table.insert(child, || bare_node(child, Some(&above)));
                    table.count(child);
                    drop((above, node));
                    // While its lookup counts, the kernel's nodeid must mean a node, and always one.
                    let first = table.get(child).expect("a counted node is known");
                    let again = table.get(child).expect("a counted node is known");
                    assert!(Arc::ptr_eq(&first, &again), "one nodeid, two objects");
                    drop((first, again));
                    // The kernel may forget a directory before what is in it.
                    table.forget(parent, 1);
                    assert!(table.get(child).is_some());
                    table.forget(child, 1);
                }
            })
        };
        let threads = [looks(&table), looks(&table), looks(&table)];
        for thread in threads {
            thread.join().unwrap();
        }
        for _ in 0..4 {
            table.forget(NodeId::ROOT, 0);
        }
        assert_eq!(table.len(), 1, "forgotten nodes are let go of");
    });
}

#[test]
fn i3_lookups_and_listings_against_forgets_and_removal() {
    check(|| {
        let world = World::new();
        fs::create_dir(world.path("bottom/d")).unwrap();
        fs::write(world.path("bottom/d/f"), "f").unwrap();
        fs::write(world.path("bottom/d/g"), "g").unwrap();
        let fs = Arc::new(world.open());
        let walk = |fs: &FileSystem| {
            let Ok(d) = fs.lookup(NodeId::ROOT, name("d")) else {
                return;
            };
            let mut seen = vec![d.node];
            if let Ok(f) = fs.lookup(d.node, name("f")) {
                assert!(fs.getattr(f.node, None).is_ok());
                seen.push(f.node);
            }
            fs.readdirplus(d.node, 0, &mut |_, entry| {
                if entry.node != NodeId(0) {
                    seen.push(entry.node);
                }
                true
            })
            .unwrap();
            forget_all(fs, &seen);
        };
        let remove = |fs: &FileSystem| {
            let d = fs.lookup(NodeId::ROOT, name("d")).unwrap().node;
            let f = fs.lookup(d, name("f")).unwrap().node;
            fs.unlink(d, name("f")).unwrap();
            let caller = Caller::default();
            let made = fs.mkdir(&caller, d, name("f"), 0o755, 0).unwrap().node;
            forget_all(fs, &[made, f, d]);
        };
        together(vec![body(&fs, walk), body(&fs, walk), body(&fs, remove)]);
        forget_all(&fs, &[]);
        assert_eq!(fs.nodes(), 1, "forgotten nodes are let go of");
        assert_eq!(find(&fs, "d/f").unwrap().attr.kind, Kind::Directory);
    });
}

/// Two writers and a reader of one lower file of `length` bytes with `names` names.
fn copy_up_against_open(length: usize, names: &'static [&'static str]) {
    check(move || {
        let world = World::new();
        fs::write(world.path("bottom").join(names[0]), "-".repeat(length)).unwrap();
        for other in &names[1..] {
            let first = world.path("bottom").join(names[0]);
            fs::hard_link(first, world.path("bottom").join(other)).unwrap();
        }
        let fs = Arc::new(world.open());
        let node = find(&fs, names[0]).unwrap().node;
        let other = find(&fs, names[names.len() - 1]).unwrap().node;
        assert_eq!(node, other, "I2");
        let reader = fs.open_file(node, libc::O_RDONLY).unwrap();
        let chmod = SetAttr {
            mode: Some(0o600),
            ..SetAttr::default()
        };
        together(vec![
            body(&fs, move |fs| write_at(fs, node, 0, "A")),
            body(&fs, move |fs| write_at(fs, other, 1, "B")),
            body(&fs, move |fs| {
                let late = fs.open_file(node, libc::O_RDONLY).unwrap();
                fs.setattr(node, None, &chmod).unwrap();
                let text = read_at(fs, late, 0, 4);
                assert_eq!(&text[2..], "--", "what nobody writes is the layer's");
                // C5: nothing that was seen is lost again.
                let again = read_at(fs, reader, 0, 4);
                for (before, after) in text.chars().zip(again.chars()) {
                    assert!(before == '-' || before == after, "{text} then {again}");
                }
                fs.release(late);
            }),
        ]);
        assert_eq!(read_at(&fs, reader, 0, 4), "AB--");
        assert_eq!(fs.getattr(node, None).unwrap().size, length as u64);
        assert_eq!(fs.getattr(node, None).unwrap().mode, 0o600);
        let lower = fs::read(world.path("bottom").join(names[0])).unwrap();
        assert!(lower.iter().all(|byte| *byte == b'-'), "R7");
    });
}

#[test]
fn c5_copy_up_against_open() {
    copy_up_against_open(100, &["f"]);
}

#[test]
fn c5_c2_copy_up_of_the_metadata_against_open_and_writing() {
    copy_up_against_open(70_000, &["f"]);
}

#[test]
fn c5_i2_copy_up_of_a_hard_linked_file_against_open() {
    copy_up_against_open(100, &["f", "g"]);
}

#[test]
fn n2_rename_of_a_directory_against_lookups_and_copy_ups_below() {
    check(|| {
        let world = World::new();
        for directory in ["bottom/a/deep", "bottom/b", "top/a"] {
            fs::create_dir_all(world.path(directory)).unwrap();
        }
        fs::write(world.path("bottom/a/deep/f"), "f").unwrap();
        let fs = Arc::new(world.open());
        let a = find(&fs, "a").unwrap().node;
        let b = find(&fs, "b").unwrap().node;
        let deep = find(&fs, "a/deep").unwrap().node;
        let file = find(&fs, "a/deep/f").unwrap().node;
        let look = move |fs: &FileSystem| {
            for path in ["a/deep/f", "b/x/deep/f"] {
                match find(fs, path) {
                    Ok(found) => assert_eq!(found.node, file, "{path}"),
                    Err(error) => assert_eq!(error, Error::NotFound, "{path}"),
                }
            }
            assert_eq!(fs.lookup(deep, name("f")).unwrap().node, file);
        };
        let mode = RenameMode::Replace;
        together(vec![
            body(&fs, move |fs| {
                fs.rename(NodeId::ROOT, name("a"), b, name("x"), mode)
                    .unwrap();
            }),
            body(&fs, look),
            body(&fs, move |fs| write_at(fs, file, 0, "F")),
            body(&fs, move |fs| {
                let made = fs.mkdir(&Caller::default(), deep, name("new"), 0o755, 0);
                assert!(made.is_ok(), "{made:?}");
            }),
        ]);
        let check = |fs: &FileSystem| {
            assert_eq!(find(fs, "a").err(), Some(Error::NotFound));
            let moved = find(fs, "b/x").unwrap().node;
            assert_eq!(names(fs, moved), ["deep"]);
            let deep = find(fs, "b/x/deep").unwrap().node;
            assert_eq!(names(fs, deep), ["f", "new"]);
            assert_eq!(content(fs, find(fs, "b/x/deep/f").unwrap().node), "F");
            (moved, deep)
        };
        assert_eq!(check(&fs), (a, deep), "numbers stay");
        drop(fs);
        assert_eq!(
            check(&world.open()),
            (a, deep),
            "and stay in the next mount"
        );
    });
}

#[test]
fn n2_n3_renames_against_each_other_and_against_removal() {
    check(|| {
        let world = World::new();
        for directory in ["bottom/a/one", "bottom/b", "top/c"] {
            fs::create_dir_all(world.path(directory)).unwrap();
        }
        fs::write(world.path("bottom/a/f"), "f").unwrap();
        let fs = Arc::new(world.open());
        let [a, b, c] = ["a", "b", "c"].map(|path| find(&fs, path).unwrap().node);
        let allowed = |result: Result<(), Error>| {
            let lost = [
                Error::NotFound,
                Error::NotEmpty,
                Error::Invalid,
                Error::Exists,
            ];
            assert!(
                result.is_ok() || lost.contains(&result.unwrap_err()),
                "{result:?}"
            );
            result.is_ok()
        };
        together(vec![
            body(&fs, move |fs| {
                allowed(fs.rename(a, name("f"), b, name("f"), RenameMode::NoReplace));
                allowed(fs.rename(NodeId::ROOT, name("a"), c, name("a"), RenameMode::Replace));
            }),
            body(&fs, move |fs| {
                allowed(fs.rename(NodeId::ROOT, name("c"), a, name("c"), RenameMode::Replace));
                allowed(fs.rename(
                    NodeId::ROOT,
                    name("a"),
                    NodeId::ROOT,
                    name("b"),
                    RenameMode::Exchange,
                ));
            }),
            body(&fs, move |fs| {
                allowed(fs.rmdir(a, name("one")));
                allowed(fs.rmdir(NodeId::ROOT, name("c")));
            }),
        ]);
        // Wherever it went: the file is there once, in this mount and in the next.
        assert_eq!(count_files(&fs, NodeId::ROOT), 1);
        drop(fs);
        assert_eq!(count_files(&world.open(), NodeId::ROOT), 1);
    });
}

fn count_files(fs: &FileSystem, directory: NodeId) -> usize {
    let mut files = 0;
    for entry in names(fs, directory) {
        let found = fs.lookup(directory, name(&entry)).unwrap();
        files += match found.attr.kind {
            Kind::Directory => count_files(fs, found.node),
            _ => 1,
        };
    }
    files
}
