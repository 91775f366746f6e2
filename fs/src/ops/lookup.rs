//! A name in a directory becomes a node.
//!
//! ```text
//!   resolve   what the name means now: upper first, then the layers     (no side effect)
//!   admit     the node of what was found, made if it is new              (table)
//!   lookup    both, and one count for the kernel
//! ```

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::place::kind_of_stat;
use super::{FileSystem, check_name};
use crate::error::{Error, Result};
use crate::inode::{Anchor, Directory, Node, Place, State, UpperPlace};
use crate::layer::LayerDir;
use crate::marks::{Found, Marks, Object, Opaque};
use crate::sys::at::At;
use crate::types::{Entry, Kind, NodeId};
use crate::union::lower::{Lower, LowerFile, Stack};
use crate::union::numbers::{lower_number, number, origin_of, shown_number};
use crate::upper::{Form, Origin, Upper};

/// What a name means, before anybody is told.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The st_ino.
    pub ino: u64,
    /// Its attributes, with the type it shows.
    pub stat: Stat,
    /// The object below.
    pub place: Place,
    /// Directories: the directories of the layers it merges.
    pub lowers: Stack,
    /// Whether the upper holds an object under this very name (an indexed one may be reached
    /// through a layer's name).
    pub in_upper: bool,
}

/// What the upper's directory has at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing: the layers count.
    Nothing,
    /// A whiteout.
    Whiteout,
    /// An object.
    Object,
}

impl FileSystem {
    /// Looks a name up; counts one lookup of the node.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, ENAMETOOLONG; EPERM where an untrusted layer points elsewhere; EIO where the
    /// upper is damaged.
    pub fn lookup(&self, parent: NodeId, name: &OsStr) -> Result<Entry> {
        check_name(name)?;
        let parent = self.directory(parent)?;
        let _names = parent.as_directory()?.names.read();
        self.lookup_in(&parent, name)
    }

    /// As [`Self::lookup`], with the parent's names held.
    pub(super) fn lookup_in(&self, parent: &Arc<Node>, name: &OsStr) -> Result<Entry> {
        let found = self.resolve(parent, name)?.ok_or(Error::NotFound)?;
        let stat = found.stat;
        let node = self.admit(parent, name, found);
        self.entry(&node, &stat)
    }

    /// The answer that tells the kernel of a node: counts one lookup.
    pub(super) fn entry(&self, node: &Arc<Node>, stat: &Stat) -> Result<Entry> {
        let attr = self.attr_from(node, stat)?;
        self.table.count(node.id);
        Ok(Entry {
            node: node.id,
            attr,
        })
    }

    /// Takes back `count` lookups of `node`.
    pub fn forget(&self, node: NodeId, count: u64) {
        if self.table.forget(node, count) {
            self.unopened.forget(node);
        }
    }

    /// What `name` means in `parent`, whose names are held; `None` if nothing.
    pub(super) fn resolve(&self, parent: &Node, name: &OsStr) -> Result<Option<Resolved>> {
        Ok(self.resolve_in_both(parent, name)?.1)
    }

    /// As [`Self::resolve`], with what the upper alone has there.
    pub(super) fn resolve_in_both(
        &self,
        parent: &Node,
        name: &OsStr,
    ) -> Result<(Standing, Option<Resolved>)> {
        let directory = parent.as_directory()?;
        if let Some(upper) = &self.upper
            && let Some(impure) = parent.upper_impure()
        {
            let dir = self.upper_dir(parent)?;
            match upper.lookup(dir.as_fd(), name, impure)? {
                Found::Whiteout => return Ok((Standing::Whiteout, None)),
                Found::Absent => {}
                Found::Object(object) => {
                    let at = At::Name(dir.as_fd(), name);
                    let kind = FileType::from_raw_mode(object.stat.st_mode);
                    let found = if kind == FileType::Directory {
                        self.upper_directory(upper, at, name, &directory.lowers, *object)?
                    } else {
                        self.upper_file(upper, name, &directory.lowers, *object)?
                    };
                    return Ok((Standing::Object, Some(found)));
                }
            }
        }
        Ok((Standing::Nothing, self.resolve_in_layers(directory, name)?))
    }

    fn resolve_in_layers(&self, directory: &Directory, name: &OsStr) -> Result<Option<Resolved>> {
        Ok(match self.layers.lookup(&directory.lowers, name)? {
            Lower::Absent => None,
            Lower::Directory(lowers, stat) => Some(Resolved {
                ino: lower_number(&lowers[0], &stat),
                stat: *stat,
                place: Place::Lower(None),
                lowers,
                in_upper: false,
            }),
            Lower::File(file, stat) => Some(self.lower_file(file, *stat)?),
        })
    }

    fn upper_directory(
        &self,
        upper: &Upper,
        at: At<'_>,
        name: &OsStr,
        around: &[Arc<LayerDir>],
        object: Object,
    ) -> Result<Resolved> {
        let Object { stat, marks } = object;
        let mut opaque = marks.opaque == Opaque::Yes;
        if !opaque && upper.form == Form::Aufs {
            let dir = at.open(rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY)?;
            opaque = upper.form.opaque_by_name(dir.as_fd())?;
        }
        let lowers = match opaque {
            true => Stack::from([]),
            false => match self.layers.behind(&marks, name, around)? {
                Lower::Directory(stack, _) => stack,
                _ => Stack::from([]),
            },
        };
        let origin = marks.origin.as_deref().and_then(Origin::decode);
        let ino = match (lowers.first(), origin.filter(Origin::is_of_layer)) {
            (Some(top), _) => lower_number(top, &top.own_stat()?),
            // It stands for a directory of a layer though it shows nothing of it.
            (None, Some(origin)) => shown_number(&origin),
            (None, None) => number(0, stat.st_ino, None),
        };
        let mut place = UpperPlace::plain(Anchor::Name);
        place.origin = origin;
        place.kept = origin.and_then(|origin| origin.kept);
        place.impure = marks.impure;
        Ok(Resolved {
            ino,
            stat,
            place: Place::Upper(Box::new(place)),
            lowers,
            in_upper: true,
        })
    }

    fn upper_file(
        &self,
        upper: &Upper,
        name: &OsStr,
        around: &[Arc<LayerDir>],
        object: Object,
    ) -> Result<Resolved> {
        let Object { stat, marks } = object;
        let mut place = UpperPlace::plain(Anchor::Name);
        place.char00 =
            marks.char00 && FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile;
        place.origin = marks.origin.as_deref().and_then(Origin::decode);
        if let Some(origin) = &mut place.origin {
            // Of a session before: what it left unsynced was seen to when this one began.
            origin.unsynced = None;
            place.kept = origin.kept;
        }
        if marks.metacopy {
            place.data = Some(self.data_of_copy(&marks, name, around)?);
        }
        let mut ino = number(0, stat.st_ino, None);
        if let Some(origin) = &mut place.origin {
            ino = shown_number(origin);
            if origin.nlink.is_some() {
                // Without its entry (the index was thrown away) it is an ordinary file.
                match index_stat(upper, origin)? {
                    Some(indexed) if indexed.st_ino == stat.st_ino => place.anchor = Anchor::Index,
                    _ => {
                        origin.nlink = None;
                        ino = number(0, stat.st_ino, None);
                    }
                }
            }
        }
        let place = Place::Upper(Box::new(place));
        Ok(Resolved {
            ino,
            stat,
            place,
            lowers: Stack::from([]),
            in_upper: true,
        })
    }

    /// The layer's file that has the data of a metadata-only copy in the upper.
    pub(super) fn data_of_copy(
        &self,
        marks: &Marks,
        name: &OsStr,
        around: &[Arc<LayerDir>],
    ) -> Result<Box<LowerFile>> {
        match self.layers.behind(marks, name, around)? {
            Lower::File(file, stat) if kind_of_stat(&stat) == Kind::File => Ok(file),
            _ => {
                tracing::warn!(?name, redirect = ?marks.redirect, "a copy's data is in no layer");
                Err(Error::Damaged)
            }
        }
    }

    /// A file of a layer: the upper may have it through the index (I2).
    fn lower_file(&self, file: Box<LowerFile>, stat: Stat) -> Result<Resolved> {
        let ino = lower_number(&file.dir, &stat);
        let none = Stack::from([]);
        if let Some(upper) = self.upper.as_ref().filter(|_| stat.st_nlink > 1) {
            let key = origin_of(&file.dir, &stat);
            if index_stat(upper, &key)?.is_some() {
                let index = Origin::index_name(key.position, key.ino);
                let object = upper.object_at(At::Name(upper.index(), index.as_ref()))?;
                let mut found = self.upper_file(upper, &file.name, &[], object)?;
                (found.in_upper, found.ino) = (false, ino);
                // The entry comes before the node knows of it: until then, too, the record counts.
                if let Place::Upper(place) = &found.place
                    && let Some(nlink) = place.origin.and_then(|origin| origin.nlink)
                {
                    found.stat.st_nlink = nlink.into();
                }
                return Ok(found);
            }
        }
        let place = Place::Lower(Some(file));
        Ok(Resolved {
            ino,
            stat,
            place,
            lowers: none,
            in_upper: false,
        })
    }

    /// The node of what was found under `name` in `parent`, whose names are held.
    pub(super) fn admit(&self, parent: &Arc<Node>, name: &OsStr, found: Resolved) -> Arc<Node> {
        let Resolved {
            ino,
            stat,
            place,
            lowers,
            ..
        } = found;
        let kind = kind_of_stat(&stat);
        let node = self.table.insert(NodeId(ino), || {
            let directory =
                (kind == Kind::Directory).then(|| Directory::new(lowers, self.fds.key()));
            Node::new(
                NodeId(ino),
                ino,
                kind,
                directory,
                State {
                    links: Default::default(),
                    place,
                },
            )
        });
        node.add_link(parent, name);
        node
    }
}

fn index_stat(upper: &Upper, origin: &Origin) -> Result<Option<Stat>> {
    let name = Origin::index_name(origin.position, origin.ino);
    match At::Name(upper.index(), name.as_ref()).stat() {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
