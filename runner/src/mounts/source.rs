//! The host's side of bind mounts: opened as detached mounts before the child exists.
//!
//! The child never resolves a path of the host, so nothing of the image can bend one; and the
//! paths are those that the user (or we) wrote, taken in the host's own view.

use super::MountError;
use super::plan::{Bind, Op, Plan};
use crate::sys::mount;
use rustix::fd::OwnedFd;

/// The sources of a plan's binds, in the order of the plan.
#[derive(Debug, Default)]
pub struct Sources {
    opened: Vec<OwnedFd>,
}

impl Sources {
    /// Opens the source of every bind of the plan, with its attributes already set: it never
    /// is visible with more rights than it shall have.
    pub fn open(plan: &Plan) -> Result<Self, MountError> {
        let binds = plan.ops.iter().filter_map(|op| match op {
            Op::Bind(bind) => Some(bind),
            _ => None,
        });
        let opened = binds.map(open_one).collect::<Result<_, _>>()?;
        Ok(Self { opened })
    }

    /// Takes the sources, first bind of the plan first.
    pub fn into_queue(self) -> std::vec::IntoIter<OwnedFd> {
        self.opened.into_iter()
    }
}

fn open_one(bind: &Bind) -> Result<OwnedFd, MountError> {
    let failed = |errno| MountError::Source {
        path: bind.source.clone(),
        errno,
    };
    let copy = mount::copy_path(&bind.source, bind.recursive).map_err(failed)?;
    mount::set_attributes(
        &copy,
        bind.attributes,
        Some(bind.propagation),
        bind.recursive,
    )
    .map_err(failed)?;
    Ok(copy)
}
