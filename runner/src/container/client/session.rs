//! One user attached to a container: streams, signals, the size of the terminal, detach keys.
//!
//! ```text
//!   user's stdin  ──relay──> pipe ──> monitor ──> container's pipe or pty
//!   user's stdout <──relay── pipe <── monitor <── container's pipe or pty
//!   signals ──Signal──> monitor ──> container's first process
//! ```
//!
//! The container never gets a descriptor of the user: with the user's terminal in hand it could
//! type into it.

use super::super::keys::Keys;
use super::super::protocol::{Attach, Ended, Event, Request};
use super::super::relay::{End, Relay};
use super::super::terminal::{self, Raw};
use super::{Following, Warn};
use crate::error::{Error, Result};
use crate::logs::Stream;
use crate::sys::channel::{Channel, Received};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use std::io;

/// Room in a pipe between client and monitor, in bytes.
const PIPE: usize = 256 << 10;

/// Signals that go to the container.
const FORWARDED: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGCONT,
];

/// How following a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its command has ended.
    Ended(Ended),
    /// The user has let go; it runs on.
    Detached,
}

impl Following {
    /// As the monitor is asked for it.
    pub(super) fn request(&self) -> Attach {
        Attach {
            input: self.input,
            output: self.output,
            error: self.error && !self.terminal,
            size: terminal::size().filter(|_| self.terminal),
        }
    }
}

/// Signals become something to read, if they are the container's.
pub(super) fn block_signals(following: &Following) -> Result<SignalFd> {
    let mut set = SigSet::empty();
    if following.terminal {
        set.add(Signal::SIGWINCH);
    }
    if following.proxy {
        for signal in FORWARDED {
            set.add(signal);
        }
    }
    // A terminal that closes lets go of the container.
    if following.terminal {
        set.remove(Signal::SIGHUP);
    }
    // Before any thread is made, so that all have it.
    set.thread_block()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC))
        .map_err(Error::system("block signals"))
}

/// Our ends of the pipes.
#[derive(Debug)]
pub(super) struct Pipes {
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    error: Option<OwnedFd>,
}

impl Pipes {
    /// Makes the pipes; also gives the monitor's ends, in order.
    pub(super) fn make(following: &Following) -> Result<(Self, Vec<OwnedFd>)> {
        let mut theirs = Vec::new();
        let mut output = |wanted: bool| {
            wanted
                .then(|| {
                    let (read, write) = pipe()?;
                    theirs.push(write);
                    Ok::<_, Error>(read)
                })
                .transpose()
        };
        let (out, err) = (
            output(following.output)?,
            output(following.error && !following.terminal)?,
        );
        let input = following.input.then(pipe).transpose()?;
        let input = input.map(|(read, write)| {
            theirs.insert(0, read);
            write
        });
        let ours = Self {
            input,
            output: out,
            error: err,
        };
        Ok((ours, theirs))
    }

    /// The master of a terminal, for both directions.
    pub(super) fn of_terminal(master: OwnedFd, following: &Following) -> Result<Self> {
        let input = following.input.then(|| copy(master.as_fd())).transpose()?;
        Ok(Self {
            input,
            output: Some(master),
            error: None,
        })
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let ends = pipe_with(PipeFlags::CLOEXEC).map_err(Error::system("make a pipe"))?;
    // Refused beyond the user's share of pipe memory: the default does, too.
    let _ = fcntl_setpipe_size(&ends.0, PIPE);
    Ok(ends)
}

/// One attached user.
pub(super) struct Session {
    channel: Channel,
    signals: SignalFd,
    terminal: bool,
    /// The container was started for this user.
    in_foreground: bool,
    input: Option<Relay>,
    outputs: Vec<(Stream, Relay)>,
    /// Given back when dropped.
    _raw: Option<Raw>,
}

/// What there is to do.
enum Ready {
    Monitor,
    Signal,
    Input,
    Output(usize),
}

impl Session {
    /// Starts the relays.
    pub(super) fn new(
        channel: Channel,
        signals: SignalFd,
        following: Following,
        pipes: Pipes,
        in_foreground: bool,
    ) -> Result<Self> {
        let start = |from, to, keys: Option<Keys>| {
            Relay::start(from, to, keys).map_err(Error::system("relay the container's streams"))
        };
        let mut outputs = Vec::new();
        if let Some(pipe) = pipes.output {
            let stdout = copy(io::stdout().as_fd())?;
            outputs.push((Stream::Stdout, start(pipe, stdout, None)?));
        }
        if let Some(pipe) = pipes.error {
            let stderr = copy(io::stderr().as_fd())?;
            outputs.push((Stream::Stderr, start(pipe, stderr, None)?));
        }
        let mut raw = None;
        let mut input = None;
        if let Some(pipe) = pipes.input {
            if following.terminal {
                // Refused if standard input is no terminal: the keys then come as they are.
                raw = Raw::standard_input().ok();
            }
            let keys = following.terminal.then_some(following.keys);
            input = Some(start(copy(io::stdin().as_fd())?, pipe, keys)?);
        }
        Ok(Self {
            channel,
            signals,
            terminal: following.terminal,
            in_foreground,
            input,
            outputs,
            _raw: raw,
        })
    }

    /// Follows the container until its monitor has undone everything, or the user lets go.
    pub(super) fn follow(mut self, warn: Warn<'_>) -> Result<Outcome> {
        let mut ended = None;
        loop {
            match self.wait()? {
                Ready::Signal => self.forward_signal(),
                Ready::Input => {
                    if self.input.take().map(Relay::join) == Some(End::Keys) {
                        return Ok(Outcome::Detached);
                    }
                }
                Ready::Output(at) => {
                    let (stream, relay) = self.outputs.swap_remove(at);
                    if relay.join() == End::Target && !self.unread(stream) {
                        return Ok(Outcome::Detached);
                    }
                }
                Ready::Monitor => {
                    if !self.take_event(&mut ended, warn)? {
                        break;
                    }
                }
            }
        }
        // What is in the pipes is still copied; something else in the container may hold them open.
        for (_, output) in self.outputs.drain(..) {
            output.finish();
        }
        if let Some(input) = self.input.take() {
            input.stop();
        }
        match ended {
            Some(ended) => ended.map(Outcome::Ended),
            None => Err(Error::MonitorDied),
        }
    }

    fn wait(&self) -> Result<Ready> {
        let mut watched: Vec<(BorrowedFd<'_>, Ready)> = vec![
            (self.signals.as_fd(), Ready::Signal),
            (self.channel.as_fd(), Ready::Monitor),
        ];
        watched.extend(self.input.iter().map(|relay| (relay.ended(), Ready::Input)));
        let outputs = self.outputs.iter().enumerate();
        watched.extend(outputs.map(|(at, (_, relay))| (relay.ended(), Ready::Output(at))));
        loop {
            let mut fds: Vec<_> = watched
                .iter()
                .map(|(fd, _)| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
                .collect();
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.map_err(Error::system("wait for the container"))?,
            };
            if let Some(at) = fds.iter().position(|fd| !fd.revents().is_empty()) {
                return Ok(watched.swap_remove(at).1);
            }
        }
    }

    /// Nobody reads what we print: a container that was started for that is told in the way of
    /// pipes, and we stay until it has ended. Any other is let go of (false).
    fn unread(&self, stream: Stream) -> bool {
        // A monitor that is gone is noticed at once.
        let _ = self.channel.send(&Request::Unread(stream), &[]);
        self.in_foreground
    }

    fn forward_signal(&self) {
        let Ok(Some(signal)) = self.signals.read_signal() else {
            return;
        };
        let number = signal.ssi_signo as i32;
        let request = if number == Signal::SIGWINCH as i32 {
            match terminal::size().filter(|size| self.terminal && size.rows > 0) {
                Some(size) => Request::Resize(size),
                None => return,
            }
        } else {
            Request::Signal(number)
        };
        // A monitor that is gone is noticed at once.
        let _ = self.channel.send(&request, &[]);
    }

    /// Takes one message; false when there are no more.
    fn take_event(&mut self, ended: &mut Option<Result<Ended>>, warn: Warn<'_>) -> Result<bool> {
        let received = self.channel.receive::<Event>();
        let received = received.map_err(Error::system("understand the container's monitor"))?;
        let event = match received {
            Received::Message(event, _) => event,
            Received::End => return Ok(false),
        };
        match event {
            Event::Warning(text) => warn(&text),
            Event::Failed { message, code } => *ended = Some(Err(Error::Monitor { message, code })),
            Event::Exited(end) => *ended = Some(Ok(end)),
            Event::Started | Event::Terminal | Event::Done | Event::Refused(_) => {}
        }
        Ok(true)
    }
}

fn copy(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    let copied = fd.try_clone_to_owned();
    copied.map_err(Error::system("use the standard streams"))
}
