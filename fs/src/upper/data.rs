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
        return pieces.until(size).try_for_each(|piece| {
            // The carrier has been cut: what it held is not known to be zeros.
            match copy_range(from, to, piece)? == piece.length {
                true => Ok(()),
                false => Err(Errno::IO.into()),
            }
        });
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
        // A file that gets shorter meanwhile is copied as it is then.
        let _ = copy_range(from, to, same)?;
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

/// Copies a piece; gives how much of it there was.
fn copy_range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, piece: Piece) -> Result<u64> {
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

/// Copies what is left of a piece behind its first `done` bytes; ends early where the file does. Gives how
/// much of the piece is copied.
fn copy_by_hand(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    piece: Piece,
    mut done: u64,
) -> Result<u64> {
    if done == piece.length {
        return Ok(done);
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
    Ok(done)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::sys::pieces::Pieces;

    /// A copy-up of it gave zeros in the place of the data.
    #[test]
    fn what_a_cut_carrier_held_is_an_error_and_not_zeros() {
        let carrier = tempfile::tempfile().unwrap();
        carrier.set_len(10_000).unwrap();
        let piece = Piece {
            logical: 0,
            physical: 0,
            length: 10_000,
        };
        let pieces = Pieces::new(10_000, 10_000, Box::from([piece])).unwrap();
        let data = Data {
            file: Arc::new(carrier.try_clone().unwrap().into()),
            pieces: Some(Arc::new(pieces)),
        };
        let to = tempfile::tempfile().unwrap();
        copy(&data, to.as_fd(), 10_000, 10_000).unwrap();
        carrier.set_len(5000).unwrap();
        let cut = copy(&data, to.as_fd(), 10_000, 10_000);
        assert_eq!(cut, Err(crate::error::Error::Sys(Errno::IO)));
    }
}
