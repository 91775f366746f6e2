//! What kind of file system something lies on: whether its metadata reaches the disk in order.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{fstat, fstatfs, major, minor};

const EXT4: u64 = 0xef53;
const XFS: u64 = 0x5846_5342;
const BTRFS: u64 = 0x9123_683e;

/// Whether the file system below `fd` writes changes of metadata (names, extended attributes) to the
/// disk in the order in which they were made, so that a later one is never there without an earlier
/// one. True for ext4 with a journal, XFS and btrfs; false where we do not know.
pub fn keeps_metadata_in_order(fd: impl AsFd) -> bool {
    let Ok(figures) = fstatfs(&fd) else {
        return false;
    };
    match figures.f_type.cast_unsigned() & 0xffff_ffff {
        XFS | BTRFS => true,
        EXT4 => fstat(&fd).is_ok_and(|stat| has_journal(stat.st_dev)),
        _ => false,
    }
}

/// ext2 and ext4 without a journal have ext4's magic number; only a journal has a task.
fn has_journal(device: u64) -> bool {
    let link = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let Ok(target) = std::fs::read_link(link) else {
        return false;
    };
    target.file_name().is_some_and(|name| {
        Path::new("/sys/fs/ext4")
            .join(name)
            .join("journal_task")
            .exists()
    })
}
