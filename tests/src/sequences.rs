//! Random layers and random operations over few names, from a seed; and the shrinking of a
//! sequence that fails.

use std::path::{Path, PathBuf};

use crate::layers::Layer;
use crate::model::Acl;
use crate::operations::{Create, Op};

/// A small xorshift generator: the same seed gives the same numbers on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d | 1)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.draw() >> 33) as usize) % n
    }

    /// True in `percent` of cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// What random layers hold.
#[derive(Debug, Clone, Copy)]
pub struct World {
    /// Hard links inside a layer.
    pub hard_links: bool,
    /// Whiteouts in layers (the kernel lists some of them, without letting them be opened).
    pub whiteouts: bool,
    /// Number of lowers.
    pub lowers: usize,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A path of one to three of the few names.
fn any_path(random: &mut Random) -> PathBuf {
    let depth = *random.pick(&[1, 1, 2, 2, 2, 3]);
    (0..depth).map(|_| *random.pick(&NAMES)).collect()
}

/// Random layers, topmost first. Names collide across layers on purpose; inside a layer a path
/// is used once and only below directories.
pub fn layers(random: &mut Random, world: World) -> Vec<Layer> {
    (0..world.lowers)
        .map(|depth| layer(random, world, depth + 1 == world.lowers))
        .collect()
}

fn layer(random: &mut Random, world: World, bottom: bool) -> Layer {
    let mut layer = Layer::new();
    let mut directories = vec![PathBuf::new()];
    let mut taken: Vec<PathBuf> = Vec::new();
    let mut files: Vec<PathBuf> = Vec::new();
    for _ in 0..6 + random.below(12) {
        let path = random.pick(&directories).clone().join(random.pick(&NAMES));
        if taken.contains(&path) || path.components().count() > 3 {
            continue;
        }
        taken.push(path.clone());
        let roll = random.below(100);
        layer = match roll {
            0..35 => {
                directories.push(path.clone());
                let opaque = !bottom && random.chance(20);
                if opaque {
                    layer.opaque(&path)
                } else {
                    layer.dir(&path)
                }
            }
            35..70 => {
                files.push(path.clone());
                let length = *random.pick(&[0, 1, 10, 5000]);
                layer.file(&path, vec![b'a' + random.below(26) as u8; length])
            }
            70..78 => layer.symlink(&path, random.pick(&["a", "b/c", "nowhere"])),
            78..82 => layer.fifo(&path),
            82..84 => layer.socket(&path),
            84..86 => layer.char_device(&path, 1, 3),
            86..92 if world.hard_links && !files.is_empty() => {
                // A hard link carries its first name's attributes: nothing to dress.
                let first = random.pick(&files).clone();
                layer = layer.link(&path, first);
                continue;
            }
            _ if !bottom && world.whiteouts => {
                layer = layer.whiteout(&path);
                continue;
            }
            _ => layer.file(&path, "bottom"),
        };
        layer = dress(random, layer, roll);
    }
    layer
}

fn dress(random: &mut Random, mut layer: Layer, roll: usize) -> Layer {
    if random.chance(30) {
        layer = layer.mode(*random.pick(&[0o600, 0o755, 0o4755, 0o2770, 0o1777, 0o444]));
    }
    if random.chance(30) {
        layer = layer.owner(1000 + random.below(3) as u32, 2000 + random.below(3) as u32);
    }
    if random.chance(25) {
        // user.* is for files and directories only; trusted.* is for all.
        let name = if roll < 70 {
            "user.layer"
        } else {
            "trusted.layer"
        };
        layer = layer.xattr(name, [0, 1, 255, random.below(256) as u8]);
    }
    layer
}

/// One random operation; `present` are paths that are there now.
pub fn operation(random: &mut Random, present: &[PathBuf]) -> Op {
    let there = path(random, present, 80);
    match random.below(100) {
        0..6 => Op::Create(
            path(random, present, 20),
            *random.pick(&[0o644, 0o600, 0o4711]),
        ),
        6..11 => Op::Write(there, random.below(6000) as u64, data(random)),
        11..14 => Op::Overwrite(there, data(random)),
        14..18 => Op::Append(there, data(random)),
        18..21 => Op::Truncate(there, *random.pick(&[0, 1, 100, 9000])),
        21..23 => Op::Punch(there, 0, 4096),
        23..25 => Op::Extend(there, 100, 5000),
        25..27 => Op::Read(there),
        27..28 => Op::Readlink(there),
        28..31 => Op::List(there),
        31..34 => Op::Stat(there),
        34..40 => Op::Mkdir(
            path(random, present, 20),
            *random.pick(&[0o755, 0o2755, 0o1777]),
        ),
        40..46 => Op::Rmdir(there),
        46..53 => Op::Unlink(there),
        53..65 => Op::Rename(there, path(random, present, 50)),
        65..67 => Op::RenameNoReplace(there, path(random, present, 30)),
        67..71 => Op::Exchange(there, path(random, present, 90)),
        71..77 => Op::Link(there, path(random, present, 20)),
        77..80 => Op::Symlink(any_path(random), path(random, present, 20)),
        80..84 => Op::Chmod(there, *random.pick(&[0o600, 0o4755, 0o2755, 0o777, 0o1755])),
        84..88 => Op::Chown(there, random.below(3) as u32, random.below(3) as u32),
        88..90 => Op::Utimens(there, 900_000_000, random.below(999_999_999) as i64),
        90..94 => set_xattr(random, there),
        94..96 => Op::RemoveXattr(
            there,
            String::from(*random.pick(&["user.layer", "user.new"])),
        ),
        96..97 => Op::Fifo(path(random, present, 20), 0o640),
        97..98 => Op::Socket(path(random, present, 20), 0o600),
        98..99 => Op::Device(path(random, present, 20), 1, 5),
        _ => Op::UnlinkOpen(there),
    }
}

/// As [`operation`], and now and then one of those that few programs make: files without a name,
/// mappings, ACLs, listing on from a cookie.
pub fn any_operation(random: &mut Random, present: &[PathBuf]) -> Op {
    let there = path(random, present, 80);
    match random.below(100) {
        0..4 => Op::Unnamed(path(random, present, 20), data(random)),
        4..8 => Op::Mapped(there, random.below(20) as u64, data(random)),
        8..12 => Op::Scan(there),
        12..20 => {
            let name = *random.pick(&["system.posix_acl_access", "system.posix_acl_default"]);
            let mode = *random.pick(&[0o640, 0o755, 0o701]);
            let acl = match random.chance(75) {
                true => Acl::naming(random.below(3) as u32, random.below(8) as u16, mode),
                false => Acl::minimal(mode),
            };
            Op::SetXattr(there, name.to_owned(), acl.bytes(), Create::Any)
        }
        20..23 => Op::RemoveXattr(
            there,
            String::from(*random.pick(&["system.posix_acl_access", "system.posix_acl_default"])),
        ),
        _ => operation(random, present),
    }
}

fn set_xattr(random: &mut Random, path: PathBuf) -> Op {
    let name = String::from(*random.pick(&["user.layer", "user.new", "trusted.new"]));
    let how = *random.pick(&[Create::Any, Create::Any, Create::Must, Create::Replace]);
    Op::SetXattr(path, name, data(random), how)
}

fn path(random: &mut Random, present: &[PathBuf], percent_present: usize) -> PathBuf {
    if !present.is_empty() && random.chance(percent_present) {
        return random.pick(present).clone();
    }
    // Half of the new paths lie in a directory that is there (or under a file, for the errno).
    match present.is_empty() || random.chance(50) {
        true => any_path(random),
        false => random.pick(present).join(random.pick(&NAMES)),
    }
}

fn data(random: &mut Random) -> Vec<u8> {
    vec![b'A' + random.below(26) as u8; *random.pick(&[0, 1, 7, 300])]
}

/// Paths present in a tree, relative, without the root; depth is bounded by the renames made.
pub fn present(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(directory) = todo.pop() {
        let mut names: Vec<_> = std::fs::read_dir(root.join(&directory))
            .unwrap()
            .map(|e| e.unwrap())
            .map(|e| (e.file_name(), e.file_type().unwrap().is_dir()))
            .collect();
        names.sort();
        for (name, is_directory) in names {
            let path = directory.join(name);
            if is_directory {
                todo.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

/// Shortens a failing sequence: takes out runs of operations as long as `fails` still says so.
pub fn shrink(ops: &[Op], mut fails: impl FnMut(&[Op]) -> bool) -> Vec<Op> {
    let mut best = ops.to_vec();
    let mut size = best.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < best.len() {
            let mut shorter = best.clone();
            shorter.drain(at..(at + size).min(best.len()));
            if fails(&shorter) {
                best = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    best
}

/// How many sequences to run: `LAYERFS_SEQUENCES` or the short number given.
pub fn count(short: usize) -> usize {
    std::env::var("LAYERFS_SEQUENCES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(short)
}

/// Where the seeds begin: `LAYERFS_SEED`, or 1.
pub fn first_seed() -> u64 {
    std::env::var("LAYERFS_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_sequence() {
        let make = |seed| {
            let mut random = Random::new(seed);
            (0..50)
                .map(|_| operation(&mut random, &[]))
                .collect::<Vec<_>>()
        };
        assert_eq!(make(7), make(7));
        assert_ne!(make(7), make(8));
    }

    #[test]
    fn shrinking_keeps_what_fails() {
        let op = |name: &str| Op::Unlink(PathBuf::from(name));
        let ops: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].map(op).to_vec();
        let short = shrink(&ops, |ops| ops.contains(&op("b")) && ops.contains(&op("f")));
        assert_eq!(short, [op("b"), op("f")]);
    }
}
