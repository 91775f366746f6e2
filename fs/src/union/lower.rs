//! What a name means in a stack of layers.
//!
//! ```text
//!   Stack = the directories of that name, topmost first, down to an opaque or a non-directory
//!
//!   name ─> layer 3: absent ─> layer 2: directory ─> layer 1: directory, opaque │ layer 0 unseen
//!                                      └──────── merged ────────┘
//! ```
//!
//! A non-directory on top hides all below; under a directory it ends the merge (R1). Redirects and
//! metadata-only copies of a layer are followed if its trust allows, else refused (R4).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{FileType, Stat};

use crate::error::{Error, Result};
use crate::layer::{LayerDir, Reading};
use crate::marks::{Found, Marks, Object, Opaque};
use crate::sys::pieces::Data;

/// The directories of one name, topmost first; empty where no layer has it.
pub type Stack = Arc<[Arc<LayerDir>]>;

/// A non-directory of a layer.
#[derive(Debug, Clone)]
pub struct LowerFile {
    /// The directory it is in.
    pub dir: Arc<LayerDir>,
    /// Its name there.
    pub name: Box<OsStr>,
    /// For a metadata-only copy of a trusted layer: the file that has the data.
    pub data: Option<Box<LowerFile>>,
    /// Whether it is the stand-in of a char 0/0 node.
    pub char00: bool,
}

/// What a name means in a stack.
#[derive(Debug)]
pub enum Lower {
    /// No layer shows it.
    Absent,
    /// A directory, merged.
    Directory(Stack, Box<Stat>),
    /// Anything else.
    File(Box<LowerFile>, Box<Stat>),
}

/// All layers of a mount, for redirects.
#[derive(Debug, Clone)]
pub struct Layers(pub Stack);

impl Layers {
    /// What `name` means in `stack`, one of this mount's.
    pub fn lookup(&self, stack: &[Arc<LayerDir>], name: &OsStr) -> Result<Lower> {
        let mut merged: Vec<Arc<LayerDir>> = Vec::new();
        let mut top: Option<Box<Stat>> = None;
        let mut name = name.to_owned();
        for (depth, dir) in stack.iter().enumerate() {
            let object = match dir.lookup(&name)? {
                Found::Absent => continue,
                Found::Whiteout => break,
                Found::Object(object) => object,
            };
            if let Some(path) = &object.marks.outside {
                if top.is_some() {
                    break;
                }
                return Ok(match self.resolve_in(&self.below(dir), path)? {
                    // There are no hard links to directories.
                    Lower::Directory(..) => Lower::Absent,
                    found => found,
                });
            }
            if FileType::from_raw_mode(object.stat.st_mode) != FileType::Directory {
                if top.is_none() {
                    return self.file(&stack[depth..], name, &object);
                }
                break;
            }
            let child = dir.child(&name);
            top.get_or_insert_with(|| Box::new(object.stat));
            merged.push(child.clone());
            let marks = child.marks()?;
            if marks.opaque == Opaque::Yes {
                break;
            }
            let Some(target) = &marks.redirect else {
                continue;
            };
            if !child.layer().trust.redirect {
                return Err(refuse(&child, "redirect"));
            }
            if target.as_bytes().first() == Some(&b'/') {
                let below = self.below(&child);
                if let Lower::Directory(rest, _) = self.resolve_in(&below, target)? {
                    merged.extend(rest.iter().cloned());
                }
                break;
            }
            name = target.clone();
        }
        Ok(match top {
            Some(stat) => Lower::Directory(merged.into(), stat),
            None => Lower::Absent,
        })
    }

    /// What the layers have for an object `name` of the upper, whose directory merges `around`: that of its
    /// name, or that which its redirect names.
    pub fn behind(&self, marks: &Marks, name: &OsStr, around: &[Arc<LayerDir>]) -> Result<Lower> {
        match &marks.redirect {
            Some(path) if path.as_bytes().first() == Some(&b'/') => self.resolve(path),
            Some(other) => self.lookup(around, other),
            None => self.lookup(around, name),
        }
    }

    /// What an absolute path means in the layers alone, as redirects say it.
    pub fn resolve(&self, path: &OsStr) -> Result<Lower> {
        self.resolve_in(&self.0, path)
    }

    fn resolve_in(&self, roots: &[Arc<LayerDir>], path: &OsStr) -> Result<Lower> {
        let mut here: Stack = roots.into();
        let mut names = path
            .as_bytes()
            .split(|byte| *byte == b'/')
            .filter(|n| !n.is_empty());
        let mut next = names.next();
        if next.is_none() {
            return match here.first() {
                Some(root) => Ok(Lower::Directory(here.clone(), Box::new(root.own_stat()?))),
                None => Ok(Lower::Absent),
            };
        }
        while let Some(name) = next {
            if matches!(name, b"." | b"..") {
                return Err(Error::Damaged);
            }
            let found = self.lookup(&here, OsStr::from_bytes(name))?;
            next = names.next();
            match found {
                Lower::Directory(stack, _) if next.is_some() => here = stack,
                found if next.is_none() => return Ok(found),
                _ => return Ok(Lower::Absent),
            }
        }
        Ok(Lower::Absent)
    }

    /// A file found in the first directory of `stack`; the others are where its data may lie.
    fn file(&self, stack: &[Arc<LayerDir>], name: OsString, object: &Object) -> Result<Lower> {
        let dir = &stack[0];
        let char00 = object.marks.char00 && object.stat.st_size == 0;
        let data = match object.marks.metacopy && !char00 {
            false => None,
            true if !dir.layer().trust.metacopy => return Err(refuse(dir, "metacopy")),
            true => Some(self.data_below(stack, &name, object)?),
        };
        let name = name.into_boxed_os_str();
        let file = LowerFile {
            dir: dir.clone(),
            name,
            data,
            char00,
        };
        Ok(Lower::File(Box::new(file), Box::new(object.stat)))
    }

    fn data_below(
        &self,
        stack: &[Arc<LayerDir>],
        name: &OsStr,
        object: &Object,
    ) -> Result<Box<LowerFile>> {
        let found = match &object.marks.redirect {
            Some(path) if path.as_bytes().first() == Some(&b'/') => {
                self.resolve_in(&self.below(&stack[0]), path)?
            }
            Some(other) => self.lookup(&stack[1..], other)?,
            None => self.lookup(&stack[1..], name)?,
        };
        match found {
            Lower::File(file, stat) if is_regular(&stat) => Ok(file.data.unwrap_or(
                // The last of a chain has no data file: it is the data.
                Box::new(LowerFile {
                    data: None,
                    ..*file
                }),
            )),
            _ => Err(Error::Damaged),
        }
    }

    fn below(&self, dir: &LayerDir) -> Stack {
        let position = dir.layer().position;
        self.0
            .iter()
            .filter(|root| root.layer().position < position)
            .cloned()
            .collect()
    }
}

impl LowerFile {
    /// Its attributes.
    pub fn stat(&self) -> Result<Stat> {
        let mut stat = self.dir.stat(&self.name)?;
        if self.char00 {
            stat.st_mode = (stat.st_mode & 0o7777) | libc::S_IFCHR;
        }
        if let Some(data) = &self.data {
            stat.st_blocks = data.stat()?.st_blocks;
        }
        Ok(stat)
    }

    /// Does something at its address.
    pub fn with<R>(&self, act: impl FnOnce(Reading<'_>) -> Result<R>) -> Result<R> {
        self.dir.reading(&self.name, act)
    }

    /// Opens its data for reading.
    pub fn open(&self) -> Result<Data> {
        let file = self.data.as_deref().unwrap_or(self);
        file.dir.data(&file.name)
    }

    /// Its path from the root of its layer.
    pub fn path(&self) -> OsString {
        let mut path = self.dir.path();
        if path.as_bytes() != b"/" {
            path.push("/");
        }
        path.push(&*self.name);
        path
    }
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// R4: an untrusted layer that points elsewhere is never followed, and never served as if it did not.
fn refuse(dir: &LayerDir, what: &'static str) -> Error {
    tracing::warn!(
        layer = %dir.layer().path.display(),
        directory = ?dir.path(),
        "the layer carries overlay.{what} and is not trusted: refused"
    );
    Error::NotPermitted
}
