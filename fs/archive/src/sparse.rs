//! Maps of sparse files in tar archives: the old GNU form and the three pax forms.
//!
//! A map is a list of (offset, length) of the stored pieces. Whatever the form, it is checked the
//! same way: in order, without overlap, inside of the file, and as long as what is stored.

use super::{LARGEST, decimal};
use tar::GnuSparseHeader;

/// Most pieces a file may have.
const MOST: usize = 1 << 20;

type Map = Vec<(u64, u64)>;

/// The pieces in one block of the old GNU form.
pub(super) fn old(entries: &[GnuSparseHeader]) -> Result<Map, String> {
    let pieces = entries.iter().filter(|entry| !entry.is_empty());
    let bad = |e: std::io::Error| e.to_string();
    pieces
        .map(|p| Ok((p.offset().map_err(bad)?, p.length().map_err(bad)?)))
        .collect()
}

/// What pax records say: nothing for a plain file; else the real size and the map, unless the
/// map stands in front of the data (form 1.0).
pub(super) fn pax(records: &[(Vec<u8>, Vec<u8>)]) -> Result<Option<(u64, Option<Map>)>, String> {
    let last = |key: &str| {
        records
            .iter()
            .rev()
            .find(|(k, _)| k == key.as_bytes())
            .map(|(_, v)| v)
    };
    let bad = || "malformed sparse file map".to_owned();
    let size = last("GNU.sparse.realsize").or_else(|| last("GNU.sparse.size"));
    let Some(size) = size else { return Ok(None) };
    let size = decimal(size).ok_or_else(bad)?;
    if let Some(major) = last("GNU.sparse.major") {
        let form = (
            major.as_slice(),
            last("GNU.sparse.minor").map(Vec::as_slice),
        );
        return match form {
            (b"1", Some(b"0")) => Ok(Some((size, None))),
            _ => Err("sparse file in an unknown form".to_owned()),
        };
    }
    let numbers: Option<Vec<u64>> = match last("GNU.sparse.map") {
        Some(map) if map.is_empty() => Some(Vec::new()),
        Some(map) => map.split(|&b| b == b',').map(decimal).collect(),
        None => {
            let keys = [&b"GNU.sparse.offset"[..], b"GNU.sparse.numbytes"];
            let of = records
                .iter()
                .filter(|(key, _)| keys.contains(&key.as_slice()));
            of.map(|(_, value)| decimal(value)).collect()
        }
    };
    pairs(&numbers.ok_or_else(bad)?)
        .ok_or_else(bad)
        .map(|map| Some((size, Some(map))))
}

fn pairs(numbers: &[u64]) -> Option<Map> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    rest.is_empty().then(|| {
        pairs
            .iter()
            .map(|&[offset, length]| (offset, length))
            .collect()
    })
}

/// The lines of form 1.0 as they come: a count, then so many pairs.
#[derive(Debug, Default)]
pub(super) struct Lines {
    numbers: Vec<u64>,
    line: Vec<u8>,
}

impl Lines {
    /// Takes a block; bytes after the last line are padding.
    pub(super) fn push(&mut self, block: &[u8]) -> Result<(), String> {
        for &byte in block {
            if self.complete() {
                break;
            }
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let number = decimal(&self.line).ok_or("malformed sparse file map")?;
            self.line.clear();
            if self.numbers.is_empty() {
                check_count(usize::try_from(number).unwrap_or(usize::MAX))?;
            }
            self.numbers.push(number);
        }
        if self.line.len() > 20 {
            Err("malformed sparse file map".to_owned())
        } else {
            Ok(())
        }
    }

    /// Whether all announced lines are there.
    pub(super) fn complete(&self) -> bool {
        self.numbers
            .first()
            .is_some_and(|&count| self.numbers.len() as u64 > 2 * count)
    }

    pub(super) fn map(&self) -> Map {
        self.numbers.get(1..).and_then(pairs).unwrap_or_default()
    }
}

pub(super) fn check_count(pieces: usize) -> Result<(), String> {
    if pieces > MOST {
        Err(format!("sparse file of more than {MOST} pieces"))
    } else {
        Ok(())
    }
}

/// Checks a map against the file's size and the number of stored bytes; drops empty pieces.
pub(super) fn check(map: Map, size: u64, stored: u64) -> Result<Map, String> {
    if size > LARGEST {
        return Err("size out of range".to_owned());
    }
    let (mut end, mut sum) = (0, 0_u64);
    for &(offset, length) in &map {
        let next = offset
            .checked_add(length)
            .filter(|&next| offset >= end && next <= size);
        end = next.ok_or("sparse file pieces overlap or leave the file")?;
        sum += length;
    }
    if sum != stored {
        return Err(format!(
            "sparse file map covers {sum} bytes, {stored} are stored"
        ));
    }
    Ok(map.into_iter().filter(|&(_, length)| length > 0).collect())
}
