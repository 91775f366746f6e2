//! The monitor: one process per container that makes everything, waits, and undoes everything.
//!
//! ```text
//!   mod      ── the process itself: session, mount namespace, what the client hands over
//!   oversee  ── lives one after another; the end
//!     │ requests what others ask for
//!     │ exec     other commands in the container, each with an overseer
//!     │ health   a command that is run again and again
//!     │ life     what is made for one life, and undone
//!     │ restart  whether there is another
//!     │ streams  what the container says and is told; the log
//!     │ peers    who is connected
//!   watch    ── the one poll(2)
//!   shelter  ── the control group that all monitors are in
//! ```
//!
//! It stays single-threaded: it clones. It holds the container's lock; whoever finds the lock
//! free knows that the monitor is dead (see [`super::lock`]).

mod exec;
mod health;
mod life;
mod oversee;
mod peers;
mod requests;
mod restart;
mod shelter;
mod streams;
mod watch;

use super::directory::Directory;
use super::home::Home;
use super::lock::Lock;
use super::protocol::{Attach, Event, Request};
use crate::error::{Error, Result};
use crate::sys::channel::{Channel, Received};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Mode;
use rustix::mount::{MountPropagationFlags, mount_change};
use shelter::Place;
use std::ffi::CStr;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// The hidden verb.
pub const VERB: &str = "__monitor";

/// What the client handed over.
struct Launch {
    directory: Directory,
    lock: Lock,
    /// The protected program that this process is executed from.
    program: Option<OwnedFd>,
    attach: Option<(Attach, Vec<OwnedFd>)>,
}

/// How every monitor's process is called.
const NAME: &CStr = c"runner-monitor";

/// The hidden verb: serves the client at standard input, and whoever connects later.
pub fn main() -> ExitCode {
    match shelter::enter() {
        Ok(Place::Here) => {}
        Ok(Place::Child) => return ExitCode::SUCCESS,
        // It can be killed with the caller's session, then.
        Err(error) => log(&error),
    }
    let Ok(channel) = settle() else {
        return ExitCode::FAILURE;
    };
    let done = match receive_launch(&channel) {
        Ok(Some(launch)) => block_signals().and_then(|signals| {
            own_mounts()?;
            let done = oversee::oversee(channel, signals, launch);
            shelter::leave_to_janitor();
            done
        }),
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            let event = Event::Failed {
                message: error.to_string(),
                code: error.exit_code(),
            };
            // Gone with the client, if that is why.
            let _ = channel.send(&event, &[]);
            Err(error)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(&error);
            ExitCode::FAILURE
        }
    }
}

/// An own session, no terminal, nothing at standard input.
fn settle() -> io::Result<Channel> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::process::setsid()?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    rustix::thread::set_name(NAME)?;
    Ok(Channel::from_socket(socket))
}

/// The first message; nothing if the client went before it.
fn receive_launch(channel: &Channel) -> Result<Option<Launch>> {
    let received = channel.receive::<Request>();
    let received = received.map_err(Error::system("understand the client"))?;
    let Received::Message(Request::Launch { directory, attach }, fds) = received else {
        return Ok(None);
    };
    let mut fds = fds.into_iter();
    let (Some(directory), Some(lock)) = (Directory::at(directory), fds.next()) else {
        return Ok(None);
    };
    let lock = Lock::adopt(&Home::of(&directory).locks(), directory.id(), lock);
    Ok(Some(Launch {
        directory,
        lock,
        program: fds.next(),
        attach: attach.map(|attach| (attach, fds.collect())),
    }))
}

/// Signals that ask this process to end become something to read.
fn block_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        set.add(signal);
    }
    set.thread_block()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC))
        .map_err(Error::system("block signals"))
}

/// A mount namespace of our own: what the host mounts later is seen, what we mount is not.
fn own_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(Error::system("make a mount namespace"))?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags).map_err(Error::system("keep mounts from the host"))
}

/// For `monitor.log`; a full disk is no reason to fall over.
fn log(text: &impl Display) {
    let _ = writeln!(io::stderr(), "runner: {text}");
}
