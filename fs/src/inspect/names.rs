//! Where the merged tree shows a path of one layer.
//!
//! ```text
//!   layer 2: /d/e/f     entrances: the root (merges /), moved (merges /d by its redirect)
//!                                                    └─ e/f: shown at moved/e/f, unless hidden
//! ```
//!
//! A directory of a layer shows at its own path, or where a redirect of the upper has brought it or one
//! above it: so every path shows behind one of these *entrances*.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::tree::{Below, Dir, Line, Tie, Tree};
use crate::error::{Error, Result};
use crate::layer::LayerDir;
use crate::layer::aliases::Path;
use crate::union::lower::{LowerFile, Stack};

/// All names of a hard-linked file in its layer; none if they are not known.
pub fn names_in_layer(tree: &Tree, position: u16, ino: u64) -> Result<&[Path]> {
    Ok(match layer(tree, position) {
        Some(root) => root.aliases()?.of(ino),
        None => &[],
    })
}

/// The file at a path of a layer, if it is there.
pub fn lower_file(tree: &Tree, position: u16, path: &Path) -> Result<Option<LowerFile>> {
    let (Some(root), Some((last, directories))) = (layer(tree, position), path.split_last()) else {
        return Ok(None);
    };
    let dir = directories
        .iter()
        .fold(root.clone(), |dir, name| dir.child(name));
    let file = LowerFile {
        dir,
        name: last.clone().into_boxed_os_str(),
        data: None,
        char00: false,
    };
    match file.stat() {
        Ok(_) => Ok(Some(file)),
        Err(Error::NotFound | Error::NotDirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Directories and names at which the merged tree shows the non-directory `path` of a layer, and the upper
/// has nothing of its own.
pub fn shown_only_below(
    tree: &Tree,
    entrances: &[Dir],
    position: u16,
    path: &[OsString],
) -> Result<Vec<(Dir, OsString)>> {
    let Some((last, directories)) = path.split_last() else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entrance in entrances {
        let Some(dir) = descend(tree, entrance, position, directories)? else {
            continue;
        };
        if tree.line(&dir, last)?.is_some() {
            continue;
        }
        if let Below::File(file, _) = tree.below(&dir, last)?
            && *file.name == **last
            && is_at(&file.dir, position, directories)
        {
            found.push((dir, last.clone()));
        }
    }
    Ok(found)
}

/// The directory behind an entrance that merges the directory `path` of a layer; `None` if there is none.
/// Redirects on the way are entrances of their own.
pub fn descend(
    tree: &Tree,
    entrance: &Dir,
    position: u16,
    path: &[OsString],
) -> Result<Option<Dir>> {
    let own = |dir: &&Arc<LayerDir>| dir.layer().position == position;
    let Some(start) = entrance.lowers.iter().find(own) else {
        return Ok(None);
    };
    let start = start.path();
    let mut names = start
        .as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|n| !n.is_empty());
    let depth = names.clone().count();
    if path.len() < depth
        || !names
            .by_ref()
            .eq(path[..depth].iter().map(|n| n.as_bytes()))
    {
        return Ok(None);
    }
    let mut here = entrance.clone();
    for (index, name) in path.iter().enumerate().skip(depth) {
        let inner = match tree.line(&here, name)? {
            Some(Line::Whiteout(_)) => return Ok(None),
            Some(Line::Object(entry)) if is_directory(&entry) => match tree.enter(&here, &entry)? {
                (inner, Tie::Name) => inner,
                _ => return Ok(None),
            },
            Some(Line::Object(_)) => return Ok(None),
            None => match tree.below(&here, name)? {
                Below::Directory(stack, _) => tree.enter_below(&here, name, stack),
                _ => return Ok(None),
            },
        };
        if !merges(&inner.lowers, position, &path[..=index]) {
            return Ok(None);
        }
        here = inner;
    }
    Ok(Some(here))
}

fn layer(tree: &Tree, position: u16) -> Option<&Arc<LayerDir>> {
    let roots = tree.layers.0.iter();
    roots
        .into_iter()
        .find(|root| root.layer().position == position)
}

fn is_directory(entry: &super::tree::Entry) -> bool {
    entry.kind() == rustix::fs::FileType::Directory
}

fn merges(stack: &Stack, position: u16, path: &[OsString]) -> bool {
    stack.iter().any(|dir| is_at(dir, position, path))
}

fn is_at(dir: &LayerDir, position: u16, path: &[OsString]) -> bool {
    let own = dir.path();
    let names = own
        .as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|n| !n.is_empty());
    dir.layer().position == position
        && names
            .map(OsStr::from_bytes)
            .eq(path.iter().map(OsString::as_os_str))
}
