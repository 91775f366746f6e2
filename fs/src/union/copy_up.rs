//! Making the upper's copy of a lower object, whole, in the stage (contract C1).
//!
//! Order: data, owner (which clears set-id bits and capabilities), mode, xattrs and ACLs, our record,
//! and last the times, which all before would change. The caller publishes it in one step; until then
//! a failure leaves the merged view as it was. The record says if the data is not on disk yet
//! ([`crate::upper::durability`]); whoever publishes such a copy has it settled later.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    FileType, Stat, Timespec, Timestamps, UTIME_NOW, XattrFlags, fdatasync, ftruncate,
};

use super::lower::LowerFile;
use super::xattrs::stays_behind;
use crate::error::Result;
use crate::layer::Reading;
use crate::marks::Attributes;
use crate::sys::at::{At, xattr_names};
use crate::upper::stage::Staged;
use crate::upper::{Origin, PRESENT, Safety, Upper, c_name, data};

/// How much of the data comes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// None: a metadata-only copy, which points to the layer's file.
    Metadata,
    /// The first bytes, which become the whole file.
    UpTo(u64),
    /// All of it.
    All,
}

/// Stages the copy of a non-directory; gives the record that it carries.
pub fn file<'a>(
    upper: &'a Upper,
    lower: &LowerFile,
    stat: &Stat,
    how: Data,
    mut origin: Origin,
) -> Result<(Staged<'a>, Origin)> {
    let staged = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let (staged, unsynced) = regular(upper, lower, stat, how)?;
            origin.unsynced = unsynced;
            if unsynced.is_some() && origin.nlink.is_some() {
                // Reached through the index, it has no name that tells where its data came from.
                upper.mark(staged.at(), "redirect", lower.path().as_bytes())?;
            }
            staged
        }
        FileType::Symlink => {
            let target = lower.with(|at| at.readlink())?;
            upper.stage_symlink(&target)?
        }
        _ if lower.char00 => {
            let (staged, _) = upper.stage_file(0o600)?;
            upper.mark(staged.at(), "layerfs.char00", PRESENT)?;
            staged
        }
        kind => upper.stage_node(kind, 0o600, stat.st_rdev)?,
    };
    let mut times = times(stat);
    if matches!(how, Data::UpTo(wanted) if wanted < stat.st_size.cast_unsigned()) {
        // It appears truncated, and so its time is that of the truncation.
        times.last_modification.tv_nsec = UTIME_NOW;
    }
    lower.with(|from| dress(upper, from, staged.at(), stat, origin, &times))?;
    Ok((staged, origin))
}

/// Stages the copy of a directory, without what is in it.
pub fn directory<'a>(
    upper: &'a Upper,
    from: Reading<'_>,
    stat: &Stat,
    origin: Origin,
) -> Result<Staged<'a>> {
    let staged = upper.stage_directory(0o700)?;
    let times = times(stat);
    dress(upper, from, staged.at(), stat, origin, &times)?;
    Ok(staged)
}

/// A regular file, and the session in which its data is unsynced.
fn regular<'a>(
    upper: &'a Upper,
    lower: &LowerFile,
    stat: &Stat,
    how: Data,
) -> Result<(Staged<'a>, Option<u64>)> {
    let (staged, to) = upper.stage_file(0o600)?;
    let size = stat.st_size.cast_unsigned();
    let wanted = match how {
        Data::Metadata => {
            ftruncate(&to, size)?;
            upper.mark(staged.at(), "metacopy", b"")?;
            upper.mark(staged.at(), "redirect", lower.path().as_bytes())?;
            return Ok((staged, None));
        }
        Data::UpTo(wanted) => wanted,
        Data::All => size,
    };
    let unsynced = fill(upper, lower, to.as_fd(), size, wanted)?;
    Ok((staged, unsynced))
}

/// Puts the first `wanted` bytes of `lower` (of `size`) into `to`, which then has this size. A copy that a
/// power cut shortens must not hide a good lower file (F2): gives the session with which it must be
/// marked as unsynced, or `None` if it is as safe as it will be. Even an empty copy is marked: what is
/// written into it next is as lost as copied data would be.
pub fn fill(
    upper: &Upper,
    lower: &LowerFile,
    to: BorrowedFd<'_>,
    size: u64,
    wanted: u64,
) -> Result<Option<u64>> {
    if wanted == 0 {
        ftruncate(to, 0)?;
    } else {
        data::copy(&lower.open()?, to, size, wanted)?;
    }
    match upper.safety() {
        Safety::None => Ok(None),
        Safety::Sync => {
            fdatasync(to)?;
            Ok(None)
        }
        Safety::Mark(session) => {
            upper.announce_unsynced()?;
            Ok(Some(session))
        }
    }
}

/// Gives the copy everything but the data.
fn dress(
    upper: &Upper,
    from: Reading<'_>,
    to: At<'_>,
    stat: &Stat,
    origin: Origin,
    times: &Timestamps,
) -> Result<()> {
    to.chown(Some(stat.st_uid), Some(stat.st_gid))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        to.chmod(stat.st_mode & 0o7777)?;
    }
    for name in xattr_names(&from.list_xattrs()?) {
        if stays_behind(name) {
            continue;
        }
        let Some(name) = c_name(name) else { continue };
        if let Some(value) = from.xattr(&name)? {
            to.set_xattr(&name, &value, XattrFlags::empty())?;
        }
    }
    record(upper, to, &origin)?;
    Ok(to.set_times(times)?)
}

/// Writes the origin record.
pub fn record(upper: &Upper, at: At<'_>, origin: &Origin) -> Result<()> {
    let result = upper.mark(at, "layerfs.origin", &origin.encode());
    match result {
        // The AUFS form marks in user.*, which symlinks and special files cannot carry: these then
        // change their inode number at a remount, and nothing else.
        Err(crate::error::Error::Sys(rustix::io::Errno::PERM))
            if upper.form == crate::upper::Form::Aufs =>
        {
            Ok(())
        }
        other => other,
    }
}

/// The access and modification time of a stat, to set on another object.
pub fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime,
            tv_nsec: stat.st_atime_nsec as i64,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec as i64,
        },
    }
}
