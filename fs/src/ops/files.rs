//! Open files: open, read, write, fsync, fallocate, seek, copy_file_range, release.
//!
//! A file of a layer that is opened for writing is not copied yet: the first change does it. A handle
//! opened before a copy-up sees what is written after it (C5): it compares the node's epoch with its own
//! and opens the data anew where it now lies.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    FallocateFlags, OFlags, SeekFrom, copy_file_range, fallocate, fdatasync, fsync, seek,
};
use rustix::io::{Errno, ReadWriteFlags, preadv2, pwrite};

use super::FileSystem;
use super::raise::Need;
use crate::error::{Error, Result};
use crate::inode::{How, Node, OpenFile, Source};
use crate::sys::at::At;
use crate::sys::lock::RwLock;
use crate::types::{Handle, Kind, NodeId, Seek};

impl FileSystem {
    /// Opens a file; `flags` as of open(2), of which the access mode, `O_TRUNC` and `O_NOATIME` count.
    ///
    /// # Errors
    /// EISDIR, EROFS, EINVAL (not a regular file).
    pub fn open_file(&self, node: NodeId, flags: i32) -> Result<Handle> {
        let node = self.node(node)?;
        match node.kind {
            Kind::File => {}
            Kind::Directory => return Err(Error::IsDirectory),
            _ => return Err(Error::Invalid),
        }
        let writable = flags & libc::O_ACCMODE != libc::O_RDONLY;
        if writable {
            self.upper()?;
        }
        if writable && flags & libc::O_TRUNC != 0 {
            let empty = crate::types::SetAttr {
                size: Some(0),
                ..Default::default()
            };
            self.setattr(node.id, None, &empty)?;
        }
        let noatime = self.noatime || flags & libc::O_NOATIME != 0;
        let how = How {
            writable,
            append: flags & libc::O_APPEND != 0,
            noatime,
        };
        let source = RwLock::new(self.open_data(&node, how)?);
        Ok(self.files.insert(OpenFile { node, how, source }))
    }

    /// A fd of the data, wherever it is.
    fn open_data(&self, node: &Node, how: How) -> Result<Source> {
        let state = node.state.read();
        let epoch = node.epoch();
        let file = match (state.data_in_layer(), state.upper()) {
            (Some(lower), _) => lower.open()?,
            (None, Some(place)) => self.at_anchor(&state, place, |at| open_at(at, how))?,
            (None, None) => return Err(Error::Damaged),
        };
        Ok(Source {
            epoch,
            file: Arc::new(file),
        })
    }

    /// The fd of an open file's data, opened anew if the data has moved.
    fn source(&self, open: &OpenFile) -> Result<Arc<OwnedFd>> {
        {
            let source = open.source.read();
            if source.epoch == open.node.epoch() {
                return Ok(source.file.clone());
            }
        }
        let fresh = self.open_data(&open.node, open.how)?;
        let file = fresh.file.clone();
        *open.source.write() = fresh;
        Ok(file)
    }

    /// The fd of an open file's data, in the upper and fit for writing.
    fn sink(&self, open: &OpenFile) -> Result<Arc<OwnedFd>> {
        if !open.how.writable {
            return Err(Error::BadHandle);
        }
        if self.data_in_layer(&open.node) {
            self.raise(&open.node, Need::Data)?;
        }
        self.source(open)
    }

    /// Reads at `offset` into `buffer`; fewer bytes than asked only at the end of the file.
    pub fn read(&self, handle: Handle, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let file = self.source(&*self.files.get(handle)?)?;
        read_at(&file, offset, buffer, ReadWriteFlags::empty())
    }

    /// As [`Self::read`], if the bytes are in memory already.
    ///
    /// # Errors
    /// EAGAIN where a disk would have to be waited for.
    pub fn read_cached(&self, handle: Handle, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let file = self.source(&*self.files.get(handle)?)?;
        match read_at(&file, offset, buffer, ReadWriteFlags::NOWAIT) {
            // A file system that cannot tell.
            Err(Error::Sys(Errno::OPNOTSUPP)) => {
                read_at(&file, offset, buffer, ReadWriteFlags::empty())
            }
            other => other,
        }
    }

    /// Writes `data` at `offset`; fewer bytes than given only where an error follows on the next call.
    pub fn write(&self, handle: Handle, offset: u64, data: &[u8]) -> Result<usize> {
        let file = self.sink(&*self.files.get(handle)?)?;
        let mut done = 0;
        while done < data.len() {
            match pwrite(&file, &data[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(written) => done += written,
                Err(Errno::INTR) => {}
                Err(error) if done == 0 => return Err(error.into()),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// The last close.
    pub fn release(&self, handle: Handle) {
        self.files.remove(handle);
    }

    /// Brings a file's data (and metadata, unless `data_only`) to disk, with its names and all
    /// directories above them that were copied up (F1). A file that is still a layer's has nothing to
    /// bring.
    pub fn fsync(&self, handle: Handle, data_only: bool) -> Result<()> {
        let open = self.files.get(handle)?;
        let Some(upper) = &self.upper else {
            return Ok(());
        };
        if upper.volatile || !open.node.in_upper() {
            return Ok(());
        }
        let file = match self.data_in_layer(&open.node) {
            // A metadata-only copy: the data is safe below, the metadata is what counts.
            true => self.with_upper(&open.node, |at| Ok(Arc::new(at.open(OFlags::RDONLY)?)))?,
            false => self.source(&open)?,
        };
        match data_only {
            true => fdatasync(&file)?,
            false => fsync(&file)?,
        }
        self.sync_around(upper, &open.node, &file)
    }

    /// fallocate(2), with the modes the upper's file system knows.
    pub fn fallocate(&self, handle: Handle, offset: u64, length: u64, mode: i32) -> Result<()> {
        let file = self.sink(&*self.files.get(handle)?)?;
        let mode = FallocateFlags::from_bits(mode.cast_unsigned()).ok_or(Error::Unsupported)?;
        Ok(fallocate(&file, mode, offset, length)?)
    }

    /// The next data or hole at or after `offset`; ENXIO past the end.
    pub fn seek(&self, handle: Handle, offset: u64, what: Seek) -> Result<u64> {
        let file = self.source(&*self.files.get(handle)?)?;
        let position = match what {
            Seek::Data => SeekFrom::Data(offset),
            Seek::Hole => SeekFrom::Hole(offset),
        };
        Ok(seek(file.as_fd(), position)?)
    }

    /// copy_file_range(2) between two open files; EXDEV where the file systems below cannot, upon which
    /// the kernel copies by itself.
    pub fn copy_file_range(
        &self,
        from: Handle,
        from_offset: u64,
        to: Handle,
        to_offset: u64,
        length: u64,
    ) -> Result<usize> {
        let to = self.sink(&*self.files.get(to)?)?;
        let from = self.source(&*self.files.get(from)?)?;
        let (mut source, mut target) = (from_offset, to_offset);
        // A reply counts bytes in 32 bits; the caller goes on from there.
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(1 << 30);
        match copy_file_range(&from, Some(&mut source), &to, Some(&mut target), length) {
            Err(Errno::XDEV) => Err(Error::CrossDevice),
            other => Ok(other?),
        }
    }
}

/// Reads until the buffer is full or the file ends. An error on the way is an error of the whole: the
/// kernel would take a short read for the end of the file.
fn read_at(file: &OwnedFd, offset: u64, buffer: &mut [u8], flags: ReadWriteFlags) -> Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        let mut place = [IoSliceMut::new(&mut buffer[done..])];
        match preadv2(file, &mut place, offset + done as u64, flags) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

/// Opens a file of the upper. Offsets come from the kernel, so `O_APPEND` is only asked for where the
/// file demands it (chattr +a); `O_NOATIME` only where we may.
fn open_at(at: At<'_>, how: How) -> Result<OwnedFd> {
    let access = if how.writable {
        OFlags::RDWR
    } else {
        OFlags::RDONLY
    } | OFlags::NONBLOCK;
    let quiet = if how.noatime {
        OFlags::NOATIME
    } else {
        OFlags::empty()
    };
    match at.open(access | quiet) {
        Err(Errno::PERM) if how.append && how.writable => {}
        Err(Errno::PERM) if how.noatime => {}
        other => return Ok(other?),
    }
    let append = if how.append {
        OFlags::APPEND
    } else {
        OFlags::empty()
    };
    Ok(at.open(access | append)?)
}
