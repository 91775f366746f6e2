//! Sharing another container's network (`--network container:NAME`).

use super::Id;
use super::directory::Directory;
use super::home::Home;
use super::state::Status;
use crate::error::{Error, Result};
use crate::network::Inside;
use std::fs::File;

/// The network of the running container `id`, to be joined.
pub(super) fn network(home: &Home, id: &str) -> Result<Inside> {
    let gone = || Error::NotRunning(id.get(..12).unwrap_or(id).to_owned());
    let id = Id::try_from(id.to_owned()).map_err(|_| gone())?;
    let other = Directory::new(&home.root().join("containers"), id.clone());
    let running = || {
        let state = other.state()?;
        match (state.status, home.try_lock(&id)?) {
            (Status::Running | Status::Paused, None) => Ok(state.pid),
            _ => Err(gone()),
        }
    };
    let pid = running()?;
    let namespace = File::open(format!("/proc/{pid}/ns/net")).map_err(|_| gone())?;
    // Still the same: the number was not given to another process before it was looked at.
    if running()? == pid {
        return Ok(Inside::Joined(namespace.into()));
    }
    Err(gone())
}
