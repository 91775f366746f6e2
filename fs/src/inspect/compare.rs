//! What differs between an object of the upper and the object of a layer that it came from.

use std::collections::BTreeMap;

use rustix::fs::{FileType, Stat};
use rustix::io::ReadWriteFlags;

use crate::error::Result;
use crate::layer::Reading;
use crate::marks::Attributes;
use crate::sys::at::{At, xattr_names};
use crate::sys::pieces::Data;
use crate::types::Time;
use crate::union::lower::LowerFile;
use crate::union::xattrs::stays_behind;
use crate::upper::c_name;

/// How much of two files is compared at a time.
const STEP: usize = 256 << 10;

/// One way in which an object differs from what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The content of a file, the target of a symlink, the number of a device; of files also the size
    /// before and now.
    Content(Option<(u64, u64)>),
    /// Permission bits, before and now.
    Mode(u32, u32),
    /// Owner and group, before and now.
    Owner((u32, u32), (u32, u32)),
    /// The time of the last change of the content, before and now.
    Modified(Time, Time),
    /// Extended attributes and ACLs: the names that were set, changed or removed.
    Xattrs(Vec<Vec<u8>>),
}

impl Difference {
    /// Whether it is more than metadata.
    pub fn is_content(&self) -> bool {
        matches!(self, Self::Content(_))
    }
}

/// What differs of a non-directory of the upper (with the type it shows in `stat`) from the layer's
/// `lower`. A metadata-only copy has the data of `source`.
pub fn file(
    at: At<'_>,
    stat: &Stat,
    source: Option<&LowerFile>,
    lower: &LowerFile,
    lower_stat: &Stat,
) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    found.extend(match source {
        Some(source) if is_same(source, lower) => None,
        Some(source) => data(|| source.open(), stat, lower, lower_stat)?,
        None => content(at, stat, lower, lower_stat)?,
    });
    found.extend(attributes(stat, lower_stat));
    let names = lower.with(|below| changed_xattrs(at, below))?;
    found.extend((!names.is_empty()).then_some(Difference::Xattrs(names)));
    Ok(found)
}

/// What differs of a directory itself.
pub fn directory(
    at: At<'_>,
    stat: &Stat,
    below: Reading<'_>,
    below_stat: &Stat,
) -> Result<Vec<Difference>> {
    let mut found = attributes(stat, below_stat);
    let names = changed_xattrs(at, below)?;
    found.extend((!names.is_empty()).then_some(Difference::Xattrs(names)));
    Ok(found)
}

/// Whether two are the same file of a layer.
fn is_same(one: &LowerFile, other: &LowerFile) -> bool {
    let position = |file: &LowerFile| file.dir.layer().position;
    position(one) == position(other) && one.path() == other.path()
}

fn content(
    at: At<'_>,
    stat: &Stat,
    lower: &LowerFile,
    lower_stat: &Stat,
) -> Result<Option<Difference>> {
    let plain = |differs: bool| Ok(differs.then_some(Difference::Content(None)));
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => data(
            || Ok(Data::whole(at.open_unseen()?)),
            stat,
            lower,
            lower_stat,
        ),
        FileType::Symlink => {
            let target = lower.with(|below| below.readlink())?;
            plain(at.readlink()? != target)
        }
        FileType::CharacterDevice | FileType::BlockDevice => {
            plain(stat.st_rdev != lower_stat.st_rdev)
        }
        _ => Ok(None),
    }
}

fn data(
    open: impl FnOnce() -> Result<Data>,
    stat: &Stat,
    lower: &LowerFile,
    lower_stat: &Stat,
) -> Result<Option<Difference>> {
    let now = stat.st_size.cast_unsigned();
    let before = lower_stat.st_size.cast_unsigned();
    let differs = now != before || !same_bytes(&open()?, &lower.open()?, now)?;
    Ok(differs.then_some(Difference::Content(Some((before, now)))))
}

fn same_bytes(ours: &Data, theirs: &Data, size: u64) -> Result<bool> {
    let (mut left, mut right) = (vec![0; STEP], vec![0; STEP]);
    let mut at = 0;
    while at < size {
        let none = ReadWriteFlags::empty();
        let a = ours.read(at, &mut left, none)?;
        let b = theirs.read(at, &mut right, none)?;
        if left[..a] != right[..b] {
            return Ok(false);
        }
        if a == 0 {
            break;
        }
        at += a as u64;
    }
    Ok(true)
}

fn attributes(stat: &Stat, before: &Stat) -> Vec<Difference> {
    let mut found = Vec::new();
    let (was, now) = (before.st_mode & 0o7777, stat.st_mode & 0o7777);
    if was != now {
        found.push(Difference::Mode(was, now));
    }
    let owner = |stat: &Stat| (stat.st_uid, stat.st_gid);
    if owner(before) != owner(stat) {
        found.push(Difference::Owner(owner(before), owner(stat)));
    }
    let modified = |stat: &Stat| Time {
        seconds: stat.st_mtime,
        nanos: stat.st_mtime_nsec as u32,
    };
    if modified(before) != modified(stat) {
        found.push(Difference::Modified(modified(before), modified(stat)));
    }
    found
}

/// The names of the user's extended attributes that are not the same on both.
fn changed_xattrs(at: At<'_>, below: Reading<'_>) -> Result<Vec<Vec<u8>>> {
    let (now, mut before) = (xattrs(at)?, xattrs(below)?);
    let mut changed: Vec<Vec<u8>> = now
        .into_iter()
        .filter(|(name, value)| before.remove(name).as_ref() != Some(value))
        .map(|(name, _)| name)
        .collect();
    changed.extend(before.into_keys());
    changed.sort();
    Ok(changed)
}

fn xattrs(at: impl Attributes) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for name in xattr_names(&at.list_xattrs()?) {
        if stays_behind(name) {
            continue;
        }
        let Some(key) = c_name(name) else { continue };
        if let Some(value) = at.xattr(&key)? {
            found.insert(name.to_vec(), value);
        }
    }
    Ok(found)
}
