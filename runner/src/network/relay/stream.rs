//! One connection of TCP: two sockets, and what is on its way between them.

use rustix::net::sockopt::{set_socket_linger, set_tcp_nodelay};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Bytes on their way in one direction.
const BUFFER: usize = 64 << 10;

/// Reads of one direction before others get their turn.
const TURNS: usize = 16;

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pumped {
    /// Nothing more can be moved now.
    Dry,
    /// There is more to move.
    More,
    /// Both directions have ended, or one failed.
    Over,
}

/// A client's connection, and the one to the container.
#[derive(Debug)]
pub(super) struct Stream {
    client: TcpStream,
    container: TcpStream,
    there: Direction,
    back: Direction,
}

/// What flows one way.
#[derive(Debug, Default)]
struct Direction {
    /// Room is made with the first bytes.
    buffer: Vec<u8>,
    /// What of it was read, but not yet written.
    start: usize,
    end: usize,
    /// The source has ended.
    ended: bool,
    /// The other side was told so.
    closed: bool,
}

impl Stream {
    /// Connects a client to the container. That is under way when this returns; until then
    /// nothing can be moved.
    pub(super) fn open(client: TcpStream, target: SocketAddr) -> io::Result<Self> {
        client.set_nonblocking(true)?;
        let family = if target.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let container = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&container, &target) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => {
                reset(&client);
                return Err(error.into());
            }
        }
        // What one side sent in small parts must not wait here for more.
        set_tcp_nodelay(&client, true)?;
        set_tcp_nodelay(&container, true)?;
        Ok(Self {
            client,
            container: container.into(),
            there: Direction::default(),
            back: Direction::default(),
        })
    }

    /// Both sockets.
    pub(super) fn ends(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        (self.client.as_fd(), self.container.as_fd())
    }

    /// Moves what can be moved.
    pub(super) fn pump(&mut self) -> Pumped {
        let there = self.there.pump(&self.client, &self.container);
        let back = self.back.pump(&self.container, &self.client);
        match (there, back) {
            (Ok(there), Ok(back)) => {
                if self.there.closed && self.back.closed {
                    Pumped::Over
                } else if there || back {
                    Pumped::More
                } else {
                    Pumped::Dry
                }
            }
            _ => {
                // The other side shall see that it was broken off, not ended.
                reset(&self.client);
                reset(&self.container);
                Pumped::Over
            }
        }
    }
}

impl Direction {
    /// Moves bytes until one side blocks; whether there may be more.
    fn pump(&mut self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<bool> {
        for _ in 0..TURNS {
            if self.start == self.end && !self.ended {
                self.buffer.resize(BUFFER, 0);
                match from.read(&mut self.buffer) {
                    Ok(0) => self.ended = true,
                    Ok(count) => (self.start, self.end) = (0, count),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            while self.start < self.end {
                let rest = self.buffer.get(self.start..self.end).unwrap_or_default();
                match to.write(rest) {
                    Ok(count) => self.start += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            if self.ended {
                if !self.closed {
                    self.closed = true;
                    self.buffer = Vec::new();
                    // Refused if the other side has gone altogether.
                    let _ = to.shutdown(Shutdown::Write);
                }
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Closing it shall be seen as a failure by the peer.
fn reset(stream: &TcpStream) {
    // Only a hint.
    let _ = set_socket_linger(stream, Some(Duration::ZERO));
}
