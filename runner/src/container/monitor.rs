//! The monitor: one process per container that makes everything, waits, and undoes everything.
//!
//! ```text
//!   made, in this order            undone, in the opposite order
//!   own mount namespace            goes with the last process in it
//!   control group                  killed, removed
//!   file system process, mount     unmounted, waited for
//!   first process (init)           waited for; all others in its pid namespace die with it
//!   state Running                  state Exited, or the directory removed (--rm)
//! ```
//!
//! It stays single-threaded: it clones. It holds the container's lock; whoever finds the lock
//! free knows that the monitor is dead (see [`super::home`]).

use super::directory::{Directory, State};
use super::home::{discard, now};
use super::plan;
use super::protocol::{Event, Request};
use super::spec::Spec;
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::init::{self, Stdio, TerminalSize, Waiting};
use crate::mounts::source::Sources;
use crate::mounts::union::{Served, Union};
use crate::sys::channel::{Channel, Received};
use crate::sys::program;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Mode;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// The hidden verb.
pub const VERB: &str = "__monitor";

/// What the client handed over.
struct Launch {
    directory: Directory,
    start: Start,
    /// The container's lock and the image's: held as long as this process lives.
    held: Vec<OwnedFd>,
}

/// What a start needs besides the specification.
struct Start {
    /// The protected program that this process is executed from.
    program: Option<OwnedFd>,
    streams: Option<Stdio>,
    terminal: Option<TerminalSize>,
}

/// What was made and must be undone.
#[derive(Default)]
struct Made {
    cgroup: Option<Cgroup>,
    union: Option<Served>,
    init: Option<Waiting>,
}

/// How the container ended.
struct End {
    code: u8,
    out_of_memory: bool,
    memory_limit: Option<u64>,
}

/// The hidden verb: serves the client at standard input.
pub fn main() -> ExitCode {
    let Ok(channel) = settle() else {
        return ExitCode::FAILURE;
    };
    let launch = match receive_launch(&channel) {
        Ok(Some(launch)) => launch,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            tell_failure(&channel, &error);
            return ExitCode::FAILURE;
        }
    };
    let Launch {
        directory,
        start,
        held,
    } = launch;
    let done = directory
        .spec()
        .and_then(|spec| oversee(&channel, &spec, &directory, start));
    drop(held);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell_failure(&channel, &error);
            ExitCode::FAILURE
        }
    }
}

/// An own session, no terminal, nothing at standard input, signals blocked.
fn settle() -> io::Result<Channel> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::process::setsid()?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    rustix::thread::set_name(c"runner-monitor")?;
    Ok(Channel::from_socket(socket))
}

/// The first message; nothing if the client went before it.
fn receive_launch(channel: &Channel) -> Result<Option<Launch>> {
    let received = channel.receive::<Request>();
    let received = received.map_err(Error::system("understand the client"))?;
    let Received::Message(
        Request::Launch {
            directory,
            streams,
            terminal,
        },
        fds,
    ) = received
    else {
        return Ok(None);
    };
    let mut fds = fds.into_iter();
    let lock = fds.next();
    let program = fds.next();
    let streams = if streams {
        match (fds.next(), fds.next(), fds.next()) {
            (Some(input), Some(output), Some(error)) => Some(Stdio {
                input,
                output,
                error,
            }),
            _ => None,
        }
    } else {
        None
    };
    Ok(Some(Launch {
        directory: Directory::at(directory),
        start: Start {
            program,
            streams,
            terminal,
        },
        held: lock.into_iter().chain(fds).collect(),
    }))
}

fn tell_failure(channel: &Channel, error: &Error) {
    let event = Event::Failed {
        message: error.to_string(),
        code: error.exit_code(),
    };
    tell(channel, &event, None);
}

/// Tells the client; if it is gone, the end of the channel will say so.
fn tell(channel: &Channel, event: &Event, fd: Option<&OwnedFd>) {
    let fds: Vec<_> = fd.into_iter().map(AsFd::as_fd).collect();
    if let Err(error) = channel.send(event, &fds) {
        log(&format_args!("cannot tell the client: {error}"));
    }
}

/// For `monitor.log`; a full disk is no reason to fall over.
fn log(text: &impl Display) {
    let _ = writeln!(io::stderr(), "runner: {text}");
}

/// The whole life of a container.
fn oversee(channel: &Channel, spec: &Spec, directory: &Directory, start: Start) -> Result<()> {
    let mut made = Made::default();
    let lived = live(&mut made, channel, spec, directory, start);
    let code = match &lived {
        Ok(end) => end.code,
        Err(error) => error.exit_code(),
    };
    let finished = State::Exited {
        code,
        out_of_memory: lived.as_ref().is_ok_and(|end| end.out_of_memory),
        finished: now(),
    };
    match &lived {
        Ok(end) => tell(
            channel,
            &Event::Exited {
                code: end.code,
                out_of_memory: end.out_of_memory,
                memory_limit: end.memory_limit,
            },
            None,
        ),
        Err(error) => tell_failure(channel, error),
    }
    let mut problems = made.undo();
    let closed = if spec.remove {
        discard(directory)
    } else {
        directory.set_state(&finished)
    };
    problems.extend(closed.err());
    for problem in problems {
        let text = format!("WARNING: {problem}");
        tell(channel, &Event::Warning(text), None);
    }
    Ok(())
}

/// From nothing to the end of the command.
fn live(
    made: &mut Made,
    channel: &Channel,
    spec: &Spec,
    directory: &Directory,
    start: Start,
) -> Result<End> {
    let signals = block_signals()?;
    own_mounts()?;
    let limits = spec.limits.for_cgroup();
    let (cgroup, warnings) = Cgroup::create(spec.id.as_str(), &limits, spec.rights.devices())?;
    let cgroup = made.cgroup.insert(cgroup);
    for warning in warnings {
        tell(channel, &Event::Warning(warning), None);
    }
    let union: Union = plan::union(spec, directory);
    made.union = Some(union.serve()?);
    if let Some(program) = start.program {
        // Nothing else of ours is executed from it. A sealed copy in memory refuses this.
        let _ = program::forbid_execution(&program);
    }
    let unknown = TerminalSize {
        rows: 0,
        columns: 0,
    };
    let terminal = start.terminal.unwrap_or(unknown);
    let plan = plan::init(spec, directory, &cgroup.view(), terminal)?;
    let sources = Sources::open(&plan.mounts)?;
    let init = init::spawn(&plan, sources, start.streams);
    let init = made
        .init
        .insert(init.map_err(Error::system("make the container's first process"))?);
    cgroup.add(init.child.pid)?;
    let master = init.go()?;
    directory.set_state(&State::Running {
        pid: init.child.pid,
        started: now(),
    })?;
    tell(channel, &Event::Started, master.as_ref());
    drop(master);
    let code = made.wait(channel, &signals)?;
    let cgroup = made.cgroup.as_ref();
    Ok(End {
        code,
        out_of_memory: match cgroup.map(Cgroup::oom_killed) {
            Some(told) => told?,
            None => false,
        },
        memory_limit: cgroup.and_then(Cgroup::memory_limit),
    })
}

/// Signals that ask this process to end become something to read.
fn block_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [
        NixSignal::SIGTERM,
        NixSignal::SIGINT,
        NixSignal::SIGHUP,
        NixSignal::SIGQUIT,
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

impl Made {
    /// Waits for the end of the first process; its exit code as docker tells it.
    fn wait(&self, channel: &Channel, signals: &SignalFd) -> Result<u8> {
        let (Some(init), Some(union)) = (&self.init, &self.union) else {
            return Err(Error::MonitorDied);
        };
        let init = &init.child.pidfd;
        let (mut client, mut serving) = (true, true);
        loop {
            let mut watched = vec![
                PollFd::new(init, PollFlags::IN),
                PollFd::new(signals, PollFlags::IN),
            ];
            let union_at = serving.then(|| {
                watched.push(PollFd::from_borrowed_fd(union.pidfd(), PollFlags::IN));
                watched.len() - 1
            });
            let client_at = client.then(|| {
                watched.push(PollFd::new(channel, PollFlags::IN));
                watched.len() - 1
            });
            match poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.map_err(Error::system("wait for the container"))?,
            };
            let ready = |at: usize| watched.get(at).is_some_and(|fd| !fd.revents().is_empty());
            if ready(0) {
                return exit_code(init);
            }
            if ready(1) || union_at.is_some_and(ready) {
                if union_at.is_some_and(ready) {
                    let why =
                        "WARNING: the container's file system process ended; so must the container";
                    tell(channel, &Event::Warning(why.to_owned()), None);
                    serving = false;
                }
                // Read, or it would be ready for ever.
                let _ = ready(1).then(|| signals.read_signal());
                kill(init, Signal::KILL);
            } else if client_at.is_some_and(ready) {
                client = obey(channel, init);
            }
        }
    }

    /// Undoes what was made; tells what could not be.
    fn undo(self) -> Vec<Error> {
        let mut problems = Vec::new();
        if let Some(init) = self.init {
            kill(&init.child.pidfd, Signal::KILL);
            // Reaped before, in the usual case.
            let _ = exit_code(&init.child.pidfd);
        }
        if let Some(cgroup) = &self.cgroup {
            problems.extend(cgroup.kill_all().err().map(Error::from));
        }
        if let Some(union) = self.union {
            problems.extend(union.unmount().err().map(Error::from));
        }
        if let Some(cgroup) = &self.cgroup {
            problems.extend(cgroup.remove().err().map(Error::from));
        }
        problems
    }
}

/// Does what the client says; false when the client is gone, and with it the container.
fn obey(channel: &Channel, init: &OwnedFd) -> bool {
    match channel.receive::<Request>() {
        Ok(Received::Message(Request::Signal(number), _)) => {
            if let Some(signal) = Signal::from_named_raw(number) {
                kill(init, signal);
            }
            true
        }
        Ok(Received::Message(Request::Launch { .. }, _)) => true,
        Ok(Received::End) | Err(_) => {
            kill(init, Signal::KILL);
            false
        }
    }
}

/// Signals a process that may have ended.
fn kill(process: &OwnedFd, signal: Signal) {
    let _ = pidfd_send_signal(process, signal);
}

/// Waits for a process; its status, or 128 and its signal.
fn exit_code(process: &OwnedFd) -> Result<u8> {
    let ended = loop {
        match waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.map_err(Error::system("wait for the container"))?,
        }
    };
    let code = ended.and_then(|status| match status.exit_status() {
        Some(code) => Some(code),
        None => status.terminating_signal().map(|signal| 128 + signal),
    });
    Ok(code
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX))
}
