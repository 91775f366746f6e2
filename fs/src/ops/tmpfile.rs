//! Files without a name: O_TMPFILE (N6).
//!
//! The upper's file system makes one in the directory's own copy, so that owner, group and ACL are what
//! they would be for a named file. A crash leaves nothing; linkat(2) gives it a name later, unless it was
//! opened with O_EXCL: the file system below knows, and says ENOENT.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};

use super::FileSystem;
use crate::error::Result;
use crate::inode::{Anchor, How, Node, OpenFile, Place, Source, State, UpperPlace};
use crate::sys::at::At;
use crate::sys::creds::ActingAs;
use crate::sys::lock::RwLock;
use crate::sys::pieces::Data;
use crate::types::{Caller, Entry, Handle, Kind, NodeId};
use crate::union::birth::Inheritance;
use crate::union::numbers::number;

impl FileSystem {
    /// Makes a file without a name, as in the directory `parent`, and opens it; `flags` as of open(2), of
    /// which `O_APPEND` and `O_EXCL` count. Counts one lookup.
    ///
    /// # Errors
    /// EROFS, ENOTDIR; EOPNOTSUPP where the upper's file system has no such files.
    pub fn tmpfile(
        &self,
        caller: &Caller,
        parent: NodeId,
        mode: u32,
        umask: u32,
        flags: i32,
    ) -> Result<(Entry, Handle)> {
        self.upper()?;
        let parent = self.directory(parent)?;
        self.raise_directory(&parent)?;
        let dir = self.upper_dir(&parent)?;
        // A default ACL replaces the umask.
        let passes_acl = Inheritance::passes_acl(At::Fd(dir.as_fd()))?;
        let umask = if passes_acl { 0 } else { umask };
        let mode = Mode::from_raw_mode(mode & 0o7777 & !umask);
        let exclusive = OFlags::from_bits_truncate(flags.cast_unsigned()) & OFlags::EXCL;
        let how = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC | exclusive;
        let file = {
            let _acting = ActingAs::new(caller.uid, caller.gid);
            Arc::new(openat(&dir, c".", how, mode)?)
        };
        let stat = At::Fd(file.as_fd()).stat()?;
        let ino = number(0, stat.st_ino, None);
        let node = self.table.insert(NodeId(ino), || {
            let place = UpperPlace::plain(Anchor::Pinned(file.clone()));
            let state = State {
                links: Default::default(),
                place: Place::Upper(Box::new(place)),
            };
            Node::new(NodeId(ino), ino, Kind::File, None, state)
        });
        let entry = self.entry(&node, &stat)?;
        let source = RwLock::new(Source {
            epoch: node.epoch(),
            data: Data::whole(file),
            writable: true,
            appends: false,
        });
        let how = How {
            writable: true,
            append: flags & libc::O_APPEND != 0,
            noatime: self.noatime,
        };
        let handle = self.files.insert(OpenFile { node, how, source });
        Ok((entry, handle))
    }
}
