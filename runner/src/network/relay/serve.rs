//! The relay's loop: waits for any socket to be ready, and moves what can be moved.
//!
//! Sockets are watched edge-triggered: each is told of once, and then read or written until it
//! has no more or takes no more. A connection that never stops gets its turn again only after the
//! others had theirs.

use super::super::ports::Protocol;
use super::Wanted;
use super::bind::Held;
use super::datagram::{Datagrams, LONGEST};
use super::stream::{Pumped, Stream};
use crate::sys::process::exit_now;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Events taken at once.
const EVENTS: usize = 128;

/// How often silent clients of UDP are looked for.
const LOOK: Duration = Duration::from_secs(10);

/// Connections taken from one port before others get their turn.
const ACCEPTS: usize = 64;

/// Waits for sockets; each has a number.
#[derive(Debug)]
struct Watch {
    epoll: OwnedFd,
}

impl Watch {
    /// Watches a socket for reading, and for writing.
    fn add(&self, socket: impl AsFd, number: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(
            &self.epoll,
            socket,
            EventData::new_u64(number),
            flags,
        )?)
    }
}

/// What a number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Listener(usize),
    Stream(usize),
    Datagrams(usize),
    /// A client of a port of UDP: the port, and its place there.
    Client(usize, usize),
}

impl Place {
    /// Two bits for the kind, 30 for the place, 32 for a second one.
    fn number(self) -> u64 {
        let (kind, at, second) = match self {
            Self::Listener(at) => (0, at, 0),
            Self::Stream(at) => (1, at, 0),
            Self::Datagrams(at) => (2, at, 0),
            Self::Client(at, second) => (3, at, second),
        };
        (second as u64) << 32 | (at as u64) << 2 | kind
    }

    fn of(number: u64) -> Self {
        let at = (number as u32 >> 2) as usize;
        match number & 3 {
            0 => Self::Listener(at),
            1 => Self::Stream(at),
            2 => Self::Datagrams(at),
            _ => Self::Client(at, (number >> 32) as usize),
        }
    }
}

/// A port of TCP that is served.
#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    target: SocketAddr,
}

/// The whole relay.
#[derive(Debug)]
pub(super) struct Server {
    watch: Watch,
    listeners: Vec<Listener>,
    datagrams: Vec<Datagrams>,
    streams: Vec<Option<Stream>>,
    /// Unused places in `streams`.
    free: Vec<usize>,
    /// What has more to do than it had time for.
    waiting: VecDeque<Place>,
    /// Ports that could not accept for want of descriptors.
    starved: Vec<usize>,
    /// Room for one datagram.
    buffer: Vec<u8>,
    /// When silent clients were last looked for.
    looked: Instant,
    /// Bound only.
    _held: Vec<OwnedFd>,
}

impl Server {
    pub(super) fn new(wanted: &Wanted<'_>, held: Vec<Held>) -> io::Result<Self> {
        let watch = Watch {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
        };
        let (mut listeners, mut datagrams, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for held in held {
            let target = SocketAddr::new(wanted.target(held.address), held.inside);
            match held.protocol {
                _ if !wanted.is_served(held.address) => rest.push(held.socket),
                Protocol::Tcp => {
                    watch.add(&held.socket, Place::Listener(listeners.len()).number())?;
                    let socket = TcpListener::from(held.socket);
                    listeners.push(Listener { socket, target });
                }
                Protocol::Udp => {
                    watch.add(&held.socket, Place::Datagrams(datagrams.len()).number())?;
                    datagrams.push(Datagrams::new(held.socket.into(), target));
                }
            }
        }
        Ok(Self {
            watch,
            listeners,
            datagrams,
            streams: Vec::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
            starved: Vec::new(),
            buffer: vec![0; LONGEST],
            looked: Instant::now(),
            _held: rest,
        })
    }

    /// Serves until it is killed.
    pub(super) fn run(mut self) -> ! {
        let mut events = Vec::<Event>::with_capacity(EVENTS);
        loop {
            events.clear();
            let timeout = self.timeout();
            let space = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.watch.epoll, space, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => exit_now(1),
            }
            for event in &events {
                let data = event.data;
                self.attend(Place::of(data.u64()));
            }
            for _ in 0..self.waiting.len() {
                if let Some(place) = self.waiting.pop_front() {
                    self.attend(place);
                }
            }
            if self.looked.elapsed() >= LOOK {
                self.looked = Instant::now();
                self.datagrams.iter_mut().for_each(Datagrams::forget_silent);
            }
        }
    }

    /// How long to wait: not at all with work left; as long as it takes without clients of UDP
    /// who are to be forgotten some time.
    fn timeout(&self) -> Option<Timespec> {
        let seconds = |seconds: u64| Timespec {
            tv_sec: seconds as i64,
            tv_nsec: 0,
        };
        if !self.waiting.is_empty() {
            return Some(seconds(0));
        }
        let clients = self.datagrams.iter().any(Datagrams::has_clients);
        clients.then(|| seconds(LOOK.as_secs()))
    }

    fn attend(&mut self, place: Place) {
        match place {
            Place::Listener(at) => self.accept(at),
            Place::Stream(at) => {
                let Some(Some(stream)) = self.streams.get_mut(at) else {
                    return;
                };
                match stream.pump() {
                    Pumped::Dry => {}
                    Pumped::More => self.waiting.push_back(place),
                    Pumped::Over => self.close(at),
                }
            }
            Place::Datagrams(at) => {
                let Some(port) = self.datagrams.get_mut(at) else {
                    return;
                };
                let watch = &self.watch;
                let watch = |socket: &UdpSocket, client| {
                    watch.add(socket, Place::Client(at, client).number())
                };
                if port.take_in(&mut self.buffer, watch) {
                    self.waiting.push_back(place);
                }
            }
            Place::Client(at, client) => {
                if let Some(port) = self.datagrams.get_mut(at)
                    && port.give_back(client, &mut self.buffer)
                {
                    self.waiting.push_back(place);
                }
            }
        }
    }

    fn accept(&mut self, at: usize) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listeners.get(at) else {
                return;
            };
            match listener.socket.accept() {
                Ok((client, _)) => match Stream::open(client, listener.target) {
                    Ok(stream) => self.keep(stream),
                    // The client's end is closed with it.
                    Err(error) if is_starved(&error) => return self.starved.push(at),
                    Err(_) => {}
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_starved(&error) => return self.starved.push(at),
                // That one connection was given up before it was taken.
                Err(_) => {}
            }
        }
        self.waiting.push_back(Place::Listener(at));
    }

    fn keep(&mut self, stream: Stream) {
        let at = self.free.pop().unwrap_or(self.streams.len());
        let number = Place::Stream(at).number();
        let (client, container) = stream.ends();
        let watched = self
            .watch
            .add(client, number)
            .and_then(|()| self.watch.add(container, number));
        if watched.is_err() {
            self.free.push(at);
            return;
        }
        match self.streams.get_mut(at) {
            Some(place) => *place = Some(stream),
            None => self.streams.push(Some(stream)),
        }
    }

    fn close(&mut self, at: usize) {
        if let Some(place) = self.streams.get_mut(at) {
            *place = None;
            self.free.push(at);
        }
        // There is room again.
        let starved = std::mem::take(&mut self.starved);
        self.waiting
            .extend(starved.into_iter().map(Place::Listener));
    }
}

fn is_starved(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}
