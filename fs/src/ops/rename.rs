//! Rename, with its flags, on every mix of lower, upper and merged (N2, N3).
//!
//! ```text
//!   before    both parents and the source are brought into the upper; a directory that merges layers
//!             gets a redirect (it says what it said before); one that does not, and will lie over
//!             something of a layer, is made opaque; a target directory full of whiteouts is replaced
//!             by an empty opaque one
//!   the step  one renameat2: with WHITEOUT if the layers show the old name, with EXCHANGE over a
//!             whiteout (whose place then has the whiteout that the old name needs)
//!   after     a whiteout nobody needs is removed
//! ```
//!
//! Each state between is the merged view of before or of after, whatever is killed in it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use parking_lot::RwLockWriteGuard;
use rustix::fs::{AtFlags, RenameFlags, renameat_with, unlinkat};
use rustix::io::Errno;

use super::FileSystem;
use super::raise::Need;
use super::remove::lock_names;
use crate::error::{Error, Result};
use crate::inode::{Anchor, Node, State};
use crate::marks::Found;
use crate::sys::at::At;
use crate::types::{Kind, NodeId, RenameMode};
use crate::union::copy_up;
use crate::upper::{Form, Origin, PRESENT, Upper};

/// One side of a rename, with its names held once they are locked.
struct Side<'a> {
    parent: Arc<Node>,
    name: &'a OsStr,
}

/// A side's directory in the upper, and what it has and the layers show under the name.
struct Spot<'a> {
    side: &'a Side<'a>,
    dir: Arc<OwnedFd>,
    layers_show: bool,
}

impl FileSystem {
    /// Renames; see rename(2) and renameat2(2).
    ///
    /// # Errors
    /// ENOENT, EEXIST, ENOTEMPTY, EISDIR, ENOTDIR, EINVAL (into itself), EROFS.
    pub fn rename(
        &self,
        parent: NodeId,
        name: &OsStr,
        new_parent: NodeId,
        new_name: &OsStr,
        mode: RenameMode,
    ) -> Result<()> {
        let upper = self.upper()?;
        let from = Side {
            parent: self.directory_to_change(parent, name)?,
            name,
        };
        let to = Side {
            parent: self.directory_to_change(new_parent, new_name)?,
            name: new_name,
        };
        let _moving = (parent != new_parent).then(|| self.renames.lock());
        loop {
            let source = self.look(&from)?.ok_or(Error::NotFound)?;
            let target = self.look(&to)?;
            if target
                .as_ref()
                .is_some_and(|target| Arc::ptr_eq(target, &source))
                && mode != RenameMode::NoReplace
            {
                return Ok(());
            }
            check(&source, target.as_deref(), mode)?;
            check_loop(&source, &to.parent, Error::Invalid)?;
            if let Some(target) = &target {
                let why = if mode == RenameMode::Exchange {
                    Error::Invalid
                } else {
                    Error::NotEmpty
                };
                check_loop(target, &from.parent, why)?;
            }
            self.raise(&source, Need::Metadata)?;
            if let Some(target) = &target {
                self.prepare_target(target, mode)?;
            }

            let mut locked = vec![&from.parent, &to.parent];
            locked.extend(
                target
                    .iter()
                    .filter(|target| target.kind == Kind::Directory),
            );
            let _names = lock_names(&locked)?;
            let still = |side: &Side<'_>, node: Option<&Arc<Node>>| -> Result<bool> {
                let found = self.resolve(&side.parent, side.name)?;
                Ok(found.map(|found| found.ino) == node.map(|node| node.ino))
            };
            if !still(&from, Some(&source))? || !still(&to, target.as_ref())? {
                continue;
            }
            match (mode, &target) {
                (RenameMode::Exchange, Some(target)) => {
                    self.exchange(upper, &from, &to, &source, target)?;
                }
                _ => self.replace(upper, &from, &to, &source, target.as_ref())?,
            }
            self.note_name(upper, &from.parent, from.name);
            self.note_name(upper, &to.parent, to.name);
            count_moved(&from.parent, &to.parent, &source, target.as_deref(), mode)?;
            for node in [&from.parent, &to.parent, &source] {
                self.touched(node);
            }
            return Ok(());
        }
    }

    fn look(&self, side: &Side<'_>) -> Result<Option<Arc<Node>>> {
        let _names = side.parent.as_directory()?.names.read();
        let found = self.resolve(&side.parent, side.name)?;
        Ok(found.map(|found| self.admit(&side.parent, side.name, found)))
    }

    /// A target that is swapped must be in the upper; one that goes and is hard-linked in its layer must
    /// be counted.
    fn prepare_target(&self, target: &Arc<Node>, mode: RenameMode) -> Result<()> {
        if mode == RenameMode::Exchange {
            return self.raise(target, Need::Metadata);
        }
        let linked = |target: &Node| -> Result<bool> {
            let state = target.state.read();
            Ok(match state.data_in_layer() {
                Some(file) if state.upper().is_none() => file.stat()?.st_nlink > 1,
                _ => false,
            })
        };
        if target.kind != Kind::Directory && linked(target)? {
            self.raise(target, Need::Index)?;
        }
        Ok(())
    }

    fn spot<'a>(&self, upper: &Upper, side: &'a Side<'a>, node: &Arc<Node>) -> Result<Spot<'a>> {
        let dir = self.upper_dir(&side.parent)?;
        // A hard-linked file that the upper has through the index: this name of it comes along now.
        if matches!(upper.lookup(dir.as_fd(), side.name)?, Found::Absent) {
            self.with_upper(node, |at| Ok(at.link_to(dir.as_fd(), side.name)?))?;
        }
        let layers_show = self.layers_show(&side.parent, side.name)?;
        Ok(Spot {
            side,
            dir,
            layers_show,
        })
    }

    /// Makes an object ready to lie at another place: what it merges stays the same there.
    fn make_movable(&self, upper: &Upper, node: &Node, to: &Side<'_>, covers: bool) -> Result<()> {
        let merges = node
            .directory
            .as_deref()
            .and_then(|directory| directory.lowers.first());
        if let Some(top) = merges {
            let path = top.path();
            self.with_upper(node, |at| {
                upper.mark(at, "redirect", path.as_encoded_bytes())
            })?;
        } else if node.kind == Kind::Directory && covers {
            self.with_upper(node, |at| upper.mark(at, "opaque", PRESENT))?;
        }
        self.point_to_source(upper, &mut node.state.write())?;
        let foreign = merges.is_some()
            || node
                .state
                .read()
                .upper()
                .is_some_and(|p| p.origin.is_some() || p.char00);
        if foreign {
            self.mark_impure(upper, &to.parent)?;
        }
        Ok(())
    }

    fn replace(
        &self,
        upper: &Upper,
        from: &Side<'_>,
        to: &Side<'_>,
        source: &Arc<Node>,
        target: Option<&Arc<Node>>,
    ) -> Result<()> {
        if let Some(target) = target.filter(|target| target.kind == Kind::Directory) {
            self.check_empty(target)?;
        }
        let old = self.spot(upper, from, source)?;
        let new = Spot {
            side: to,
            dir: self.upper_dir(&to.parent)?,
            layers_show: self.layers_show(&to.parent, to.name)?,
        };
        self.make_movable(upper, source, to, new.layers_show)?;
        let target_dir = match target {
            Some(target) if target.kind == Kind::Directory && target.in_upper() => {
                Some(self.upper_dir(target)?)
            }
            _ => None,
        };
        {
            let (mut source_state, mut target_state) = lock_states(source, target);
            if let Some(state) = &mut target_state {
                self.pin_last(state, &to.parent, to.name)?;
            }
            move_over(upper, &old, &new, source.kind, target_dir.as_ref())?;
            source_state.remove_link(&from.parent, from.name);
            source_state.add_link(&to.parent, to.name);
            if let Some(state) = &mut target_state {
                state.remove_link(&to.parent, to.name);
                if let (Some(place), Some(dir)) = (state.upper_mut(), target_dir) {
                    place.anchor = Anchor::Pinned(dir);
                }
            }
        }
        match target {
            Some(target) => self.drop_name(upper, target),
            None => Ok(()),
        }
    }

    fn exchange(
        &self,
        upper: &Upper,
        from: &Side<'_>,
        to: &Side<'_>,
        source: &Arc<Node>,
        target: &Arc<Node>,
    ) -> Result<()> {
        let old = self.spot(upper, from, source)?;
        let new = self.spot(upper, to, target)?;
        self.make_movable(upper, source, to, new.layers_show)?;
        self.make_movable(upper, target, from, old.layers_show)?;
        let (mut source_state, target_state) = lock_states(source, Some(target));
        renameat_with(
            &old.dir,
            from.name,
            &new.dir,
            to.name,
            RenameFlags::EXCHANGE,
        )?;
        source_state.remove_link(&from.parent, from.name);
        source_state.add_link(&to.parent, to.name);
        if let Some(mut state) = target_state {
            state.remove_link(&to.parent, to.name);
            state.add_link(&from.parent, from.name);
        }
        drop(source_state);
        self.touched(target);
        Ok(())
    }
}

/// The step itself.
fn move_over(
    upper: &Upper,
    old: &Spot<'_>,
    new: &Spot<'_>,
    kind: Kind,
    target_dir: Option<&Arc<OwnedFd>>,
) -> Result<()> {
    let (from, to) = (old.side.name, new.side.name);
    let over_whiteout = matches!(upper.lookup(new.dir.as_fd(), to)?, Found::Whiteout);
    if upper.form == Form::Aufs {
        if old.layers_show {
            upper.put_whiteout(old.dir.as_fd(), from)?;
        }
        step(upper, old, new, RenameFlags::empty(), target_dir)?;
        return match over_whiteout {
            true => upper.clear_whiteout(new.dir.as_fd(), to),
            false => Ok(()),
        };
    }
    if kind == Kind::Directory && over_whiteout {
        renameat_with(&old.dir, from, &new.dir, to, RenameFlags::EXCHANGE)?;
        if !old.layers_show {
            unlinkat(&old.dir, from, AtFlags::empty())?;
        }
        return Ok(());
    }
    let flags = match old.layers_show {
        true => RenameFlags::WHITEOUT,
        false => RenameFlags::empty(),
    };
    step(upper, old, new, flags, target_dir)
}

/// One renameat2; a target directory that holds whiteouts is cleared first.
fn step(
    upper: &Upper,
    old: &Spot<'_>,
    new: &Spot<'_>,
    flags: RenameFlags,
    target_dir: Option<&Arc<OwnedFd>>,
) -> Result<()> {
    let (from, to) = (old.side.name, new.side.name);
    match renameat_with(&old.dir, from, &new.dir, to, flags) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        other => return Ok(other?),
    }
    let Some(dir) = target_dir else {
        return Err(Error::NotEmpty);
    };
    // An empty opaque directory in its place shows the same: nothing.
    let at = At::Fd(dir.as_fd());
    let nowhere = Origin::of(0, 0);
    let empty = copy_up::directory(upper, dir.as_fd(), &at.stat()?, nowhere)?;
    upper.unmark(empty.at(), "layerfs.origin")?;
    upper.mark(empty.at(), "opaque", PRESENT)?;
    empty.exchange(new.dir.as_fd(), to)?;
    drop(empty);
    Ok(renameat_with(&old.dir, from, &new.dir, to, flags)?)
}

/// Locks the states of two objects, in the order of their inode numbers.
fn lock_states<'a>(
    source: &'a Node,
    target: Option<&'a Arc<Node>>,
) -> (
    RwLockWriteGuard<'a, State>,
    Option<RwLockWriteGuard<'a, State>>,
) {
    match target {
        Some(target) if target.id < source.id => {
            let target = target.state.write();
            (source.state.write(), Some(target))
        }
        _ => {
            let source = source.state.write();
            (source, target.map(|target| target.state.write()))
        }
    }
}

fn check(source: &Node, target: Option<&Node>, mode: RenameMode) -> Result<()> {
    match (mode, target) {
        (RenameMode::NoReplace, Some(_)) => Err(Error::Exists),
        (RenameMode::Exchange, None) => Err(Error::NotFound),
        (RenameMode::Replace, Some(target)) => {
            match (
                source.kind == Kind::Directory,
                target.kind == Kind::Directory,
            ) {
                (true, false) => Err(Error::NotDirectory),
                (false, true) => Err(Error::IsDirectory),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Corrects the counts of subdirectories after a rename.
fn count_moved(
    from: &Node,
    to: &Node,
    source: &Node,
    target: Option<&Node>,
    mode: RenameMode,
) -> Result<()> {
    let moved = i32::from(source.kind == Kind::Directory);
    let other = i32::from(target.is_some_and(|target| target.kind == Kind::Directory));
    let comes_back = if mode == RenameMode::Exchange {
        other
    } else {
        0
    };
    from.as_directory()?
        .count_subdirectories(comes_back - moved);
    to.as_directory()?.count_subdirectories(moved - other);
    Ok(())
}

/// A directory cannot move into itself.
fn check_loop(moved: &Node, into: &Arc<Node>, why: Error) -> Result<()> {
    if moved.kind != Kind::Directory {
        return Ok(());
    }
    let mut here = Some(into.clone());
    while let Some(node) = here {
        if node.id == moved.id {
            return Err(why);
        }
        here = node.link().map(|link| link.parent);
    }
    Ok(())
}
