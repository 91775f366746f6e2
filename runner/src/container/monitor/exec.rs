//! Another command in the container (`exec`): each has an overseer of its own, forked from the monitor.
//!
//! ```text
//!   monitor ──fork──> overseer ──join──> command      (init/join.rs)
//!      └─ forgets the peer └─ is the peer's other side from now on
//! ```
//!
//! The overseer goes with its command, and the command with it or with the container's pid namespace;
//! so at the container's end the monitor can wait for it.

use super::super::plan;
use super::super::protocol::{Ended, Event, Exec, Request};
use super::super::state::Status;
use super::life::exit_code;
use super::oversee::Monitor;
use crate::error::{Error, Result};
use crate::init::join::{Joined, Streams, Target, join};
use crate::init::{Program, Stdio, TerminalSize};
use crate::sys::channel::{Channel, Received};
use crate::sys::process::{Forked, clone_into, close_others, exit_now};
use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Signal, pidfd_send_signal};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;

impl Monitor {
    /// Hands a peer over to an overseer that starts `wanted` for it.
    pub(super) fn exec(
        &mut self,
        peer: u32,
        wanted: &Exec,
        fds: Vec<OwnedFd>,
    ) -> Result<(), String> {
        match self.state.status {
            Status::Running => {}
            Status::Paused => return Err("is paused: unpause it first (runner unpause)".to_owned()),
            _ => return Err("is not running".to_owned()),
        }
        let refuses = |error: Error| format!("refuses: {error}");
        let program = plan::exec(&self.spec, wanted).map_err(refuses)?;
        let streams = streams(wanted, fds).map_err(refuses)?;
        let told = wanted.args.join(" ");
        self.record(&format!("exec_create: {told}"));
        self.record(&format!("exec_start: {told}"));
        let forked =
            clone_into(0, None).map_err(|error| format!("cannot start a process: {error}"))?;
        match forked {
            Forked::Parent(child) => {
                drop(streams);
                self.life.add_overseer(child);
                self.peers.remove(peer);
                Ok(())
            }
            Forked::Child => self.oversee_command(peer, &program, streams),
        }
    }

    /// The overseer's whole life.
    fn oversee_command(&self, peer: u32, program: &Program, streams: Streams) -> ! {
        // A name is for people only.
        let _ = rustix::thread::set_name(c"runner-exec");
        // Whoever ends the monitor by a signal does not mean this.
        let _ = SigSet::empty().thread_set_mask();
        let Some(channel) = self.peers.channel(peer) else {
            exit_now(1)
        };
        let (Some(init), Some(cgroup)) = (self.life.init(), self.life.cgroup()) else {
            exit_now(1)
        };
        let joined = match join(&Target { init, cgroup }, program, streams) {
            Ok(joined) => joined,
            Err(failure) => {
                let code = failure.exit_code();
                let message = failure.to_string();
                // Gone with the client, if it is.
                let _ = channel.send_now(&Event::Failed { message, code }, &[]);
                exit_now(1)
            }
        };
        // The container's lock above all: it is the monitor's.
        let mut kept = vec![channel.as_fd(), joined.pidfd.as_fd()];
        kept.extend(joined.master.as_ref().map(AsFd::as_fd));
        if close_others(&kept).is_err() {
            exit_now(1)
        }
        let code = follow(channel, &joined);
        self.record_with("exec_die", |subject| subject.with("exitCode", code));
        let ended = Ended {
            code,
            out_of_memory: false,
            memory_limit: None,
        };
        let _ = channel.send_now(&Event::Exited(ended), &[]);
        exit_now(0)
    }
}

/// What the command's standard streams are: the peer's pipes, a terminal, or nothing.
fn streams(wanted: &Exec, fds: Vec<OwnedFd>) -> Result<Streams> {
    if let Some(size) = wanted.terminal {
        return Ok(Streams::Terminal(size));
    }
    let mut fds = fds.into_iter();
    let given = (fds.next(), fds.next(), fds.next());
    if let (Some(input), Some(output), Some(error)) = given {
        let stdio = Stdio {
            input,
            output,
            error,
        };
        return Ok(Streams::Given(stdio));
    }
    let null = || {
        let options = File::options().read(true).write(true).open("/dev/null");
        options
            .map(OwnedFd::from)
            .map_err(Error::io("open", "/dev/null"))
    };
    Ok(Streams::Given(Stdio {
        input: null()?,
        output: null()?,
        error: null()?,
    }))
}

/// Tells the peer, does what it asks for, and waits for the command's end; its exit code.
fn follow(channel: &Channel, joined: &Joined) -> u8 {
    let master = joined.master.as_ref();
    let mut told = true;
    if let Some(master) = master {
        told &= channel
            .send_now(&Event::Terminal, &[master.as_fd()])
            .is_ok();
    }
    let mut listening = told && channel.send_now(&Event::Started, &[]).is_ok();
    loop {
        let mut watched = vec![PollFd::new(&joined.pidfd, PollFlags::IN)];
        match (listening, master) {
            (true, _) => watched.push(PollFd::new(channel, PollFlags::IN)),
            // Nobody else reads it any more, and the command shall not wait for that.
            (false, Some(master)) => watched.push(PollFd::new(master, PollFlags::IN)),
            (false, None) => {}
        }
        match poll(&mut watched, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return u8::MAX,
            Ok(_) => {}
        }
        let ready: Vec<_> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready.first() == Some(&true) {
            return exit_code(&joined.pidfd).unwrap_or(u8::MAX);
        }
        if ready.get(1) != Some(&true) {
            continue;
        }
        if listening {
            listening = obey(channel, joined);
        } else if let Some(master) = master {
            // An error is the end of the terminal's other side; the command's own end comes next.
            let mut rest = [0; 4096];
            if rustix::io::read(master, &mut rest).is_err() {
                return exit_code(&joined.pidfd).unwrap_or(u8::MAX);
            }
        }
    }
}

/// Takes one message of the peer; false when it is gone.
fn obey(channel: &Channel, joined: &Joined) -> bool {
    match channel.receive::<Request>() {
        Ok(Received::Message(Request::Signal(number), _)) => {
            if let Some(signal) = Signal::from_named_raw(number) {
                // It may have ended.
                let _ = pidfd_send_signal(&joined.pidfd, signal);
            }
            true
        }
        Ok(Received::Message(Request::Resize(size), _)) => {
            resize(joined, size);
            true
        }
        Ok(Received::Message(..)) => true,
        Ok(Received::End) | Err(_) => false,
    }
}

fn resize(joined: &Joined, size: TerminalSize) {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    if let Some(master) = &joined.master {
        // The terminal may have ended.
        let _ = tcsetwinsize(master, size);
    }
}
