//! Netlink sockets: requests out, the kernel's answers in.
//!
//! The kernel works on a request before the send returns, so its answers are there to be read;
//! nothing here ever waits. Many requests go out in one message: [`Socket::ask`] for links,
//! addresses and routes, where each is answered for itself; [`Socket::commit`] for packet
//! filtering, where all of a batch is done or nothing.

use super::NetworkError;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{socket_domain, socket_protocol};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getsockname, recv, sendto,
    socket_with,
};
use std::io;

/// Longest answer; the kernel fills dumps into buffers of at most 32 KiB.
const LONGEST: usize = 64 << 10;

/// A message of this type carries an error number, or 0 for "done".
const ERROR: u16 = netlink_packet_core::NLMSG_ERROR;

/// The end of a dump.
const DONE: u16 = netlink_packet_core::NLMSG_DONE;

/// One request on links, addresses or routes.
#[derive(Debug)]
pub(super) struct Request {
    /// For errors: a verb phrase with its object.
    pub(super) what: String,
    pub(super) message: RouteNetlinkMessage,
    /// `NLM_F_*` beside REQUEST and ACK.
    pub(super) flags: u16,
}

/// A request that the kernel refused.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The request's own words.
    pub(super) what: String,
    pub(super) source: io::Error,
}

/// A netlink socket.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// One for links, addresses and routes of the calling thread's network namespace.
    pub(super) fn route() -> Result<Self, NetworkError> {
        let opened = Self::open(None);
        opened.map_err(|source| NetworkError::kernel("open a netlink socket", source))
    }

    /// One for packet filtering in the calling thread's network namespace.
    pub(super) fn netfilter() -> io::Result<Self> {
        Self::open(Some(NETFILTER))
    }

    fn open(protocol: Option<rustix::net::Protocol>) -> io::Result<Self> {
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let fd = socket_with(family, SocketType::RAW, flags, protocol)?;
        bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Uses a socket of another process, if it is the packet filtering socket of this number.
    pub(super) fn adopt(fd: OwnedFd, port: u32) -> Option<Self> {
        let ours = socket_domain(&fd) == Ok(AddressFamily::NETLINK)
            && socket_protocol(&fd) == Ok(Some(NETFILTER));
        let socket = Self { fd, sequence: 0 };
        (ours && socket.port().ok() == Some(port)).then_some(socket)
    }

    /// The number that the kernel knows this socket by.
    pub(super) fn port(&self) -> io::Result<u32> {
        let address = SocketAddrNetlink::try_from(getsockname(&self.fd)?)?;
        Ok(address.pid())
    }

    /// Sends the requests in one message; tells of the first that the kernel refused. The kernel
    /// goes on with those after it.
    pub(super) fn ask(&mut self, requests: Vec<Request>) -> Result<(), Refusal> {
        let (mut bytes, mut whats) = (Vec::new(), Vec::with_capacity(requests.len()));
        let first = self.sequence.wrapping_add(1);
        for request in requests {
            whats.push(request.what);
            self.encode(&mut bytes, request.message, request.flags | NLM_F_ACK);
        }
        let at = |index: usize, whats: &[String]| whats.get(index).cloned().unwrap_or_default();
        let answers = self.send(&bytes).and_then(|()| self.receive());
        let answers = answers.map_err(|source| Refusal {
            what: at(0, &whats),
            source,
        })?;
        for (sequence, answer) in answers {
            if let Answer::Refused(source) = answer {
                let what = at(sequence.wrapping_sub(first) as usize, &whats);
                return Err(Refusal { what, source });
            }
        }
        Ok(())
    }

    /// Asks for a list of links, addresses or routes; calls `take` with each of them.
    pub(super) fn list(
        &mut self,
        question: RouteNetlinkMessage,
        mut take: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes, question, NLM_F_DUMP);
        self.dump(&bytes, |message| {
            // What the library cannot read is nothing that we ask for.
            let parsed = NetlinkMessage::deserialize(message.into_inner());
            if let Ok(NetlinkPayload::InnerMessage(inner)) = parsed.map(|m| m.payload) {
                take(inner);
            }
        })
    }

    /// Asks for a list by a whole message; calls `take` with each message of the answer.
    pub(super) fn dump(
        &self,
        question: &[u8],
        mut take: impl FnMut(NetlinkBuffer<&[u8]>),
    ) -> io::Result<()> {
        self.send(question)?;
        // Each read makes the kernel fill in the next part.
        loop {
            let mut buffer = vec![0; LONGEST];
            let length = recv(&self.fd, &mut buffer, RecvFlags::empty())?.0;
            for message in messages(buffer.get(..length).unwrap_or_default()) {
                match (message.message_type(), message.payload()) {
                    (DONE, _) => return Ok(()),
                    (ERROR, payload) => return Err(error_in(payload).unwrap_or_else(torn)),
                    _ => take(message),
                }
            }
        }
    }

    /// Sends a finished batch, all or nothing of which is done.
    pub(super) fn commit(&mut self, batch: &[u8]) -> io::Result<()> {
        // A process that shared this socket may have died before it read its answers.
        self.receive()?;
        self.send(batch)?;
        for (_, answer) in self.receive()? {
            if let Answer::Refused(error) = answer {
                return Err(error);
            }
        }
        Ok(())
    }

    fn encode(&mut self, bytes: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(bytes.get_mut(start..).unwrap_or_default());
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.fd, bytes, SendFlags::empty(), &kernel)?;
        Ok(())
    }

    /// All answers that are there: the request's sequence number, and what became of it.
    fn receive(&self) -> io::Result<Vec<(u32, Answer)>> {
        let mut answers = Vec::new();
        let mut buffer = vec![0; LONGEST];
        loop {
            let length = match recv(&self.fd, &mut buffer, RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => return Ok(answers),
                Err(Errno::INTR) => continue,
                other => other?.0,
            };
            for message in messages(buffer.get(..length).unwrap_or_default()) {
                if message.message_type() == ERROR {
                    let answer = match error_in(message.payload()) {
                        Some(error) => Answer::Refused(error),
                        None => Answer::Done,
                    };
                    answers.push((message.sequence_number(), answer));
                }
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

enum Answer {
    Done,
    Refused(io::Error),
}

/// The whole messages in what was read.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = NetlinkBuffer<&[u8]>> {
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(bytes).ok()?;
        let length = (message.length() as usize).max(16);
        let (this, rest) = bytes.split_at_checked(length)?;
        let padding = length.next_multiple_of(4) - length;
        bytes = rest.get(padding..).unwrap_or_default();
        Some(NetlinkBuffer::new(this))
    })
}

/// The error number at the head of an error message; nothing if it is 0.
fn error_in(payload: &[u8]) -> Option<io::Error> {
    let number = payload
        .first_chunk()
        .map(|bytes| i32::from_ne_bytes(*bytes));
    match number {
        Some(0) => None,
        Some(number) => Some(io::Error::from_raw_os_error(-number)),
        None => Some(torn()),
    }
}

fn torn() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::link::LinkMessage;

    #[test]
    fn lists_and_refusals() {
        let mut socket = Socket::route().unwrap();
        let mut links = 0;
        let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
        socket
            .list(question, |message| {
                links += usize::from(matches!(message, RouteNetlinkMessage::NewLink(_)));
            })
            .unwrap();
        assert!(links >= 1, "not even loopback");
        let mut nobody = LinkMessage::default();
        nobody.header.index = 0x7fff_fff0;
        let get = |message: &LinkMessage| Request {
            what: "look".to_owned(),
            message: RouteNetlinkMessage::GetLink(message.clone()),
            flags: 0,
        };
        let mut lo = LinkMessage::default();
        lo.header.index = 1;
        let mut second = get(&nobody);
        second.what = "look twice".to_owned();
        let refusal = socket.ask(vec![get(&lo), second]).unwrap_err();
        assert_eq!(refusal.what, "look twice");
        assert_eq!(refusal.source.raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn only_the_right_socket_is_adopted() {
        let socket = Socket::netfilter().unwrap();
        let port = socket.port().unwrap();
        let copy = || socket.fd.try_clone().unwrap();
        assert!(Socket::adopt(copy(), port).is_some());
        assert!(Socket::adopt(copy(), port + 1).is_none());
        let other = std::fs::File::open("/dev/null").unwrap();
        assert!(Socket::adopt(other.into(), port).is_none());
        let route = Socket::route().unwrap();
        let port = route.port().unwrap();
        assert!(Socket::adopt(route.fd, port).is_none());
    }

    #[test]
    fn torn_messages_end_the_reading() {
        assert_eq!(messages(&[]).count(), 0);
        assert_eq!(messages(&[1, 2, 3]).count(), 0);
        assert_eq!(messages(&[0xff; 20]).count(), 0);
        assert_eq!(messages(&[0; 16]).count(), 0);
    }
}
