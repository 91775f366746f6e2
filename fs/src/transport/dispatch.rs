//! One request → one call of [`FileSystem`] → its reply, whichever way it came.
//!
//! ```text
//!   device ─┐                                  ┌─> ops
//!           ├─ Request ─> Service::answer ─────┤
//!   ring ───┘                │                 └─> encode ─> room ─> the carrier sends it
//!                            └─ catch_unwind: a panic is EIO for this request only
//! ```
//!
//! It translates and decides nothing; what the kernel may cache is [`Policy`]'s business.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::abi;
use super::decode::Fault;
use super::device::Connection;
use super::encode::{self, Listing, put, put_bytes};
use super::errno::Errno;
use super::ioctl;
use super::policy::Policy;
use super::request::{CopyFileRange, Header, Request};
use super::stats::Stats;
use crate::error::{Error, Result};
use crate::ops::FileSystem;
use crate::types::{
    Attr, DirEntry, Entry, Handle, NodeId, Opened, RenameMode, Seek, SetAttr, SetTime, SetXattrMode,
};

/// Most that one COPY_FILE_RANGE copies: the older reply counts in 32 bits, and read(2) has this limit.
const MAX_COPY: u64 = 0x7fff_f000;

/// Copies up to this length are made at once, by whoever has the request.
const COPIED_AT_ONCE: u64 = 128 << 10;

/// The body of a reply: its length in the room, or the errno.
type Reply = Result<usize, Errno>;

/// What comes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is done; the body of the reply has this length.
    Body(usize),
    /// It failed.
    Refused(Errno),
    /// It is done, and wants no reply.
    Silent,
    /// It would have to wait, and the caller may not: nothing was done.
    Later,
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Self {
        reply.map_or_else(Self::Refused, Self::Body)
    }
}

/// The file system as the kernel's requests see it.
pub(super) struct Service {
    pub(super) file_system: Arc<FileSystem>,
    pub(super) policy: Policy,
    /// What [`ioctl::SERVER`] tells.
    pub(super) server: Option<[u64; 2]>,
    pub(super) connection: Connection,
    /// Whether the kernel can do without OPEN and RELEASE, and may.
    pub(super) no_open: bool,
    /// Whether the kernel can do without OPENDIR, and may.
    pub(super) no_opendir: bool,
    pub(super) stats: Stats,
    /// The name of the carrier, for [`ioctl::STATS`].
    pub(super) transport: &'static str,
}

impl Service {
    /// Answers a request, its reply's body in `room`. Where `may_wait` is false and answering would wait
    /// for a disk or copy much, nothing is done ([`Outcome::Later`]).
    ///
    /// A panic is logged and becomes EIO; locks are parking_lot's, which a panic releases and does not
    /// poison, so the next request finds the file system as it was left.
    pub(super) fn answer(
        &self,
        header: &Header,
        request: Result<Request<'_>, Fault>,
        room: &mut [u8],
        may_wait: bool,
    ) -> Outcome {
        let operation = header.opcode.map_or("unknown", abi::Opcode::name);
        let request = match request {
            Ok(request) => request,
            Err(fault) => {
                tracing::debug!(operation, ?fault, "not a request");
                return Outcome::Refused(fault.into());
            }
        };
        let begun = Instant::now();
        let answered = catch_unwind(AssertUnwindSafe(|| {
            if !may_wait && let Some(outcome) = self.at_once(header, &request, room) {
                return outcome;
            }
            match request {
                Request::Forget { count } => self.forget(header.node, count),
                Request::BatchForget { nodes } => {
                    for (node, count) in nodes.iter() {
                        self.forget(node, count);
                    }
                    Outcome::Silent
                }
                _ => self.names(header, &request, room).into(),
            }
        }));
        let outcome = answered.unwrap_or_else(|panic| {
            let why = panic_message(&*panic);
            tracing::error!(operation, why, "a request panicked; it fails with EIO");
            Outcome::Refused(Errno(libc::EIO))
        });
        self.count(header, &request, outcome, begun);
        if let Outcome::Refused(errno) = outcome {
            tracing::trace!(operation, errno = errno.0, "failed");
        }
        outcome
    }

    fn count(&self, header: &Header, request: &Request<'_>, outcome: Outcome, begun: Instant) {
        let Some(operation) = header.opcode else {
            return;
        };
        let bytes = match (request, outcome) {
            (_, Outcome::Later) => return self.stats.count_pooled(),
            (Request::Read { .. }, Outcome::Body(length)) => length as u64,
            (Request::Write { data, .. }, Outcome::Body(_)) => data.len() as u64,
            _ => 0,
        };
        let failed = matches!(outcome, Outcome::Refused(_));
        self.stats.count(operation, begun.elapsed(), failed, bytes);
    }

    /// The outcome for a caller that may not wait, where it differs: [`Outcome::Later`], or what was in
    /// memory.
    fn at_once(&self, header: &Header, request: &Request<'_>, room: &mut [u8]) -> Option<Outcome> {
        let fs = &self.file_system;
        let is_slow = |node, data| fs.is_slow_to_change(node, data);
        let later = match *request {
            Request::Read {
                handle,
                offset,
                size,
                noatime,
            } => {
                let size = room.len().min(size as usize);
                let from = opened_file(header.node, handle, noatime);
                match fs.read_cached(from, offset, &mut room[..size]) {
                    Err(Error::Sys(rustix::io::Errno::AGAIN)) => true,
                    other => return Some(other.map_err(Errno::from).into()),
                }
            }
            Request::Fsync { .. } | Request::Fsyncdir { .. } | Request::Fallocate { .. } => true,
            Request::Write { .. } => is_slow(header.node, true),
            Request::Setattr { ref change, .. } => is_slow(header.node, change.size.is_some()),
            Request::Setxattr { .. } | Request::Removexattr { .. } => is_slow(header.node, false),
            Request::Link { node, .. } => is_slow(node, false),
            Request::CopyFileRange(ref copy) => {
                copy.length > COPIED_AT_ONCE || is_slow(copy.to_node, true)
            }
            _ => false,
        };
        later.then_some(Outcome::Later)
    }

    fn forget(&self, node: NodeId, count: u64) -> Outcome {
        self.file_system.forget(node, count);
        Outcome::Silent
    }

    /// Requests that deal with names; all others go on.
    fn names(&self, header: &Header, request: &Request<'_>, room: &mut [u8]) -> Reply {
        let (fs, caller, node) = (&self.file_system, &header.caller, header.node);
        let entry = match *request {
            Request::Lookup { name } => match fs.lookup(node, name) {
                Err(Error::NotFound) if !self.policy.timeout.is_zero() => {
                    return Ok(put(room, &encode::no_entry(self.policy.timeout))?);
                }
                found => found,
            },
            Request::Mknod {
                name,
                mode,
                rdev,
                umask,
            } => fs.mknod(caller, node, name, mode, umask, rdev),
            Request::Mkdir { name, mode, umask } => fs.mkdir(caller, node, name, mode, umask),
            Request::Symlink { name, target } => fs.symlink(caller, node, name, target),
            Request::Link {
                node: old,
                new_name,
            } => fs.link(old, node, new_name),
            Request::Unlink { name } => return empty(fs.unlink(node, name)),
            Request::Rmdir { name } => return empty(fs.rmdir(node, name)),
            Request::Rename {
                name,
                new_parent,
                new_name,
                flags,
            } => {
                let mode = rename_mode(flags)?;
                return empty(fs.rename(node, name, new_parent, new_name, mode));
            }
            Request::Tmpfile { mode, umask, flags } => {
                let (entry, handle) = fs.tmpfile(caller, node, mode, umask, open_flags(flags))?;
                return self.created(&entry, handle, flags, room);
            }
            Request::Create {
                name,
                mode,
                umask,
                flags,
            } => {
                let (entry, handle) =
                    fs.create(caller, node, name, mode, umask, open_flags(flags))?;
                return self.created(&entry, handle, flags, room);
            }
            _ => return self.attributes(header, request, room),
        };
        Ok(put(room, &encode::entry(&entry?, self.policy.timeout))?)
    }

    fn created(&self, entry: &Entry, handle: Handle, flags: i32, room: &mut [u8]) -> Reply {
        let length = put(room, &encode::entry(entry, self.policy.timeout))?;
        let handle = match self.no_open {
            // Its close will not be told.
            true => {
                self.file_system.leave_unopened(handle);
                Handle::NONE
            }
            false => handle,
        };
        let opened = opened(handle, self.policy.open_file(flags));
        Ok(length + put(&mut room[length..], &opened)?)
    }

    /// Requests about what an object is; all others go on.
    fn attributes(&self, header: &Header, request: &Request<'_>, room: &mut [u8]) -> Reply {
        let (fs, node) = (&self.file_system, header.node);
        let attr = match *request {
            Request::Getattr { handle } => fs.getattr(node, handle)?,
            Request::Setattr {
                handle,
                ref change,
                kill,
                told,
            } => {
                if told && let Some(attr) = self.unchanged(node, change)? {
                    return Ok(put(room, &encode::attributes(&attr, self.policy.timeout))?);
                }
                // Of a change of the owner the file system below makes the same.
                if kill && change.size.is_some() {
                    fs.drop_set_id_bits(node)?;
                }
                fs.setattr(node, handle, change)?
            }
            Request::Readlink => {
                let target = fs.readlink(node)?;
                return Ok(put_bytes(room, target.as_encoded_bytes())?);
            }
            Request::Statfs => return Ok(put(room, &encode::statfs(&fs.statfs()?))?),
            Request::Setxattr { name, value, flags } => {
                let mode = setxattr_mode(flags)?;
                return empty(fs.setxattr(&header.caller, node, name, value, mode));
            }
            Request::Getxattr { name, size } => {
                return xattr(&fs.getxattr(node, name)?, size, room);
            }
            Request::Listxattr { size } => return xattr(&fs.listxattr(node)?, size, room),
            Request::Removexattr { name } => return empty(fs.removexattr(node, name)),
            _ => return self.open_objects(header, request, room),
        };
        Ok(put(room, &encode::attributes(&attr, self.policy.timeout))?)
    }

    /// The attributes of an object of which a change says nothing but the mtime that it has: a kernel
    /// that keeps the times sends them after an unlink too, for the ctime's sake, and for that a
    /// layer's file need not be copied up (C2).
    fn unchanged(&self, node: NodeId, change: &SetAttr) -> Result<Option<Attr>> {
        let SetAttr {
            mode: None,
            uid: None,
            gid: None,
            size: None,
            atime: None,
            mtime: Some(SetTime::At(time)),
        } = *change
        else {
            return Ok(None);
        };
        let attr = self.file_system.getattr(node, None)?;
        Ok((attr.mtime == time).then_some(attr))
    }

    /// Requests about something opened.
    fn open_objects(&self, header: &Header, request: &Request<'_>, room: &mut [u8]) -> Reply {
        let (fs, node) = (&self.file_system, header.node);
        match *request {
            // The kernel asks only once: it then reads and writes without.
            Request::Open { .. } if self.no_open => Err(Errno(libc::ENOSYS)),
            Request::Open { flags } => {
                let handle = fs.open_file(node, open_flags(flags))?;
                Ok(put(room, &opened(handle, self.policy.open_file(flags)))?)
            }
            // Listing needs no handle. A kernel that can do without one asks only once, and keeps what
            // it has read of directories; where it may not keep it, it must ask each time.
            Request::Opendir if self.no_opendir => Err(Errno(libc::ENOSYS)),
            Request::Opendir => Ok(put(
                room,
                &opened(Handle::NONE, self.policy.open_directory()),
            )?),
            Request::Read {
                handle,
                offset,
                size,
                noatime,
            } => {
                let size = room.len().min(size as usize);
                let from = opened_file(node, handle, noatime);
                Ok(fs.read(from, offset, &mut room[..size])?)
            }
            Request::Write {
                handle,
                offset,
                data,
                kill,
                cached,
            } => {
                self.drop_privileges(node, kill)?;
                let to = opened_file(node, handle, false);
                let count = match cached && self.policy.writeback {
                    true => fs.write_back(to, offset, data)?,
                    false => fs.write(to, offset, data)?,
                };
                written(count, room)
            }
            // Nothing is held back here: the kernel need not tell of a close.
            Request::Flush => Err(Errno(libc::ENOSYS)),
            Request::Release { handle } => {
                fs.release(handle);
                Ok(0)
            }
            Request::Releasedir | Request::Destroy => Ok(0),
            Request::Fsync { handle, data_only } => {
                empty(fs.fsync(opened_file(node, handle, false), data_only))
            }
            Request::Fsyncdir { data_only } => empty(fs.fsyncdir(node, data_only)),
            Request::Fallocate {
                handle,
                offset,
                length,
                mode,
            } => {
                self.drop_privileges(node, header.caller.uid != 0)?;
                let file = opened_file(node, handle, false);
                empty(fs.fallocate(file, offset, length, mode))
            }
            // What the kernel holds back is not here: it knows the size, and takes all for data.
            Request::Lseek { .. } if self.policy.writeback => Err(Errno(libc::ENOSYS)),
            Request::Lseek {
                handle,
                offset,
                whence,
            } => {
                let file = opened_file(node, handle, false);
                let offset = self.seek(file, offset, whence)?;
                Ok(put(room, &abi::LseekOut { offset })?)
            }
            Request::CopyFileRange(ref copy) => {
                self.drop_privileges(copy.to_node, header.caller.uid != 0)?;
                self.copy_file_range(node, copy, room)
            }
            Request::Readdir { offset, size, plus } => {
                self.readdir(node, offset, Listing::new(room, size), plus)
            }
            Request::Ioctl {
                command,
                input,
                out_size,
            } => self.ioctl(node, command, input, out_size, room),
            // Not supported; the kernel then asks no more. Whatever is under way comes to its end.
            _ => Err(Errno(libc::ENOSYS)),
        }
    }

    /// Clears set-id bits before a change of the data. Of WRITE the kernel says whether the caller's lack of
    /// CAP_FSETID demands it; of FALLOCATE and COPY_FILE_RANGE it does not, and who is not root has to lose
    /// them. The kernel's own idea of the mode is then stale.
    fn drop_privileges(&self, node: NodeId, kill: bool) -> Result<()> {
        if kill && self.file_system.drop_set_id_bits(node)? {
            self.drop_attributes(node);
        }
        Ok(())
    }

    fn drop_attributes(&self, node: NodeId) {
        if let Err(error) = self.connection.drop_attributes(node.0) {
            tracing::warn!(%error, "cannot drop cached attributes; mode and ctime may be stale");
        }
    }

    fn readdir(&self, node: NodeId, offset: u64, mut list: Listing<'_>, plus: bool) -> Reply {
        let valid = self.policy.timeout;
        if plus {
            let take =
                &mut |entry: &DirEntry<'_>, found: &Entry| list.add_plus(entry, found, valid);
            self.file_system.readdirplus(node, offset, take)?;
        } else {
            let take = &mut |entry: &DirEntry<'_>| list.add(entry);
            self.file_system.readdir(node, offset, take)?;
        }
        Ok(list.len())
    }

    fn seek(&self, file: Opened, offset: i64, whence: i32) -> Result<u64> {
        // Only these two reach us; the kernel moves the offset by itself.
        let what = match whence {
            libc::SEEK_DATA => Seek::Data,
            libc::SEEK_HOLE => Seek::Hole,
            _ => return Err(Error::Invalid),
        };
        // A negative offset lies in no file: ENXIO, as ext4 says.
        let outside = Error::Sys(rustix::io::Errno::NXIO);
        let offset = u64::try_from(offset).map_err(|_| outside)?;
        self.file_system.seek(file, offset, what)
    }

    fn copy_file_range(&self, from_node: NodeId, copy: &CopyFileRange, room: &mut [u8]) -> Reply {
        let count = self.file_system.copy_file_range(
            opened_file(from_node, copy.from, false),
            copy.from_offset,
            opened_file(copy.to_node, copy.to, false),
            copy.to_offset,
            copy.length.min(MAX_COPY),
        )?;
        if !copy.wide {
            return written(count, room);
        }
        let bytes_copied = count as u64;
        Ok(put(room, &abi::CopyFileRangeOut { bytes_copied })?)
    }

    fn ioctl(
        &self,
        node: NodeId,
        command: u32,
        input: &[u8],
        out_size: u32,
        room: &mut [u8],
    ) -> Reply {
        let out_size = out_size as usize;
        let answer = ioctl::answer(self, node, command, input, out_size)?;
        if answer.changed {
            self.drop_attributes(node);
        }
        let length = put(room, &abi::IoctlOut::default())?;
        Ok(length + put_bytes(&mut room[length..], &answer.data)?)
    }
}

/// What a panic said.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

fn empty(result: Result<()>) -> Reply {
    result?;
    Ok(0)
}

/// The file that a request means: what it opened, or what its node is.
fn opened_file(node: NodeId, handle: Handle, noatime: bool) -> Opened {
    match handle {
        Handle::NONE => Opened::Node { node, noatime },
        handle => Opened::Handle(handle),
    }
}

fn opened(handle: Handle, open_flags: u32) -> abi::OpenOut {
    abi::OpenOut {
        fh: handle.0,
        open_flags,
        backing_id: 0,
    }
}

fn written(count: usize, room: &mut [u8]) -> Reply {
    let size = u32::try_from(count).unwrap_or(u32::MAX);
    Ok(put(room, &abi::WriteOut { size, padding: 0 })?)
}

/// The size protocol of getxattr(2) and listxattr(2): size 0 asks for the length.
fn xattr(value: &[u8], size: u32, room: &mut [u8]) -> Reply {
    if size == 0 {
        let size = u32::try_from(value.len()).unwrap_or(u32::MAX);
        return Ok(put(room, &abi::GetxattrOut { size, padding: 0 })?);
    }
    if value.len() > size as usize {
        return Err(Errno(libc::ERANGE));
    }
    Ok(put_bytes(room, value)?)
}

/// The flags of an OPEN or CREATE that are the file system's business.
///
/// The kernel's page cache stands between the program and us: it computes the offsets of `O_APPEND`
/// under the inode's lock, and ours is only told so that a file that may be appended to and nothing
/// else (chattr +a) can be opened at all. `O_DIRECT` stays with it (our buffers are not aligned).
fn open_flags(flags: i32) -> i32 {
    const OURS: i32 =
        libc::O_EXCL | libc::O_TRUNC | libc::O_SYNC | libc::O_NOATIME | libc::O_APPEND;
    flags & (libc::O_ACCMODE | OURS)
}

/// The flags of renameat2(2). `RENAME_WHITEOUT` is the mark of one union file system stacked on
/// another; it never shows here.
fn rename_mode(flags: u32) -> Result<RenameMode> {
    match flags {
        0 => Ok(RenameMode::Replace),
        libc::RENAME_NOREPLACE => Ok(RenameMode::NoReplace),
        libc::RENAME_EXCHANGE => Ok(RenameMode::Exchange),
        _ => Err(Error::Invalid),
    }
}

/// The flags of setxattr(2).
fn setxattr_mode(flags: i32) -> Result<SetXattrMode> {
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
    fn direct_stays_with_the_kernel() {
        let flags = libc::O_RDWR | libc::O_APPEND | libc::O_DIRECT | libc::O_NONBLOCK;
        assert_eq!(open_flags(flags), libc::O_RDWR | libc::O_APPEND);
        let flags = libc::O_WRONLY | libc::O_DSYNC;
        assert_eq!(open_flags(flags), flags);
    }

    #[test]
    fn a_whiteout_rename_is_refused() {
        assert_eq!(rename_mode(libc::RENAME_WHITEOUT), Err(Error::Invalid));
        let both = libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE;
        assert_eq!(rename_mode(both), Err(Error::Invalid));
    }

    #[test]
    fn an_xattr_that_does_not_fit_is_erange_and_size_0_asks() {
        let mut room = [0; 64];
        assert_eq!(xattr(b"value", 4, &mut room), Err(Errno(libc::ERANGE)));
        assert_eq!(xattr(b"value", 5, &mut room), Ok(5));
        assert_eq!(&room[..5], b"value");
        assert_eq!(xattr(b"value", 0, &mut room), Ok(8));
        assert_eq!(room[..4], 5_u32.to_ne_bytes());
    }
}
