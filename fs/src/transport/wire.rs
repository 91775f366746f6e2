//! Our data ↔ the forms of the FUSE wire and of `fuser`: attributes, times, device numbers, flags.
//!
//! Everything here is a pure function; what is odd about a form is told where it is translated.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, RenameFlags, Request, TimeOrNow};

use crate::error::{Error, Result};
use crate::types::{Attr, Caller, Kind, RenameMode, SetTime, SetXattrMode, Time};

/// Who sent `request`.
pub(super) fn caller(request: &Request) -> Caller {
    Caller {
        uid: request.uid(),
        gid: request.gid(),
        pid: request.pid(),
    }
}

/// The kind as fuser names it.
pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
    }
}

/// Attributes under the number `ino`, which fuser sends as the nodeid too when the reply is an
/// entry.
pub(super) fn file_attr(ino: u64, attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: (attr.mode & 0o7777) as u16,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: rdev_to_wire(attr.rdev),
        blksize: attr.blksize,
        flags: 0,
    }
}

/// The entry that means "there is no such name, and you may remember it": nodeid 0. The kernel
/// looks at nothing else in it.
pub(super) fn negative_attr() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// A device number as `st_rdev` has it, in the 32-bit form of the wire (the kernel's
/// `new_encode_dev`): 12 bits of major between the low 8 and the high 12 bits of minor.
pub(super) fn rdev_to_wire(rdev: u64) -> u32 {
    let (major, minor) = (libc::major(rdev), libc::minor(rdev));
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)
}

/// The other way: the wire's form as `makedev` would build it.
pub(super) fn rdev_from_wire(wire: u32) -> u64 {
    let major = (wire & 0xfff00) >> 8;
    let minor = (wire & 0xff) | ((wire >> 12) & 0xfff00);
    libc::makedev(major, minor)
}

/// A time as fuser wants it. What `SystemTime` cannot hold becomes the epoch (no file system of
/// Linux can store such a time).
pub(super) fn system_time(time: Time) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let second = if time.seconds < 0 {
        UNIX_EPOCH.checked_sub(whole)
    } else {
        UNIX_EPOCH.checked_add(whole)
    };
    second
        .and_then(|second| second.checked_add(Duration::from_nanos(time.nanos.into())))
        .unwrap_or(UNIX_EPOCH)
}

/// A time of a SETATTR request, as fuser 0.18 decodes it.
///
/// For a time before the epoch fuser computes `epoch - (|seconds| + nanos)`, while the wire means
/// `epoch - |seconds| + nanos`; both parts can still be told apart, so its mistake is undone here.
pub(super) fn set_time(time: TimeOrNow) -> SetTime {
    let time = match time {
        TimeOrNow::Now => return SetTime::Now,
        TimeOrNow::SpecificTime(time) => time,
    };
    SetTime::At(match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Time {
            seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nanos: after.subsec_nanos(),
        },
        Err(error) => {
            let before = error.duration();
            // 2^63 seconds, the earliest time of all, wraps to itself.
            let seconds = (before.as_secs() as i64).wrapping_neg();
            Time {
                seconds,
                nanos: before.subsec_nanos(),
            }
        }
    })
}

/// The flags of an OPEN or CREATE that are the file system's business.
///
/// The kernel's page cache stands between the program and us: it computes the offsets of `O_APPEND`
/// under the inode's lock, and ours is only told so that a file that may be appended to and nothing
/// else (chattr +a) can be opened at all. `O_DIRECT` stays with it (our buffers are not aligned).
pub(super) fn open_flags(flags: i32) -> i32 {
    const OURS: i32 =
        libc::O_EXCL | libc::O_TRUNC | libc::O_SYNC | libc::O_NOATIME | libc::O_APPEND;
    flags & (libc::O_ACCMODE | OURS)
}

/// The flags of renameat2(2). `RENAME_WHITEOUT` is the mark of one union file system stacked on
/// another; it never shows here.
pub(super) fn rename_mode(flags: RenameFlags) -> Result<RenameMode> {
    match flags.bits() {
        0 => Ok(RenameMode::Replace),
        libc::RENAME_NOREPLACE => Ok(RenameMode::NoReplace),
        libc::RENAME_EXCHANGE => Ok(RenameMode::Exchange),
        _ => Err(Error::Invalid),
    }
}

/// The flags of setxattr(2).
pub(super) fn setxattr_mode(flags: i32) -> Result<SetXattrMode> {
    match flags {
        0 => Ok(SetXattrMode::Any),
        libc::XATTR_CREATE => Ok(SetXattrMode::Create),
        libc::XATTR_REPLACE => Ok(SetXattrMode::Replace),
        _ => Err(Error::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive_both_ways() {
        for (major, minor) in [
            (0, 0),
            (1, 3),
            (8, 255),
            (8, 256),
            (259, 0x12345),
            (4095, 0xfffff),
        ] {
            let rdev = libc::makedev(major, minor);
            assert_eq!(rdev_from_wire(rdev_to_wire(rdev)), rdev, "{major}:{minor}");
        }
        // include/linux/kdev_t.h, new_encode_dev: (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)
        assert_eq!(rdev_to_wire(libc::makedev(5, 1)), 0x501);
        assert_eq!(rdev_to_wire(libc::makedev(1, 0x1ff)), 0x0010_01ff);
    }

    /// What fuser 0.18 makes of the wire's two numbers (its `time.rs`).
    fn fuser_decodes(seconds: i64, nanos: u32) -> TimeOrNow {
        TimeOrNow::SpecificTime(if seconds >= 0 {
            UNIX_EPOCH + Duration::new(seconds as u64, nanos)
        } else {
            UNIX_EPOCH - Duration::new(seconds.unsigned_abs(), nanos)
        })
    }

    #[test]
    fn times_before_and_after_the_epoch_keep_their_nanoseconds() {
        for (seconds, nanos) in [
            (0, 0),
            (0, 1),
            (17, 999_999_999),
            (-1, 0),
            (-2, 800_000_000),
        ] {
            let wanted = Time { seconds, nanos };
            assert_eq!(set_time(fuser_decodes(seconds, nanos)), SetTime::At(wanted));
        }
        let earliest = Time {
            seconds: i64::MIN,
            nanos: 0,
        };
        assert_eq!(set_time(fuser_decodes(i64::MIN, 0)), SetTime::At(earliest));
        assert_eq!(set_time(TimeOrNow::Now), SetTime::Now);
    }

    #[test]
    fn a_time_before_the_epoch_is_told_as_it_is() {
        let told = system_time(Time {
            seconds: -2,
            nanos: 800_000_000,
        });
        assert_eq!(told, UNIX_EPOCH - Duration::new(1, 200_000_000));
    }

    #[test]
    fn direct_stays_with_the_kernel() {
        let flags = libc::O_RDWR | libc::O_APPEND | libc::O_DIRECT | libc::O_NONBLOCK;
        assert_eq!(open_flags(flags), libc::O_RDWR | libc::O_APPEND);
        assert_eq!(
            open_flags(libc::O_WRONLY | libc::O_DSYNC),
            libc::O_WRONLY | libc::O_DSYNC
        );
    }

    #[test]
    fn a_whiteout_rename_is_refused() {
        let flags = RenameFlags::from_bits_retain(libc::RENAME_WHITEOUT);
        assert_eq!(rename_mode(flags), Err(Error::Invalid));
        let flags = RenameFlags::from_bits_retain(libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE);
        assert_eq!(rename_mode(flags), Err(Error::Invalid));
    }
}
