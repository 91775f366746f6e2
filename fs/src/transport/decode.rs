//! Bytes of a message → [`Request`].
//!
//! ```text
//!   /dev/fuse   InHeader │ own struct │ names, data        one piece
//!   ring        InHeader │ own struct │ names, data        three places (RingHeader, payload)
//! ```
//!
//! Every length is checked, nothing is believed: a message that is too short, or a name without its
//! NUL, is [`Fault::Malformed`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::abi::{self, Opcode, fattr, flag};
use super::request::{Batch, CopyFileRange, Header, Request};
use crate::types::{Caller, Handle, NodeId, SetAttr, SetTime, Time};

/// Why a message is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its bytes cannot be what they claim to be.
    Malformed,
    /// An operation that we do not have: the kernel is told so and asks no more.
    Unknown,
}

/// What follows the header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body<'a> {
    own: &'a [u8],
    /// `None`: it follows `own` in the same piece.
    rest: Option<&'a [u8]>,
}

impl<'a> Body<'a> {
    /// A body in one piece.
    pub(super) fn whole(bytes: &'a [u8]) -> Self {
        Self {
            own: bytes,
            rest: None,
        }
    }

    /// A body whose own struct lies apart.
    pub(super) fn parted(own: &'a [u8], rest: &'a [u8]) -> Self {
        Self {
            own,
            rest: Some(rest),
        }
    }

    /// The operation's own struct, and what follows it.
    fn split<T: FromBytes + KnownLayout + Immutable>(self) -> Result<(T, &'a [u8]), Fault> {
        let (own, after) = T::read_from_prefix(self.own).map_err(|_| Fault::Malformed)?;
        Ok((own, self.rest.unwrap_or(after)))
    }

    /// The operation's own struct, where nothing follows.
    fn own<T: FromBytes + KnownLayout + Immutable>(self) -> Result<T, Fault> {
        Ok(self.split()?.0)
    }

    /// What there is where an operation has no struct.
    fn rest(self) -> &'a [u8] {
        self.rest.unwrap_or(self.own)
    }
}

/// The header of a message and what follows it; [`Fault::Malformed`] if it is too short.
pub(super) fn message(bytes: &[u8]) -> Result<(Header, Body<'_>), Fault> {
    let (raw, body) = abi::InHeader::read_from_prefix(bytes).map_err(|_| Fault::Malformed)?;
    Ok((header(&raw), Body::whole(body)))
}

/// The header in our words.
pub(super) fn header(raw: &abi::InHeader) -> Header {
    Header {
        unique: raw.unique,
        opcode: Opcode::of(raw.opcode),
        node: NodeId(raw.nodeid),
        caller: Caller {
            uid: raw.uid,
            gid: raw.gid,
            pid: raw.pid,
        },
    }
}

/// The request that a body holds.
pub(super) fn request(opcode: Option<Opcode>, body: Body<'_>) -> Result<Request<'_>, Fault> {
    match opcode.ok_or(Fault::Unknown)? {
        Opcode::Lookup => Ok(Request::Lookup {
            name: only_name(body)?,
        }),
        Opcode::Forget => Ok(Request::Forget {
            count: body.own::<abi::ForgetIn>()?.nlookup,
        }),
        Opcode::BatchForget => batch_forget(body),
        Opcode::Interrupt => Ok(Request::Interrupt),
        Opcode::Destroy => Ok(Request::Destroy),
        // It came before all others; a second one is no request.
        Opcode::Init => Err(Fault::Malformed),
        opcode @ (Opcode::Symlink
        | Opcode::Mknod
        | Opcode::Mkdir
        | Opcode::Create
        | Opcode::Tmpfile
        | Opcode::Unlink
        | Opcode::Rmdir
        | Opcode::Rename
        | Opcode::Rename2
        | Opcode::Link) => name_change(opcode, body),
        opcode @ (Opcode::Getattr
        | Opcode::Setattr
        | Opcode::Readlink
        | Opcode::Statfs
        | Opcode::Setxattr
        | Opcode::Getxattr
        | Opcode::Listxattr
        | Opcode::Removexattr) => attribute(opcode, body),
        opcode => open_object(opcode, body),
    }
}

fn batch_forget(body: Body<'_>) -> Result<Request<'_>, Fault> {
    let (own, rest) = body.split::<abi::BatchForgetIn>()?;
    let (nodes, _) = rest.as_chunks();
    let nodes = nodes.get(..own.count as usize).ok_or(Fault::Malformed)?;
    let nodes = Batch(nodes);
    Ok(Request::BatchForget { nodes })
}

/// Requests that make, move or remove a name.
fn name_change(opcode: Opcode, body: Body<'_>) -> Result<Request<'_>, Fault> {
    Ok(match opcode {
        Opcode::Symlink => {
            let (name, rest) = name(body.rest())?;
            let (target, _) = self::name(rest)?;
            Request::Symlink { name, target }
        }
        Opcode::Mknod => {
            let (own, rest) = body.split::<abi::MknodIn>()?;
            let (name, _) = name(rest)?;
            let (mode, umask, rdev) = (own.mode, own.umask, device_number(own.rdev));
            Request::Mknod {
                name,
                mode,
                rdev,
                umask,
            }
        }
        Opcode::Mkdir => {
            let (own, rest) = body.split::<abi::MkdirIn>()?;
            let (name, _) = name(rest)?;
            Request::Mkdir {
                name,
                mode: own.mode & 0o7777,
                umask: own.umask,
            }
        }
        Opcode::Create => {
            let (own, rest) = body.split::<abi::CreateIn>()?;
            let (name, _) = name(rest)?;
            let (mode, umask, flags) = (own.mode & 0o7777, own.umask, own.flags.cast_signed());
            Request::Create {
                name,
                mode,
                umask,
                flags,
            }
        }
        Opcode::Tmpfile => {
            // Its name is "/", which is nobody's.
            let own = body.own::<abi::CreateIn>()?;
            let (mode, umask, flags) = (own.mode & 0o7777, own.umask, own.flags.cast_signed());
            Request::Tmpfile { mode, umask, flags }
        }
        Opcode::Unlink => Request::Unlink {
            name: only_name(body)?,
        },
        Opcode::Rmdir => Request::Rmdir {
            name: only_name(body)?,
        },
        Opcode::Rename => {
            let (own, rest) = body.split::<abi::RenameIn>()?;
            rename(own.newdir, 0, rest)?
        }
        Opcode::Rename2 => {
            let (own, rest) = body.split::<abi::Rename2In>()?;
            rename(own.newdir, own.flags, rest)?
        }
        Opcode::Link => {
            let (own, rest) = body.split::<abi::LinkIn>()?;
            let (new_name, _) = name(rest)?;
            Request::Link {
                node: NodeId(own.oldnodeid),
                new_name,
            }
        }
        _ => return Err(Fault::Unknown),
    })
}

fn rename(new_parent: u64, flags: u32, names: &[u8]) -> Result<Request<'_>, Fault> {
    let (old_name, rest) = name(names)?;
    let (new_name, _) = name(rest)?;
    let new_parent = NodeId(new_parent);
    Ok(Request::Rename {
        name: old_name,
        new_parent,
        new_name,
        flags,
    })
}

/// Requests about what an object is, not what is in it.
fn attribute(opcode: Opcode, body: Body<'_>) -> Result<Request<'_>, Fault> {
    Ok(match opcode {
        Opcode::Getattr => {
            let own = body.own::<abi::GetattrIn>()?;
            let open = own.getattr_flags & flag::GETATTR_FH != 0;
            Request::Getattr {
                handle: open.then_some(Handle(own.fh)),
            }
        }
        Opcode::Setattr => {
            let own = body.own::<abi::SetattrIn>()?;
            let open = own.valid & fattr::FH != 0;
            let handle = open.then_some(Handle(own.fh));
            Request::Setattr {
                handle,
                change: change(&own),
                kill: own.valid & fattr::KILL_SUIDGID != 0,
                told: own.valid & fattr::CTIME != 0,
            }
        }
        Opcode::Readlink => Request::Readlink,
        Opcode::Statfs => Request::Statfs,
        Opcode::Setxattr => {
            let (own, rest) = body.split::<abi::SetxattrIn>()?;
            let (name, rest) = name(rest)?;
            let value = rest.get(..own.size as usize).ok_or(Fault::Malformed)?;
            Request::Setxattr {
                name,
                value,
                flags: own.flags.cast_signed(),
            }
        }
        Opcode::Getxattr => {
            let (own, rest) = body.split::<abi::GetxattrIn>()?;
            let (name, _) = name(rest)?;
            Request::Getxattr {
                name,
                size: own.size,
            }
        }
        Opcode::Listxattr => Request::Listxattr {
            size: body.own::<abi::GetxattrIn>()?.size,
        },
        Opcode::Removexattr => Request::Removexattr {
            name: only_name(body)?,
        },
        _ => return Err(Fault::Unknown),
    })
}

/// Requests about something opened.
fn open_object(opcode: Opcode, body: Body<'_>) -> Result<Request<'_>, Fault> {
    Ok(match opcode {
        Opcode::Open => Request::Open {
            flags: body.own::<abi::OpenIn>()?.flags.cast_signed(),
        },
        Opcode::Opendir => Request::Opendir,
        Opcode::Read => {
            let own = body.own::<abi::ReadIn>()?;
            Request::Read {
                handle: Handle(own.fh),
                offset: own.offset,
                size: own.size,
                noatime: own.flags.cast_signed() & libc::O_NOATIME != 0,
            }
        }
        Opcode::Readdir | Opcode::Readdirplus => {
            let own = body.own::<abi::ReadIn>()?;
            let plus = opcode == Opcode::Readdirplus;
            Request::Readdir {
                offset: own.offset,
                size: own.size,
                plus,
            }
        }
        Opcode::Write => {
            let (own, rest) = body.split::<abi::WriteIn>()?;
            let data = rest.get(..own.size as usize).ok_or(Fault::Malformed)?;
            let kill = own.write_flags & flag::WRITE_KILL_SUIDGID != 0;
            let cached = own.write_flags & flag::WRITE_CACHE != 0;
            Request::Write {
                handle: Handle(own.fh),
                offset: own.offset,
                data,
                kill,
                cached,
            }
        }
        Opcode::Flush => Request::Flush,
        Opcode::Release => Request::Release {
            handle: Handle(body.own::<abi::ReleaseIn>()?.fh),
        },
        Opcode::Releasedir => Request::Releasedir,
        Opcode::Fsync | Opcode::Fsyncdir => {
            let own = body.own::<abi::FsyncIn>()?;
            let (handle, data_only) =
                (Handle(own.fh), own.fsync_flags & flag::FSYNC_FDATASYNC != 0);
            match opcode {
                Opcode::Fsync => Request::Fsync { handle, data_only },
                _ => Request::Fsyncdir { data_only },
            }
        }
        Opcode::Fallocate => {
            let own = body.own::<abi::FallocateIn>()?;
            let (handle, mode) = (Handle(own.fh), own.mode.cast_signed());
            Request::Fallocate {
                handle,
                offset: own.offset,
                length: own.length,
                mode,
            }
        }
        Opcode::Lseek => {
            let own = body.own::<abi::LseekIn>()?;
            let (offset, whence) = (own.offset.cast_signed(), own.whence.cast_signed());
            Request::Lseek {
                handle: Handle(own.fh),
                offset,
                whence,
            }
        }
        Opcode::CopyFileRange | Opcode::CopyFileRange64 => {
            let own = body.own::<abi::CopyFileRangeIn>()?;
            Request::CopyFileRange(CopyFileRange {
                from: Handle(own.fh_in),
                from_offset: own.off_in,
                to: Handle(own.fh_out),
                to_node: NodeId(own.nodeid_out),
                to_offset: own.off_out,
                length: own.len,
                wide: opcode == Opcode::CopyFileRange64,
            })
        }
        Opcode::Ioctl => {
            let (own, rest) = body.split::<abi::IoctlIn>()?;
            if own.flags & flag::IOCTL_UNRESTRICTED != 0 {
                return Err(Fault::Unknown);
            }
            let input = rest.get(..own.in_size as usize).ok_or(Fault::Malformed)?;
            let (command, out_size) = (own.cmd, own.out_size);
            Request::Ioctl {
                command,
                input,
                out_size,
            }
        }
        _ => return Err(Fault::Unknown),
    })
}

/// A name that ends with a NUL, and what follows it.
fn name(bytes: &[u8]) -> Result<(&OsStr, &[u8]), Fault> {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .ok_or(Fault::Malformed)?;
    Ok((OsStr::from_bytes(&bytes[..end]), &bytes[end + 1..]))
}

/// The name of a request that has nothing else.
fn only_name(body: Body<'_>) -> Result<&OsStr, Fault> {
    Ok(name(body.rest())?.0)
}

/// What a SETATTR changes. A ctime comes with the writeback cache only, and the file system below
/// sets its own.
fn change(own: &abi::SetattrIn) -> SetAttr {
    let valid = |bit: u32| own.valid & bit != 0;
    let time = |set, now, seconds: u64, nanos| {
        valid(set).then(|| match valid(now) {
            true => SetTime::Now,
            false => SetTime::At(Time {
                seconds: seconds.cast_signed(),
                nanos,
            }),
        })
    };
    SetAttr {
        mode: valid(fattr::MODE).then_some(own.mode & 0o7777),
        uid: valid(fattr::UID).then_some(own.uid),
        gid: valid(fattr::GID).then_some(own.gid),
        size: valid(fattr::SIZE).then_some(own.size),
        atime: time(fattr::ATIME, fattr::ATIME_NOW, own.atime, own.atimensec),
        mtime: time(fattr::MTIME, fattr::MTIME_NOW, own.mtime, own.mtimensec),
    }
}

/// A device number as `makedev` would build it, from the 32 bits of the wire (the kernel's
/// `new_decode_dev`): 12 bits of major between the low 8 and the high 12 bits of minor.
fn device_number(wire: u32) -> u64 {
    libc::makedev(
        (wire & 0xfff00) >> 8,
        (wire & 0xff) | ((wire >> 12) & 0xfff00),
    )
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
