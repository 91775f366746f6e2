//! Which layer supplies a path, and why.
//!
//! ```text
//!   path a/b: one step a name
//!                upper    a/          opaque? redirect? ──> changes where the layers are looked at
//!                layer 2  a/ ── b     the first that has the name supplies it; a directory merges on
//!                layer 1  a/ ── b     hidden by it
//!   each step leaves in every part either the directory to go on in, or the reason why it is out
//! ```

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;

use super::tree::{Dir, Line, Tree, UpperDir, redirected};
use crate::error::{Error, InspectError, Result};
use crate::layer::LayerDir;
use crate::marks::{Found, Marks, Object, Opaque};
use crate::sys::at::At;
use crate::union::lower::{Lower, Stack};
use crate::union::numbers::origin_of;
use crate::upper::Origin;

/// A part of the union.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The upper.
    Upper,
    /// The layer at this position, 1 being the lowest.
    Layer(u16),
}

/// What hides the parts below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// A whiteout: the name is deleted.
    Whiteout,
    /// An opaque directory.
    Opaque,
    /// An object that is no directory.
    File,
    /// It is no directory, and directories above it cannot merge with what is below it.
    EndOfMerge,
    /// A mark that an untrusted layer may not have.
    Refusal,
}

/// What a part says of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// It has no such name (this path of it, which may be one above).
    Absent(PathBuf),
    /// The name at this path of it is deleted.
    Whiteout(PathBuf),
    /// It has a directory here, which shows.
    Directory {
        /// Its path in the part.
        path: PathBuf,
        /// It hides what is below.
        opaque: bool,
        /// The path at which the parts below are looked at.
        redirect: Option<PathBuf>,
    },
    /// It has another object here, which shows.
    Object {
        /// Its path in the part.
        path: PathBuf,
        /// Its type.
        kind: FileType,
        /// Its size in bytes.
        size: u64,
        /// A metadata-only copy: where its data is.
        data: Option<Data>,
    },
    /// It has no directory here, below which the path could go on, and hides what is below.
    NoDirectory(PathBuf, FileType),
    /// What it may have is hidden.
    Hidden {
        /// What it has at the path in question, if that can be said.
        has: Option<FileType>,
        /// Which part hides it.
        by: Part,
        /// By what.
        how: Cover,
        /// At which path of the merged tree.
        at: PathBuf,
    },
    /// It carries a mark that only a trusted layer may have: the mount refuses it.
    Refused,
}

/// Where the data of a metadata-only copy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// In this file of a layer.
    In(u16, PathBuf),
    /// Nowhere.
    Missing,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The parts, topmost first, and what each says.
    pub parts: Vec<(Part, Says)>,
    /// The part whose object shows (of a directory, the topmost); `None`: nothing shows.
    pub from: Option<Part>,
    /// Its type.
    pub kind: Option<FileType>,
    /// The layer's file is hard-linked, and the upper has it under another name or in its index.
    pub indexed: bool,
}

/// The state of one part between two names.
#[derive(Debug, Clone)]
struct Standing<D> {
    says: Says,
    dir: Option<D>,
}

impl<D> Standing<D> {
    /// What a part that is out says when the path goes on.
    fn go_on(self) -> Self {
        let says = match self.says {
            Says::Object { path, kind, .. } => Says::NoDirectory(path, kind),
            other => other,
        };
        Self { says, ..self }
    }
}

/// What hides everything below, and where.
type Covered = Option<(Part, Cover)>;

/// Explains `path` (relative to the root of the merged tree).
///
/// # Errors
/// [`InspectError`] if a part cannot be read.
pub fn explain(tree: &Tree, path: &Path) -> Result<Explanation, InspectError> {
    explain_names(tree, path).map_err(InspectError::at(path))
}

fn explain_names(tree: &Tree, path: &Path) -> Result<Explanation> {
    let names: Vec<OsString> = path
        .components()
        .filter_map(|part| match part {
            std::path::Component::Normal(name) => Some(name.to_owned()),
            _ => None,
        })
        .collect();
    let mut walk = Walk::start(tree)?;
    for name in &names {
        walk.step(name)?;
    }
    walk.finish()
}

/// The walk along the path.
struct Walk<'a> {
    tree: &'a Tree,
    path: PathBuf,
    upper: Option<Standing<Arc<UpperDir>>>,
    layers: Vec<Standing<Arc<LayerDir>>>,
    /// The merged directory, for what the union's own rules are asked.
    merged: Option<Dir>,
}

impl<'a> Walk<'a> {
    fn start(tree: &'a Tree) -> Result<Self> {
        let root = tree.root()?;
        let mut covered = None;
        let upper = match &root.upper {
            Some(dir) => {
                let opaque = Marks::read(At::Fd(dir.fd()?.as_fd()))?.opaque == Opaque::Yes;
                covered = opaque.then_some((Part::Upper, Cover::Opaque));
                let says = directory(PathBuf::from("/"), opaque, None);
                Some(Standing {
                    says,
                    dir: Some(dir.clone()),
                })
            }
            None => None,
        };
        let layers = roots(&tree.layers.0, covered)?;
        Ok(Self {
            tree,
            path: PathBuf::new(),
            upper,
            layers,
            merged: Some(root),
        })
    }

    /// Goes on to `name` in every part.
    fn step(&mut self, name: &OsStr) -> Result<()> {
        self.path.push(name);
        let mut covered: Covered = None;
        let mut below = name.to_owned();
        let mut on_directory = false;
        if let Some(standing) = self.upper.take() {
            let line = match (&self.merged, &standing.dir) {
                (Some(merged), Some(_)) => self.tree.line(merged, name)?,
                _ => None,
            };
            let Some(dir) = standing.dir else {
                self.upper = Some(standing.go_on());
                self.enter_merged(name)?;
                return self.step_layers(covered, on_directory, &below);
            };
            let path = Path::new("/").join(&self.path);
            let gone = |says| Some(Standing { says, dir: None });
            self.upper = match line {
                None => gone(Says::Absent(path)),
                Some(Line::Whiteout(_)) => {
                    covered = Some((Part::Upper, Cover::Whiteout));
                    gone(Says::Whiteout(path))
                }
                Some(Line::Object(entry)) if entry.kind() == FileType::Directory => {
                    on_directory = true;
                    let opaque = entry.marks.opaque == Opaque::Yes;
                    covered = opaque.then_some((Part::Upper, Cover::Opaque));
                    let target = entry.marks.redirect.as_ref().filter(|_| !opaque);
                    let merged = self.merged.as_ref().ok_or(Error::Damaged)?;
                    let redirect = target.and_then(|target| redirected(merged, target));
                    match target {
                        Some(target) if target.as_encoded_bytes().first() == Some(&b'/') => {
                            self.redirect(redirect.as_deref(), 0)?;
                        }
                        Some(target) => below = target.clone(),
                        None => {}
                    }
                    let absolute = redirect.clone().map(|path| Path::new("/").join(path));
                    let moved = target.is_some_and(|t| t.as_encoded_bytes().first() == Some(&b'/'));
                    self.upper = Some(Standing {
                        says: directory(path, opaque, absolute),
                        dir: Some(dir.child(name)),
                    });
                    self.enter_merged(name)?;
                    return match moved {
                        true => Ok(()),
                        false => self.step_layers(covered, on_directory, &below),
                    };
                }
                Some(Line::Object(entry)) => {
                    covered = Some((Part::Upper, Cover::File));
                    let data = match (&self.merged, entry.marks.metacopy) {
                        (Some(merged), true) => Some(match self.tree.data_of(merged, &entry)? {
                            Some(file) => Data::In(file.dir.layer().position, file.path().into()),
                            None => Data::Missing,
                        }),
                        _ => None,
                    };
                    gone(Says::Object {
                        path,
                        kind: entry.kind(),
                        size: entry.stat.st_size.cast_unsigned(),
                        data,
                    })
                }
            };
        }
        self.enter_merged(name)?;
        self.step_layers(covered, on_directory, &below)
    }

    /// Takes the merged directory along; from a name that is none on there is none.
    fn enter_merged(&mut self, name: &OsStr) -> Result<()> {
        let Some(merged) = self.merged.take() else {
            return Ok(());
        };
        self.merged = match self.tree.line(&merged, name)? {
            Some(Line::Object(entry)) if entry.kind() == FileType::Directory => {
                Some(self.tree.enter(&merged, &entry)?.0)
            }
            Some(_) => None,
            None => match self.tree.layers.lookup(&merged.lowers, name) {
                Ok(Lower::Directory(stack, _)) => Some(self.tree.enter_below(&merged, name, stack)),
                _ => None,
            },
        };
        Ok(())
    }

    fn step_layers(&mut self, covered: Covered, on_directory: bool, name: &OsStr) -> Result<()> {
        let standings = std::mem::take(&mut self.layers);
        let roots = &self.tree.layers.0;
        self.layers = step(roots, standings, covered, on_directory, name, &self.path)?;
        Ok(())
    }

    /// Looks at the layers from `first` on at another path.
    fn redirect(&mut self, target: Option<&Path>, first: usize) -> Result<()> {
        let roots = &self.tree.layers.0;
        let found = walk_layers(roots, first, target.unwrap_or(Path::new("\0")), &self.path)?;
        self.layers.splice(first.., found);
        Ok(())
    }

    fn finish(self) -> Result<Explanation> {
        let mut parts = Vec::new();
        if let Some(upper) = self.upper {
            parts.push((Part::Upper, upper.says));
        }
        for (root, standing) in self.tree.layers.0.iter().zip(self.layers) {
            parts.push((Part::Layer(root.layer().position), standing.says));
        }
        let mut from = None;
        for (part, says) in &parts {
            match says {
                Says::Directory { .. } => from = Some((*part, FileType::Directory)),
                Says::Object { kind, .. } => from = Some((*part, *kind)),
                Says::Whiteout(_) | Says::NoDirectory(..) | Says::Refused => break,
                _ => continue,
            }
            break;
        }
        let mut answer = Explanation {
            parts,
            from: from.map(|(part, _)| part),
            kind: from.map(|(_, kind)| kind),
            indexed: false,
        };
        answer.indexed = is_indexed(self.tree, &answer)?;
        Ok(answer)
    }
}

/// Whether the upper answers for a layer's file through its index.
fn is_indexed(tree: &Tree, answer: &Explanation) -> Result<bool> {
    let index = tree.upper.as_ref().and_then(|upper| upper.index.as_ref());
    let (Some(index), Some(Part::Layer(position))) = (index, answer.from) else {
        return Ok(false);
    };
    let supplied = answer.parts.iter().find_map(|(_, says)| match says {
        Says::Object { path, .. } => Some(path),
        _ => None,
    });
    let (Some(path), Some(root)) = (supplied, layer(&tree.layers.0, position)) else {
        return Ok(false);
    };
    let names: Box<[OsString]> = path.iter().skip(1).map(OsStr::to_owned).collect();
    let Some(file) = super::names::lower_file(tree, position, &names)? else {
        return Ok(false);
    };
    let key = origin_of(root, &file.stat()?);
    let name = Origin::index_name(key.position, key.ino);
    match At::Name(index.as_fd(), name.as_ref()).stat() {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn layer(roots: &Stack, position: u16) -> Option<&Arc<LayerDir>> {
    roots.iter().find(|root| root.layer().position == position)
}

fn directory(path: PathBuf, opaque: bool, redirect: Option<PathBuf>) -> Says {
    Says::Directory {
        path,
        opaque,
        redirect,
    }
}

/// The layers at their roots.
fn roots(roots: &[Arc<LayerDir>], mut covered: Covered) -> Result<Vec<Standing<Arc<LayerDir>>>> {
    let mut standings = Vec::new();
    for root in roots {
        if let Some((by, how)) = covered {
            let says = Says::Hidden {
                has: Some(FileType::Directory),
                by,
                how,
                at: PathBuf::from("/"),
            };
            standings.push(Standing { says, dir: None });
            continue;
        }
        let opaque = root.marks()?.opaque == Opaque::Yes;
        if opaque {
            covered = Some((Part::Layer(root.layer().position), Cover::Opaque));
        }
        standings.push(Standing {
            says: directory(PathBuf::from("/"), opaque, None),
            dir: Some(root.clone()),
        });
    }
    Ok(standings)
}

/// The layers from `first` on at a path of the layers; `merged` is the path that is explained.
fn walk_layers(
    all: &Stack,
    first: usize,
    path: &Path,
    merged: &Path,
) -> Result<Vec<Standing<Arc<LayerDir>>>> {
    let mut standings = roots(&all[first..], None)?;
    for name in path.iter().filter(|name| *name != "/") {
        standings = step(&all[first..], standings, None, false, name, merged)?;
    }
    Ok(standings)
}

/// One name in every layer, topmost first. `on_directory`: a directory above merges with what is found.
fn step(
    roots: &[Arc<LayerDir>],
    standings: Vec<Standing<Arc<LayerDir>>>,
    mut covered: Covered,
    mut on_directory: bool,
    name: &OsStr,
    merged: &Path,
) -> Result<Vec<Standing<Arc<LayerDir>>>> {
    let mut name = name.to_owned();
    let mut next = Vec::with_capacity(standings.len());
    for (index, standing) in standings.into_iter().enumerate() {
        let Some(dir) = standing.dir else {
            next.push(standing.go_on());
            continue;
        };
        let part = Part::Layer(dir.layer().position);
        let path = PathBuf::from(dir.path()).join(&name);
        let found = match name.as_encoded_bytes() {
            b"\0" => Found::Absent,
            _ => dir.lookup(&name)?,
        };
        let gone = |says| Standing { says, dir: None };
        if let Some((by, how)) = covered {
            let has = match &found {
                Found::Object(object) => Some(FileType::from_raw_mode(object.stat.st_mode)),
                _ => None,
            };
            let at = Path::new("/").join(merged);
            next.push(gone(match has {
                None => Says::Absent(path),
                has => Says::Hidden { has, by, how, at },
            }));
            continue;
        }
        let object = match found {
            Found::Absent => {
                next.push(gone(Says::Absent(path)));
                continue;
            }
            Found::Whiteout => {
                covered = Some((part, Cover::Whiteout));
                next.push(gone(Says::Whiteout(path)));
                continue;
            }
            Found::Object(object) => object,
        };
        if FileType::from_raw_mode(object.stat.st_mode) != FileType::Directory {
            let (says, how) = non_directory(&dir, &object, path, part, on_directory, merged);
            covered = Some((part, how));
            next.push(gone(says));
            continue;
        }
        on_directory = true;
        let child = dir.child(&name);
        let marks = child.marks()?;
        let opaque = marks.opaque == Opaque::Yes;
        if opaque {
            covered = Some((part, Cover::Opaque));
        }
        let target = marks.redirect.as_ref().filter(|_| !opaque);
        if target.is_some() && !child.layer().trust.redirect {
            covered = Some((part, Cover::Refusal));
            next.push(gone(Says::Refused));
            continue;
        }
        let absolute = target.filter(|t| t.as_encoded_bytes().first() == Some(&b'/'));
        let redirect = target.map(|target| match absolute {
            Some(path) => PathBuf::from(path),
            None => path.with_file_name(target),
        });
        next.push(Standing {
            says: directory(path, opaque, redirect),
            dir: Some(child.clone()),
        });
        if let Some(target) = absolute {
            let rest: Stack = roots.into();
            next.extend(walk_layers(&rest, index + 1, Path::new(target), merged)?);
            break;
        }
        if let Some(target) = target {
            name = target.clone();
        }
    }
    Ok(next)
}

/// What a layer says that has something else than a directory, and what that does to those below.
fn non_directory(
    dir: &LayerDir,
    object: &Object,
    path: PathBuf,
    part: Part,
    on_directory: bool,
    merged: &Path,
) -> (Says, Cover) {
    let kind = FileType::from_raw_mode(object.stat.st_mode);
    if on_directory {
        let at = Path::new("/").join(merged);
        let how = Cover::EndOfMerge;
        let says = Says::Hidden {
            has: Some(kind),
            by: part,
            how,
            at,
        };
        return (says, how);
    }
    if object.marks.metacopy && !dir.layer().trust.metacopy {
        return (Says::Refused, Cover::Refusal);
    }
    let says = Says::Object {
        path,
        kind,
        size: object.stat.st_size.cast_unsigned(),
        data: None,
    };
    (says, Cover::File)
}
