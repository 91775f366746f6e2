//! The container's standard streams: kept in the log, shown to every attached peer.
//!
//! ```text
//!   container's stdout ──┬──> log
//!   container's stderr ──┘
//!            or pty      └──> a pipe of each peer; what does not fit waits here
//!   container's stdin  <───── the pipes of all peers that may type
//! ```
//!
//! Nothing here blocks. A peer that does not read holds the container back once a megabyte waits
//! for it, as with docker: nothing is lost, and memory has a bound.

use super::super::protocol::Attach;
use super::super::spec::{LogChoice, Spec};
use super::watch::{Token, Watch};
use crate::error::{Error, Result};
use crate::init::{Stdio, TerminalSize};
use crate::logs::{Log, LogError, Stream};
use rustix::event::PollFlags;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, read, write};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};
use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::time::Instant;

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// Room in the container's pipes, in bytes.
const PIPE: usize = 256 << 10;

/// Bytes that may wait for a peer before the container is held back.
const PATIENCE: usize = 1 << 20;

/// The streams of one container, over all its lives.
#[derive(Debug)]
pub(super) struct Streams {
    log: Option<Log>,
    /// Told once.
    log_problem: Option<LogError>,
    output: Option<OwnedFd>,
    error: Option<OwnedFd>,
    input: Option<OwnedFd>,
    /// What peers have typed and the container has not read yet.
    typed: VecDeque<u8>,
    /// The container's input ends when it has read that.
    input_ends: bool,
    terminal: bool,
    takes_input: bool,
    input_once: bool,
    viewers: Vec<Viewer>,
}

/// The pipes of one attached peer.
#[derive(Debug)]
struct Viewer {
    peer: u32,
    input: Option<OwnedFd>,
    output: Option<Sink>,
    error: Option<Sink>,
}

/// A pipe to a peer.
#[derive(Debug)]
struct Sink {
    pipe: OwnedFd,
    waiting: VecDeque<u8>,
}

impl Streams {
    /// Opens the log of the container.
    pub(super) fn new(spec: &Spec, directory: &Path) -> Result<Self> {
        let log = match spec.log {
            LogChoice::None => None,
            LogChoice::JsonFile(limits) => Some(Log::open(directory, limits)?),
        };
        Ok(Self {
            log,
            log_problem: None,
            output: None,
            error: None,
            input: None,
            typed: VecDeque::new(),
            input_ends: false,
            terminal: spec.command.terminal,
            takes_input: spec.command.input,
            input_once: spec.command.input_once,
            viewers: Vec::new(),
        })
    }

    /// New pipes for a new life; gives the container's ends. Nothing if it will have a terminal.
    pub(super) fn begin(&mut self) -> Result<Option<Stdio>> {
        self.typed.clear();
        self.input_ends = false;
        if self.terminal {
            return Ok(None);
        }
        let pipe = || {
            let ends = pipe_with(PipeFlags::CLOEXEC).map_err(Error::system("make a pipe"))?;
            // Refused beyond the user's share of pipe memory: the default does, too.
            let _ = fcntl_setpipe_size(&ends.0, PIPE);
            Ok::<_, Error>(ends)
        };
        let their_input = if self.takes_input {
            let (theirs, ours) = pipe()?;
            self.input = Some(never_block(ours)?);
            theirs
        } else {
            let null = File::open("/dev/null").map_err(Error::io("open", "/dev/null"))?;
            null.into()
        };
        let (ours, output) = pipe()?;
        self.output = Some(never_block(ours)?);
        let (ours, error) = pipe()?;
        self.error = Some(never_block(ours)?);
        Ok(Some(Stdio {
            input: their_input,
            output,
            error,
        }))
    }

    /// The container's terminal is there.
    pub(super) fn use_terminal(&mut self, master: OwnedFd) -> Result<()> {
        if self.takes_input {
            let copied = master.try_clone();
            self.input = Some(copied.map_err(Error::system("use the container's terminal"))?);
        }
        self.output = Some(never_block(master)?);
        Ok(())
    }

    /// A peer follows the streams.
    pub(super) fn attach(&mut self, peer: u32, wanted: Attach, fds: Vec<OwnedFd>) -> Result<()> {
        let mut fds = fds.into_iter();
        let mut next = |wanted: bool| {
            let fd = if wanted { fds.next() } else { None };
            fd.map(never_block).transpose()
        };
        let input = next(wanted.input)?.filter(|_| self.takes_input);
        let sink = |pipe| Sink {
            pipe,
            waiting: VecDeque::new(),
        };
        self.viewers.push(Viewer {
            peer,
            input,
            output: next(wanted.output)?.map(sink),
            error: next(wanted.error)?.map(sink),
        });
        if let Some(size) = wanted.size {
            self.resize(size);
        }
        Ok(())
    }

    /// A peer has gone; what it typed before counts.
    pub(super) fn detach(&mut self, peer: u32) {
        while self.read_input(peer) {}
        self.viewers.retain(|viewer| viewer.peer != peer);
    }

    /// Nobody reads what this peer was given of a stream. If the container was started for that
    /// reader and no other is there, it is told in the way of pipes.
    pub(super) fn unread(&mut self, peer: u32, stream: Stream, for_peer: bool) {
        for viewer in self.viewers.iter_mut().filter(|v| v.peer == peer) {
            *viewer.sink(stream) = None;
        }
        let others = self.viewers.iter_mut().any(|v| v.sink(stream).is_some());
        if for_peer && !others {
            *self.source(stream) = None;
        }
    }

    /// The terminal that is looked at has this size.
    pub(super) fn resize(&self, size: TerminalSize) {
        let Some(master) = self.output.as_ref().filter(|_| self.terminal) else {
            return;
        };
        let size = Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // The container may have ended a moment ago.
        let _ = tcsetwinsize(master, size);
    }

    /// What to wait for.
    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        for (stream, source) in [
            (Stream::Stdout, &self.output),
            (Stream::Stderr, &self.error),
        ] {
            let held_back = self.viewers.iter().any(|viewer| viewer.is_full(stream));
            if let Some(source) = source.as_ref().filter(|_| !held_back) {
                watch.add(source.as_fd(), PollFlags::IN, Token::Output(stream));
            }
        }
        if let Some(input) = &self.input {
            // No flags: its end only.
            let flags = if self.typed.is_empty() {
                PollFlags::empty()
            } else {
                PollFlags::OUT
            };
            // A terminal's end is seen on its output.
            if !self.terminal || !flags.is_empty() {
                watch.add(input.as_fd(), flags, Token::Input);
            }
        }
        for viewer in &self.viewers {
            viewer.watch(watch, self.typed.len() < CHUNK);
        }
        watch.until(self.log.as_ref().and_then(Log::deadline));
    }

    /// Does what has become possible.
    pub(super) fn act(&mut self, token: Token) {
        match token {
            Token::Output(stream) => drop(self.read(stream)),
            Token::Input => self.write_input(),
            Token::PeerInput(peer) => drop(self.read_input(peer)),
            Token::PeerOutput(peer, stream) => {
                for viewer in self.viewers.iter_mut().filter(|v| v.peer == peer) {
                    viewer.flush(stream);
                }
            }
            _ => {}
        }
    }

    /// Writes beginnings of lines to the log whose time has come.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        if let Some(log) = &mut self.log
            && log.deadline().is_some_and(|deadline| deadline <= now)
        {
            let done = log.flush();
            self.note(done);
        }
    }

    /// Takes all that the container has said; it has ended.
    pub(super) fn drain(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            while self.read(stream) {}
        }
        if let Some(log) = &mut self.log {
            let done = log.flush();
            self.note(done);
        }
        self.output = None;
        self.error = None;
        self.input = None;
    }

    /// Closes the pipes of peers that have all of what was said; true when none is left.
    pub(super) fn finish(&mut self) -> bool {
        for viewer in &mut self.viewers {
            viewer.input = None;
            for stream in [Stream::Stdout, Stream::Stderr] {
                viewer.flush(stream);
                let sink = viewer.sink(stream);
                if sink.as_ref().is_some_and(|sink| sink.waiting.is_empty()) {
                    *sink = None;
                }
            }
        }
        self.viewers
            .retain(|viewer| viewer.output.is_some() || viewer.error.is_some());
        self.viewers.is_empty()
    }

    /// Whether a peer still has something to get.
    pub(super) fn has_viewer(&self, peer: u32) -> bool {
        self.viewers.iter().any(|viewer| viewer.peer == peer)
    }

    /// Why the log is not complete, if it is not; told once.
    pub(super) fn take_log_problem(&mut self) -> Option<LogError> {
        self.log_problem.take()
    }

    fn source(&mut self, stream: Stream) -> &mut Option<OwnedFd> {
        match stream {
            Stream::Stdout => &mut self.output,
            Stream::Stderr => &mut self.error,
        }
    }

    /// Reads once from the container; false when there is nothing more now.
    fn read(&mut self, stream: Stream) -> bool {
        let Some(source) = self.source(stream) else {
            return false;
        };
        let mut buffer = vec![0; CHUNK];
        let length = match read(&*source, &mut buffer) {
            Err(Errno::AGAIN) => return false,
            Err(Errno::INTR) => return true,
            // A terminal that all processes have closed gives EIO.
            Ok(0) | Err(_) => {
                *self.source(stream) = None;
                return false;
            }
            Ok(length) => length,
        };
        let said = buffer.get(..length).unwrap_or_default();
        if let Some(log) = &mut self.log {
            let done = log.take(stream, said);
            self.note(done);
        }
        for viewer in &mut self.viewers {
            if let Some(sink) = viewer.sink(stream) {
                sink.waiting.extend(said);
            }
            viewer.flush(stream);
        }
        true
    }

    fn note(&mut self, done: Result<(), LogError>) {
        if let Err(problem) = done {
            self.log_problem.get_or_insert(problem);
        }
    }

    /// Reads once what a peer types; false when there is nothing more now.
    fn read_input(&mut self, peer: u32) -> bool {
        let has_input = |viewer: &&mut Viewer| viewer.peer == peer && viewer.input.is_some();
        let Some(viewer) = self.viewers.iter_mut().find(has_input) else {
            return false;
        };
        let Some(pipe) = &viewer.input else {
            return false;
        };
        let mut buffer = vec![0; CHUNK];
        let more = match read(pipe, &mut buffer) {
            Err(Errno::AGAIN) => return false,
            Err(Errno::INTR) => return true,
            Ok(0) | Err(_) => {
                viewer.input = None;
                // A terminal goes on without this peer.
                self.input_ends |= self.input_once && !self.terminal;
                false
            }
            Ok(length) => {
                if self.input.is_some() {
                    self.typed.extend(buffer.get(..length).unwrap_or_default());
                }
                true
            }
        };
        self.write_input();
        more
    }

    fn write_input(&mut self) {
        let Some(input) = &self.input else { return };
        if let Err(Gone) = write_some(input, &mut self.typed) {
            self.close_input();
            return;
        }
        if self.typed.is_empty() && !self.terminal && (self.input_ends || nobody_reads(input)) {
            self.close_input();
        }
    }

    /// Whoever still types sees that nobody reads.
    fn close_input(&mut self) {
        self.input = None;
        self.typed.clear();
        for viewer in &mut self.viewers {
            viewer.input = None;
        }
    }
}

impl Viewer {
    fn sink(&mut self, stream: Stream) -> &mut Option<Sink> {
        match stream {
            Stream::Stdout => &mut self.output,
            Stream::Stderr => &mut self.error,
        }
    }

    fn is_full(&self, stream: Stream) -> bool {
        let sink = match stream {
            Stream::Stdout => &self.output,
            Stream::Stderr => &self.error,
        };
        sink.as_ref()
            .is_some_and(|sink| sink.waiting.len() > PATIENCE)
    }

    fn watch<'a>(&'a self, watch: &mut Watch<'a>, room: bool) {
        if let Some(input) = self.input.as_ref().filter(|_| room) {
            watch.add(input.as_fd(), PollFlags::IN, Token::PeerInput(self.peer));
        }
        for (stream, sink) in [
            (Stream::Stdout, &self.output),
            (Stream::Stderr, &self.error),
        ] {
            let Some(sink) = sink else { continue };
            let flags = if sink.waiting.is_empty() {
                PollFlags::empty()
            } else {
                PollFlags::OUT
            };
            watch.add(
                sink.pipe.as_fd(),
                flags,
                Token::PeerOutput(self.peer, stream),
            );
        }
    }

    /// Writes what the peer's pipe takes.
    fn flush(&mut self, stream: Stream) {
        let slot = self.sink(stream);
        let Some(sink) = slot else { return };
        let gone = write_some(&sink.pipe, &mut sink.waiting).is_err();
        if gone || (sink.waiting.is_empty() && nobody_reads(&sink.pipe)) {
            *slot = None;
        }
    }
}

/// Nobody reads the other end.
struct Gone;

fn write_some(to: &OwnedFd, waiting: &mut VecDeque<u8>) -> Result<(), Gone> {
    while !waiting.is_empty() {
        let (first, _) = waiting.as_slices();
        match write(to, first) {
            Ok(written) => drop(waiting.drain(..written)),
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(_) => return Err(Gone),
        }
    }
    Ok(())
}

/// Whether a pipe has lost its reader.
fn nobody_reads(pipe: &OwnedFd) -> bool {
    use rustix::event::{PollFd, Timespec, poll};
    let mut watched = [PollFd::new(pipe, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut watched, Some(&now)), Ok(count) if count > 0)
}

fn never_block(fd: OwnedFd) -> Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&fd, true).map_err(Error::system("use a pipe"))?;
    Ok(fd)
}
