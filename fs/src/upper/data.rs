//! Copying a file's data: shared extents where the file system can, else the data and not the holes.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{SeekFrom, copy_file_range, ftruncate, ioctl_ficlone, seek};
use rustix::io::{Errno, pread, pwrite};

use crate::error::Result;
use crate::sys::pieces::{Data, Piece};

/// How much one system call copies at most: a signal or a kill waits no longer than this takes.
const STEP: usize = 64 << 20;
/// The buffer where the kernel cannot copy by itself.
const BUFFER: usize = 256 << 10;

/// Makes `to` (empty, or sparse of the right size) hold the first `size` bytes of `from`, holes kept;
/// its size is `size` afterwards. Memory: at most 256 KiB.
pub fn copy(data: &Data, to: BorrowedFd<'_>, from_size: u64, size: u64) -> Result<()> {
    let from = data.file.as_fd();
    if size == 0 {
        return Ok(ftruncate(to, 0)?);
    }
    if let Some(pieces) = &data.pieces {
        ftruncate(to, size)?;
        return pieces
            .until(size)
            .try_for_each(|piece| copy_range(from, to, piece));
    }
    if ioctl_ficlone(to, from).is_ok() {
        if size != from_size {
            ftruncate(to, size)?;
        }
        return Ok(());
    }
    ftruncate(to, size)?;
    let end = size.min(from_size);
    let mut at = 0;
    while at < end {
        let (start, stop) = match next_data(from, at, end)? {
            Some(range) => range,
            None => break,
        };
        let same = Piece {
            logical: start,
            physical: start,
            length: stop - start,
        };
        copy_range(from, to, same)?;
        at = stop;
    }
    Ok(())
}

/// The next run of data at or after `at`, cut at `end`; `None` if only holes follow.
fn next_data(from: BorrowedFd<'_>, at: u64, end: u64) -> Result<Option<(u64, u64)>> {
    let start = match seek(from, SeekFrom::Data(at)) {
        Ok(start) if start < end => start,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        // A file system without SEEK_DATA: all is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, end))),
        Err(error) => return Err(error.into()),
    };
    let stop = seek(from, SeekFrom::Hole(start))?;
    Ok(Some((start, stop.min(end))))
}

fn copy_range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, piece: Piece) -> Result<()> {
    let mut done = 0;
    while done < piece.length {
        let (mut source, mut target) = (piece.physical + done, piece.logical + done);
        let step = usize::try_from(piece.length - done)
            .unwrap_or(STEP)
            .min(STEP);
        match copy_file_range(from, Some(&mut source), to, Some(&mut target), step) {
            Ok(0) => break,
            Ok(copied) => done += copied as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::IO) => break,
            Err(error) => return Err(error.into()),
        }
    }
    copy_by_hand(from, to, piece, done)
}

/// Copies what is left of a piece behind its first `done` bytes; ends early where the file does.
fn copy_by_hand(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    piece: Piece,
    mut done: u64,
) -> Result<()> {
    if done == piece.length {
        return Ok(());
    }
    let mut buffer = vec![0; BUFFER];
    while done < piece.length {
        let want = usize::try_from(piece.length - done)
            .unwrap_or(BUFFER)
            .min(BUFFER);
        let got = match pread(from, &mut buffer[..want], piece.physical + done) {
            Ok(0) => break,
            Ok(got) => got,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        write_all(to, &buffer[..got], piece.logical + done)?;
        done += got as u64;
    }
    Ok(())
}

/// Writes all of `data` at `offset`, whatever short writes and signals come between.
fn write_all(to: BorrowedFd<'_>, data: &[u8], offset: u64) -> Result<()> {
    let mut done = 0;
    while done < data.len() {
        match pwrite(to, &data[done..], offset + done as u64) {
            Ok(0) => return Err(Errno::IO.into()),
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
