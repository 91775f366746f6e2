//! One port of UDP: a socket towards the container for each client, so that answers find back.

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Longest datagram.
pub(super) const LONGEST: usize = 64 << 10;

/// Datagrams moved before others get their turn.
const TURNS: usize = 64;

/// A client that was silent for so long is forgotten.
const SILENT: Duration = Duration::from_secs(90);

/// Clients of one port remembered at once; beyond that the longest silent is forgotten.
const CLIENTS: usize = 4096;

/// A port and its clients.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: UdpSocket,
    target: SocketAddr,
    clients: Vec<Option<Client>>,
    /// Where each of them is.
    places: HashMap<SocketAddr, usize>,
}

#[derive(Debug)]
struct Client {
    address: SocketAddr,
    socket: UdpSocket,
    heard: Instant,
}

impl Datagrams {
    pub(super) fn new(socket: UdpSocket, target: SocketAddr) -> Self {
        Self {
            socket,
            target,
            clients: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// Hands on what has arrived from clients; whether there may be more. `watch` is told of the
    /// socket of each new client, and its place. A datagram that cannot be handed on is lost, as
    /// datagrams are.
    pub(super) fn take_in(
        &mut self,
        buffer: &mut [u8],
        watch: impl Fn(&UdpSocket, usize) -> io::Result<()>,
    ) -> bool {
        for _ in 0..TURNS {
            let Ok((length, from)) = self.socket.recv_from(buffer) else {
                return false;
            };
            let place = self.places.get(&from).copied();
            let place = place.map_or_else(|| self.welcome(from, &watch), Ok);
            let client = place
                .ok()
                .and_then(|place| self.clients.get_mut(place)?.as_mut());
            if let Some(client) = client {
                client.heard = Instant::now();
                let _ = client.socket.send(buffer.get(..length).unwrap_or_default());
            }
        }
        true
    }

    /// Hands a client what the container answered; whether there may be more.
    pub(super) fn give_back(&mut self, place: usize, buffer: &mut [u8]) -> bool {
        let Some(Some(client)) = self.clients.get_mut(place) else {
            return false;
        };
        for _ in 0..TURNS {
            match client.socket.recv(buffer) {
                Ok(length) => {
                    client.heard = Instant::now();
                    let datagram = buffer.get(..length).unwrap_or_default();
                    let _ = self.socket.send_to(datagram, client.address);
                }
                // Nobody listens in the container: what was sent is lost, the next may not be.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(_) => return false,
            }
        }
        true
    }

    fn welcome(
        &mut self,
        address: SocketAddr,
        watch: &impl Fn(&UdpSocket, usize) -> io::Result<()>,
    ) -> io::Result<usize> {
        if self.places.len() >= CLIENTS {
            let known = self.clients.iter().flatten();
            let silent = known
                .min_by_key(|client| client.heard)
                .map(|client| client.address);
            if let Some(silent) = silent {
                self.forget(silent);
            }
        }
        let place = self.clients.iter().position(Option::is_none);
        let place = place.unwrap_or(self.clients.len());
        let socket = self.open()?;
        watch(&socket, place)?;
        let client = Some(Client {
            address,
            socket,
            heard: Instant::now(),
        });
        match self.clients.get_mut(place) {
            Some(free) => *free = client,
            None => self.clients.push(client),
        }
        self.places.insert(address, place);
        Ok(place)
    }

    fn open(&self) -> io::Result<UdpSocket> {
        let family = if self.target.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
        connect(&socket, &self.target)?;
        Ok(socket.into())
    }

    fn forget(&mut self, address: SocketAddr) {
        if let Some(place) = self.places.remove(&address)
            && let Some(client) = self.clients.get_mut(place)
        {
            *client = None;
        }
    }

    /// Forgets clients that were silent for long.
    pub(super) fn forget_silent(&mut self) {
        let known = self.clients.iter().flatten();
        let silent = known.filter(|client| client.heard.elapsed() >= SILENT);
        let silent: Vec<_> = silent.map(|client| client.address).collect();
        silent.into_iter().for_each(|address| self.forget(address));
    }

    pub(super) fn has_clients(&self) -> bool {
        !self.places.is_empty()
    }
}
