//! What a command asks of the monitor of a container that runs.

use super::super::directory::Directory;
use super::super::protocol::{Attach, Ended, Event, Exec, Request, SOCKET};
use super::super::spec::{Limits, Restart};
use crate::error::{Error, Result};
use crate::network::Join;
use crate::sys::channel::{Channel, Received};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::fs::File;
use std::io;
use std::time::Duration;

/// A connection to a monitor.
#[derive(Debug)]
pub struct Control {
    channel: Channel,
    short: String,
}

impl Control {
    /// Connects to the monitor of a container; [`Error::NotRunning`] if there is none.
    pub fn connect(directory: &Directory) -> Result<Self> {
        let short = directory.id().short().to_owned();
        let not_running = || Error::NotRunning(short.clone());
        let opened = File::open(directory.path());
        let connected = opened.and_then(|opened| Channel::connect(&opened, SOCKET));
        let channel = connected.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => not_running(),
            _ => Error::io("talk to the monitor of", directory.path())(error),
        })?;
        Ok(Self { channel, short })
    }

    /// Sends a signal to the first process.
    pub fn kill(&self, signal: i32) -> Result<()> {
        self.ask(&Request::Kill(signal), &[])
    }

    /// Gives it other limits and another restart policy; `warn` is told what this machine cannot do.
    pub fn update(
        &self,
        limits: Limits,
        restart: Restart,
        warn: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let limits = Box::new(limits);
        self.send(&Request::Update { limits, restart }, &[])?;
        loop {
            match self.event()? {
                Some(Event::Warning(text)) => warn(&text),
                Some(Event::Done) => return Ok(()),
                Some(Event::Refused(message)) => return Err(Error::Refused(message)),
                Some(_) => {}
                None => return Err(Error::NotRunning(self.short.clone())),
            }
        }
    }

    /// Freezes all processes.
    pub fn pause(&self) -> Result<()> {
        self.ask(&Request::Pause, &[])
    }

    /// Thaws all processes.
    pub fn unpause(&self) -> Result<()> {
        self.ask(&Request::Unpause, &[])
    }

    /// Puts it on one more network.
    pub fn join_network(&self, join: Join) -> Result<()> {
        self.ask(&Request::Connect(join), &[])
    }

    /// Takes it off a network.
    pub fn leave_network(&self, network: &str) -> Result<()> {
        self.ask(&Request::Disconnect(network.to_owned()), &[])
    }

    /// Ends the container; returns when the monitor has gone.
    pub fn stop(&self, signal: Option<i32>, seconds: Option<i64>) -> Result<()> {
        self.send(&Request::Stop { signal, seconds }, &[])?;
        while self.event()?.is_some() {}
        Ok(())
    }

    /// Waits until the command has ended; how it did. Nothing if it ends without a word.
    pub fn wait(&self) -> Result<Option<Ended>> {
        self.send(&Request::Wait, &[])?;
        while let Some(event) = self.event()? {
            if let Event::Exited(ended) = event {
                return Ok(Some(ended));
            }
        }
        Ok(None)
    }

    /// Asks to be told of the end; then [`Control::has_ended`] tells.
    pub fn watch(&self) -> Result<()> {
        self.send(&Request::Wait, &[])
    }

    /// After [`Control::watch`]: waits this long at most; true when the monitor has gone.
    pub fn has_ended(&self, within: Duration) -> Result<bool> {
        let timeout = Timespec {
            tv_sec: within.as_secs() as i64,
            tv_nsec: i64::from(within.subsec_nanos()),
        };
        let mut watched = [PollFd::new(&self.channel, PollFlags::IN)];
        match poll(&mut watched, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(false),
            Ok(_) => Ok(self.event()?.is_none()),
            Err(errno) => Err(Error::system("wait for the container's monitor")(errno)),
        }
    }

    /// Readable when there is something to ask [`Control::has_ended`] about.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Hands over pipes; gives the channel to follow.
    pub(super) fn attach(self, attach: Attach, pipes: &[OwnedFd]) -> Result<Channel> {
        self.ask(&Request::Attach(attach), pipes)?;
        Ok(self.channel)
    }

    /// Starts another command; gives the channel to follow, and the master of its terminal.
    pub(super) fn exec(self, exec: Exec, pipes: &[OwnedFd]) -> Result<(Channel, Option<OwnedFd>)> {
        self.send(&Request::Exec(exec), pipes)?;
        let mut master = None;
        loop {
            let received = self.channel.receive::<Event>();
            match received.map_err(Error::system("understand the container's monitor"))? {
                Received::Message(Event::Terminal, fds) => master = fds.into_iter().next(),
                Received::Message(Event::Started, _) => return Ok((self.channel, master)),
                Received::Message(Event::Refused(message), _) => {
                    return Err(Error::Refused(message));
                }
                Received::Message(Event::Failed { message, code }, _) => {
                    return Err(Error::Monitor { message, code });
                }
                Received::Message(..) => {}
                Received::End => return Err(Error::NotRunning(self.short)),
            }
        }
    }

    /// Sends a request and waits until it is done.
    fn ask(&self, request: &Request, fds: &[OwnedFd]) -> Result<()> {
        self.send(request, fds)?;
        loop {
            match self.event()? {
                Some(Event::Done) => return Ok(()),
                Some(Event::Refused(message)) => return Err(Error::Refused(message)),
                Some(_) => {}
                None => return Err(Error::NotRunning(self.short.clone())),
            }
        }
    }

    fn send(&self, request: &Request, fds: &[OwnedFd]) -> Result<()> {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        match self.channel.send(request, &fds) {
            // It has just gone; reading tells.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(Error::system("talk to the container's monitor")),
        }
    }

    fn event(&self) -> Result<Option<Event>> {
        let received = self.channel.receive::<Event>();
        match received.map_err(Error::system("understand the container's monitor"))? {
            Received::Message(event, _) => Ok(Some(event)),
            Received::End => Ok(None),
        }
    }
}
