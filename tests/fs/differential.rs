//! Random layers, random operations: a plain ext4 tree, layerfs, and kernel overlayfs agree.
//!
//! Every sequence: mount, the same operations on the union and on a plain copy (answers compared
//! one by one), trees compared; remount, compared; the upper in kernel overlayfs, compared (R3);
//! lowers compared (R7). A failure is shrunk and printed as a script with its seed.
//! `LAYERFS_SEQUENCES=N` runs more, `LAYERFS_SEED=S` begins elsewhere.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tests::layers::{Layer, flatten};
use tests::lowers::Lowers;
use tests::mounts::Union;
use tests::operations::{Op, apply};
use tests::packs;
use tests::scratch::Scratch;
use tests::sequences::{Random, World, count, first_seed, layers, operation, present, shrink};
use tests::snapshot::{Snapshot, View};
use tests::stage::START;

const OPERATIONS: usize = 40;
const OVERLAY: &str = "metacopy=on,redirect_dir=on,index=off,xino=off";

/// What a run of a sequence ends with: a description of the first difference.
type Verdict = Result<(), String>;

fn differ(what: &str, wanted: &Snapshot, root: &Path) -> Verdict {
    let diff = wanted.diff(&Snapshot::of(root, &View::since(START)));
    if diff.is_empty() {
        Ok(())
    } else {
        Err(format!("{what} (- plain, + union):\n{diff}"))
    }
}

/// What the layers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lower {
    Directories,
    Packed,
    /// One index of packed layers; for the remount the layers themselves.
    Merged,
}

/// The state a sequence starts from: the same layers every time it is tried.
struct Setting {
    scratch: Scratch,
    union: Union,
    /// What is mounted the second time.
    again: Union,
    /// The same with directories below, for overlayfs.
    plain: Union,
}

impl Setting {
    fn new(layers: &[Layer], lowers: Lower) -> Self {
        let scratch = Scratch::new();
        let trees: Vec<_> = layers
            .iter()
            .enumerate()
            .map(|(i, layer)| layer.write(scratch.join(format!("lower{i}"))))
            .collect();
        let plain = Union::of(&trees, scratch.dir("merged"))
            .upper(scratch.dir("upper"), scratch.dir("work"));
        let mut union = plain.clone();
        if lowers != Lower::Directories {
            for tree in &mut union.lowers {
                *tree = packs::of_directory(tree, &tree.with_extension("lfs"));
            }
        }
        let again = union.clone();
        if lowers == Lower::Merged {
            union.lowers = vec![packs::merged(&union.lowers, &scratch.join("image.idx"))];
        }
        Self {
            scratch,
            union,
            again,
            plain,
        }
    }

    /// The plain tree; made from the layers by code that knows no union. (Not by the kernel's
    /// overlayfs: it lists whiteouts of directories that it need not merge.)
    fn plain(&self, world: &[Layer]) -> std::path::PathBuf {
        let plain = self.scratch.join("plain");
        flatten(world, &plain);
        // The merged root takes its attributes from the upper's root.
        plain_root(&plain, &self.union.upper.as_ref().unwrap().0);
        plain
    }
}

fn plain_root(plain: &Path, upper: &Path) {
    let [to, from] = [plain, upper].map(|p| p.to_str().unwrap().to_owned());
    tests::process::call("chmod", &["--reference", &from, &to]).ok();
    tests::process::call("chown", &["--reference", &from, &to]).ok();
    tests::process::call("touch", &["--reference", &from, &to]).ok();
}

fn inode_numbers(root: &Path) -> Vec<(PathBuf, u64)> {
    let number = |path: &PathBuf| fs::symlink_metadata(root.join(path)).unwrap().ino();
    let paths = present(root).into_iter();
    paths.map(|path| (path.clone(), number(&path))).collect()
}

/// Runs operations chosen from what is there; gives them, and the verdict.
fn run_sequence(
    world: &[Layer],
    lowers: Lower,
    mut next: impl FnMut(&Path) -> Option<Op>,
) -> (Vec<Op>, Verdict) {
    let setting = Setting::new(world, lowers);
    let plain = setting.plain(world);
    let guard = Lowers::guard(&setting.union.lowers);
    let mut done = Vec::new();
    let verdict = (|| {
        let mount = setting.union.layerfs();
        differ(
            "before any operation",
            &Snapshot::of(&plain, &View::since(START)),
            mount.path(),
        )?;
        while let Some(op) = next(&plain) {
            let (wanted, found) = (apply(&plain, &op), apply(mount.path(), &op));
            done.push(op.clone());
            if wanted != found {
                return Err(format!("{op:?}: plain {wanted:?}, union {found:?}"));
            }
        }
        let wanted = Snapshot::of(&plain, &View::since(START));
        differ("after the operations", &wanted, mount.path())?;
        let numbers = inode_numbers(mount.path());
        mount.unmount();
        let mount = setting.again.layerfs();
        differ("after a remount", &wanted, mount.path())?;
        let same = inode_numbers(mount.path());
        if same != numbers {
            return Err(format!("I1: {numbers:?}, after a remount {same:?}"));
        }
        mount.unmount();
        // Hard links of lowers break in overlay without an index: not ours to answer for.
        if world.iter().any(Layer::has_links) {
            return Ok(());
        }
        let overlay = setting.plain.overlay(OVERLAY);
        let view = View {
            ghosts: true,
            ..View::since(START)
        };
        let wanted = Snapshot::of(&plain, &view);
        let diff = wanted.diff(&Snapshot::of(overlay.path(), &view));
        overlay.unmount();
        if diff.is_empty() {
            Ok(())
        } else {
            Err(format!("R3: the upper in overlay:\n{diff}"))
        }
    })();
    guard.check();
    (done, verdict)
}

#[track_caller]
fn run_many(sequences: usize, world: World, lowers: Lower) {
    let seed = first_seed();
    for seed in seed..seed + sequences as u64 {
        let mut random = Random::new(seed);
        let mut layers = layers(&mut random, world);
        if lowers != Lower::Directories {
            layers = layers.into_iter().map(Layer::without_sockets).collect();
        }
        let mut left = OPERATIONS;
        let (ops, verdict) = run_sequence(&layers, lowers, |plain| {
            left = left.checked_sub(1)?;
            Some(operation(&mut random, &present(plain)))
        });
        let Err(first) = verdict else { continue };
        let replay = |ops: &[Op]| {
            let mut ops = ops.iter().cloned();
            run_sequence(&layers, lowers, |_| ops.next()).1
        };
        let short = shrink(&ops, |ops| replay(ops).is_err());
        let last = replay(&short).err().unwrap_or(first);
        panic!(
            "seed {seed}: {last}\n--- operations\n{}\n--- layers, topmost first\n{}",
            short
                .iter()
                .map(|op| format!("{op:?}\n"))
                .collect::<String>(),
            layers
                .iter()
                .map(|layer| format!("{layer:?}\n"))
                .collect::<String>(),
        );
    }
}

#[test]
fn random_operations_agree_with_a_plain_tree() {
    run_many(
        count(60),
        World {
            hard_links: false,
            whiteouts: true,
            lowers: 2,
        },
        Lower::Directories,
    );
}

#[test]
fn random_operations_with_hard_links_agree_with_a_plain_tree() {
    run_many(
        count(30),
        World {
            hard_links: true,
            whiteouts: false,
            lowers: 1,
        },
        Lower::Directories,
    );
}

#[test]
fn random_operations_over_three_layers_agree_with_a_plain_tree() {
    run_many(
        count(30),
        World {
            hard_links: false,
            whiteouts: true,
            lowers: 3,
        },
        Lower::Directories,
    );
}

#[test]
fn random_operations_over_packed_layers_agree_with_a_plain_tree() {
    for (hard_links, lowers) in [(false, 3), (true, 1)] {
        let world = World {
            hard_links,
            whiteouts: !hard_links,
            lowers,
        };
        run_many(count(20), world, Lower::Packed);
    }
}

#[test]
fn random_operations_over_a_merged_index_agree_with_a_plain_tree() {
    for (hard_links, lowers) in [(false, 3), (true, 1), (false, 6)] {
        let world = World {
            hard_links,
            whiteouts: !hard_links,
            lowers,
        };
        run_many(count(15), world, Lower::Merged);
    }
}

/// R3 the other way round: what the kernel wrote is read by us.
#[test]
fn r3_random_uppers_of_overlay_are_read() {
    let world = World {
        hard_links: false,
        whiteouts: false,
        lowers: 2,
    };
    let seed = first_seed();
    for seed in seed..seed + count(30) as u64 {
        let mut random = Random::new(seed);
        let layers = layers(&mut random, world);
        let setting = Setting::new(&layers, Lower::Directories);
        let overlay = setting.union.overlay(OVERLAY);
        let mut ops = Vec::new();
        for _ in 0..OPERATIONS {
            let op = operation(&mut random, &present(overlay.path()));
            apply(overlay.path(), &op);
            ops.push(op);
        }
        let wanted = Snapshot::of(overlay.path(), &View::plain());
        overlay.unmount();
        let mount = setting.union.layerfs();
        let diff = wanted.diff(&Snapshot::of(mount.path(), &View::plain()));
        assert!(
            diff.is_empty(),
            "seed {seed} (- overlay, + layerfs):\n{diff}\n{ops:#?}\n{layers:#?}"
        );
        // What it wrote can be removed to the last name.
        for path in present(mount.path()).iter().rev() {
            let path = mount.join(path);
            let gone = fs::symlink_metadata(&path).map(|m| {
                if m.is_dir() {
                    fs::remove_dir_all(&path)
                } else {
                    fs::remove_file(&path)
                }
            });
            assert!(
                matches!(gone, Err(_) | Ok(Ok(()))),
                "seed {seed}: {}: {gone:?}",
                path.display()
            );
        }
        assert_eq!(
            fs::read_dir(mount.path()).unwrap().count(),
            0,
            "seed {seed}"
        );
        mount.unmount();
        drop(setting.scratch);
    }
}
