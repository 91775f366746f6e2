//! The one way to write a small file so that it is there as a whole or not at all.
//!
//! ```text
//!   bytes ──> scratch, beside the file ──flush──> rename ──> the file ──flush of its directory──> written
//!             └───── also after a crash of ours ─────┘         └─ also after a crash of the machine ─┘
//! ```

use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// How much of a crash a file survives once it is said to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// A crash of ours. After one of the machine the file may be the old one, none, or empty.
    Readers,
    /// One of the machine, too.
    Disk,
}

/// Writes a file (0600): a reader sees the old one, the new one, or none. `scratch` is a path in a
/// directory of the same file system that nobody else uses; what is left there of a writer that was killed is
/// written over.
///
/// # Errors
/// It cannot be written; `scratch` is gone then, and the file is the old one, unless its directory could not
/// be flushed.
pub fn publish(path: &Path, scratch: &Path, bytes: &[u8], reach: Reach) -> io::Result<()> {
    let renamed = fill(scratch, bytes, reach).and_then(|()| fs::rename(scratch, path));
    if let Err(error) = renamed {
        // Whoever sweeps finds it if this fails, too.
        let _ = fs::remove_file(scratch);
        return Err(error);
    }
    match (reach, path.parent()) {
        (Reach::Disk, Some(directory)) => flush(directory),
        _ => Ok(()),
    }
}

fn fill(scratch: &Path, bytes: &[u8], reach: Reach) -> io::Result<()> {
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(scratch, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(bytes)?;
    match reach {
        Reach::Readers => Ok(()),
        Reach::Disk => file.sync_all(),
    }
}

/// Brings a directory's names to the disk.
///
/// # Errors
/// It cannot be opened or flushed.
pub fn flush(directory: &Path) -> io::Result<()> {
    let here = match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::fsync(rustix::fs::open(
        here,
        flags,
        Mode::empty(),
    )?)?)
}
