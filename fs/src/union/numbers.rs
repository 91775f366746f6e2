//! Inode numbers (contract I1).
//!
//! ```text
//!   63      62 .. 48            47 .. 0
//!   | odd | layer position    | inode number there |     position 0 is the upper
//! ```
//!
//! The position counts from the lowest layer, so numbers stay when layers are added on top. What does
//! not fit (a number of more than 48 bits, another device inside a layer) gets bit 63 and a hash of all
//! it is known by. 0 and 1 are never given: FUSE uses them.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use rustix::fs::Stat;

use crate::layer::LayerDir;
use crate::upper::Origin;

/// The most layers a mount may have.
pub const LAYERS_MAX: usize = (1 << 15) - 1;

const BITS: u32 = 48;
const ODD: u64 = 1 << 63;

/// The position of a record whose number is the st_ino itself: of objects whose st_ino is a hash.
pub const AS_IT_IS: u16 = u16::MAX;

/// The st_ino of inode `ino` of the layer at `position` (0: the upper). `foreign` is the device it
/// lies on if that is not the layer's own.
pub fn number(position: u16, ino: u64, foreign: Option<u64>) -> u64 {
    let fits = ino >> BITS == 0 && foreign.is_none() && usize::from(position) <= LAYERS_MAX;
    if fits && !(position == 0 && ino <= 1) {
        return u64::from(position) << BITS | ino;
    }
    // DefaultHasher::new is the same in every process, which RandomState is not.
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    ODD | hasher.hash_one((position, ino, foreign))
}

/// The st_ino of an object of a layer, found in the directory `dir` (or that directory itself).
pub fn lower_number(dir: &LayerDir, stat: &Stat) -> u64 {
    let layer = dir.layer();
    let foreign = (stat.st_dev != layer.device()).then_some(stat.st_dev);
    let (position, ino) = layer.place(stat.st_ino);
    number(position, ino, foreign)
}

/// The same from a line of its listing, which is of the directory's own device.
pub fn listed_number(dir: &LayerDir, ino: u64) -> u64 {
    let (position, ino) = dir.layer().place(ino);
    number(position, ino, None)
}

/// The identity of a layer's object, for records and the index.
pub fn origin_of(dir: &LayerDir, stat: &Stat) -> Origin {
    let shown = lower_number(dir, stat);
    let (position, ino) = dir.layer().place(stat.st_ino);
    match number(position, ino, None) == shown {
        true => Origin::of(position, ino),
        false => Origin::of(AS_IT_IS, shown),
    }
}

/// The st_ino that a record says.
pub fn shown_number(origin: &Origin) -> u64 {
    match origin.position {
        AS_IT_IS => origin.ino,
        position => number(position, origin.ino, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_numbers_are_unique_and_constant() {
        assert_eq!(number(0, 12, None), 12);
        assert_ne!(number(1, 12, None), number(2, 12, None));
        assert_ne!(number(1, 12, None), number(1, 12, Some(7)));
        let odd = number(3, u64::MAX, None);
        assert_eq!(odd, number(3, u64::MAX, None));
        assert_ne!(odd, number(3, u64::MAX - 1, None));
        assert!(number(0, 0, None) > 1 && number(0, 1, None) > 1);
    }
}
