//! The names of one directory, read once and kept small.
//!
//! ```text
//!   slots   | cookie | inode | at, length | kind |   sorted by cookie, then name     24 bytes each
//!                               │
//!   names   bin.bash.dash...    ▼                     all names in one piece
//! ```
//!
//! The cookie is a hash of the name, so it stays the same whatever else the directory holds, in every
//! layer and in the upper: a scan goes on behind a cookie though names came and went, and several
//! directories merge in the order of their cookies (contract D1, D2). The hash is keyed anew in each
//! process, so nobody can make names meet; of a million names two do with a chance of 1 in 18 million.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

use rustix::fs::FileType;

/// Cookies up to this are for `.` and `..`.
const RESERVED: u64 = 2;

/// The place of a name in every listing: 3 to 2^63 - 1.
pub fn cookie(name: &OsStr) -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    let hash = KEY.get_or_init(RandomState::new).hash_one(name.as_bytes());
    (hash >> 1).max(RESERVED + 1)
}

/// One line of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The place of the name.
    pub cookie: u64,
    /// The name.
    pub name: &'a OsStr,
    /// Its type; `None` is a whiteout.
    pub kind: Option<FileType>,
    /// Its inode number (0 for whiteouts).
    pub ino: u64,
}

impl Listed<'_> {
    /// The order of listings.
    pub fn order(&self, other: &Listed<'_>) -> Ordering {
        (self.cookie, self.name).cmp(&(other.cookie, other.name))
    }
}

/// The names of a directory; see the module.
#[derive(Debug, Default)]
pub struct Listing {
    slots: Vec<Slot>,
    names: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    cookie: u64,
    ino: u64,
    at: u32,
    length: u16,
    kind: Option<FileType>,
}

impl Listing {
    /// Adds a name; [`Self::finish`] puts it in its place.
    pub fn push(&mut self, name: &OsStr, kind: Option<FileType>, ino: u64) {
        let (Ok(at), Ok(length)) = (u32::try_from(self.names.len()), u16::try_from(name.len()))
        else {
            // 4 GiB of names: no file system has such a directory.
            return;
        };
        self.names.extend_from_slice(name.as_bytes());
        self.slots.push(Slot {
            cookie: cookie(name),
            ino,
            at,
            length,
            kind,
        });
    }

    /// Sorts what was added. An object goes before a whiteout of the same name, which means nothing
    /// beside it and is dropped.
    pub fn finish(&mut self) {
        let Self { slots, names } = self;
        let name = |slot: &Slot| &names[slot.range()];
        slots.sort_unstable_by(|a, b| {
            (a.cookie, name(a), a.kind.is_none()).cmp(&(b.cookie, name(b), b.kind.is_none()))
        });
        slots.dedup_by(|later, first| later.cookie == first.cookie && name(later) == name(first));
        slots.shrink_to_fit();
        names.shrink_to_fit();
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The line at an index, in the order of cookies.
    pub fn get(&self, index: usize) -> Option<Listed<'_>> {
        let slot = self.slots.get(index)?;
        Some(Listed {
            cookie: slot.cookie,
            name: OsStr::from_bytes(&self.names[slot.range()]),
            kind: slot.kind,
            ino: slot.ino,
        })
    }

    /// The index of the first line behind a cookie (0: of the first line).
    pub fn behind(&self, cookie: u64) -> usize {
        self.slots.partition_point(|slot| slot.cookie <= cookie)
    }

    /// The line of a name.
    pub fn find(&self, name: &OsStr) -> Option<Listed<'_>> {
        let wanted = cookie(name);
        let first = self.slots.partition_point(|slot| slot.cookie < wanted);
        (first..)
            .map_while(|index| self.get(index))
            .take_while(|listed| listed.cookie == wanted)
            .find(|listed| listed.name == name)
    }

    /// All lines.
    pub fn iter(&self) -> impl Iterator<Item = Listed<'_>> {
        (0..).map_while(|index| self.get(index))
    }
}

impl Slot {
    fn range(&self) -> std::ops::Range<usize> {
        self.at as usize..self.at as usize + usize::from(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[(&str, bool)]) -> Listing {
        let mut listing = Listing::default();
        for (number, (name, object)) in names.iter().enumerate() {
            let kind = object.then_some(FileType::RegularFile);
            listing.push(OsStr::new(name), kind, number as u64);
        }
        listing.finish();
        listing
    }

    #[test]
    fn d1_every_name_is_found_and_a_scan_can_go_on_anywhere() {
        let names: Vec<String> = (0..1000).map(|n| format!("name {n}")).collect();
        let pairs: Vec<(&str, bool)> = names.iter().map(|n| (n.as_str(), true)).collect();
        let listing = listing(&pairs);
        let mut seen = Vec::new();
        let mut offset = 0;
        while let Some(listed) = listing.get(listing.behind(offset)) {
            assert!(listed.cookie > offset && listed.cookie < 1 << 63);
            offset = listed.cookie;
            seen.push(listed.name.to_owned());
            assert_eq!(listing.find(listed.name), Some(listed));
        }
        seen.sort();
        let mut wanted: Vec<_> = names.iter().map(std::ffi::OsString::from).collect();
        wanted.sort();
        assert_eq!(seen, wanted);
        assert_eq!(listing.find(OsStr::new("name")), None);
    }

    #[test]
    fn r2_an_object_beside_a_whiteout_of_its_name_counts() {
        let listing = listing(&[("a", false), ("a", true), ("b", false)]);
        assert_eq!(listing.len(), 2);
        assert!(listing.find(OsStr::new("a")).unwrap().kind.is_some());
        assert!(listing.find(OsStr::new("b")).unwrap().kind.is_none());
    }

    #[test]
    fn d2_a_name_costs_24_bytes_and_itself() {
        assert_eq!(size_of::<Slot>(), 24);
    }
}
