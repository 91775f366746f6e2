//! The client: file operations by plain system calls, with nothing between them.
//!
//! Paths are relative to the root of the mount and made before the clock starts.

use std::ffi::{CStr, CString};
use std::fmt::Write as _;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, openat, statat};
use rustix::io::{Errno, pread, read, write};

use super::error::{Context, Error, Result};

/// Bytes that `cp`, `cat` and `tar` move at once.
pub(super) const BLOCK: usize = 128 << 10;

/// What ends a loop of operations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub(super) most: usize,
    pub(super) time: Duration,
}

/// Calls `operation` with 0, 1, ... until the budget is used up; gives how often.
///
/// # Errors
/// Of the first operation that fails.
pub(super) fn repeat(
    budget: Budget,
    mut operation: impl FnMut(usize) -> Result<()>,
) -> Result<usize> {
    let end = Instant::now() + budget.time;
    let mut done = 0;
    while done < budget.most {
        operation(done)?;
        done += 1;
        // Reading the clock costs a tenth of the fastest operations.
        if done.is_multiple_of(16) && Instant::now() >= end {
            break;
        }
    }
    Ok(done)
}

fn named(path: &CStr) -> std::borrow::Cow<'_, str> {
    path.to_string_lossy()
}

/// Opens a directory.
pub(super) fn directory(at: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(at, path, flags, Mode::empty()).on(named(path))
}

/// Lists a tree and asks for the attributes of everything in it; gives how many objects it saw.
pub(super) fn walk(at: BorrowedFd<'_>, path: &CStr) -> Result<usize> {
    let opened = directory(at, path)?;
    let mut buffer = [MaybeUninit::uninit(); 32 << 10];
    let mut entries = RawDir::new(opened.as_fd(), &mut buffer);
    let mut seen = 0;
    let mut below = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry.on(named(path))?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW).on(named(name))?;
        seen += 1;
        if entry.file_type() == FileType::Directory {
            below.push(name.to_owned());
        }
    }
    for name in below {
        seen += walk(opened.as_fd(), &name)?;
    }
    Ok(seen)
}

/// Asks for attributes.
pub(super) fn stat(at: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    statat(at, path, AtFlags::SYMLINK_NOFOLLOW)
        .map(drop)
        .on(named(path))
}

/// Asks for a name that must not be there.
pub(super) fn miss(at: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    match statat(at, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error).on(named(path)),
        Ok(_) => Err(Error::Wrong(format!("{} is there", named(path)))),
    }
}

/// Opens a file for reading.
pub(super) fn open(at: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd> {
    openat(at, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on(named(path))
}

/// Opens a file with `flags`; new ones get mode 0644.
pub(super) fn open_to_write(at: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(at, path, flags, Mode::from_raw_mode(0o644)).on(named(path))
}

/// Reads a file to its end as programs do, into `buffer`; gives its length.
pub(super) fn read_all(at: BorrowedFd<'_>, path: &CStr, buffer: &mut [u8]) -> Result<u64> {
    let file = open(at, path)?;
    let mut length = 0;
    loop {
        match read(&file, &mut *buffer).on(named(path))? {
            0 => return Ok(length),
            got => length += got as u64,
        }
    }
}

/// Reads all of `buffer` at `offset`.
pub(super) fn read_at(file: impl AsFd, buffer: &mut [u8], offset: u64) -> Result<()> {
    match pread(file, &mut *buffer, offset).on("pread")? {
        got if got == buffer.len() => Ok(()),
        got => Err(Error::Wrong(format!("{got} bytes read at {offset}"))),
    }
}

/// Writes all of `data`.
pub(super) fn write_all(file: impl AsFd, mut data: &[u8]) -> Result<()> {
    while !data.is_empty() {
        let written = write(&file, data).on("write")?;
        data = &data[written..];
    }
    Ok(())
}

/// Makes a new file.
pub(super) fn create(at: BorrowedFd<'_>, path: &CStr, data: &[u8]) -> Result<()> {
    let file = open_to_write(at, path, OFlags::CREATE | OFlags::EXCL)?;
    write_all(file, data)
}

/// Appends to a file that is there.
pub(super) fn append(at: BorrowedFd<'_>, path: &CStr, data: &[u8]) -> Result<()> {
    let file = open_to_write(at, path, OFlags::APPEND)?;
    write_all(file, data)
}

/// `directory/stem0`, `directory/stem1`, ...
pub(super) fn numbered(directory: &str, stem: &str, count: usize) -> Vec<CString> {
    let mut text = String::new();
    (0..count)
        .map(|i| {
            text.clear();
            // Writing to a String cannot fail.
            let _ = write!(text, "{directory}/{stem}{i}");
            CString::new(text.as_bytes()).unwrap_or_default()
        })
        .collect()
}
