//! The relay: a small process beside the monitor of a container that publishes ports.
//!
//! ```text
//!   bind      every published port is bound here, so that a taken one is noticed at the start and
//!             nobody else gets it later
//!   serve     what arrives here is handed to the container and back
//!     stream    TCP        datagram    UDP
//! ```
//!
//! Little arrives here: packets to the machine's addresses are translated by the kernel (`nft`)
//! before they reach any socket. Loopback addresses are not: a packet from 127.0.0.1 may not leave
//! the machine. To let it (`route_localnet`) would open the machine's own loopback services to
//! containers as soon as a rule is missing, and for ::1 there is no such switch at all. So
//! connections to 127.0.0.1 and ::1 end here, and a port published on one of them alone is out of
//! reach from outside by nature. The same way IPv6 reaches a container without it.
//!
//! It has no rights: only the sockets, and what may connect to the container. It dies with the
//! monitor.

mod bind;
mod datagram;
mod serve;
mod stream;

use super::NetworkError;
use super::ports::{Publish, Published};
use crate::sys::process::{Child, Forked, clone_into, close_from, exit_now};
use bind::Refusal;
use rustix::process::{
    Resource, Rlimit, Signal, getppid, getrlimit, pidfd_send_signal,
    set_parent_process_death_signal, setrlimit,
};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

/// A running relay.
#[derive(Debug)]
pub(super) struct Relay {
    child: Child,
}

/// What is to be published, and where it leads.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) publish: &'a [Publish],
    pub(super) address: Ipv4Addr,
    pub(super) address6: Option<Ipv6Addr>,
    /// A port on every address is one on every IPv6 address, too.
    pub(super) ipv6: bool,
}

/// What the relay says once.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Bound(Vec<Published>),
    Refused(Refusal),
    Failed(i32),
}

impl Wanted<'_> {
    /// Where what arrives at an address goes.
    fn target(&self, arrived: IpAddr) -> IpAddr {
        match (arrived, self.address6) {
            (IpAddr::V6(_), Some(address)) => IpAddr::V6(address),
            _ => IpAddr::V4(self.address),
        }
    }

    /// Whether anything can arrive at a socket of the relay itself.
    fn is_served(&self, address: IpAddr) -> bool {
        let translated = address.is_ipv4() || self.address6.is_some();
        address.is_loopback() || address.is_unspecified() || !translated
    }
}

impl Relay {
    /// Starts it; also gives what it has bound. The caller must be single-threaded.
    pub(super) fn start(wanted: &Wanted<'_>) -> Result<(Self, Vec<Published>), NetworkError> {
        let failed = |source| NetworkError::kernel("start the relay of published ports", source);
        let (mut ours, theirs) = io::pipe().map_err(failed)?;
        let parent = rustix::process::getpid();
        let child = match clone_into(0, None).map_err(failed)? {
            Forked::Parent(child) => child,
            Forked::Child => {
                if getppid() != Some(parent) {
                    exit_now(1);
                }
                run(wanted, theirs.into())
            }
        };
        let relay = Self { child };
        drop(theirs);
        let mut told = Vec::new();
        ours.read_to_end(&mut told).map_err(failed)?;
        match serde_json::from_slice(&told) {
            Ok(Report::Bound(ports)) => Ok((relay, ports)),
            Ok(Report::Refused(refusal)) => {
                relay.stop();
                Err(refusal.into())
            }
            Ok(Report::Failed(number)) => {
                relay.stop();
                Err(failed(io::Error::from_raw_os_error(number)))
            }
            Err(_) => {
                relay.stop();
                Err(failed(io::ErrorKind::BrokenPipe.into()))
            }
        }
    }

    /// Ends it; its ports are free when this returns.
    pub(super) fn stop(self) {
        // It may have ended by itself; then there is nothing to kill, but to reap.
        let _ = pidfd_send_signal(&self.child.pidfd, Signal::KILL);
        let options = rustix::process::WaitIdOptions::EXITED;
        let id = rustix::process::WaitId::PidFd(rustix::fd::AsFd::as_fd(&self.child.pidfd));
        while matches!(
            rustix::process::waitid(id.clone(), options),
            Err(rustix::io::Errno::INTR)
        ) {}
    }
}

/// The relay's life.
fn run(wanted: &Wanted<'_>, pipe: OwnedFd) -> ! {
    let Ok(mut pipe) = settle(pipe) else {
        exit_now(1);
    };
    let bound = bind::bind_all(wanted);
    let prepared = bound.and_then(|bound| {
        let server = serve::Server::new(wanted, bound.held);
        let server = server.and_then(|server| give_up_rights().map(|()| server));
        Ok((server.map_err(bind::Stop::System)?, bound.ports))
    });
    let (report, server) = match prepared {
        Ok((server, ports)) => (Report::Bound(ports), Some(server)),
        Err(bind::Stop::Port(refusal)) => (Report::Refused(refusal), None),
        Err(bind::Stop::System(error)) => {
            let number = error.raw_os_error().unwrap_or(libc::EIO);
            (Report::Failed(number), None)
        }
    };
    let told = serde_json::to_vec(&report)
        .map_err(io::Error::from)
        .and_then(|bytes| pipe.write_all(&bytes));
    drop(pipe);
    match (told, server) {
        (Ok(()), Some(server)) => server.run(),
        _ => exit_now(1),
    }
}

/// Nothing of the monitor's but its streams, and room for many sockets.
fn settle(pipe: OwnedFd) -> io::Result<File> {
    const PIPE: i32 = 3;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_name(c"runner-relay")?;
    let pipe = if pipe.as_raw_fd() == PIPE {
        pipe
    } else {
        crate::sys::process::duplicate_to(&pipe, PIPE)?;
        // Its number is closed below, with those of the monitor's frames, which this process
        // never returns to.
        std::mem::forget(pipe);
        crate::sys::process::adopt(PIPE)
    };
    close_from(PIPE + 1)?;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised)?;
    Ok(File::from(pipe))
}

/// It talks to sockets only.
fn give_up_rights() -> io::Result<()> {
    let refused = |error: caps::errors::CapsError| io::Error::other(error.to_string());
    rustix::thread::set_no_new_privs(true)?;
    for set in [caps::CapSet::Effective, caps::CapSet::Permitted] {
        caps::clear(None, set).map_err(refused)?;
    }
    Ok(())
}
