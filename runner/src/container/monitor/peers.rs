//! Those who talk to the monitor: the client that started it, and later commands.

use super::super::protocol::{Event, Request};
use super::watch::{Token, Watch};
use crate::sys::channel::{Channel, Received};
use rustix::event::PollFlags;
use rustix::fd::{AsFd, OwnedFd};

/// One connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: u32,
    channel: Channel,
    /// Is told when the command ends.
    pub(super) waits: bool,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Peers {
    all: Vec<Peer>,
    next: u32,
}

impl Peers {
    /// A new one.
    pub(super) fn add(&mut self, channel: Channel) -> u32 {
        let id = self.next;
        self.next += 1;
        self.all.push(Peer {
            id,
            channel,
            waits: false,
        });
        id
    }

    /// What to wait for.
    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        for peer in &self.all {
            watch.add(peer.channel.as_fd(), PollFlags::IN, Token::Peer(peer.id));
        }
    }

    /// Takes one message of a peer; `None` when it is gone, or talks nonsense.
    pub(super) fn receive(&mut self, id: u32) -> Option<(Request, Vec<OwnedFd>)> {
        let peer = self.all.iter().find(|peer| peer.id == id)?;
        match peer.channel.receive::<Request>() {
            Ok(Received::Message(request, fds)) => Some((request, fds)),
            Ok(Received::End) | Err(_) => None,
        }
    }

    /// The connection of a peer.
    pub(super) fn channel(&self, id: u32) -> Option<&Channel> {
        let peer = self.all.iter().find(|peer| peer.id == id)?;
        Some(&peer.channel)
    }

    /// Forgets a peer: it sees the end of its channel.
    pub(super) fn remove(&mut self, id: u32) {
        self.all.retain(|peer| peer.id != id);
    }

    /// Forgets all but some.
    pub(super) fn keep(&mut self, kept: impl Fn(u32) -> bool) {
        self.all.retain(|peer| kept(peer.id));
    }

    /// This peer is to be told of the end.
    pub(super) fn let_wait(&mut self, id: u32) {
        for peer in self.all.iter_mut().filter(|peer| peer.id == id) {
            peer.waits = true;
        }
    }

    /// Tells one peer; one that does not listen is forgotten.
    pub(super) fn tell(&mut self, id: u32, event: &Event) {
        self.all
            .retain(|peer| peer.id != id || peer.channel.send_now(event, &[]).is_ok());
    }

    /// Tells all that wait for the end.
    pub(super) fn tell_waiting(&mut self, event: &Event) {
        self.all
            .retain(|peer| !peer.waits || peer.channel.send_now(event, &[]).is_ok());
    }
}
