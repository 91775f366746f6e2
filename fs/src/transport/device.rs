//! `/dev/fuse`: the connection to the kernel, and the carrier of requests that every kernel has.
//!
//! ```text
//!   read(fd)  ─> message ─> decode ─> Service ─> encode ─> writev(fd)        several threads
//! ```
//!
//! Where the rings carry the requests, this carries what is left: FORGET, INTERRUPT, and what we tell
//! the kernel without being asked.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno as SysErrno;
use zerocopy::{Immutable, IntoBytes};

use super::dispatch::{Outcome, Service};
use super::{abi, decode, sys};

/// Room for the header and the own struct of a WRITE, beside its data.
const HEADERS: usize = 4096;

/// The connection of one mount. Clones share the queue of requests.
#[derive(Debug, Clone)]
pub(super) struct Connection(Arc<OwnedFd>);

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Connection {
    fn from(fd: OwnedFd) -> Self {
        Self(Arc::new(fd))
    }
}

impl Connection {
    /// Another fd of the same connection, on which a thread of its own may wait; answers must go down
    /// the fd that the request came from.
    pub(super) fn another(&self) -> io::Result<Self> {
        let fresh = super::mount::open_device()?;
        sys::clone_connection(&fresh, self)?;
        Ok(Self::from(OwnedFd::from(fresh)))
    }

    /// Waits for a message; gives its length, or `None` when the file system is unmounted.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match rustix::io::read(self, &mut *buffer) {
                Ok(length) => return Ok(Some(length)),
                // NOENT: the sender was killed before we took it.
                Err(SysErrno::NOENT | SysErrno::INTR | SysErrno::AGAIN) => {}
                Err(SysErrno::NODEV) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Answers with a struct.
    pub(super) fn reply<T: IntoBytes + Immutable>(&self, unique: u64, own: &T) -> io::Result<()> {
        self.send(unique, 0, own.as_bytes())
    }

    /// Answers with an errno (positive).
    pub(super) fn refuse(&self, unique: u64, errno: i32) -> io::Result<()> {
        self.send(unique, -errno, &[])
    }

    /// Tells the kernel that its attributes of a node are stale. A negative offset leaves the pages
    /// alone, so this takes no lock that the request under way could hold.
    pub(super) fn drop_attributes(&self, node: u64) -> io::Result<()> {
        let stale = abi::InvalInodeOut {
            ino: node,
            off: -1,
            len: 0,
        };
        match self.send(0, abi::notify::INVAL_INODE, stale.as_bytes()) {
            // The kernel had forgotten the node: nothing is stale.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    fn send(&self, unique: u64, error: i32, body: &[u8]) -> io::Result<()> {
        let len = (size_of::<abi::OutHeader>() + body.len()) as u32;
        let header = abi::OutHeader { len, error, unique };
        let pieces = [IoSlice::new(header.as_bytes()), IoSlice::new(body)];
        // All or nothing: the kernel takes a reply in one piece.
        rustix::io::writev(self, &pieces)?;
        Ok(())
    }
}

/// Takes messages until the file system is unmounted, and answers them. `max_write` is what the kernel
/// was told.
pub(super) fn serve(connection: &Connection, service: &Service, max_write: u32) -> io::Result<()> {
    let mut message = vec![0; max_write as usize + HEADERS];
    let mut room = vec![0; max_write as usize + HEADERS];
    while let Some(length) = connection.receive(&mut message)? {
        let Ok((header, body)) = decode::message(&message[..length]) else {
            let why = "the kernel sent a message that is too short";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        };
        let request = decode::request(header.opcode, body);
        let sent = match service.answer(&header, request, &mut room, true) {
            Outcome::Body(length) => connection.send(header.unique, 0, &room[..length]),
            Outcome::Refused(errno) => connection.refuse(header.unique, errno.0),
            Outcome::Silent | Outcome::Later => Ok(()),
        };
        match sent {
            // The sender was killed meanwhile, or (ENOENT) the request is a ring's to answer.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => tracing::debug!(%error, unique = header.unique, "an answer was refused"),
            Ok(()) => {}
        }
    }
    Ok(())
}
