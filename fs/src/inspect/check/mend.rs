//! Mending. Each mend leaves a right upper at whatever moment it is cut short: marks are set before others
//! are removed, a whiteout is replaced by one rename, and the disk is told last.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, XattrFlags, mknodat, renameat, unlinkat};
use rustix::io::Errno;

use super::{Finding, Mend, Spot, State};
use crate::error::{Error, Result};
use crate::inspect::tree::{Places, Tree};
use crate::sys::at::At;
use crate::upper::open::{HOME, STAGE};
use crate::upper::stage::empty;

/// Mends all findings that can be.
pub(super) fn all(tree: &Tree, places: &Places, findings: &mut [Finding]) {
    let work = places.work.as_deref().unwrap_or(Path::new(""));
    for finding in findings.iter_mut() {
        let Some(mend) = &finding.mend else { continue };
        finding.state = match one(tree, work, mend) {
            Ok(()) => State::Mended,
            Err(error) => State::Failed(error.to_string()),
        };
    }
    let synced = places.upper.as_deref().map(|upper| -> Result<()> {
        let root = rustix::fs::open(upper, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(rustix::fs::syncfs(root)?)
    });
    if let Some(Err(error)) = synced {
        for finding in findings.iter_mut().filter(|f| f.state == State::Mended) {
            finding.state = State::Failed(format!("not brought to disk: {error}"));
        }
    }
}

fn one(tree: &Tree, work: &Path, mend: &Mend) -> Result<()> {
    let stage = work.join(HOME).join(STAGE);
    match mend {
        Mend::Marks { spot, set, remove } => with(tree, spot, |at| {
            for (name, value) in set {
                at.set_xattr(name, value, XattrFlags::empty())?;
            }
            for name in remove {
                match at.remove_xattr(name) {
                    Ok(()) | Err(Errno::NODATA) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        }),
        Mend::Whiteout { dir, file } => {
            fs::create_dir_all(&stage)?;
            let fresh = stage.join("mended");
            match mknodat(CWD, &fresh, FileType::CharacterDevice, Mode::empty(), 0) {
                // Of a repair that was cut short.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(renameat(CWD, &fresh, dir.fd()?, file)?)
        }
        Mend::IndexEntry(name) => Ok(unlinkat(index(tree)?, name, AtFlags::empty())?),
        Mend::Stage => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(empty(
                rustix::fs::open(&stage, flags, Mode::empty())?.as_fd(),
            )?)
        }
    }
}

fn with<R>(tree: &Tree, spot: &Spot, act: impl FnOnce(At<'_>) -> Result<R>) -> Result<R> {
    match spot {
        Spot::Directory(dir) => act(At::Fd(dir.fd()?.as_fd())),
        Spot::Name(dir, name) => act(At::Name(dir.fd()?.as_fd(), name)),
        Spot::Index(name) => act(At::Name(index(tree)?.as_fd(), name)),
    }
}

fn index(tree: &Tree) -> Result<&OwnedFd> {
    let upper = tree.upper.as_ref();
    upper
        .and_then(|upper| upper.index.as_ref())
        .ok_or(Error::Damaged)
}
