//! The data of a file: the whole of it, or pieces of another, as a packed layer's files lie in its tar.
//!
//! ```text
//!   the file     |  piece  |  hole  | piece |hole|      size
//!                    │                   └──────┐
//!   its carrier  ....▼..........................▼.....
//! ```

use std::io::IoSliceMut;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::SeekFrom;
use rustix::io::{Errno, ReadWriteFlags, Result, preadv2};

/// The data of a file.
#[derive(Debug, Clone)]
pub struct Data {
    /// The file that holds it.
    pub file: Arc<OwnedFd>,
    /// Where in it, if it is not the whole.
    pub pieces: Option<Arc<Pieces>>,
}

impl Data {
    /// The whole of a file.
    pub fn whole(file: impl Into<Arc<OwnedFd>>) -> Self {
        Self {
            file: file.into(),
            pieces: None,
        }
    }

    /// Reads until the buffer is full or the file ends. An error on the way is an error of the whole: the
    /// kernel would take a short read for the end of the file.
    pub fn read(&self, offset: u64, buffer: &mut [u8], flags: ReadWriteFlags) -> Result<usize> {
        match &self.pieces {
            Some(pieces) => pieces.read(&self.file, offset, buffer, flags),
            None => read_full(&self.file, offset, buffer, flags),
        }
    }

    /// The next byte of data at or after `offset`.
    ///
    /// # Errors
    /// ENXIO if only holes follow.
    pub fn next_data(&self, offset: u64) -> Result<u64> {
        match &self.pieces {
            Some(pieces) => pieces.data(offset),
            None => rustix::fs::seek(self.file.as_fd(), SeekFrom::Data(offset)),
        }
    }

    /// The next hole at or after `offset`; the end of the file is one.
    ///
    /// # Errors
    /// ENXIO past the end.
    pub fn next_hole(&self, offset: u64) -> Result<u64> {
        match &self.pieces {
            Some(pieces) => pieces.hole(offset),
            None => rustix::fs::seek(self.file.as_fd(), SeekFrom::Hole(offset)),
        }
    }
}

/// Where bytes of a file lie in its carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Offset in the file.
    pub logical: u64,
    /// Offset in the carrier.
    pub physical: u64,
    /// Bytes.
    pub length: u64,
}

/// A file in pieces: in order, without overlap, inside of its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    size: u64,
    pieces: Box<[Piece]>,
}

impl Pieces {
    /// `None` if the pieces overlap, are empty, are out of order, leave the file, or leave the carrier's
    /// first `carrier` bytes.
    pub fn new(size: u64, carrier: u64, pieces: Box<[Piece]>) -> Option<Self> {
        let mut end = 0;
        for piece in &pieces {
            let next = piece.logical.checked_add(piece.length)?;
            let behind = piece.physical.checked_add(piece.length)?;
            let empty = piece.length == 0;
            if empty || piece.logical < end || next > size || behind > carrier {
                return None;
            }
            end = next;
        }
        (size <= i64::MAX.cast_unsigned()).then_some(Self { size, pieces })
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads at `offset` until the buffer is full or the file ends.
    ///
    /// # Errors
    /// EIO where the carrier is shorter than it was; those of preadv2(2).
    pub fn read(
        &self,
        carrier: &OwnedFd,
        offset: u64,
        buffer: &mut [u8],
        flags: ReadWriteFlags,
    ) -> Result<usize> {
        let left = self.size.saturating_sub(offset);
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = &mut buffer[..length];
        let mut done = 0;
        let mut index = self.behind(offset);
        while done < length {
            let here = offset + done as u64;
            let rest = &mut buffer[done..];
            match self.pieces.get(index) {
                Some(piece) if piece.logical <= here => {
                    let skip = here - piece.logical;
                    let take = within(rest.len(), piece.length - skip);
                    let to = &mut rest[..take];
                    if read_full(carrier, piece.physical + skip, to, flags)? < take {
                        return Err(Errno::IO);
                    }
                    done += take;
                    index += 1;
                }
                next => {
                    let stop = next.map_or(self.size, |piece| piece.logical);
                    let take = within(rest.len(), stop - here);
                    rest[..take].fill(0);
                    done += take;
                }
            }
        }
        Ok(length)
    }

    /// The next byte of data at or after `offset`.
    ///
    /// # Errors
    /// ENXIO if only holes follow.
    pub fn data(&self, offset: u64) -> Result<u64> {
        let piece = self.pieces.get(self.behind(offset)).ok_or(Errno::NXIO)?;
        Ok(offset.max(piece.logical))
    }

    /// The next hole at or after `offset`; the end of the file is one.
    ///
    /// # Errors
    /// ENXIO past the end.
    pub fn hole(&self, offset: u64) -> Result<u64> {
        if offset >= self.size {
            return Err(Errno::NXIO);
        }
        let mut at = offset;
        for piece in &self.pieces[self.behind(offset)..] {
            if piece.logical > at {
                break;
            }
            at = piece.logical + piece.length;
        }
        Ok(at)
    }

    /// The pieces that hold bytes of the first `end`, cut there.
    pub fn until(&self, end: u64) -> impl Iterator<Item = Piece> {
        self.pieces
            .iter()
            .take_while(move |piece| piece.logical < end)
            .map(move |piece| Piece {
                length: piece.length.min(end - piece.logical),
                ..*piece
            })
    }

    /// The index of the first piece that ends behind `offset`.
    fn behind(&self, offset: u64) -> usize {
        self.pieces
            .partition_point(|piece| piece.logical + piece.length <= offset)
    }
}

fn within(length: usize, most: u64) -> usize {
    usize::try_from(most).map_or(length, |most| most.min(length))
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: &OwnedFd, at: u64, to: &mut [u8], flags: ReadWriteFlags) -> Result<usize> {
    let mut done = 0;
    while done < to.len() {
        let mut place = [IoSliceMut::new(&mut to[done..])];
        match preadv2(file, &mut place, at + done as u64, flags) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn piece(logical: u64, physical: u64, length: u64) -> Piece {
        Piece {
            logical,
            physical,
            length,
        }
    }

    #[test]
    fn reads_pieces_and_holes_as_a_plain_file() {
        let mut carrier = tempfile::tempfile().unwrap();
        carrier.write_all(b"..abcd..efg..").unwrap();
        let carrier = OwnedFd::from(carrier);
        let file = Pieces::new(12, 13, [piece(2, 2, 4), piece(8, 8, 3)].into()).unwrap();
        let plain = b"\0\0abcd\0\0efg\0";
        for start in 0..=13 {
            for length in 0..=14 {
                let mut buffer = vec![7; length];
                let none = ReadWriteFlags::empty();
                let got = file.read(&carrier, start, &mut buffer, none).unwrap();
                let from = (start as usize).min(12);
                let wanted = &plain[from..(from + length).min(12)];
                assert_eq!(&buffer[..got], wanted, "{start} {length}");
            }
        }
        let seeks: Vec<_> = (0..13).map(|at| (file.data(at), file.hole(at))).collect();
        assert_eq!(seeks[0], (Ok(2), Ok(0)));
        assert_eq!(seeks[3], (Ok(3), Ok(6)));
        assert_eq!(seeks[7], (Ok(8), Ok(7)));
        assert_eq!(seeks[11], (Err(Errno::NXIO), Ok(11)));
        assert_eq!(seeks[12], (Err(Errno::NXIO), Err(Errno::NXIO)));
    }

    #[test]
    fn a_carrier_that_was_cut_is_eio() {
        let carrier = OwnedFd::from(tempfile::tempfile().unwrap());
        let file = Pieces::new(4, 4, [piece(0, 0, 4)].into()).unwrap();
        let none = ReadWriteFlags::empty();
        assert_eq!(file.read(&carrier, 0, &mut [0; 4], none), Err(Errno::IO));
    }

    #[test]
    fn pieces_that_lie_are_refused() {
        for bad in [
            vec![piece(0, 0, 11)],
            vec![piece(0, 95, 6)],
            vec![piece(4, 0, 2), piece(5, 0, 1)],
            vec![piece(u64::MAX, 0, 2)],
            vec![piece(0, u64::MAX, 2)],
            vec![piece(0, 0, 1), piece(5, 5, 0)],
        ] {
            assert_eq!(Pieces::new(10, 100, bad.clone().into()), None, "{bad:?}");
        }
    }
}
