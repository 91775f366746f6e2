//! The origin record: where a copied-up object came from.
//!
//! ```text
//!   xattr overlay.layerfs.origin, 32 or 40 bytes, little-endian
//!   0     1      2         4          8         16         24        28       32         40
//!   | ver | flags| position| nlink    | ino     | seconds  | nanos   | zero   | session  |
//!            1 = indexed: hard-linked, nlink counts its merged names
//!            2 = kept ctime: seconds and nanos are the ctime to show (contract C4)
//!            4 = unsynced: its data may not be on disk yet (see `durability`); has the last 8 bytes
//! ```
//!
//! `position` counts layers from the bottom (1), `ino` is the inode number in that layer: together
//! they are the object's st_ino for ever (contract I1). An unreadable record is as none: the object
//! then has its upper inode number.

use std::ffi::OsStr;

use crate::types::Time;

const VERSION: u8 = 1;
const INDEXED: u8 = 1;
const KEPT_CTIME: u8 = 2;
const UNSYNCED: u8 = 4;
const SHORT: usize = 32;

/// A decoded record; see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The layer, 1 being the lowest.
    pub position: u16,
    /// The inode number in that layer.
    pub ino: u64,
    /// For a hard-linked file: how many merged names it has.
    pub nlink: Option<u32>,
    /// The ctime to show as long as nothing but a copy-up changed the object.
    pub ctime: Option<Time>,
    /// The session that copied its data and has not synced it.
    pub unsynced: Option<u64>,
}

impl Origin {
    /// A record that says no more than where the object came from.
    pub fn of(position: u16, ino: u64) -> Self {
        Self {
            position,
            ino,
            nlink: None,
            ctime: None,
            unsynced: None,
        }
    }

    /// The bytes of the xattr.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; SHORT];
        bytes[0] = VERSION;
        bytes[2..4].copy_from_slice(&self.position.to_le_bytes());
        if let Some(nlink) = self.nlink {
            bytes[1] |= INDEXED;
            bytes[4..8].copy_from_slice(&nlink.to_le_bytes());
        }
        bytes[8..16].copy_from_slice(&self.ino.to_le_bytes());
        if let Some(time) = self.ctime {
            bytes[1] |= KEPT_CTIME;
            bytes[16..24].copy_from_slice(&time.seconds.to_le_bytes());
            bytes[24..28].copy_from_slice(&time.nanos.to_le_bytes());
        }
        if let Some(session) = self.unsynced {
            bytes[1] |= UNSYNCED;
            bytes.extend(session.to_le_bytes());
        }
        bytes
    }

    /// The record in these bytes, if they are one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, session): (&[u8; SHORT], &[u8]) = bytes.split_first_chunk()?;
        if bytes[0] != VERSION {
            return None;
        }
        let flags = bytes[1];
        let unsynced = match (flags & UNSYNCED != 0, session) {
            (false, []) => None,
            (true, session) => Some(u64::from_le_bytes(session.try_into().ok()?)),
            _ => return None,
        };
        let u32_at = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        let u64_at =
            |at: usize| u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| bytes[at + i]));
        let time = Time {
            seconds: u64_at(16).cast_signed(),
            nanos: u32_at(24).min(999_999_999),
        };
        Some(Self {
            position: u16::from_le_bytes([bytes[2], bytes[3]]),
            ino: u64_at(8),
            nlink: (flags & INDEXED != 0).then(|| u32_at(4)),
            ctime: (flags & KEPT_CTIME != 0).then_some(time),
            unsynced,
        })
    }

    /// The name in the index directory.
    pub fn index_name(position: u16, ino: u64) -> String {
        format!("{position}-{ino:x}")
    }

    /// The position and inode number in a name of the index directory; `None` for other names.
    pub fn parse_index_name(name: &OsStr) -> Option<(u16, u64)> {
        let (position, ino) = name.to_str()?.split_once('-')?;
        let parsed = (position.parse().ok()?, u64::from_str_radix(ino, 16).ok()?);
        // "+1-A" is read as a number, and written otherwise.
        (Self::index_name(parsed.0, parsed.1).as_str() == name).then_some(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was() {
        let time = Time {
            seconds: -5,
            nanos: 999_999_999,
        };
        for (nlink, ctime, unsynced) in [
            (None, None, None),
            (Some(3), None, Some(7)),
            (None, Some(time), None),
            (Some(0), Some(time), Some(u64::MAX)),
        ] {
            let origin = Origin {
                nlink,
                ctime,
                unsynced,
                ..Origin::of(500, u64::MAX - 1)
            };
            assert_eq!(Origin::decode(&origin.encode()), Some(origin));
        }
    }

    #[test]
    fn names_of_the_index_are_read_as_they_are_written() {
        let parse = |name: &str| Origin::parse_index_name(OsStr::new(name));
        assert_eq!(
            parse(&Origin::index_name(500, u64::MAX)),
            Some((500, u64::MAX))
        );
        for name in [
            "", "1", "1-", "-1", "+1-a", "1-A", "1-0x1", "70000-1", "01-1", "1-1 ",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn other_bytes_are_no_record() {
        let good = Origin::of(1, 2).encode();
        let mut future = good.clone();
        future[0] = 2;
        assert_eq!(Origin::decode(&future), None);
        assert_eq!(Origin::decode(&good[..31]), None);
        assert_eq!(Origin::decode(&[&good[..], &[0]].concat()), None);
        assert_eq!(Origin::decode(b""), None);
        let unsynced = Origin {
            unsynced: Some(9),
            ..Origin::of(1, 2)
        };
        assert_eq!(Origin::decode(&unsynced.encode()[..32]), None);
    }
}
