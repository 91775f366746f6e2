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

use rustix::fs::{AtFlags, RenameFlags, renameat_with, unlinkat};

use super::FileSystem;
use super::counting::Names;
use super::directories::scan;
use super::lookup::Standing;
use super::raise::Need;
use super::remove::lock_names;
use crate::error::{Error, Result};
use crate::inode::{Anchor, Node, State, UpperPlace};
use crate::layer::Reading;
use crate::sys::at::At;
use crate::sys::lock::RwLockWriteGuard;
use crate::types::{Kind, NodeId, RenameMode};
use crate::union::copy_up;
use crate::union::numbers::origin_of;
use crate::upper::stage::Staged;
use crate::upper::{Form, KeptTimes, Origin, PRESENT, Upper};

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
    is_whiteout: bool,
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
        let mut target_directory: Option<Arc<Node>> = None;
        loop {
            let known = target_directory.take();
            let mut locked = vec![&from.parent, &to.parent];
            locked.extend(&known);
            let names = lock_names(&locked)?;
            let (source_stands, source) = self.look(&from)?;
            let source = source.ok_or(Error::NotFound)?;
            let (target_stands, target) = self.look(&to)?;
            let same = |other: &Arc<Node>| Arc::ptr_eq(other, &source);
            if target.as_ref().is_some_and(same) && mode != RenameMode::NoReplace {
                return Ok(());
            }
            check(&source, target.as_deref(), mode)?;
            check_loops(&source, &from, target.as_deref(), &to, mode)?;
            let a_directory = target
                .as_ref()
                .filter(|target| target.kind == Kind::Directory);
            let is_locked = match (a_directory, &known) {
                (None, _) => true,
                (Some(target), Some(locked)) => Arc::ptr_eq(target, locked),
                (Some(_), None) => false,
            };
            if !is_locked
                || !self.is_ready(&source)
                || !self.is_prepared(target.as_deref(), mode)?
            {
                // Copies are made while no names are held; then everything is looked at again.
                target_directory = a_directory.cloned();
                drop(names);
                self.raise(&source, Need::Metadata)?;
                self.prepare(target.as_ref(), mode)?;
                continue;
            }
            let old = self.spot(&from, &source, source_stands)?;
            match (mode, &target) {
                (RenameMode::Exchange, Some(target)) => {
                    let new = self.spot(&to, target, target_stands)?;
                    self.exchange(upper, &old, &new, &source, target)?;
                }
                _ => {
                    let new = self.bare_spot(&to, target_stands)?;
                    self.replace(upper, &old, &new, &source, target.as_ref())?;
                }
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

    /// What a side's name means, and what the upper has there; its names are held.
    fn look(&self, side: &Side<'_>) -> Result<(Standing, Option<Arc<Node>>)> {
        let (stands, found) = self.resolve_in_both(&side.parent, side.name)?;
        let node = found.map(|found| self.admit(&side.parent, side.name, found));
        Ok((stands, node))
    }

    /// Whether the source can be moved as it is.
    fn is_ready(&self, node: &Arc<Node>) -> bool {
        match node.kind {
            Kind::Directory => node.in_upper(),
            _ => self.is_raised(node, Need::Metadata) && !self.names_are_missing(node),
        }
    }

    /// Whether the target can go, or be swapped, as it is.
    fn is_prepared(&self, target: Option<&Node>, mode: RenameMode) -> Result<bool> {
        match target {
            None => Ok(true),
            Some(target) if mode == RenameMode::Exchange => Ok(match target.kind {
                Kind::Directory => target.in_upper(),
                _ => self.is_raised(target, Need::Metadata) && !self.names_are_missing(target),
            }),
            Some(target) => {
                let state = target.state.read();
                match state.data_in_layer() {
                    Some(file) if state.upper().is_none() => Ok(file.stat()?.st_nlink <= 1),
                    _ => Ok(true),
                }
            }
        }
    }

    /// A target that is swapped must be in the upper; one that goes and is hard-linked in its layer must
    /// be counted.
    fn prepare(&self, target: Option<&Arc<Node>>, mode: RenameMode) -> Result<()> {
        match target {
            Some(target) if !self.is_prepared(Some(target), mode)? => match mode {
                RenameMode::Exchange => self.raise(target, Need::Metadata),
                _ => self.raise(target, Need::Index),
            },
            _ => Ok(()),
        }
    }

    fn spot<'a>(&self, side: &'a Side<'a>, node: &Arc<Node>, stands: Standing) -> Result<Spot<'a>> {
        let spot = self.bare_spot(side, stands)?;
        // A hard-linked file that the upper has through the index: this name of it comes along now.
        if stands == Standing::Nothing {
            self.publish_quietly(self.upper()?, &side.parent, side.name, |dir| {
                self.with_upper(node, |at| Ok(at.link_to(dir, side.name)?))
            })?;
        }
        Ok(spot)
    }

    fn bare_spot<'a>(&self, side: &'a Side<'a>, stands: Standing) -> Result<Spot<'a>> {
        Ok(Spot {
            side,
            dir: self.upper_dir(&side.parent)?,
            layers_show: self.layers_show(&side.parent, side.name)?,
            is_whiteout: stands == Standing::Whiteout,
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
                .is_some_and(UpperPlace::is_from_elsewhere);
        if foreign {
            self.mark_impure(upper, &to.parent)?;
        }
        Ok(())
    }

    fn replace(
        &self,
        upper: &Upper,
        old: &Spot<'_>,
        new: &Spot<'_>,
        source: &Arc<Node>,
        target: Option<&Arc<Node>>,
    ) -> Result<()> {
        let (from, to) = (old.side, new.side);
        if let Some(target) = target.filter(|target| target.kind == Kind::Directory) {
            self.check_empty(target)?;
        }
        self.make_movable(upper, source, to, new.layers_show)?;
        let target_dir = match target {
            Some(target) if target.kind == Kind::Directory && target.in_upper() => {
                Some(self.upper_dir(target)?)
            }
            _ => None,
        };
        let cleared = match (target, &target_dir) {
            (Some(target), Some(dir)) => self.clear_target(upper, to, target, dir)?,
            _ => None,
        };
        let step = || {
            for node in [&from.parent, &to.parent, source] {
                self.before_change(node)?;
            }
            let (mut source_state, mut target_state) = lock_states(source, target);
            if let Some(state) = &mut target_state {
                self.pin_last(state, &to.parent, to.name)?;
            }
            move_over(upper, old, new, source.kind)?;
            source_state.remove_link(&from.parent, from.name);
            source_state.add_link(&to.parent, to.name);
            if let Some(state) = &mut target_state {
                state.remove_link(&to.parent, to.name);
                if let (Some(place), Some(dir)) = (state.upper_mut(), target_dir) {
                    place.anchor = Anchor::Pinned(dir);
                }
            }
            Ok(())
        };
        let done = match target {
            Some(target) => self.counted(upper, target, Names::Goes, step),
            None => step(),
        };
        if done.is_err()
            && let Some(cleared) = cleared
        {
            // The node of the target still stands for what was there.
            self.quietly(upper, &to.parent, |dir| cleared.exchange(dir, to.name))?;
        }
        done
    }

    /// Puts an empty opaque directory in the place of a target directory that holds whiteouts: it shows
    /// the same, nothing, and can be replaced. Gives what was there, in the stage; `None` if nothing was
    /// to be done.
    fn clear_target<'a>(
        &self,
        upper: &'a Upper,
        to: &Side<'_>,
        target: &Node,
        dir: &Arc<OwnedFd>,
    ) -> Result<Option<Staged<'a>>> {
        let mut is_empty = true;
        scan(dir.as_fd(), |_, _, _| {
            is_empty = false;
            Ok(())
        })?;
        if is_empty {
            return Ok(None);
        }
        let stat = At::Fd(dir.as_fd()).stat()?;
        let kept = target.state.read().upper().and_then(|place| place.kept);
        let origin = match target.as_directory()?.lowers.first() {
            Some(top) => origin_of(top, &top.own_stat()?),
            None => Origin::of(0, stat.st_ino),
        };
        let origin = Origin {
            kept: Some(kept.unwrap_or_else(|| KeptTimes::of(&stat))),
            ..origin
        };
        let empty = copy_up::directory(upper, Reading::Disk(At::Fd(dir.as_fd())), &stat, origin)?;
        upper.mark(empty.at(), "opaque", PRESENT)?;
        self.quietly(upper, &to.parent, |dir| empty.exchange(dir, to.name))?;
        Ok(Some(empty))
    }

    fn exchange(
        &self,
        upper: &Upper,
        old: &Spot<'_>,
        new: &Spot<'_>,
        source: &Arc<Node>,
        target: &Arc<Node>,
    ) -> Result<()> {
        let (from, to) = (old.side, new.side);
        self.make_movable(upper, source, to, new.layers_show)?;
        self.make_movable(upper, target, from, old.layers_show)?;
        for node in [&from.parent, &to.parent, source, target] {
            self.before_change(node)?;
        }
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

/// The step itself. What comes after it cannot fail any more: at worst a needless whiteout stays.
fn move_over(upper: &Upper, old: &Spot<'_>, new: &Spot<'_>, kind: Kind) -> Result<()> {
    let (from, to) = (old.side.name, new.side.name);
    if upper.form == Form::Aufs {
        if old.layers_show {
            upper.put_whiteout(old.dir.as_fd(), from)?;
        }
        renameat_with(&old.dir, from, &new.dir, to, RenameFlags::empty())?;
        if new.is_whiteout {
            upper.clear_whiteout(new.dir.as_fd(), to);
        }
        return Ok(());
    }
    if kind == Kind::Directory && new.is_whiteout {
        renameat_with(&old.dir, from, &new.dir, to, RenameFlags::EXCHANGE)?;
        if !old.layers_show
            && let Err(error) = unlinkat(&old.dir, from, AtFlags::empty())
        {
            tracing::debug!(%error, name = ?from, "a needless whiteout stays");
        }
        return Ok(());
    }
    let flags = match old.layers_show {
        true => RenameFlags::WHITEOUT,
        false => RenameFlags::empty(),
    };
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

/// No directory may come to lie in itself.
fn check_loops(
    source: &Node,
    from: &Side<'_>,
    target: Option<&Node>,
    to: &Side<'_>,
    mode: RenameMode,
) -> Result<()> {
    check_loop(source, &to.parent, Error::Invalid)?;
    match target {
        None => Ok(()),
        Some(target) if mode == RenameMode::Exchange => {
            check_loop(target, &from.parent, Error::Invalid)
        }
        Some(target) => check_loop(target, &from.parent, Error::NotEmpty),
    }
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
