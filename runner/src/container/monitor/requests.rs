//! What peers ask of the monitor, one function each.

use super::super::home::Home;
use super::super::plan;
use super::super::protocol::{Event, Request};
use super::super::spec::{Limits, Restart};
use super::super::state::Status;
use super::oversee::Monitor;
use crate::error::Result;
use crate::network::{self, Join};
use rustix::fd::OwnedFd;
use rustix::process::Signal;
use std::time::{Duration, Instant};

impl Monitor {
    /// Does what a peer asks for, and answers.
    pub(super) fn obey(&mut self, peer: u32, request: Request, fds: Vec<OwnedFd>) {
        let done = match request {
            Request::Signal(number) => return self.life.signal(number),
            Request::Resize(size) => {
                self.terminal = Some(size);
                return self.streams.resize(size);
            }
            Request::Unread(stream) => {
                let for_peer = self.in_foreground && peer == self.first;
                return self.streams.unread(peer, stream, for_peer);
            }
            Request::Wait => return self.peers.let_wait(peer),
            Request::Stop { signal, seconds } => {
                self.peers.let_wait(peer);
                return self.stop(signal, seconds);
            }
            // Once only, by the client that has made this process.
            Request::Launch { .. } => Err("is started already".to_owned()),
            Request::Exec(wanted) => match self.exec(peer, &wanted, fds) {
                // The overseer answers.
                Ok(()) => return,
                Err(why) => Err(why),
            },
            Request::Update { limits, restart } => self.update(peer, *limits, restart),
            Request::Attach(wanted) => said(self.attach(peer, wanted, fds)),
            Request::Kill(number) => self.kill(number),
            Request::Connect(join) => self.connect(join),
            Request::Disconnect(network) => self.disconnect(&network),
            Request::Pause => self.pause(),
            Request::Unpause => self.unpause(),
        };
        let short = self.spec.id.short();
        let answer = match done {
            Ok(()) => Event::Done,
            Err(why) => Event::Refused(format!("container {short} {why}")),
        };
        self.peers.tell(peer, &answer);
    }

    /// Asks the container to end; kills it when its time is over. It is not started again.
    pub(super) fn stop(&mut self, signal: Option<i32>, seconds: Option<i64>) {
        self.stopped = true;
        if !self.state.status.is_alive() {
            return;
        }
        let signal = signal.unwrap_or(self.spec.stop.signal);
        let seconds = seconds.unwrap_or(self.spec.stop.seconds);
        self.record_with("kill", |subject| subject.with("signal", signal));
        self.life.signal(signal);
        if let Ok(seconds) = u64::try_from(seconds) {
            let at = Instant::now() + Duration::from_secs(seconds);
            self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
        }
        if self.state.status == Status::Paused {
            // Or it could not act on the signal.
            let _ = self.unpause();
        }
    }

    fn kill(&mut self, number: i32) -> Result<(), String> {
        if !self.state.status.is_alive() {
            return Err("is not running".to_owned());
        }
        if number == Signal::KILL.as_raw() || number == self.spec.stop.signal {
            self.stopped = true;
        }
        if number == Signal::KILL.as_raw() {
            self.life.kill();
        } else {
            self.life.signal(number);
        }
        self.record_with("kill", |subject| subject.with("signal", number));
        Ok(())
    }

    /// The kernel first: what it refuses is not written down.
    fn update(&mut self, peer: u32, limits: Limits, restart: Restart) -> Result<(), String> {
        let old = self.spec.limits.for_cgroup();
        if let Some(cgroup) = self.life.cgroup() {
            let warnings = cgroup.update(&old, &limits.for_cgroup());
            let warnings = warnings.map_err(|error| format!("refuses: {error}"))?;
            for warning in warnings {
                self.peers.tell(peer, &Event::Warning(warning));
            }
        }
        let mut spec = self.spec.clone();
        (spec.limits, spec.restart) = (limits, restart);
        said(self.directory.set_spec(&spec))?;
        self.spec = spec;
        self.record("update");
        Ok(())
    }

    /// The kernel first, here, too. While it waits for its next life, that will see to it.
    fn connect(&mut self, join: Join) -> Result<(), String> {
        let mut spec = self.spec.clone();
        let state = said(network::all(self.directory.root()))?;
        said(spec.network.join(&state, join.clone()))?;
        if self.state.status.is_alive() {
            let name = said(Home::of(&self.directory).name(&spec.id))?;
            let wanted = plan::network(&spec, &name, &self.directory);
            said(self.life.connect(&wanted, &join))?;
        }
        said(self.directory.set_spec(&spec))?;
        self.spec = spec;
        self.record_network("connect", &state, &join.network);
        Ok(())
    }

    fn disconnect(&mut self, network: &str) -> Result<(), String> {
        let mut spec = self.spec.clone();
        let state = said(network::all(self.directory.root()))?;
        said(spec.network.leave(&state, network))?;
        if self.state.status.is_alive() {
            said(self.life.disconnect(network))?;
        }
        said(self.directory.set_spec(&spec))?;
        self.spec = spec;
        self.record_network("disconnect", &state, network);
        Ok(())
    }

    fn record_network(&self, action: &str, state: &network::State, name: &str) {
        let home = Home::of(&self.directory);
        home.journal()
            .record_network(action, state, name, &self.spec.id);
    }

    fn pause(&mut self) -> Result<(), String> {
        match self.state.status {
            Status::Running => {}
            Status::Paused => return Err("is paused already".to_owned()),
            _ => return Err("is not running".to_owned()),
        }
        let Some(cgroup) = self.life.cgroup() else {
            return Err("has no control group".to_owned());
        };
        said(cgroup.freeze())?;
        self.state.status = Status::Paused;
        self.write_state();
        self.record("pause");
        Ok(())
    }

    fn unpause(&mut self) -> Result<(), String> {
        if self.state.status != Status::Paused {
            return Err("is not paused".to_owned());
        }
        if let Some(cgroup) = self.life.cgroup() {
            said(cgroup.thaw())?;
        }
        self.state.status = Status::Running;
        self.write_state();
        self.record("unpause");
        Ok(())
    }
}

/// An error as the rest of a sentence about the container.
fn said<T, E: std::fmt::Display>(done: Result<T, E>) -> Result<T, String> {
    done.map_err(|error| format!("refuses: {error}"))
}
