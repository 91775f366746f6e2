//! Operations on what is in a file and on attributes, as the kernel checks them.

use std::path::Path;

use rustix::io::Errno;

use super::below::{Below, Kind};
use super::kernel::Kernel;
use crate::operations::{Create, Op, text};

/// ACLs that open(2) and chmod(2) look at, and those that new objects inherit.
pub(super) const ACCESS: &str = "system.posix_acl_access";
pub(super) const DEFAULT: &str = "system.posix_acl_default";

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Write,
    ReadWrite,
}

impl<B: Below> Kernel<B> {
    pub(super) fn apply_to_content(&mut self, op: &Op) -> Result<String, Errno> {
        match op {
            Op::Write(path, offset, data) => {
                let node = self.open(path, Open::Write)?;
                self.write_all(node, *offset, data)?;
            }
            Op::Overwrite(path, data) => {
                let node = self.open(path, Open::Write)?;
                self.below.resize(node, 0)?;
                self.write_all(node, 0, data)?;
            }
            Op::Append(path, data) => {
                let node = self.open(path, Open::Write)?;
                let size = self.below.attr(node)?.size;
                self.write_all(node, size, data)?;
            }
            Op::Truncate(path, size) => {
                let node = self.open(path, Open::Write)?;
                self.below.resize(node, *size)?;
            }
            Op::Punch(path, offset, length) => {
                let node = self.open(path, Open::Write)?;
                self.below.punch(node, *offset, *length)?;
            }
            Op::Extend(path, offset, length) => {
                let node = self.open(path, Open::Write)?;
                self.below.extend(node, *offset, *length)?;
            }
            Op::Read(path) => return self.read_all(path),
            Op::Mapped(path, offset, data) => return self.mapped(path, *offset, data),
            Op::UnlinkOpen(path) => return self.unlink_open(path),
            other => return self.apply_to_attributes(other),
        }
        Ok(String::new())
    }

    /// Opens without waiting; gives up on pipes and devices as the interpreter on disk does.
    fn open(&mut self, path: &Path, how: Open) -> Result<B::Node, Errno> {
        let node = self.find(path, true)?;
        match self.below.attr(node)?.kind {
            Kind::File => Ok(node),
            Kind::Directory => Err(Errno::ISDIR),
            Kind::Socket => Err(Errno::NXIO),
            // Nobody reads it.
            Kind::Fifo if how == Open::Write => Err(Errno::NXIO),
            // No driver has it.
            Kind::Device(0) => Err(Errno::NXIO),
            Kind::Fifo | Kind::Device(_) => Err(Errno::NOSTR),
            Kind::Symlink => unreachable!("symlinks are followed"),
        }
    }

    /// As write_all of Rust: no bytes are no write.
    fn write_all(&mut self, node: B::Node, offset: u64, data: &[u8]) -> Result<(), Errno> {
        match data {
            [] => Ok(()),
            _ => self.below.write(node, offset, data),
        }
    }

    fn read_all(&mut self, path: &Path) -> Result<String, Errno> {
        let node = self.find(path, true)?;
        let attr = self.below.attr(node)?;
        if attr.kind != Kind::File {
            return Ok(String::from("no file"));
        }
        Ok(text(&self.below.read(node, 0, attr.size as usize)?))
    }

    fn mapped(&mut self, path: &Path, offset: u64, data: &[u8]) -> Result<String, Errno> {
        let node = self.open(path, Open::ReadWrite)?;
        let end = offset + data.len() as u64;
        if end > self.below.attr(node)?.size || data.is_empty() {
            return Ok(String::from("too short"));
        }
        let there = self.below.read(node, offset, data.len())?;
        self.below.write(node, offset, data)?;
        Ok(text(&there))
    }

    fn unlink_open(&mut self, path: &Path) -> Result<String, Errno> {
        let node = self.open(path, Open::ReadWrite)?;
        self.unlink(path)?;
        let size = self.below.attr(node)?.size;
        self.below.write(node, size, b"after")?;
        let bytes = text(&self.below.read(node, 0, 64)?);
        let attr = self.below.attr(node)?;
        Ok(format!("{bytes} nlink={} size={}", attr.nlink, attr.size))
    }

    fn apply_to_attributes(&mut self, op: &Op) -> Result<String, Errno> {
        match op {
            Op::Stat(path) => return self.stat(path),
            Op::Chmod(path, mode) => {
                let node = self.find(path, true)?;
                self.below.chmod(node, *mode)?;
            }
            Op::Chown(path, uid, gid) => {
                let node = self.find(path, false)?;
                self.below.chown(node, *uid, *gid)?;
            }
            Op::Utimens(path, seconds, nanos) => {
                let node = self.find(path, false)?;
                self.below.set_mtime(node, (*seconds, *nanos))?;
            }
            Op::SetXattr(path, name, value, how) => {
                let node = self.find(path, false)?;
                self.set_xattr(node, name, value, *how)?;
            }
            Op::RemoveXattr(path, name) => {
                let node = self.find(path, false)?;
                self.remove_xattr(node, name)?;
            }
            other => unreachable!("no operation of the model: {other:?}"),
        }
        Ok(String::new())
    }

    fn stat(&mut self, path: &Path) -> Result<String, Errno> {
        let node = self.find(path, false)?;
        let attr = self.below.attr(node)?;
        let kind = match attr.kind {
            Kind::File => libc::S_IFREG,
            Kind::Directory => libc::S_IFDIR,
            Kind::Symlink => libc::S_IFLNK,
            Kind::Fifo => libc::S_IFIFO,
            Kind::Socket => libc::S_IFSOCK,
            Kind::Device(_) => libc::S_IFCHR,
        };
        let (size, nlink) = match attr.kind {
            Kind::Directory => (0, 0),
            _ => (attr.size, attr.nlink),
        };
        let xattrs = self.below.xattrs(node)?.len();
        let (mode, uid, gid) = (kind | attr.mode, attr.uid, attr.gid);
        Ok(format!(
            "{mode:o} {uid}:{gid} size={size} nlink={nlink} xattrs={xattrs}"
        ))
    }

    fn set_xattr(
        &mut self,
        node: B::Node,
        name: &str,
        value: &[u8],
        how: Create,
    ) -> Result<(), Errno> {
        match (name, self.below.attr(node)?.kind) {
            (ACCESS | DEFAULT, Kind::Symlink) => Err(Errno::OPNOTSUPP),
            (DEFAULT, kind) if kind != Kind::Directory => Err(Errno::ACCESS),
            // For ACLs there are no flags.
            (ACCESS | DEFAULT, _) => self.below.set_xattr(node, name, value, Create::Any),
            (_, kind) if refuses_user_names(name, kind) => Err(Errno::PERM),
            _ => self.below.set_xattr(node, name, value, how),
        }
    }

    fn remove_xattr(&mut self, node: B::Node, name: &str) -> Result<(), Errno> {
        match (name, self.below.attr(node)?.kind) {
            (ACCESS | DEFAULT, Kind::Symlink) => Err(Errno::OPNOTSUPP),
            (DEFAULT, kind) if kind != Kind::Directory => Ok(()),
            (_, kind) if refuses_user_names(name, kind) => Err(Errno::PERM),
            _ => self.below.remove_xattr(node, name),
        }
    }
}

/// xattr(7): names in `user.` are for files and directories.
fn refuses_user_names(name: &str, kind: Kind) -> bool {
    name.starts_with("user.") && !matches!(kind, Kind::File | Kind::Directory)
}
