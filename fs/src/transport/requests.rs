//! The requests: each handler decodes one, calls the operation and encodes its reply.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, Generation, INodeNo,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::device::Device;
use super::{answer, ioctl, wire};
use crate::error::Error;
use crate::types::{Handle, NodeId, Seek, SetAttr};

/// Most that one COPY_FILE_RANGE copies: the reply counts in 32 bits, and read(2) has this limit.
const MAX_COPY: u64 = 0x7fff_f000;

thread_local! {
    /// Where READ puts its bytes; one for each thread, so that no read allocates or clears memory.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn node(ino: INodeNo) -> NodeId {
    NodeId(ino.0)
}

fn handle(fh: FileHandle) -> Handle {
    Handle(fh.0)
}

impl Filesystem for Device {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        self.configure(config);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match answer::run("lookup", || self.file_system.lookup(node(parent), name)) {
            Err(Errno::ENOENT) if !self.caching.timeout.is_zero() => {
                let none = wire::negative_attr();
                reply.entry(&self.caching.timeout, &none, Generation(0));
            }
            result => self.reply_entry(result, reply),
        }
    }

    fn forget(&self, _request: &Request, ino: INodeNo, count: u64) {
        // No reply, so nobody to tell; `run` has logged it.
        let _ = answer::run("forget", || {
            let count = self.counted(ino.0, count);
            if count > 0 {
                self.file_system.forget(node(ino), count);
            }
            Ok(())
        });
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        match answer::run("getattr", || {
            self.file_system.getattr(node(ino), fh.map(handle))
        }) {
            Ok(attr) => reply.attr(&self.caching.timeout, &wire::file_attr(attr.ino, &attr)),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        // The kernel sends a ctime only with the writeback cache; the rest is for macOS.
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = SetAttr {
            mode: mode.map(|mode| mode & 0o7777),
            uid,
            gid,
            size,
            atime: atime.map(wire::set_time),
            mtime: mtime.map(wire::set_time),
        };
        match answer::run("setattr", || {
            self.file_system.setattr(node(ino), fh.map(handle), &change)
        }) {
            Ok(attr) => reply.attr(&self.caching.timeout, &wire::file_attr(attr.ino, &attr)),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _request: &Request, ino: INodeNo, reply: ReplyData) {
        match answer::run("readlink", || self.file_system.readlink(node(ino))) {
            Ok(target) => reply.data(target.as_bytes()),
            Err(errno) => reply.error(errno),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let result = answer::run("mknod", || {
            let (caller, rdev) = (wire::caller(request), wire::rdev_from_wire(rdev));
            self.file_system
                .mknod(&caller, node(parent), name, mode, umask, rdev)
        });
        self.reply_entry(result, reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let result = answer::run("mkdir", || {
            let caller = wire::caller(request);
            self.file_system
                .mkdir(&caller, node(parent), name, mode & 0o7777, umask)
        });
        self.reply_entry(result, reply);
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer::empty(
            answer::run("unlink", || self.file_system.unlink(node(parent), name)),
            reply,
        );
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer::empty(
            answer::run("rmdir", || self.file_system.rmdir(node(parent), name)),
            reply,
        );
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let result = answer::run("symlink", || {
            let caller = wire::caller(request);
            self.file_system
                .symlink(&caller, node(parent), name, target.as_os_str())
        });
        self.reply_entry(result, reply);
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let result = answer::run("rename", || {
            let mode = wire::rename_mode(flags)?;
            self.file_system
                .rename(node(parent), name, node(new_parent), new_name, mode)
        });
        answer::empty(result, reply);
    }

    fn link(
        &self,
        _request: &Request,
        ino: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let result = answer::run("link", || {
            self.file_system.link(node(ino), node(new_parent), new_name)
        });
        self.reply_entry(result, reply);
    }

    fn open(&self, _request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let result = answer::run("open", || {
            self.file_system
                .open_file(node(ino), wire::open_flags(flags.0))
        });
        match result {
            Ok(opened) => reply.opened(FileHandle(opened.0), self.fopen_flags(flags)),
            Err(errno) => reply.error(errno),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let result = answer::run("create", || {
            let caller = wire::caller(request);
            let (mode, open) = (mode & 0o7777, wire::open_flags(flags));
            self.file_system
                .create(&caller, node(parent), name, mode, umask, open)
        });
        match result {
            Ok((entry, opened)) => reply.created(
                &self.caching.timeout,
                &wire::file_attr(entry.node.0, &entry.attr),
                Generation(0),
                FileHandle(opened.0),
                self.fopen_flags(OpenFlags(flags)),
            ),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < size as usize {
                buffer.resize(size as usize, 0);
            }
            let place = &mut buffer[..size as usize];
            match answer::run("read", || self.file_system.read(handle(fh), offset, place)) {
                Ok(count) => reply.data(&buffer[..count.min(size as usize)]),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn write(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match answer::run("write", || self.file_system.write(handle(fh), offset, data)) {
            Ok(count) => reply.written(count.min(data.len()) as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        answer::empty(
            answer::run("flush", || self.file_system.flush(handle(fh))),
            reply,
        );
    }

    fn release(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let result = answer::run("release", || {
            self.file_system.release(handle(fh));
            Ok(())
        });
        answer::empty(result, reply);
    }

    fn fsync(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        answer::empty(
            answer::run("fsync", || self.file_system.fsync(handle(fh), data_only)),
            reply,
        );
    }

    fn opendir(&self, _request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match answer::run("opendir", || self.file_system.opendir(node(ino))) {
            Ok(opened) => reply.opened(FileHandle(opened.0), self.opendir_flags()),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let result = answer::run("readdir", || {
            self.file_system.readdir(node(ino), offset, &mut |entry| {
                let kind = wire::file_type(entry.kind);
                !reply.add(INodeNo(entry.ino), entry.next, kind, entry.name)
            })
        });
        match result {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let result = answer::run("readdirplus", || {
            self.file_system
                .readdirplus(node(ino), offset, &mut |entry, found| {
                    self.add_plus(&mut reply, entry, found)
                })
        });
        match result {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        let result = answer::run("releasedir", || {
            self.file_system.releasedir(handle(fh));
            Ok(())
        });
        answer::empty(result, reply);
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        answer::empty(
            answer::run("fsyncdir", || {
                self.file_system.fsyncdir(node(ino), data_only)
            }),
            reply,
        );
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        match answer::run("statfs", || self.file_system.statfs()) {
            Ok(figures) => reply.statfs(
                figures.blocks,
                figures.free,
                figures.available,
                figures.files,
                figures.files_free,
                figures.block_size,
                figures.name_max,
                figures.fragment,
            ),
            Err(errno) => reply.error(errno),
        }
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let result = answer::run("setxattr", || {
            let (caller, mode) = (wire::caller(request), wire::setxattr_mode(flags)?);
            self.file_system
                .setxattr(&caller, node(ino), name, value, mode)
        });
        answer::empty(result, reply);
    }

    fn getxattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let result = answer::run("getxattr", || self.file_system.getxattr(node(ino), name));
        answer::xattr(result, size, reply);
    }

    fn listxattr(&self, _request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let result = answer::run("listxattr", || self.file_system.listxattr(node(ino)));
        answer::xattr(result, size, reply);
    }

    fn removexattr(&self, _request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer::empty(
            answer::run("removexattr", || {
                self.file_system.removexattr(node(ino), name)
            }),
            reply,
        );
    }

    fn ioctl(
        &self,
        _request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: IoctlFlags,
        command: u32,
        input: &[u8],
        out_size: u32,
        reply: ReplyIoctl,
    ) {
        let result = answer::run("ioctl", || {
            let (server, out_size) = (self.server, out_size as usize);
            ioctl::answer(
                &self.file_system,
                server,
                handle(fh),
                command,
                input,
                out_size,
            )
        });
        match result {
            Ok(answer) => {
                if answer.changed {
                    self.drop_cached_attributes(ino);
                }
                reply.ioctl(0, &answer.data);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn fallocate(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let result = answer::run("fallocate", || {
            self.file_system.fallocate(handle(fh), offset, length, mode)
        });
        answer::empty(result, reply);
    }

    fn lseek(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let result = answer::run("lseek", || {
            // Only these two reach us; the kernel moves the offset by itself.
            let what = match whence {
                libc::SEEK_DATA => Seek::Data,
                libc::SEEK_HOLE => Seek::Hole,
                _ => return Err(Error::Invalid),
            };
            // A negative offset lies in no file: ENXIO, as ext4 says.
            let outside = Error::Sys(rustix::io::Errno::NXIO);
            let offset = u64::try_from(offset).map_err(|_| outside)?;
            let found = self.file_system.seek(handle(fh), offset, what)?;
            i64::try_from(found).map_err(|_| Error::Damaged)
        });
        match result {
            Ok(offset) => reply.offset(offset),
            Err(errno) => reply.error(errno),
        }
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        _to_ino: INodeNo,
        to_fh: FileHandle,
        to_offset: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let result = answer::run("copy_file_range", || {
            let (from, to, length) = (handle(fh), handle(to_fh), length.min(MAX_COPY));
            self.file_system
                .copy_file_range(from, offset, to, to_offset, length)
        });
        match result {
            Ok(count) => reply.written(u32::try_from(count).unwrap_or(u32::MAX)),
            Err(errno) => reply.error(errno),
        }
    }
}
