//! Who keeps the packet filtering table: every monitor of a bridged container, together.
//!
//! ```text
//!   first monitor    makes the socket, and with it the table           holder: pid, descriptor
//!   later monitors   copy the socket out of any living holder (pidfd_getfd)
//!   last one gone    caretaker removes table and bridges
//! ```
//!
//! One socket, so one owner: the kernel lets all holders change the table and nobody else. There
//! is no process that everything depends on; any holder may be killed. The state tells the
//! holders and the number that the kernel knows the socket by, which is checked on the copy, so a
//! number that was given to another process meanwhile leads to nothing.
//!
//! All of this happens under the lock of the networks: answers to different holders would mix.

use super::NetworkError;
use super::netlink::Socket;
use super::nft::Table;
use super::state::{Holder, Locked, State, TableRecord};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::io;

/// The name of the table of the first root on a machine; others get a number.
const NAME: &str = "runner";

/// Roots that may have containers on one machine at once.
const ROOTS: u32 = 1000;

/// The table, if anybody living keeps it.
pub(super) fn borrow(state: &State) -> Option<Table> {
    let record = state.table.as_ref()?;
    let monitors = state.networks.iter().flat_map(|network| &network.endpoints);
    let mut holders = monitors
        .map(|endpoint| endpoint.holder)
        .chain(state.caretaker);
    let socket = holders.find_map(|holder| socket_of(holder, record.port))?;
    Some(Table::owned(socket, record.name.clone()))
}

/// Whether the caretaker told by the state lives.
pub(super) fn has_caretaker(state: &State) -> bool {
    match (&state.table, state.caretaker) {
        (Some(record), Some(holder)) => socket_of(holder, record.port).is_some(),
        _ => false,
    }
}

/// The table, made if nobody living keeps one; what is in it then is nobody's.
pub(super) fn provide(locked: &mut Locked) -> Result<Table, NetworkError> {
    let namespace = namespace()?;
    if let Some(table) = borrow(&locked.state) {
        let there = locked.state.table.as_ref().map(|record| record.namespace);
        return if there == Some(namespace) {
            Ok(table)
        } else {
            Err(NetworkError::OtherNamespace)
        };
    }
    remove_orphans()?;
    let what = "make a packet filtering table";
    let failed = |source| NetworkError::kernel(what, source);
    let old = locked.state.table.take().map(|record| record.name);
    let numbered = (1..ROOTS).map(|number| format!("{NAME}{number}"));
    let names = [NAME.to_owned()].into_iter().chain(numbered);
    // Our old one first: its owners were killed. A foreign one is left alone.
    let old = old.into_iter().map(|name| (name, true));
    for (name, ours) in old.chain(names.map(|name| (name, false))) {
        let socket = Socket::netfilter().map_err(failed)?;
        // Before it is made, so that it is known whenever this process is killed.
        locked.state.table = Some(TableRecord {
            name: name.clone(),
            port: socket.port().map_err(failed)?,
            namespace,
        });
        locked.save()?;
        match Table::make(socket, &name, ours) {
            Err(error) if is_foreign(&error) => locked.state.table = None,
            Err(error) => return Err(failed(error)),
            Ok(table) => return Ok(table),
        }
    }
    Err(failed(io::ErrorKind::AlreadyExists.into()))
}

/// Removes the tables, of whatever root, whose holders were all killed.
pub(super) fn remove_orphans() -> Result<(), NetworkError> {
    let removed = Table::remove_orphans();
    removed.map_err(|source| NetworkError::kernel("list the packet filtering tables", source))
}

/// The table, by a copy of its socket in this process.
pub(super) fn own(state: &State, socket: OwnedFd) -> Option<Table> {
    let record = state.table.as_ref()?;
    let socket = Socket::adopt(socket, record.port)?;
    Some(Table::owned(socket, record.name.clone()))
}

/// This process as a holder of the table.
pub(super) fn holder(table: &Table) -> Holder {
    Holder {
        pid: rustix::process::getpid().as_raw_pid(),
        fd: table.socket().as_fd().as_raw_fd(),
    }
}

/// The number of the network namespace of the calling thread.
pub(super) fn namespace() -> Result<u64, NetworkError> {
    let path = "/proc/thread-self/ns/net";
    let stat = rustix::fs::stat(path).map_err(io::Error::from);
    Ok(stat.map_err(NetworkError::file("look at", path))?.st_ino)
}

fn is_foreign(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EEXIST | libc::EPERM))
}

fn socket_of(holder: Holder, port: u32) -> Option<Socket> {
    Socket::adopt(copy(holder)?, port)
}

/// A copy of another process's descriptor.
fn copy(holder: Holder) -> Option<OwnedFd> {
    let process = pidfd_open(Pid::from_raw(holder.pid)?, PidfdFlags::empty()).ok()?;
    pidfd_getfd(process, holder.fd, PidfdGetfdFlags::empty()).ok()
}
