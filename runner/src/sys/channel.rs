//! Typed messages, with descriptors beside them, over a pair of local sockets.
//!
//! Each message is one packet of JSON (`SOCK_SEQPACKET`): never torn, and the end of the other
//! side is seen as the end of the stream. A message that is too long for a packet (a command line
//! may be) lies in a sealed file in memory, whose descriptor is the packet's last.
//!
//! A socket can also have a name in a directory. It is reached through a descriptor of that
//! directory, because a socket's path must be short (108 bytes) and ours may not be.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    accept_with, bind, connect, listen, recvmsg, sendmsg, socket_with, socketpair, sockopt,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;

/// Longest message, in bytes.
const LONGEST: usize = 64 << 10;

/// Most descriptors beside one message.
const MOST_DESCRIPTORS: usize = 64;

/// What a packet says whose message lies in a file: no JSON begins so.
const IN_FILE: &[u8] = b"=";

/// Longest message in a file, in bytes: far above what a command line can be.
const LONGEST_IN_FILE: u64 = 64 << 20;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// One side of the pair.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

/// What [`Channel::receive`] found.
#[derive(Debug)]
pub enum Received<T> {
    /// A message and the descriptors that came with it.
    Message(T, Vec<OwnedFd>),
    /// The other side is gone.
    End,
}

impl Channel {
    /// Makes both sides; close-on-exec.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (left, right) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self { socket: left }, Self { socket: right }))
    }

    /// Uses a socket made by [`Channel::pair`] in another process.
    pub fn from_socket(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Gives the socket away.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Connects to the socket `name` in `directory`.
    pub fn connect(directory: impl AsFd, name: &str) -> io::Result<Self> {
        let socket = named_socket()?;
        connect(&socket, &address(directory, name)?)?;
        Ok(Self { socket })
    }

    /// Sends one message with descriptors beside it; waits while the other side's queue is full.
    pub fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with(message, fds, SendFlags::NOSIGNAL)
    }

    /// As [`Channel::send`], but an error (`WouldBlock`) when the other side's queue is full.
    pub fn send_now<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with(message, fds, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    fn send_with<T: Serialize>(
        &self,
        message: &T,
        fds: &[BorrowedFd<'_>],
        flags: SendFlags,
    ) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if fds.len() >= MOST_DESCRIPTORS {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        if bytes.len() <= LONGEST {
            return self.send_bytes(&bytes, fds, flags);
        }
        let file = in_file(&bytes)?;
        let fds: Vec<_> = fds.iter().copied().chain([file.as_fd()]).collect();
        self.send_bytes(IN_FILE, &fds, flags)
    }

    fn send_bytes(&self, bytes: &[u8], fds: &[BorrowedFd<'_>], flags: SendFlags) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let parts = [IoSlice::new(bytes)];
        loop {
            match sendmsg(&self.socket, &parts, &mut control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Waits for one message.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Received<T>> {
        let mut bytes = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            match recvmsg(
                &self.socket,
                &mut parts,
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(Received::End),
                Err(error) => return Err(error.into()),
                Ok(got) => break got,
            }
        };
        let mut fds: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        if got.bytes == 0 {
            return Ok(Received::End);
        }
        if got
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        let packet = bytes.get(..got.bytes).unwrap_or_default();
        let message = if packet == IN_FILE {
            serde_json::from_slice(&from_file(fds.pop())?)?
        } else {
            serde_json::from_slice(packet)?
        };
        Ok(Received::Message(message, fds))
    }
}

/// A socket with a name, where others connect.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
}

impl Listener {
    /// Makes the socket `name` in `directory`, in place of one that is left over. Its mode is
    /// what the umask leaves of 0777.
    pub fn bind(directory: impl AsFd, name: &str) -> io::Result<Self> {
        match rustix::fs::unlinkat(&directory, name, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let socket = named_socket()?;
        bind(&socket, &address(directory, name)?)?;
        listen(&socket, BACKLOG)?;
        Ok(Self { socket })
    }

    /// Takes the next connection; nothing if it comes from another user, or has gone already.
    pub fn accept(&self) -> io::Result<Option<Channel>> {
        let socket = match accept_with(&self.socket, SocketFlags::CLOEXEC) {
            Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => return Ok(None),
            other => other?,
        };
        let peer = sockopt::socket_peercred(&socket)?;
        let own = rustix::process::geteuid();
        Ok((peer.uid.is_root() || peer.uid == own).then_some(Channel { socket }))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn named_socket() -> io::Result<OwnedFd> {
    let kind = SocketType::SEQPACKET;
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
    Ok(socket?)
}

/// Good as long as `directory` is open.
fn address(directory: impl AsFd, name: &str) -> io::Result<SocketAddrUnix> {
    let directory = directory.as_fd().as_raw_fd();
    Ok(SocketAddrUnix::new(format!(
        "/proc/self/fd/{directory}/{name}"
    ))?)
}

fn in_file(bytes: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("message", flags)?);
    file.write_all(bytes)?;
    file.rewind()?;
    fcntl_add_seals(
        &file,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(file)
}

fn from_file(file: Option<OwnedFd>) -> io::Result<Vec<u8>> {
    let file = file.ok_or(io::ErrorKind::InvalidData)?;
    let mut bytes = Vec::new();
    File::from(file)
        .take(LONGEST_IN_FILE)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_any_length_and_descriptors() {
        let (left, right) = Channel::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        for length in [0, 10, LONGEST, LONGEST + 1, 3 << 20] {
            let text = "x".repeat(length);
            left.send(&text, &[null.as_fd()]).unwrap();
            let Received::Message(got, fds) = right.receive::<String>().unwrap() else {
                panic!("no message");
            };
            assert!(got == text && fds.len() == 1, "{length}");
        }
        drop(left);
        assert!(matches!(right.receive::<String>(), Ok(Received::End)));
    }

    #[test]
    fn a_socket_with_a_name_in_a_directory_of_a_long_path() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("d".repeat(150));
        std::fs::create_dir(&path).unwrap();
        let directory = File::open(&path).unwrap();
        assert!(Channel::connect(&directory, "s").is_err());
        for _ in 0..2 {
            let listener = Listener::bind(&directory, "s").unwrap();
            let client = Channel::connect(&directory, "s").unwrap();
            let server = listener.accept().unwrap().unwrap();
            client.send(&1, &[]).unwrap();
            assert!(matches!(server.receive(), Ok(Received::Message(1, _))));
        }
    }
}
