//! Making the upper's copy of a lower object, whole, in the stage (contract C1).
//!
//! Order: data, owner (which clears set-id bits and capabilities), mode, xattrs and ACLs, our record,
//! and last the times, which all before would change. The caller publishes it in one step; until then
//! a failure leaves the merged view as it was.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, Stat, Timespec, Timestamps, XattrFlags, fdatasync, ftruncate};

use super::lower::LowerFile;
use super::xattrs::stays_behind;
use crate::error::Result;
use crate::sys::at::{At, xattr_names};
use crate::upper::stage::Staged;
use crate::upper::{Origin, PRESENT, Upper, c_name, data};

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

/// Stages the copy of a non-directory.
pub fn file<'a>(
    upper: &'a Upper,
    lower: &LowerFile,
    stat: &Stat,
    how: Data,
    origin: Origin,
) -> Result<Staged<'a>> {
    let staged = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => regular(upper, lower, stat, how)?,
        FileType::Symlink => {
            let target = lower.with(|at| Ok(at.readlink()?))?;
            upper.stage_symlink(&target)?
        }
        _ if lower.char00 => {
            let (staged, _) = upper.stage_file(0o600)?;
            upper.mark(staged.at(), "layerfs.char00", PRESENT)?;
            staged
        }
        kind => upper.stage_node(kind, 0o600, stat.st_rdev)?,
    };
    lower.with(|from| dress(upper, from, staged.at(), stat, origin))?;
    Ok(staged)
}

/// Stages the copy of a directory, without what is in it.
pub fn directory<'a>(
    upper: &'a Upper,
    from: BorrowedFd<'_>,
    stat: &Stat,
    origin: Origin,
) -> Result<Staged<'a>> {
    let staged = upper.stage_directory(0o700)?;
    dress(upper, At::Fd(from), staged.at(), stat, origin)?;
    Ok(staged)
}

fn regular<'a>(upper: &'a Upper, lower: &LowerFile, stat: &Stat, how: Data) -> Result<Staged<'a>> {
    let (staged, to) = upper.stage_file(0o600)?;
    let size = stat.st_size.cast_unsigned();
    let wanted = match how {
        Data::Metadata => {
            ftruncate(&to, size)?;
            upper.mark(staged.at(), "metacopy", b"")?;
            upper.mark(staged.at(), "redirect", lower.path().as_bytes())?;
            return Ok(staged);
        }
        Data::UpTo(wanted) => wanted,
        Data::All => size,
    };
    fill(upper, lower, to.as_fd(), size, wanted)?;
    Ok(staged)
}

/// Puts the data of `lower` into `to`, durably: a copy that a power cut shortens must not hide a good
/// lower file (F2).
pub fn fill(
    upper: &Upper,
    lower: &LowerFile,
    to: BorrowedFd<'_>,
    size: u64,
    wanted: u64,
) -> Result<()> {
    if wanted == 0 {
        return Ok(ftruncate(to, 0)?);
    }
    let from = lower.open()?;
    data::copy(from.as_fd(), to, size, wanted)?;
    if !upper.volatile {
        fdatasync(to)?;
    }
    Ok(())
}

/// Gives the copy everything but the data.
fn dress(upper: &Upper, from: At<'_>, to: At<'_>, stat: &Stat, origin: Origin) -> Result<()> {
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
    Ok(to.set_times(&times(stat))?)
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

/// The path that a directory's redirect names, for `upper.mark(.., "redirect", ..)`.
pub fn redirect_of(path: &OsStr) -> &[u8] {
    path.as_bytes()
}
