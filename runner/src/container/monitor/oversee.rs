//! The lives of a container, one after another, and what is asked of it meanwhile.
//!
//! ```text
//!   launch ─> life ──ended──> undone ─> state written ─> told ──no restart──> lock let go ─> gone
//!              ^                                            │
//!              └──────────── pause (status restarting) <────┘
//! ```
//!
//! What peers ask for is done in [`super::requests`]. At the end everything is undone and the state is written before the lock goes, and the lock
//! goes before anybody is told: whoever hears of the end finds a container that is free.

use super::super::directory::Directory;
use super::super::home::Home;
use super::super::journal::Subject;
use super::super::lock::Lock;
use super::super::protocol::{Attach, Ended, Event, SOCKET};
use super::super::spec::Spec;
use super::super::state::{State, Status};
use super::health::Checks;
use super::life::{Life, Needs};
use super::peers::Peers;
use super::restart::Restarts;
use super::streams::Streams;
use super::watch::{Token, Watch};
use super::{Launch, log};
use crate::error::{Error, Result};
use crate::init::TerminalSize;
use crate::sys::channel::{Channel, Listener};
use nix::sys::signalfd::SignalFd;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, OwnedFd};
use std::fmt::Display;
use std::fs::{self, File};
use std::time::{Duration, Instant};

/// Everything the monitor knows.
pub(super) struct Monitor {
    pub(super) directory: Directory,
    pub(super) spec: Spec,
    pub(super) state: State,
    pub(super) peers: Peers,
    pub(super) streams: Streams,
    pub(super) life: Life,
    pub(super) checks: Checks,
    /// The client that started it.
    pub(super) first: u32,
    /// That client follows the streams: the container was started for it.
    pub(super) in_foreground: bool,
    /// Somebody wants the container to end, and not to be started again.
    pub(super) stopped: bool,
    /// When asking becomes killing.
    pub(super) kill_at: Option<Instant>,
    pub(super) terminal: Option<TerminalSize>,
    program: Option<OwnedFd>,
    signals: SignalFd,
    listener: Listener,
}

/// The whole time of a monitor.
pub(super) fn oversee(channel: Channel, signals: SignalFd, launch: Launch) -> Result<()> {
    let (directory, lock) = (launch.directory, launch.lock);
    let opened = open(&directory);
    let (spec, state, listener, streams) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            drop(lock);
            // Gone with the client, if it is.
            let _ = channel.send(&failed(&error), &[]);
            return Err(error);
        }
    };
    let mut peers = Peers::default();
    let first = peers.add(channel);
    let mut monitor = Monitor {
        directory,
        spec,
        state,
        peers,
        streams,
        life: Life::default(),
        checks: Checks::default(),
        first,
        in_foreground: launch.attach.is_some(),
        stopped: false,
        kill_at: None,
        terminal: None,
        program: launch.program,
        signals,
        listener,
    };
    if let Some((wanted, fds)) = launch.attach {
        monitor.attach(first, wanted, fds)?;
    }
    monitor.run(lock)
}

fn open(directory: &Directory) -> Result<(Spec, State, Listener, Streams)> {
    let spec = directory.spec()?;
    let state = directory.state()?;
    let failed = || Error::io("open a socket in", directory.path());
    let opened = File::open(directory.path()).map_err(failed())?;
    let listener = Listener::bind(&opened, SOCKET).map_err(failed())?;
    let streams = Streams::new(&spec, directory.path())?;
    Ok((spec, state, listener, streams))
}

fn failed(error: &Error) -> Event {
    Event::Failed {
        message: error.to_string(),
        code: error.exit_code(),
    }
}

impl Monitor {
    /// Lives until there is no other start.
    fn run(mut self, lock: Lock) -> Result<()> {
        let mut restarts = Restarts::default();
        let end = loop {
            let began = Instant::now();
            let lived = self.live(restarts.count);
            self.streams.drain();
            for problem in std::mem::take(&mut self.life).undo() {
                self.warn(&format_args!("WARNING: {problem}"));
            }
            self.checks.end();
            let ended = match lived {
                Ok(ended) => ended,
                Err(error) => {
                    self.state.fail(error.exit_code(), error.to_string());
                    break failed(&error);
                }
            };
            self.state.end(ended.code, ended.out_of_memory);
            self.record_end(&ended);
            let again = restarts.next(self.spec.restart, ended.code, began.elapsed());
            let Some(pause) = again.filter(|_| !self.stopped) else {
                break Event::Exited(ended);
            };
            self.state.status = Status::Restarting;
            self.write_state();
            self.tell_end(&Event::Exited(ended));
            self.rest(pause)?;
            if self.stopped {
                self.state.status = Status::Exited;
                break Event::Exited(ended);
            }
        };
        self.finish(&end, lock)
    }

    /// From nothing to the end of the command.
    fn live(&mut self, restarts: u32) -> Result<Ended> {
        let streams = self.streams.begin()?;
        let needs = Needs {
            spec: &self.spec,
            directory: &self.directory,
            program: self.program.as_ref(),
            streams,
            terminal: self.terminal,
        };
        let mut warnings = Vec::new();
        let begun = self.life.begin(needs, &mut |text| warnings.push(text));
        for warning in warnings {
            self.warn(&warning);
        }
        if let Some(master) = begun? {
            self.streams.use_terminal(master)?;
        }
        self.state.run(self.life.pid());
        self.state.restarts = restarts;
        self.begin_checks();
        self.directory.set_state(&self.state)?;
        self.record("start");
        self.peers.tell(self.first, &Event::Started);
        while !self.turn(None)? {}
        self.life.end()
    }

    /// Serves until the time has come or the container is stopped.
    fn rest(&mut self, pause: Duration) -> Result<()> {
        let end = Instant::now() + pause;
        while Instant::now() < end && !self.stopped {
            self.turn(Some(end))?;
        }
        Ok(())
    }

    /// Waits for something to do, and does it; true when the first process has ended.
    fn turn(&mut self, until: Option<Instant>) -> Result<bool> {
        let mut watch = Watch::default();
        watch.add(self.signals.as_fd(), PollFlags::IN, Token::Signal);
        watch.add(self.listener.as_fd(), PollFlags::IN, Token::Listener);
        self.peers.watch(&mut watch);
        self.streams.watch(&mut watch);
        self.life.watch(&mut watch);
        self.checks.watch(&mut watch);
        watch.until(self.kill_at);
        watch.until(until);
        let mut ended = false;
        for token in watch.wait()? {
            match token {
                Token::Init => ended = true,
                Token::Signal => {
                    // Read, or it would be ready for ever.
                    let _ = self.signals.read_signal();
                    self.stop(None, None);
                }
                Token::Union => self.lose_union(),
                Token::Probe => self.end_probe(),
                Token::ProbeOutput => self.checks.hear(),
                Token::Overseer(pid) => self.life.reap_overseer(pid),
                Token::Listener => self.accept(),
                Token::Peer(peer) => self.hear(peer),
                token => self.streams.act(token),
            }
        }
        self.streams.tick();
        self.check_if_due();
        if let Some(problem) = self.streams.take_log_problem() {
            self.warn(&format_args!(
                "WARNING: {problem}; what follows may be missing"
            ));
        }
        if self.kill_at.is_some_and(|at| at <= Instant::now()) {
            self.kill_at = None;
            self.life.kill();
        }
        Ok(ended)
    }

    fn accept(&mut self) {
        match self.listener.accept() {
            Ok(Some(channel)) => drop(self.peers.add(channel)),
            Ok(None) => {}
            Err(error) => log(&format_args!("cannot take a connection: {error}")),
        }
    }

    fn hear(&mut self, peer: u32) {
        match self.peers.receive(peer) {
            Some((request, fds)) => self.obey(peer, request, fds),
            None => {
                self.streams.detach(peer);
                self.peers.remove(peer);
            }
        }
    }

    /// Without its root file system the container cannot go on.
    fn lose_union(&mut self) {
        self.warn(&"WARNING: the container's file system process ended; so must the container");
        self.life.forget_union();
        self.life.kill();
    }

    /// A peer follows the streams.
    pub(super) fn attach(&mut self, peer: u32, wanted: Attach, fds: Vec<OwnedFd>) -> Result<()> {
        self.streams.attach(peer, wanted, fds)?;
        self.terminal = wanted.size.or(self.terminal);
        self.peers.let_wait(peer);
        Ok(())
    }

    /// The end of the monitor, in the order told at the head of this file.
    fn finish(mut self, end: &Event, lock: Lock) -> Result<()> {
        let home = Home::of(&self.directory);
        let closed = if self.spec.remove {
            home.remove_own(&self.directory, &self.spec, true)
        } else {
            self.directory.set_state(&self.state)
        };
        if let Err(problem) = closed {
            self.warn(&format_args!("WARNING: {problem}"));
        }
        // Else a successor's socket could be the one that is removed.
        let _ = fs::remove_file(self.directory.join(SOCKET));
        drop(lock);
        self.peers.let_wait(self.first);
        self.tell_end(end);
        self.say_the_rest()
    }

    /// Tells those who wait, and lets go of all who have what they came for.
    fn tell_end(&mut self, end: &Event) {
        self.peers.tell_waiting(end);
        self.streams.finish();
        let streams = &self.streams;
        self.peers.keep(|peer| streams.has_viewer(peer));
    }

    /// Serves peers that have not read everything yet; nothing else is held any more.
    fn say_the_rest(&mut self) -> Result<()> {
        while !self.streams.finish() {
            let mut watch = Watch::default();
            self.peers.watch(&mut watch);
            self.streams.watch(&mut watch);
            for token in watch.wait()? {
                match token {
                    Token::Peer(peer) if self.peers.receive(peer).is_none() => {
                        self.streams.detach(peer);
                        self.peers.remove(peer);
                    }
                    token => self.streams.act(token),
                }
            }
            let streams = &self.streams;
            self.peers.keep(|peer| streams.has_viewer(peer));
        }
        Ok(())
    }

    /// For the client that started the container, and for `monitor.log`.
    fn warn(&mut self, text: &impl Display) {
        log(text);
        let event = Event::Warning(text.to_string());
        self.peers.tell(self.first, &event);
    }

    pub(super) fn write_state(&mut self) {
        if let Err(problem) = self.directory.set_state(&self.state) {
            self.warn(&format_args!("WARNING: {problem}"));
        }
    }

    /// Writes down what happened.
    pub(super) fn record(&self, action: &str) {
        self.record_with(action, |subject| subject);
    }

    pub(super) fn record_with(&self, action: &str, more: impl FnOnce(Subject) -> Subject) {
        let home = Home::of(&self.directory);
        let name = home.name(self.directory.id()).unwrap_or_default();
        let subject = Subject::container(&self.spec, &name);
        home.journal().record(action, &more(subject));
    }

    fn record_end(&self, ended: &Ended) {
        if ended.out_of_memory {
            self.record("oom");
        }
        self.record_with("die", |subject| subject.with("exitCode", ended.code));
        if self.stopped {
            self.record("stop");
        }
    }
}
