//! What the monitor waits for: descriptors with a meaning each, in one poll(2).

use crate::error::{Error, Result};
use crate::logs::Stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use std::time::Instant;

/// What is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// A signal to the monitor.
    Signal,
    /// The container's first process has ended.
    Init,
    /// A health check has come to its end.
    Probe,
    /// A health check says something.
    ProbeOutput,
    /// An overseer of a command that joined has ended.
    Overseer(i32),
    /// The file system process has ended.
    Union,
    /// Somebody connects.
    Listener,
    /// A peer says something, or is gone.
    Peer(u32),
    /// The container says something.
    Output(Stream),
    /// The container takes input.
    Input,
    /// A peer's input has more, or has ended.
    PeerInput(u32),
    /// A peer's output takes more, or nobody reads it.
    PeerOutput(u32, Stream),
}

/// Descriptors to wait for.
#[derive(Debug, Default)]
pub(super) struct Watch<'a> {
    fds: Vec<PollFd<'a>>,
    tokens: Vec<Token>,
    deadline: Option<Instant>,
}

impl<'a> Watch<'a> {
    /// Waits for this, too; with no flags, for its end only.
    pub(super) fn add(&mut self, fd: BorrowedFd<'a>, flags: PollFlags, token: Token) {
        self.fds.push(PollFd::from_borrowed_fd(fd, flags));
        self.tokens.push(token);
    }

    /// Waits no longer than until then.
    pub(super) fn until(&mut self, deadline: Option<Instant>) {
        self.deadline = [self.deadline, deadline].into_iter().flatten().min();
    }

    /// Waits; gives what is ready, nothing if the time has come.
    pub(super) fn wait(mut self) -> Result<Vec<Token>> {
        let left = self.deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        match poll(&mut self.fds, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            other => other.map_err(Error::system("wait for the container"))?,
        };
        let ready = self.fds.iter().map(|fd| !fd.revents().is_empty());
        let ready = self.tokens.iter().zip(ready);
        Ok(ready
            .filter_map(|(token, ready)| ready.then_some(*token))
            .collect())
    }
}
