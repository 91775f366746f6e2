//! The origin record: where a copied-up object came from.
//!
//! ```text
//!   xattr overlay.layerfs.origin, 32 bytes or more, little-endian
//!   0     1      2         4          8         16                32
//!   | ver | flags| position| nlink    | ino     | ctime           | mtime (16) or session (8)
//!            1 = indexed: hard-linked, nlink counts its merged names
//!            2 = kept times: the ctime and mtime to show (directories, contract C4)
//!            4 = unsynced: its data may not be on disk yet (files, see `durability`); has the session
//!            8 = recount: nlink may be one too high, a name was coming or going
//!   a time: seconds (8), nanoseconds (4), zero (4)
//! ```
//!
//! `position` counts layers from the bottom (1), `ino` is the inode number in that layer: together
//! they are the object's st_ino for ever (contract I1). Position 0 is the upper itself: a directory that
//! was born there, whose record has its kept times only. An unreadable record is as none: the object
//! then has its upper inode number.

use std::ffi::OsStr;

use rustix::fs::{Stat, Timespec, Timestamps, UTIME_OMIT};

use crate::types::Time;

const VERSION: u8 = 1;
const INDEXED: u8 = 1;
const KEPT_TIMES: u8 = 2;
const UNSYNCED: u8 = 4;
const RECOUNT: u8 = 8;
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
    /// Whether a name was coming or going when this was written: `nlink` may be one too high.
    pub recount: bool,
    /// The times to show as long as nothing but copy-ups changed the directory.
    pub kept: Option<KeptTimes>,
    /// The session that copied its data and has not synced it.
    pub unsynced: Option<u64>,
}

/// The times of a directory that copy-ups into it must not change (contract C4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptTimes {
    /// Of the last change of its names.
    pub mtime: Time,
    /// Of its last change at all, which no system call could put back.
    pub ctime: Time,
}

impl KeptTimes {
    /// Those it has now.
    pub fn of(stat: &Stat) -> Self {
        Self {
            mtime: Time {
                seconds: stat.st_mtime,
                nanos: stat.st_mtime_nsec as u32,
            },
            ctime: Time {
                seconds: stat.st_ctime,
                nanos: stat.st_ctime_nsec as u32,
            },
        }
    }

    /// What utimensat(2) needs to put back what can be.
    pub fn put_back(&self) -> Timestamps {
        Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: self.mtime.seconds,
                tv_nsec: self.mtime.nanos.into(),
            },
        }
    }
}

impl Origin {
    /// A record that says no more than where the object came from.
    pub fn of(position: u16, ino: u64) -> Self {
        Self {
            position,
            ino,
            nlink: None,
            recount: false,
            kept: None,
            unsynced: None,
        }
    }

    /// Whether it names an object of a layer.
    pub fn is_of_layer(&self) -> bool {
        self.position != 0
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
        if self.recount {
            bytes[1] |= RECOUNT;
        }
        if let Some(kept) = self.kept {
            bytes[1] |= KEPT_TIMES;
            bytes[16..32].copy_from_slice(&encode_time(kept.ctime));
            bytes.extend(encode_time(kept.mtime));
        } else if let Some(session) = self.unsynced {
            bytes[1] |= UNSYNCED;
            bytes.extend(session.to_le_bytes());
        }
        bytes
    }

    /// The record in these bytes, if they are one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, rest): (&[u8; SHORT], &[u8]) = bytes.split_first_chunk()?;
        if bytes[0] != VERSION {
            return None;
        }
        let flags = bytes[1];
        let (kept, unsynced) = match (flags & (KEPT_TIMES | UNSYNCED), rest) {
            (0, []) => (None, None),
            (KEPT_TIMES, mtime) => {
                let mtime = decode_time(mtime.try_into().ok()?);
                let ctime = decode_time(bytes.last_chunk()?);
                (Some(KeptTimes { mtime, ctime }), None)
            }
            (UNSYNCED, session) => (None, Some(u64::from_le_bytes(session.try_into().ok()?))),
            _ => return None,
        };
        Some(Self {
            position: u16::from_le_bytes([bytes[2], bytes[3]]),
            ino: u64::from_le_bytes(*bytes[8..].first_chunk()?),
            nlink: match flags & INDEXED {
                0 => None,
                _ => Some(u32::from_le_bytes(*bytes[4..].first_chunk()?)),
            },
            recount: flags & RECOUNT != 0,
            kept,
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

fn encode_time(time: Time) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&time.seconds.to_le_bytes());
    bytes[8..12].copy_from_slice(&time.nanos.to_le_bytes());
    bytes
}

fn decode_time(bytes: &[u8; 16]) -> Time {
    let [a, b, c, d, e, f, g, h, nanos @ ..] = *bytes;
    let [i, j, k, l, ..] = nanos;
    Time {
        seconds: i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        nanos: u32::from_le_bytes([i, j, k, l]).min(999_999_999),
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
        let kept = KeptTimes {
            mtime: time,
            ctime: Time {
                seconds: i64::MAX,
                nanos: 0,
            },
        };
        for (nlink, recount, kept, unsynced) in [
            (None, false, None, None),
            (Some(3), true, None, Some(7)),
            (None, false, Some(kept), None),
            (Some(0), false, None, Some(u64::MAX)),
        ] {
            let origin = Origin {
                nlink,
                recount,
                kept,
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
