//! Many threads at once, without the kernel's locks: no request may wait for ever or break the tree.

use std::collections::HashSet;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;

/// A small generator: the same seed gives the same numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// A directory zero to two names below the root, and a name: as a program would give them.
fn place(fs: &FileSystem, random: &mut Random) -> Option<(NodeId, String)> {
    let mut node = NodeId::ROOT;
    for _ in 0..random.below(3) {
        let step = ["a", "b", "c"][random.below(3) as usize];
        node = fs.lookup(node, name(step)).ok()?.node;
    }
    Some((node, ["a", "b", "c"][random.below(3) as usize].to_owned()))
}

fn change(fs: &FileSystem, random: &mut Random) -> Option<()> {
    let (from, old) = place(fs, random)?;
    let (to, new) = place(fs, random)?;
    let caller = Caller::default();
    let result = match random.below(6) {
        0 | 1 => fs.mkdir(&caller, from, name(&old), 0o755, 0).map(drop),
        2 => fs.rmdir(from, name(&old)),
        3 => fs.rename(from, name(&old), to, name(&new), RenameMode::Replace),
        4 => fs.rename(from, name(&old), to, name(&new), RenameMode::Exchange),
        _ => fs
            .lookup(from, name(&old))
            .map(|entry| drop(names(fs, entry.node))),
    };
    let expected = [
        Error::NotFound,
        Error::Exists,
        Error::NotEmpty,
        Error::Invalid,
        Error::NotDirectory,
    ];
    if let Err(error) = result {
        assert!(expected.contains(&error), "{error:?}");
    }
    Some(())
}

/// Every directory below `node`, each once.
fn walk(fs: &FileSystem, node: NodeId, seen: &mut HashSet<NodeId>) {
    assert!(seen.insert(node), "{node:?} is in two places");
    for child in names(fs, node) {
        walk(fs, fs.lookup(node, name(&child)).unwrap().node, seen);
    }
}

#[test]
fn n2_directories_moved_by_many_threads_stay_one_tree() {
    let world = World::new();
    for path in ["bottom/a/b/c", "top/a/c", "bottom/b/a", "top/c/b"] {
        fs::create_dir_all(world.path(path)).unwrap();
    }
    let fs = std::sync::Arc::new(world.open());
    let (done, finished) = channel();
    for thread in 1..=4_u64 {
        let (fs, done) = (fs.clone(), done.clone());
        std::thread::spawn(move || {
            let mut random = Random(thread.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for _ in 0..3000 {
                change(&fs, &mut random);
            }
            done.send(()).unwrap();
        });
    }
    drop(done);
    for _ in 0..4 {
        finished
            .recv_timeout(Duration::from_secs(120))
            .expect("a thread is stuck, or has failed");
    }
    walk(&fs, NodeId::ROOT, &mut HashSet::new());
}
