//! Taking down what nobody uses: bridges without containers, and the table after the last bridge.
//!
//! ```text
//!   last container gone ──fork──> caretaker: waits a moment, looks again
//!                                   somebody came meanwhile: ends, all stays
//!                                   still nobody: table, bridges removed
//! ```
//!
//! It takes the kernel tens of milliseconds to remove a bridge, during which no network of the
//! machine can be changed. So nobody waits for that at the end of a container, and containers
//! started one right after the other find the bridge of the one before. If the caretaker is
//! killed, the next command does its work.

use super::NetworkError;
use super::bridge;
use super::keeper;
use super::netlink::Socket;
use super::nft::Table;
use super::state::{Holder, Locked, State};
use crate::sys::process::{Forked, adopt, close_from, duplicate_to, exit_now, fork};
use rustix::fd::AsFd;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

/// How long a bridge waits for the next container.
const PATIENCE: Duration = Duration::from_millis(250);

/// Where the caretaker keeps the table's socket.
const SOCKET: RawFd = 3;

/// Leaves unused bridges to a process of their own, unless one is there. The caller must be
/// single-threaded.
pub(super) fn entrust(root: &Path, locked: &mut Locked, table: &Table) -> Result<(), NetworkError> {
    if !locked.state.has_unused() || keeper::has_caretaker(&locked.state) {
        return Ok(());
    }
    let copy = table.socket().as_fd().try_clone_to_owned();
    let copy = copy.map_err(|source| NetworkError::kernel("copy a socket", source))?;
    match fork().map_err(|source| NetworkError::kernel("start the caretaker", source))? {
        Forked::Child => serve(root, locked.state.clone(), copy),
        Forked::Parent(pid) => {
            locked.state.caretaker = Some(Holder { pid, fd: SOCKET });
            locked.save()
        }
    }
}

/// Takes down what nobody is on, if nobody else will: for the command that comes after processes
/// were killed.
///
/// # Errors
/// What could not be taken down.
pub fn take_over(root: &Path) -> Result<(), NetworkError> {
    let mut locked = Locked::open(root)?;
    if locked.state.has_unused() && !keeper::has_caretaker(&locked.state) {
        let table = keeper::borrow(&locked.state);
        if table.is_none() {
            keeper::remove_orphans()?;
        }
        take_down(&mut locked.state, table)?;
        locked.save()?;
    }
    Ok(())
}

/// Takes down the bridge of one network that no container is on.
pub(super) fn take_down_one(state: &mut State, id: &str) -> Result<(), NetworkError> {
    let mut table = keeper::borrow(state);
    let network = state.find_mut(id)?;
    if network.interface.is_none() {
        return Ok(());
    }
    let mut socket = Socket::route()?;
    bridge::remove(&mut socket, table.as_mut(), network)?;
    network.interface = None;
    Ok(())
}

fn serve(root: &Path, state: State, socket: OwnedFd) -> ! {
    if socket.as_raw_fd() != SOCKET && duplicate_to(&socket, SOCKET).is_err() {
        exit_now(1);
    }
    // Those of the monitor's frames, which this process never returns to. Above all, locks.
    if close_from(SOCKET + 1).is_err() || quiet().is_err() {
        exit_now(1);
    }
    let socket = adopt(SOCKET);
    std::thread::sleep(PATIENCE);
    let known = root
        .join("networks.json")
        .exists()
        .then(|| Locked::open(root));
    let done = match known {
        Some(Ok(mut locked)) if locked.state.table.is_some() => {
            locked.state.caretaker = None;
            let table = keeper::own(&locked.state, socket);
            take_down(&mut locked.state, table).and_then(|()| locked.save())
        }
        // The root was removed, or is being removed now: with it, nobody can have come.
        _ => {
            let table = keeper::own(&state, socket);
            take_down(&mut { state }, table)
        }
    };
    // Nobody to tell; what is left is for the next command.
    exit_now(i32::from(done.is_err()));
}

/// Nothing of the container's own directory is kept open.
fn quiet() -> std::io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    rustix::thread::set_name(c"runner-network")?;
    Ok(())
}

/// Removes bridges without containers, then the table if that leaves no containers: while there
/// is a bridge, its rules guard it.
fn take_down(state: &mut State, mut table: Option<Table>) -> Result<(), NetworkError> {
    let mut socket = Socket::route()?;
    for network in &mut state.networks {
        if network.endpoints.is_empty() {
            bridge::remove(&mut socket, table.as_mut(), network)?;
            network.interface = None;
        }
    }
    if state.containers().next().is_none() {
        let removed = table.map_or(Ok(()), Table::remove);
        removed
            .map_err(|source| NetworkError::kernel("remove the packet filtering table", source))?;
        state.table = None;
    }
    Ok(())
}
