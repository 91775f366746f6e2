//! Open files: open, read, write, fsync, fallocate, seek, copy_file_range, release.
//!
//! A file of a layer that is opened for writing is not copied yet: the first change does it. A handle
//! opened before a copy-up sees what is written after it (C5): it compares the node's epoch with its own
//! and opens the data anew where it now lies. Files that the kernel does not tell us of opening
//! ([`Opened::Node`]) are opened by the first request that needs their data.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, OFlags, copy_file_range, fallocate, fdatasync, fsync, futimens};
use rustix::io::{Errno, ReadWriteFlags, pwrite};

use super::FileSystem;
use super::raise::Need;
use crate::error::{Error, Result};
use crate::inode::{How, Node, OpenFile, Source};
use crate::sys::at::At;
use crate::sys::lock::RwLock;
use crate::sys::pieces::Data;
use crate::types::{Handle, Kind, NodeId, Opened, Seek};
use crate::upper::record::KeptTimes;

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

    /// Gives up a handle whose file is used without one from now on.
    pub fn leave_unopened(&self, handle: Handle) {
        if let Some(open) = self.files.remove(handle) {
            self.unopened.keep(&open.node, open.source.read().clone());
        }
    }

    /// A fd of the data, wherever it is.
    fn open_data(&self, node: &Node, how: How) -> Result<Source> {
        let state = node.state.read();
        let epoch = node.epoch();
        let (data, appends) = match (state.data_in_layer(), state.upper()) {
            (Some(lower), _) => (lower.open()?, false),
            (None, Some(place)) => self.at_anchor(&state, place, |at| open_at(at, how))?,
            (None, None) => return Err(Error::Damaged),
        };
        Ok(Source {
            epoch,
            data,
            writable: how.writable,
            appends,
        })
    }

    /// The node of a file, and its data.
    fn source(&self, opened: Opened) -> Result<(Arc<Node>, Source)> {
        match opened {
            Opened::Handle(handle) => {
                let open = self.files.get(handle)?;
                Ok((open.node.clone(), self.source_of(&open)?))
            }
            Opened::Node { node, noatime } => {
                let node = self.node(node)?;
                let source = match noatime && !self.noatime {
                    true => self.open_data(&node, How::reading(true))?,
                    false => self.source_unopened(&node, false)?,
                };
                Ok((node, source))
            }
        }
    }

    /// The data of a file that was not opened: the fd kept for it, or a fresh one, which is kept.
    fn source_unopened(&self, node: &Arc<Node>, writable: bool) -> Result<Source> {
        let kept = self.unopened.get(node);
        if let Some(kept) = kept.filter(|kept| kept.writable || !writable) {
            return Ok(kept);
        }
        let how = How {
            writable,
            append: writable,
            noatime: self.noatime,
        };
        let fresh = self.open_data(node, how)?;
        self.unopened.keep(node, fresh.clone());
        Ok(fresh)
    }

    /// The fd of an open file's data, opened anew if the data has moved.
    fn source_of(&self, open: &OpenFile) -> Result<Source> {
        {
            let source = open.source.read();
            if source.epoch == open.node.epoch() {
                return Ok(source.clone());
            }
        }
        let fresh = self.open_data(&open.node, open.how)?;
        *open.source.write() = fresh.clone();
        Ok(fresh)
    }

    /// A file's data, in the upper and fit for writing.
    fn sink(&self, opened: Opened) -> Result<Source> {
        match opened {
            Opened::Handle(handle) => {
                let open = self.files.get(handle)?;
                if !open.how.writable {
                    return Err(Error::BadHandle);
                }
                self.raise_data(&open.node)?;
                self.source_of(&open)
            }
            Opened::Node { node, .. } => {
                let node = self.node(node)?;
                self.upper()?;
                self.raise_data(&node)?;
                self.source_unopened(&node, true)
            }
        }
    }

    fn raise_data(&self, node: &Arc<Node>) -> Result<()> {
        match self.data_in_layer(node) {
            true => self.raise(node, Need::Data),
            false => Ok(()),
        }
    }

    /// Reads at `offset` into `buffer`; fewer bytes than asked only at the end of the file.
    pub fn read(&self, from: impl Into<Opened>, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let (_, source) = self.source(from.into())?;
        Ok(source.data.read(offset, buffer, ReadWriteFlags::empty())?)
    }

    /// As [`Self::read`], if the bytes are in memory already.
    ///
    /// # Errors
    /// EAGAIN where a disk would have to be waited for.
    pub fn read_cached(
        &self,
        from: impl Into<Opened>,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize> {
        let (_, source) = self.source(from.into())?;
        Ok(
            match source.data.read(offset, buffer, ReadWriteFlags::NOWAIT) {
                // A file system that cannot tell.
                Err(Errno::OPNOTSUPP) => {
                    source.data.read(offset, buffer, ReadWriteFlags::empty())?
                }
                other => other?,
            },
        )
    }

    /// Writes `data` at `offset`; fewer bytes than given only where an error follows on the next call.
    ///
    /// # Errors
    /// EPERM: not at the end of a file that may only be appended to.
    pub fn write(&self, to: impl Into<Opened>, offset: u64, data: &[u8]) -> Result<usize> {
        write_to(&self.sink(to.into())?, offset, data)
    }

    /// Writes what the kernel held back. The file's mtime is the kernel's, which says it by
    /// itself where it has changed: it stays what it was, and not the moment of this call.
    ///
    /// # Errors
    /// As [`Self::write`]. Killed before the time is put back, the mtime is the later one.
    pub fn write_back(&self, to: impl Into<Opened>, offset: u64, data: &[u8]) -> Result<usize> {
        let sink = self.sink(to.into())?;
        let file = &sink.data.file;
        let before = KeptTimes::of(&At::Fd(file.as_fd()).stat()?);
        let done = write_to(&sink, offset, data)?;
        futimens(file, &before.put_back())?;
        Ok(done)
    }

    /// The last close.
    pub fn release(&self, handle: Handle) {
        drop(self.files.remove(handle));
    }

    /// Brings a file's data (and metadata, unless `data_only`) to disk, with its names and all
    /// directories above them that were copied up (F1). A file that is still a layer's has nothing to
    /// bring.
    pub fn fsync(&self, opened: impl Into<Opened>, data_only: bool) -> Result<()> {
        let opened = opened.into();
        let node = match opened {
            Opened::Handle(handle) => self.files.get(handle)?.node.clone(),
            Opened::Node { node, .. } => self.node(node)?,
        };
        let Some(upper) = &self.upper else {
            return Ok(());
        };
        if upper.volatile || !node.in_upper() {
            return Ok(());
        }
        let file = match self.data_in_layer(&node) {
            // A metadata-only copy: the data is safe below, the metadata is what counts.
            true => self.with_upper(&node, |at| Ok(Arc::new(at.open(OFlags::RDONLY)?)))?,
            false => self.source(opened)?.1.data.file,
        };
        match data_only {
            true => fdatasync(&file)?,
            false => fsync(&file)?,
        }
        self.sync_around(upper, &node, &file)
    }

    /// fallocate(2), with the modes the upper's file system knows.
    pub fn fallocate(
        &self,
        opened: impl Into<Opened>,
        offset: u64,
        length: u64,
        mode: i32,
    ) -> Result<()> {
        let file = self.sink(opened.into())?.data.file;
        let mode = FallocateFlags::from_bits(mode.cast_unsigned()).ok_or(Error::Unsupported)?;
        Ok(fallocate(&file, mode, offset, length)?)
    }

    /// The next data or hole at or after `offset`; ENXIO past the end.
    pub fn seek(&self, opened: impl Into<Opened>, offset: u64, what: Seek) -> Result<u64> {
        let (_, source) = self.source(opened.into())?;
        Ok(match what {
            Seek::Data => source.data.next_data(offset)?,
            Seek::Hole => source.data.next_hole(offset)?,
        })
    }

    /// copy_file_range(2) between two open files; EXDEV where the file systems below cannot, upon which
    /// the kernel copies by itself.
    pub fn copy_file_range(
        &self,
        from: impl Into<Opened>,
        from_offset: u64,
        to: impl Into<Opened>,
        to_offset: u64,
        length: u64,
    ) -> Result<usize> {
        let to = self.sink(to.into())?.data.file;
        let from = self.source(from.into())?.1.data;
        if from.pieces.is_some() {
            return Err(Error::CrossDevice);
        }
        let from = from.file;
        let (mut source, mut target) = (from_offset, to_offset);
        // A reply counts bytes in 32 bits; the caller goes on from there.
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(1 << 30);
        match copy_file_range(&from, Some(&mut source), &to, Some(&mut target), length) {
            Err(Errno::XDEV) => Err(Error::CrossDevice),
            other => Ok(other?),
        }
    }
}

/// Writes into data that is fit for it; see [`FileSystem::write`].
fn write_to(sink: &Source, offset: u64, data: &[u8]) -> Result<usize> {
    let file = &sink.data.file;
    if sink.appends && offset != At::Fd(file.as_fd()).stat()?.st_size.cast_unsigned() {
        return Err(Error::Sys(Errno::PERM));
    }
    let mut done = 0;
    while done < data.len() {
        match pwrite(file, &data[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(error) if done == 0 => return Err(error.into()),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Opens a file of the upper; gives also whether it is for appending only. Offsets come from the kernel, so `O_APPEND` is only asked for where the
/// file demands it (chattr +a); `O_NOATIME` only where we may.
fn open_at(at: At<'_>, how: How) -> Result<(Data, bool)> {
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
        other => return Ok((Data::whole(other?), false)),
    }
    let appends = how.append && how.writable;
    let append = if appends {
        OFlags::APPEND
    } else {
        OFlags::empty()
    };
    Ok((Data::whole(at.open(access | append)?), appends))
}
