//! What an upper changes.
//!
//! ```text
//!   walk     the upper, directory by directory, beside what the layers have there
//!              the same object as below     compared at once
//!              a whiteout, another object   what it hides is *gone*; the object itself waits
//!   settle   what waits: an object whose origin is among the gone was renamed, others are new
//!   tell     what is gone and was not found elsewhere was deleted
//! ```
//!
//! The cost is that of the upper, not of the layers: of these only directories that the upper has too
//! are listed, and only files that it copied are read. Without layers it tells what the upper alone
//! says. Renames are told in the paths of before: what came out of a renamed directory came from there.

mod alone;
mod indexed;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::compare::{self, Difference};
use super::tree::{Below, Dir, Entry, Line, Tie, Tree, redirected};
use crate::error::{Error, InspectError, Result};
use crate::layer::Reading;
use crate::marks::Opaque;
use crate::sys::at::At;
use crate::union::lower::{LowerFile, Stack};
use crate::union::numbers::{lower_number, shown_number};
use crate::upper::Origin;

/// What happened to a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// It leads to the object it led to, or to a new one that took its place.
    Kept,
    /// It is new.
    Added,
    /// It is gone. The path of the change is the one it had.
    Deleted,
    /// It is what this path was before.
    Renamed(PathBuf),
    /// It leads to a new directory, which shows nothing of the layers' one.
    Replaced,
    /// It leads to an object of another type; it was this.
    Retyped(FileType),
    /// Added or changed: without the layers nobody can tell.
    Unknown,
}

/// How far the object is another than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// Not at all, or it is new as a whole.
    No,
    /// Its metadata only.
    Metadata,
    /// Its content.
    Content,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path in the merged tree, without a leading `/`; `.` for the root. `None` for a hard-linked file
    /// of a layer so large that nobody looked for its names.
    pub path: Option<PathBuf>,
    /// What happened to the name.
    pub name: Name,
    /// The type of the object (of what is deleted: that which it had, if it is known).
    pub kind: Option<FileType>,
    /// How far the object changed.
    pub touched: Touched,
    /// In which ways, where the layers tell.
    pub differences: Vec<Difference>,
    /// For a new name of an object that has others: one of these.
    pub link_of: Option<PathBuf>,
}

/// A layer's object that the upper hides at its name.
#[derive(Debug)]
struct Gone {
    before: PathBuf,
    file: Box<LowerFile>,
    stat: Box<rustix::fs::Stat>,
    /// Whether an object of the upper is this one.
    found: bool,
    /// Whether its name leads to something else now.
    occupied: bool,
}

/// A layer's directory that the upper hides at its name.
#[derive(Debug)]
struct GoneDirectory {
    stack: Stack,
    occupied: bool,
}

/// What an object of the upper hides at its own name.
#[derive(Debug)]
enum Hidden {
    Nothing,
    File(usize),
    Directory(PathBuf),
    Broken,
}

/// An object of the upper that is not the one below it.
#[derive(Debug)]
struct Waiting {
    dir: Dir,
    entry: Box<Entry>,
    hidden: Hidden,
}

/// Directories still to be walked, each with its line and what happened to its name (`None`: that
/// is found out later).
type Todo = Vec<(Dir, Option<(Box<Entry>, Name)>)>;

/// See the module.
#[derive(Debug)]
struct Walk<'a> {
    tree: &'a Tree,
    changes: Vec<Change>,
    gone: Vec<Gone>,
    gone_by_number: HashMap<u64, Vec<usize>>,
    gone_by_path: HashMap<PathBuf, usize>,
    gone_directories: BTreeMap<PathBuf, GoneDirectory>,
    /// Paths of layers' directories that show elsewhere.
    moved: BTreeSet<PathBuf>,
    waiting: Vec<Waiting>,
    /// A path of each inode of the upper that has several names and is where it was.
    kept_links: HashMap<u64, PathBuf>,
    /// The root and all directories that show layers' directories of other paths: where the names of
    /// indexed files may be found.
    entrances: Vec<Dir>,
}

/// Everything the upper of `tree` changes, sorted by path.
///
/// # Errors
/// [`InspectError`] with the path that could not be read.
pub fn changes(tree: &Tree) -> Result<Vec<Change>, InspectError> {
    let mut walk = Walk {
        tree,
        changes: Vec::new(),
        gone: Vec::new(),
        gone_by_number: HashMap::new(),
        gone_by_path: HashMap::new(),
        gone_directories: BTreeMap::new(),
        moved: BTreeSet::new(),
        waiting: Vec::new(),
        kept_links: HashMap::new(),
        entrances: Vec::new(),
    };
    walk.walk()?;
    walk.settle()?;
    if tree.knows_layers() {
        indexed::changes(&mut walk)?;
    }
    walk.tell_deleted();
    let order = |change: &Change| {
        let added = change.name != Name::Deleted;
        (change.path.is_none(), change.path.clone(), added)
    };
    walk.changes.sort_by_cached_key(order);
    Ok(walk.changes)
}

impl Walk<'_> {
    fn walk(&mut self) -> Result<(), InspectError> {
        let root = self.tree.root().map_err(InspectError::at("/"))?;
        self.entrances.push(root.clone());
        let mut todo: Todo = vec![(root, None)];
        while let Some((dir, entry)) = todo.pop() {
            let path = dir.path.clone();
            self.directory(dir, entry, &mut todo)
                .map_err(InspectError::at(shown(&path)))?;
        }
        Ok(())
    }

    /// One directory: its lines, and then whether it changed itself.
    fn directory(
        &mut self,
        dir: Dir,
        own: Option<(Box<Entry>, Name)>,
        todo: &mut Todo,
    ) -> Result<()> {
        let mut stirred = false;
        let lines = match self.tree.lines(&dir) {
            Err(Error::NotFound) => return Ok(()),
            other => other?,
        };
        for line in lines {
            match line {
                Line::Whiteout(whiteout) => {
                    stirred |= self.hide(&dir, &whiteout.name, false)?.is_something();
                }
                Line::Object(entry) if entry.kind() == FileType::Directory => {
                    stirred |= self.subdirectory(&dir, entry, todo)?;
                }
                Line::Object(entry) => stirred |= self.object(&dir, entry)?,
            }
        }
        self.own_changes(&dir, own, stirred)
    }

    /// What the layers show at a name is hidden by the upper; `occupied`: something else is there now.
    fn hide(&mut self, dir: &Dir, name: &std::ffi::OsStr, occupied: bool) -> Result<Hidden> {
        let Some(before) = dir.before.as_ref().map(|before| before.join(name)) else {
            return Ok(Hidden::Nothing);
        };
        if !self.tree.knows_layers() {
            return Ok(self.hide_unknown(before, occupied));
        }
        Ok(match self.tree.below(dir, name)? {
            Below::Absent => Hidden::Nothing,
            Below::Directory(stack, _) => {
                let gone = GoneDirectory { stack, occupied };
                self.gone_directories.insert(before.clone(), gone);
                Hidden::Directory(before)
            }
            Below::File(file, stat) => {
                let number = lower_number(&file.dir, &stat);
                let index = self.gone.len();
                self.gone_by_number.entry(number).or_default().push(index);
                self.gone_by_path.insert(before.clone(), index);
                self.gone.push(Gone {
                    before,
                    file,
                    stat,
                    found: false,
                    occupied,
                });
                Hidden::File(index)
            }
            Below::Broken => {
                if !occupied {
                    self.changes.push(Change::deleted(before, None));
                }
                Hidden::Broken
            }
        })
    }

    /// A directory of the upper; whether its name changed.
    fn subdirectory(&mut self, dir: &Dir, entry: Box<Entry>, todo: &mut Todo) -> Result<bool> {
        let (inner, tie) = self.tree.enter(dir, &entry)?;
        if !self.tree.knows_layers() {
            let name = self.directory_alone(dir, &inner, &entry, &tie);
            todo.push((inner, name.map(|name| (entry, name))));
            return Ok(false);
        }
        let home = dir.before.as_ref().map(|before| before.join(&entry.name));
        match (&inner.before, tie) {
            (Some(before), tie @ (Tie::Name | Tie::Redirect(_)))
                if Some(before) == home.as_ref() =>
            {
                if tie != Tie::Name {
                    self.entrances.push(inner.clone());
                }
                todo.push((inner, Some((entry, Name::Kept))));
                Ok(false)
            }
            (Some(before), Tie::Redirect(_)) => {
                self.hide(dir, &entry.name, true)?;
                self.moved.insert(before.clone());
                self.entrances.push(inner.clone());
                let name = Name::Renamed(before.clone());
                todo.push((inner, Some((entry, name))));
                Ok(true)
            }
            _ => {
                let hidden = self.hide(dir, &entry.name, true)?;
                self.waiting.push(Waiting {
                    dir: dir.clone(),
                    entry,
                    hidden,
                });
                todo.push((inner, None));
                Ok(true)
            }
        }
    }

    /// Anything else of the upper; whether its name changed.
    fn object(&mut self, dir: &Dir, entry: Box<Entry>) -> Result<bool> {
        if !self.tree.knows_layers() {
            self.file_alone(dir, &entry);
            return Ok(false);
        }
        let below = self.tree.below(dir, &entry.name)?;
        if let Below::File(file, stat) = &below
            && origin_number(&entry) == Some(lower_number(&file.dir, stat))
            && FileType::from_raw_mode(stat.st_mode) == entry.kind()
        {
            let path = dir.path.join(&entry.name);
            if entry.stat.st_nlink > 1 {
                self.kept_links.insert(entry.stat.st_ino, path.clone());
            }
            let differences = differences(self.tree, dir, &entry, file, stat)?;
            self.changes
                .extend(Change::kept(path, entry.kind(), differences));
            return Ok(false);
        }
        let hidden = self.hide(dir, &entry.name, true)?;
        self.waiting.push(Waiting {
            dir: dir.clone(),
            entry,
            hidden,
        });
        Ok(true)
    }

    /// Whether a directory that shows a layer's one changed itself. Its time alone is told where no name
    /// in it came or went, which would explain it.
    fn own_changes(
        &mut self,
        dir: &Dir,
        own: Option<(Box<Entry>, Name)>,
        stirred: bool,
    ) -> Result<()> {
        let root = dir.path.as_os_str().is_empty();
        let (Some(part), Some(top)) = (&dir.upper, dir.lowers.first()) else {
            if let Some((entry, name)) = own {
                let change = Change::new(dir.path.clone(), name, entry.kind());
                self.changes.push(change);
            }
            return Ok(());
        };
        let fd = part.fd()?;
        let at = At::Fd(fd.as_fd());
        let stat = at.stat()?;
        let below = |below: Reading<'_>| compare::directory(at, &stat, below, &below.stat()?);
        let mut differences = top.reading_itself(below)?;
        // An upper that was just made has times of its own.
        if stirred || root {
            differences.retain(|difference| !matches!(difference, Difference::Modified(..)));
        }
        let path = if root { ".".into() } else { dir.path.clone() };
        let name = own.map_or(Name::Kept, |(_, name)| name);
        if name != Name::Kept {
            self.changes.push(Change {
                touched: touched(&differences),
                differences,
                ..Change::new(path, name, FileType::Directory)
            });
            return Ok(());
        }
        let change = Change::kept(path, FileType::Directory, differences);
        self.changes.extend(change);
        Ok(())
    }

    /// Finds out what each object that waits is.
    fn settle(&mut self) -> Result<(), InspectError> {
        let mut waiting = std::mem::take(&mut self.waiting);
        // Paths in order, so that of several names of one object the same is told each time.
        waiting.sort_by_cached_key(|one| one.dir.path.join(&one.entry.name));
        let mut searched = false;
        let mut fresh = Vec::new();
        for one in waiting {
            let path = one.dir.path.join(&one.entry.name);
            let error = InspectError::at(path.clone());
            let settled = self.origin(one, &path, &mut searched).map_err(error)?;
            fresh.extend(settled);
        }
        for one in fresh {
            let path = one.dir.path.join(&one.entry.name);
            let error = InspectError::at(path.clone());
            let change = self.fresh(&one, path).map_err(error)?;
            self.changes.extend(change);
        }
        Ok(())
    }

    /// Tells an object that came from elsewhere; gives one that did not back.
    fn origin(
        &mut self,
        one: Waiting,
        path: &Path,
        searched: &mut bool,
    ) -> Result<Option<Waiting>> {
        if one.entry.kind() == FileType::Directory {
            return Ok(Some(one));
        }
        let named = one.entry.marks.redirect.as_ref();
        let named = named.and_then(|target| redirected(&one.dir, target));
        let number = origin_number(&one.entry);
        if number.is_none() && !(one.entry.marks.metacopy && named.is_some()) {
            return Ok(Some(one));
        }
        let mut source = self.find_gone(number, named.as_deref());
        if source.is_none() && self.kept_links.contains_key(&one.entry.stat.st_ino) {
            return Ok(Some(one));
        }
        if source.is_none() && !std::mem::replace(searched, true) {
            self.search_gone_directories()?;
            source = self.find_gone(number, named.as_deref());
        }
        let Some(index) = source else {
            return Ok(Some(one));
        };
        if one.entry.stat.st_nlink > 1 {
            self.kept_links
                .insert(one.entry.stat.st_ino, path.to_owned());
        }
        let gone = &mut self.gone[index];
        gone.found = true;
        let differences = differences(self.tree, &one.dir, &one.entry, &gone.file, &gone.stat)?;
        self.changes.push(Change {
            touched: touched(&differences),
            differences,
            ..Change::new(
                path.to_owned(),
                Name::Renamed(gone.before.clone()),
                one.entry.kind(),
            )
        });
        Ok(None)
    }

    /// A layer's object that is gone from its name and was not found elsewhere: the one at the path that
    /// the copy itself names, else one of the number that its origin tells.
    fn find_gone(&self, number: Option<u64>, named: Option<&Path>) -> Option<usize> {
        let free = |index: &usize| !self.gone[*index].found;
        let is_of = |index: &usize| {
            let gone = &self.gone[*index];
            number.is_none_or(|number| number == lower_number(&gone.file.dir, &gone.stat))
        };
        let by_path = named.and_then(|path| self.gone_by_path.get(path).copied());
        by_path.filter(free).filter(is_of).or_else(|| {
            let of_number = self.gone_by_number.get(&number?)?;
            of_number.iter().copied().find(free)
        })
    }

    /// Looks into the directories that are gone, for files that came out of them.
    fn search_gone_directories(&mut self) -> Result<()> {
        let mut todo: Vec<Dir> = Vec::new();
        for (before, gone) in &self.gone_directories {
            if !self.moved.contains(before) {
                todo.push(Dir {
                    path: before.clone(),
                    before: Some(before.clone()),
                    upper: None,
                    lowers: gone.stack.clone(),
                });
            }
        }
        while let Some(dir) = todo.pop() {
            let mut names = BTreeSet::new();
            for layer in dir.lowers.iter() {
                names.extend(layer.listing()?.iter().map(|listed| listed.name.to_owned()));
            }
            for name in names {
                match self.tree.below(&dir, &name)? {
                    Below::Directory(stack, _) => {
                        let inner = self.tree.enter_below(&dir, &name, stack);
                        if !self.moved.contains(&inner.path) {
                            todo.push(inner);
                        }
                    }
                    Below::File(..) => {
                        // Its directory is told as gone: it needs no line of its own.
                        self.hide(&dir, &name, true)?;
                    }
                    Below::Absent | Below::Broken => {}
                }
            }
        }
        Ok(())
    }

    /// What is told of an object that was made in the upper; `None` if nobody can see a difference.
    fn fresh(&self, one: &Waiting, path: PathBuf) -> Result<Option<Change>> {
        let kind = one.entry.kind();
        let (was, moved) = match &one.hidden {
            Hidden::Nothing => (None, false),
            Hidden::File(index) => {
                let gone = &self.gone[*index];
                let was = FileType::from_raw_mode(gone.stat.st_mode);
                (Some(was), gone.found)
            }
            Hidden::Directory(before) => (Some(FileType::Directory), self.moved.contains(before)),
            Hidden::Broken => {
                return Ok(Some(Change {
                    touched: Touched::Content,
                    ..Change::new(path, Name::Kept, kind)
                }));
            }
        };
        let name = match was {
            None => Name::Added,
            Some(_) if moved => Name::Added,
            Some(was) if was != kind => Name::Retyped(was),
            Some(FileType::Directory) => Name::Replaced,
            Some(_) => Name::Kept,
        };
        let change = match (&name, &one.hidden) {
            (Name::Kept, Hidden::File(index)) => {
                let gone = &self.gone[*index];
                let differences =
                    differences(self.tree, &one.dir, &one.entry, &gone.file, &gone.stat)?;
                Change::kept(path, kind, differences)
            }
            _ => Some(Change::new(path, name, kind)),
        };
        let links = &self.kept_links;
        let link = links
            .get(&one.entry.stat.st_ino)
            .filter(|_| kind != FileType::Directory);
        Ok(change.map(|change| Change {
            link_of: link.cloned(),
            ..change
        }))
    }

    /// What is gone, and is nowhere else.
    fn tell_deleted(&mut self) {
        for gone in &self.gone {
            if !gone.found && !gone.occupied {
                let kind = FileType::from_raw_mode(gone.stat.st_mode);
                let change = Change::deleted(gone.before.clone(), Some(kind));
                self.changes.push(change);
            }
        }
        for (before, gone) in &self.gone_directories {
            if !gone.occupied && !self.moved.contains(before) {
                let change = Change::deleted(before.clone(), Some(FileType::Directory));
                self.changes.push(change);
            }
        }
    }
}

impl Hidden {
    fn is_something(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

impl Change {
    fn new(path: PathBuf, name: Name, kind: FileType) -> Self {
        Self {
            path: Some(path),
            name,
            kind: Some(kind),
            touched: Touched::No,
            differences: Vec::new(),
            link_of: None,
        }
    }

    fn deleted(path: PathBuf, kind: Option<FileType>) -> Self {
        Self {
            kind,
            ..Self::new(path, Name::Deleted, FileType::Unknown)
        }
    }

    /// An object at its own name; `None` if nothing differs.
    fn kept(path: PathBuf, kind: FileType, differences: Vec<Difference>) -> Option<Self> {
        (!differences.is_empty()).then(|| Self {
            touched: touched(&differences),
            differences,
            ..Self::new(path, Name::Kept, kind)
        })
    }
}

fn touched(differences: &[Difference]) -> Touched {
    match differences {
        [] => Touched::No,
        some if some.iter().any(Difference::is_content) => Touched::Content,
        _ => Touched::Metadata,
    }
}

/// The st_ino that an object of the upper brought along from a layer.
fn origin_number(entry: &Entry) -> Option<u64> {
    let origin = entry.marks.origin.as_deref().and_then(Origin::decode)?;
    Some(shown_number(&origin))
}

/// What differs of an object of the upper from a layer's.
fn differences(
    tree: &Tree,
    dir: &Dir,
    entry: &Entry,
    lower: &LowerFile,
    stat: &rustix::fs::Stat,
) -> Result<Vec<Difference>> {
    let fd = dir.upper.as_ref().ok_or(Error::Damaged)?.fd()?;
    let at = At::Name(fd.as_fd(), &entry.name);
    let source = match entry.marks.metacopy {
        true => Some(tree.data_of(dir, entry)?.ok_or(Error::Damaged)?),
        false => None,
    };
    compare::file(at, &entry.stat, source.as_deref(), lower, stat)
}

/// A path as it is told, with a leading `/`.
fn shown(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}
