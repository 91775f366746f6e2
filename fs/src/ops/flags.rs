//! The chattr ioctls (A6). Asked of the object below; a change copies up first.

use std::os::fd::AsFd;

use rustix::fs::OFlags;

use super::FileSystem;
use super::raise::Need;
use crate::error::{Error, Result};
use crate::inode::Node;
use crate::sys::flags;
use crate::types::{Kind, NodeId, ProjectAttr};

impl FileSystem {
    /// `FS_IOC_GETFLAGS` of a file or directory.
    pub fn inode_flags(&self, node: NodeId) -> Result<u32> {
        let node = self.node(node)?;
        self.with_fd(&node, |fd| Ok(flags::inode_flags(fd)?))
    }

    /// `FS_IOC_SETFLAGS`.
    pub fn set_inode_flags(&self, node: NodeId, flags: u32) -> Result<()> {
        let node = self.node(node)?;
        // Asking first: what the file system below does not know costs no copy.
        if self.with_fd(&node, |fd| Ok(flags::inode_flags(fd)?))? == flags {
            return Ok(());
        }
        self.raise(&node, Need::Metadata)?;
        self.before_change(&node)?;
        self.with_fd(&node, |fd| Ok(flags::set_inode_flags(fd, flags)?))?;
        self.touched(&node);
        Ok(())
    }

    /// `FS_IOC_FSGETXATTR`.
    pub fn project_attr(&self, node: NodeId) -> Result<ProjectAttr> {
        let node = self.node(node)?;
        self.with_fd(&node, |fd| Ok(flags::project_attr(fd)?))
    }

    /// `FS_IOC_FSSETXATTR`.
    pub fn set_project_attr(&self, node: NodeId, attr: &ProjectAttr) -> Result<()> {
        let node = self.node(node)?;
        self.with_fd(&node, |fd| Ok(flags::project_attr(fd)?))?;
        self.raise(&node, Need::Metadata)?;
        self.before_change(&node)?;
        self.with_fd(&node, |fd| Ok(flags::set_project_attr(fd, attr)?))?;
        self.touched(&node);
        Ok(())
    }

    /// Opens the object below for one ioctl: a file or a directory, nothing else is ever opened.
    fn with_fd<R>(
        &self,
        node: &Node,
        act: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> Result<R>,
    ) -> Result<R> {
        if !matches!(node.kind, Kind::File | Kind::Directory) {
            return Err(Error::UnknownIoctl);
        }
        self.with_object(node, |at| {
            let fd = at.on_disk()?.open(OFlags::RDONLY | OFlags::NONBLOCK)?;
            act(fd.as_fd())
        })
    }
}
