//! Binding the published ports.
//!
//! A port is bound on each address it was asked for. One of TCP that the relay does not serve is
//! bound but not listened on: should a packet come this far, it is refused at once instead of
//! waiting for nobody.

use super::super::NetworkError;
use super::super::ports::{Protocol, Publish, Published, Range};
use super::Wanted;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// How often another free port is tried when one is free on one address only.
const ATTEMPTS: u32 = 64;

/// Everything that was bound.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) ports: Vec<Published>,
    pub(super) held: Vec<Held>,
}

/// One bound socket.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) socket: OwnedFd,
    pub(super) protocol: Protocol,
    /// The machine's address.
    pub(super) address: IpAddr,
    /// The container's port.
    pub(super) inside: u16,
}

/// A port that cannot be had.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    address: IpAddr,
    /// 0 is any.
    port: u16,
    protocol: Protocol,
    error: i32,
}

/// Why not everything could be bound.
#[derive(Debug)]
pub(super) enum Stop {
    Port(Refusal),
    System(io::Error),
}

impl From<Refusal> for NetworkError {
    fn from(refusal: Refusal) -> Self {
        Self::Port {
            address: SocketAddr::new(refusal.address, refusal.port),
            protocol: refusal.protocol,
            source: io::Error::from_raw_os_error(refusal.error),
            owner: None,
        }
    }
}

/// Binds all, or nothing.
pub(super) fn bind_all(wanted: &Wanted<'_>) -> Result<Bound, Stop> {
    let mut bound = Bound {
        ports: Vec::new(),
        held: Vec::new(),
    };
    for publish in wanted.publish {
        let addresses = match publish.address {
            Some(address) => vec![address],
            None if wanted.ipv6 => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            None => vec![Ipv4Addr::UNSPECIFIED.into()],
        };
        bind_one(wanted, publish, &addresses, &mut bound)?;
    }
    Ok(bound)
}

fn bind_one(
    wanted: &Wanted<'_>,
    publish: &Publish,
    addresses: &[IpAddr],
    bound: &mut Bound,
) -> Result<(), Stop> {
    let mut add = |outside: u16, inside: u16, sockets: Vec<OwnedFd>| {
        for (socket, address) in sockets.into_iter().zip(addresses) {
            extend(
                &mut bound.ports,
                *address,
                publish.protocol,
                outside,
                inside,
            );
            bound.held.push(Held {
                socket,
                protocol: publish.protocol,
                address: *address,
                inside,
            });
        }
    };
    let all = |port: u16| -> Result<Vec<OwnedFd>, Stop> {
        let open = |address: &IpAddr| open(wanted, *address, port, publish.protocol);
        addresses.iter().map(open).collect()
    };
    match publish.outside {
        None => {
            for inside in publish.inside.ports() {
                let (outside, sockets) = any_free(wanted, addresses, publish.protocol)?;
                add(outside, inside, sockets);
            }
        }
        Some(outside) if publish.inside.len() == outside.len() => {
            for (outside, inside) in outside.ports().zip(publish.inside.ports()) {
                add(outside, inside, all(outside)?);
            }
        }
        Some(outside) => {
            let (port, sockets) = first_free(outside, all)?;
            add(port, publish.inside.first, sockets);
        }
    }
    Ok(())
}

/// Writes down a port; one that follows the last is put to it.
fn extend(
    ports: &mut Vec<Published>,
    address: IpAddr,
    protocol: Protocol,
    outside: u16,
    inside: u16,
) {
    let same = |port: &&mut Published| port.address == address && port.protocol == protocol;
    if let Some(last) = ports.iter_mut().rev().take(2).find(same)
        && last.outside.checked_add(last.count) == Some(outside)
        && last.inside.checked_add(last.count) == Some(inside)
    {
        last.count += 1;
        return;
    }
    ports.push(Published {
        address,
        protocol,
        outside,
        inside,
        count: 1,
    });
}

/// A port that is free on all of the addresses.
fn any_free(
    wanted: &Wanted<'_>,
    addresses: &[IpAddr],
    protocol: Protocol,
) -> Result<(u16, Vec<OwnedFd>), Stop> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let mut sockets = Vec::new();
        let mut port = 0;
        let tried = addresses.iter().try_for_each(|address| {
            let socket = open(wanted, *address, port, protocol)?;
            let name = getsockname(&socket).and_then(SocketAddr::try_from);
            port = name.map_err(|error| Stop::System(error.into()))?.port();
            sockets.push(socket);
            Ok(())
        });
        match tried {
            Ok(()) => return Ok((port, sockets)),
            Err(Stop::Port(refusal)) if refusal.error == libc::EADDRINUSE && refusal.port != 0 => {
                last = Some(refusal);
            }
            Err(stop) => return Err(stop),
        }
    }
    Err(last.map_or(Stop::System(io::ErrorKind::AddrInUse.into()), Stop::Port))
}

fn first_free(
    range: Range,
    all: impl Fn(u16) -> Result<Vec<OwnedFd>, Stop>,
) -> Result<(u16, Vec<OwnedFd>), Stop> {
    let mut last = None;
    for port in range.ports() {
        match all(port) {
            Ok(sockets) => return Ok((port, sockets)),
            Err(Stop::Port(refusal)) if refusal.error == libc::EADDRINUSE => last = Some(refusal),
            Err(stop) => return Err(stop),
        }
    }
    Err(last.map_or(Stop::System(io::ErrorKind::AddrInUse.into()), Stop::Port))
}

fn open(
    wanted: &Wanted<'_>,
    address: IpAddr,
    port: u16,
    protocol: Protocol,
) -> Result<OwnedFd, Stop> {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let make = || {
        let socket = socket_with(
            family,
            kind,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        if family == AddressFamily::INET6 {
            set_ipv6_v6only(&socket, true)?;
        }
        // Connections of the relay before, which the kernel remembers for a minute, do not hold the
        // port. Not for a socket that does not listen: two of those would not notice each other.
        let listens = protocol == Protocol::Tcp && wanted.is_served(address);
        set_socket_reuseaddr(&socket, listens)?;
        bind(&socket, &SocketAddr::new(address, port))?;
        if listens {
            listen(&socket, BACKLOG)?;
        }
        Ok(socket)
    };
    make().map_err(|error: rustix::io::Errno| {
        Stop::Port(Refusal {
            address,
            port,
            protocol,
            error: error.raw_os_error(),
        })
    })
}
