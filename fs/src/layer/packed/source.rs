//! A directory as a tar stream: what [`super::writer`] packs, and what an image's layer is made of.
//!
//! ```text
//!   directory ──LayerDir (whiteouts and opaques in any form)──> members, names in order ──> archive::Writer
//! ```
//!
//! The same tree gives the same bytes. Whiteouts and opaque directories become `.wh.NAME` and
//! `.wh..wh..opq`; what is mounted inside is not looked at; sockets are left out, as by tar.

use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::{Kind, Meta, WriteError, Writer, is_instruction};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::builder::LONGEST_PATH;
use crate::error::{Error, PackError, Result};
use crate::layer::directory::{Layer, LayerDir, Trust};
use crate::layer::reading::Reading;
use crate::marks::{Attributes, Found, Marks, Opaque, WH_OPAQUE, WH_PREFIX};
use crate::sys::at::xattr_names;
use crate::sys::fdcache::FdCache;

/// Told of each object that the archive cannot hold: its path below the directory, and why it was left
/// out.
pub type Skipped<'a> = dyn FnMut(&Path, &'static str) + Send + 'a;

/// Writes all below `directory`, and its own attributes, to `to` as a pax archive; gives `to` back.
/// Objects whose (device, inode) is in `omit` are left out without a word, directories with all below
/// them. What changes meanwhile is taken as it is met. Memory: the names of the directories on the way,
/// and of hard-linked files.
///
/// # Errors
/// An object cannot be read, or points to other layers (overlay's redirects and metadata-only copies);
/// `to` cannot be written.
pub fn archive_directory<W: Write>(
    directory: &Path,
    omit: &[(u64, u64)],
    to: W,
    skipped: &mut Skipped<'_>,
) -> Result<W, PackError> {
    let fds = Arc::new(FdCache::new());
    let layer = Layer::open(directory, 1, Trust::ALL, omit.to_vec(), fds);
    let root = layer.map_err(|errno| PackError::Io {
        path: directory.to_owned(),
        source: errno.into(),
    })?;
    let mut walk = Walk {
        from: directory,
        omit,
        skipped,
        links: HashMap::new(),
        to: Writer::new(to),
    };
    walk.directory(&root, b".")?;
    walk.below(root)?;
    let finished = walk.to.finish();
    finished.map_err(|error| failed(directory.to_owned(), error))
}

/// A directory on the way, and what of it is still to be written, last name first.
struct Level {
    dir: Arc<LayerDir>,
    path: usize,
    names: Vec<(OsString, bool)>,
}

struct Walk<'a, 'b, W> {
    from: &'a Path,
    omit: &'a [(u64, u64)],
    skipped: &'a mut Skipped<'b>,
    /// First path of each file with several names, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    to: Writer<W>,
}

impl<W: Write> Walk<'_, '_, W> {
    /// Writes all below a directory; with a stack of its own, since trees are deeper than those of threads.
    fn below(&mut self, root: Arc<LayerDir>) -> Result<(), PackError> {
        let mut path: Vec<u8> = Vec::new();
        let mut levels = vec![self.level(root, &path)?];
        while let Some(level) = levels.last_mut() {
            path.truncate(level.path);
            let Some((name, whiteout)) = level.names.pop() else {
                levels.pop();
                continue;
            };
            let dir = level.dir.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            if path.len() > LONGEST_PATH {
                return Err(self.bad(&path, Error::NameTooLong));
            }
            if whiteout {
                self.whiteout(&path, &name)?;
            } else if let Some(below) = self.object(&dir, &name, &path)? {
                levels.push(self.level(below, &path)?);
            }
        }
        Ok(())
    }

    fn level(&self, dir: Arc<LayerDir>, path: &[u8]) -> Result<Level, PackError> {
        let listing = dir.listing().map_err(|error| self.bad(path, error))?;
        let mut names: Vec<_> = listing
            .iter()
            .map(|listed| (listed.name.to_owned(), listed.kind.is_none()))
            .collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Level {
            dir,
            path: path.len(),
            names,
        })
    }

    /// Writes what a name shows; gives the directory to go on in, if it is one.
    fn object(
        &mut self,
        dir: &Arc<LayerDir>,
        name: &OsStr,
        path: &[u8],
    ) -> Result<Option<Arc<LayerDir>>, PackError> {
        let object = match dir.lookup(name).map_err(|error| self.bad(path, error))? {
            // Gone since it was listed, or hidden.
            Found::Absent => return Ok(None),
            Found::Whiteout => return self.whiteout(path, name).map(|()| None),
            Found::Object(object) => object,
        };
        let stat = object.stat;
        let key = (stat.st_dev, stat.st_ino);
        if self.omit.contains(&key) {
            return Ok(None);
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let below = dir.child(name);
            return Ok(self.directory(&below, path)?.then_some(below));
        }
        self.check(path, &object.marks)?;
        let first = self.links.get(&key).filter(|_| stat.st_nlink > 1);
        if let Some(first) = first {
            let meta = match dir.reading(name, |from| meta(from, &stat)) {
                Err(Error::NotFound) => return Ok(None),
                read => read.map_err(|error| self.bad(path, error))?,
            };
            let linked = self.to.hard_link(path, first, &meta);
            return linked
                .map(|()| None)
                .map_err(|error| self.failed(path, error));
        }
        if self.leaf(dir, name, path, &stat)? && stat.st_nlink > 1 {
            self.links.insert(key, path.to_vec());
        }
        Ok(None)
    }

    /// Writes a directory and whether it is opaque; tells whether it is still there.
    fn directory(&mut self, dir: &LayerDir, path: &[u8]) -> Result<bool, PackError> {
        let read = dir.reading_itself(|from| meta(from, &from.stat()?));
        let read = read.and_then(|meta| Ok((meta, dir.marks()?)));
        let (meta, marks) = match read {
            Err(Error::NotFound) => return Ok(false),
            Err(Error::Sys(Errno::XDEV)) => {
                (self.skipped)(
                    Path::new(OsStr::from_bytes(path)),
                    "something is mounted on it",
                );
                return Ok(false);
            }
            read => read.map_err(|error| self.bad(path, error))?,
        };
        self.check(path, marks)?;
        let written = self.to.directory(path, &meta);
        written.map_err(|error| self.failed(path, error))?;
        if marks.opaque == Opaque::Yes {
            let mark = [path, b"/", WH_OPAQUE].concat();
            // Of the root: every path is relative to it.
            self.empty(mark.strip_prefix(b"./").unwrap_or(&mark))?;
        }
        Ok(true)
    }

    /// Writes anything that is no directory; tells whether it did.
    fn leaf(
        &mut self,
        dir: &LayerDir,
        name: &OsStr,
        path: &[u8],
        stat: &Stat,
    ) -> Result<bool, PackError> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut skip = |why| {
            (self.skipped)(Path::new(OsStr::from_bytes(path)), why);
            Ok(false)
        };
        match kind {
            FileType::Socket => return skip("a socket"),
            FileType::CharacterDevice if stat.st_rdev == 0 => {
                return skip("a device 0/0, which would be read as a whiteout");
            }
            FileType::Unknown => return skip("of a type that archives do not know"),
            _ => {}
        }
        let read = dir.reading(name, |from| {
            let content = match kind {
                FileType::Symlink => Content::Link(from.readlink()?.into_vec()),
                FileType::RegularFile => Content::File(from.on_disk()?.open_unseen()?.into()),
                _ => Content::Node,
            };
            Ok((meta(from, stat)?, content))
        });
        let (meta, content) = match read {
            Err(Error::NotFound) => return Ok(false),
            read => read.map_err(|error| self.bad(path, error))?,
        };
        let device = (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        );
        let written = match content {
            Content::Link(target) => self.to.symlink(path, &target, &meta),
            Content::File(file) => self.to.file(path, &meta, &file).map(drop),
            Content::Node => match kind {
                FileType::Fifo => self.to.node(path, Kind::Fifo, (0, 0), &meta),
                FileType::CharacterDevice => self.to.node(path, Kind::Char, device, &meta),
                _ => self.to.node(path, Kind::Block, device, &meta),
            },
        };
        written
            .map(|()| true)
            .map_err(|error| self.failed(path, error))
    }

    /// Writes a whiteout over `name`, the last of `path`.
    fn whiteout(&mut self, path: &[u8], name: &OsStr) -> Result<(), PackError> {
        let above = &path[..path.len() - name.len()];
        self.empty(&[above, WH_PREFIX, name.as_bytes()].concat())
    }

    fn empty(&mut self, path: &[u8]) -> Result<(), PackError> {
        let written = self.to.contents(path, &Meta::default(), 0, io::empty());
        written.map(drop).map_err(|error| self.failed(path, error))
    }

    /// Without the layers that it points to, it would be something else than it is.
    fn check(&self, path: &[u8], marks: &Marks) -> Result<(), PackError> {
        let what = match marks {
            Marks {
                redirect: Some(_), ..
            } => "a renamed directory or file (overlay.redirect)",
            Marks { metacopy: true, .. } => "a copy of metadata only (overlay.metacopy)",
            _ => return Ok(()),
        };
        Err(PackError::Input {
            origin: self.place(path).display().to_string(),
            why: format!(
                "{what}, whose data lies in another layer; mount them together and pack the mount"
            ),
        })
    }

    fn place(&self, path: &[u8]) -> PathBuf {
        match path {
            b"" | b"." => self.from.to_owned(),
            path => self.from.join(OsStr::from_bytes(path)),
        }
    }

    fn bad(&self, path: &[u8], error: Error) -> PackError {
        let source = match error {
            Error::Sys(errno) => errno.into(),
            other => io::Error::other(other.to_string()),
        };
        PackError::Io {
            path: self.place(path),
            source,
        }
    }

    fn failed(&self, path: &[u8], error: WriteError) -> PackError {
        failed(self.place(path), error)
    }
}

/// What a member holds.
enum Content {
    Link(Vec<u8>),
    File(File),
    Node,
}

fn failed(path: PathBuf, error: WriteError) -> PackError {
    match error {
        WriteError::Read(source) => PackError::Io { path, source },
        WriteError::Write(source) => PackError::Write { source },
    }
}

fn meta(from: Reading<'_>, stat: &Stat) -> Result<Meta> {
    let mut xattrs = Vec::new();
    for name in xattr_names(&from.list_xattrs()?) {
        let Ok(key) = CString::new(name) else {
            continue;
        };
        if is_instruction(name) {
            continue;
        }
        if let Some(value) = from.xattr(&key)? {
            xattrs.push((name.to_vec(), value));
        }
    }
    xattrs.sort_unstable();
    Ok(Meta {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (
            stat.st_mtime,
            u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        ),
        xattrs,
    })
}
