//! Asking the container how it is, again and again.
//!
//! ```text
//!   due ──> probe: an overseer of its own, as of `exec` ──ends──> answer ──> state.json, journal
//!    ^                   └─ output: a pipe, of which the beginning is kept       │
//!    └──────────────────────────── interval ─────────────────────────────────────┘
//! ```

use super::super::health::{ANSWER, Answer, HealthState};
use super::super::plan;
use super::super::protocol::Exec;
use super::super::state::Status;
use super::life::exit_code;
use super::log;
use super::oversee::Monitor;
use super::watch::{Token, Watch};
use crate::error::{Error, Result};
use crate::init::join::{Streams, Target, join};
use crate::init::{Program, Stdio};
use crate::sys::process::{Child, Forked, clone_into, close_others, exit_now};
use crate::types::Moment;
use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal};
use std::time::{Duration, Instant};

/// Exit codes of a probe's overseer beside those of commands.
const TOO_LONG: u8 = 254;
const NOT_STARTED: u8 = 255;

/// The checks of one life.
#[derive(Debug, Default)]
pub(super) struct Checks {
    begun: Option<Instant>,
    /// When the next one is due.
    due: Option<Instant>,
    probe: Option<Probe>,
}

/// A check under way.
#[derive(Debug)]
struct Probe {
    overseer: Child,
    /// Until nobody can say anything more.
    output: Option<OwnedFd>,
    text: Vec<u8>,
    start: Moment,
}

impl Checks {
    /// What to wait for.
    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        match &self.probe {
            Some(probe) => {
                let flags = PollFlags::IN;
                watch.add(probe.overseer.pidfd.as_fd(), flags, Token::Probe);
                if let Some(output) = &probe.output {
                    watch.add(output.as_fd(), flags, Token::ProbeOutput);
                }
            }
            None => watch.until(self.due),
        }
    }

    /// Takes what the probe says; beyond its beginning it is dropped.
    pub(super) fn hear(&mut self) {
        let Some(probe) = &mut self.probe else { return };
        let Some(output) = &probe.output else { return };
        let mut buffer = [0; ANSWER];
        match rustix::io::read(output, &mut buffer) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) | Err(_) => probe.output = None,
            Ok(length) => {
                let room = ANSWER - probe.text.len();
                let got = buffer.get(..length.min(room)).unwrap_or_default();
                probe.text.extend_from_slice(got);
            }
        }
    }

    /// The life is over: whatever ran is dead, and waited for.
    pub(super) fn end(&mut self) {
        if let Some(probe) = self.probe.take() {
            let _ = exit_code(&probe.overseer.pidfd);
        }
        *self = Self::default();
    }
}

impl Monitor {
    /// A life has begun.
    pub(super) fn begin_checks(&mut self) {
        let Some(check) = &self.spec.health else {
            return;
        };
        let now = Instant::now();
        self.checks.begun = Some(now);
        self.checks.due = Some(now + check.interval());
        self.state.health = Some(HealthState::default());
    }

    /// Asks, if it is time to.
    pub(super) fn check_if_due(&mut self) {
        let is_due = self.checks.due.is_some_and(|due| due <= Instant::now());
        if !is_due || self.checks.probe.is_some() {
            return;
        }
        let Some(check) = self.spec.health.clone() else {
            return;
        };
        self.checks.due = Some(Instant::now() + check.interval());
        if self.state.status != Status::Running {
            return;
        }
        let exec = Exec {
            args: check.command.clone(),
            env: Vec::new(),
            cwd: None,
            user: None,
            terminal: None,
            privileged: false,
        };
        let started = plan::exec(&self.spec, &exec)
            .and_then(|program| self.start_probe(&program, check.timeout()));
        match started {
            Ok(probe) => self.checks.probe = Some(probe),
            Err(error) => log(&format_args!(
                "cannot check the container's health: {error}"
            )),
        }
    }

    fn start_probe(&self, program: &Program, timeout: Duration) -> Result<Probe> {
        let failed = |what| Error::system::<rustix::io::Errno>(what);
        let (output, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(failed("make a pipe"))?;
        let copy = theirs.try_clone().map_err(Error::system("copy a pipe"))?;
        let input = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let stdio = Stdio {
            input: input.map_err(failed("open /dev/null"))?,
            output: theirs,
            error: copy,
        };
        match clone_into(0, None).map_err(Error::system("start a health check"))? {
            Forked::Parent(overseer) => Ok(Probe {
                overseer,
                output: Some(output),
                text: Vec::new(),
                start: Moment::now(),
            }),
            Forked::Child => {
                drop(output);
                exit_now(i32::from(self.oversee_probe(program, stdio, timeout)))
            }
        }
    }

    /// The overseer's whole life.
    fn oversee_probe(&self, program: &Program, stdio: Stdio, timeout: Duration) -> u8 {
        // A name is for people only.
        let _ = rustix::thread::set_name(c"runner-health");
        let _ = SigSet::empty().thread_set_mask();
        let (Some(init), Some(cgroup)) = (self.life.init(), self.life.cgroup()) else {
            return NOT_STARTED;
        };
        let said = stdio.output.try_clone();
        let joined = match join(&Target { init, cgroup }, program, Streams::Given(stdio)) {
            Ok(joined) => joined,
            Err(failure) => {
                if let Ok(said) = said {
                    let _ = rustix::io::write(&said, failure.to_string().as_bytes());
                }
                return NOT_STARTED;
            }
        };
        drop(said);
        if close_others(&[joined.pidfd.as_fd()]).is_err() {
            return NOT_STARTED;
        }
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut watched = [PollFd::new(&joined.pidfd, PollFlags::IN)];
        if !matches!(poll(&mut watched, Some(&timeout)), Ok(1..)) {
            // What it has started itself is left to the container's own init.
            let _ = pidfd_send_signal(&joined.pidfd, Signal::KILL);
            let _ = exit_code(&joined.pidfd);
            return TOO_LONG;
        }
        exit_code(&joined.pidfd).map_or(NOT_STARTED, |code| code.min(TOO_LONG - 1))
    }

    /// A check has come to its end.
    pub(super) fn end_probe(&mut self) {
        // What it said last may still be in the pipe.
        let output = self
            .checks
            .probe
            .as_ref()
            .and_then(|probe| probe.output.as_ref());
        if let Some(output) = output {
            let mut watched = [PollFd::new(output, PollFlags::IN)];
            if matches!(poll(&mut watched, Some(&Timespec::default())), Ok(1..)) {
                self.checks.hear();
            }
        }
        let (Some(probe), Some(check)) = (self.checks.probe.take(), self.spec.health.clone())
        else {
            return;
        };
        self.checks.due = Some(Instant::now() + check.interval());
        let mut output = String::from_utf8_lossy(&probe.text).into_owned();
        let code = match exit_code(&probe.overseer.pidfd) {
            Ok(TOO_LONG) => {
                output = format!("Health check exceeded timeout ({:?})", check.timeout());
                -1
            }
            Ok(NOT_STARTED) | Err(_) => -1,
            Ok(code) => i32::from(code),
        };
        let answer = Answer {
            start: probe.start,
            end: Moment::now(),
            code,
            output,
        };
        let age = self
            .checks
            .begun
            .map_or(Duration::ZERO, |begun| begun.elapsed());
        let health = self.state.health.get_or_insert_default();
        let changed = health.take(answer, &check, age);
        let status = health.status;
        self.write_state();
        if changed {
            self.record(&format!("health_status: {status}"));
        }
    }
}
