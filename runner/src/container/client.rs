//! The client of a container: starts its monitor, hands streams and signals to and fro, waits.
//!
//! ```text
//!   user's stdin  ──relay──> pipe or pty ──> container
//!   user's stdout <──relay── pipe or pty <── container     (and stderr, without a terminal)
//!   signals ──Signal──> monitor ──> container's first process
//! ```
//!
//! The container never gets a descriptor of the user: with the user's terminal in hand it could
//! type into it.

use super::directory::Directory;
use super::monitor;
use super::protocol::{Event, Request};
use super::relay::{Relay, Rest};
use super::spec::Spec;
use super::terminal::{self, Raw};
use crate::error::{Error, Result};
use crate::sys::channel::{Channel, Received};
use crate::sys::program;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Room in a pipe to or from the container, in bytes.
const PIPE: usize = 256 << 10;

/// Signals that go to the container.
const FORWARDED: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// How an attached container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The exit code of its command.
    pub code: u8,
    /// The OOM killer struck.
    pub out_of_memory: bool,
    /// The memory limit it had, in bytes.
    pub memory_limit: Option<u64>,
}

/// Takes a line for the user to read while the container runs.
pub type Warn<'a> = &'a mut dyn FnMut(&str);

/// Starts the container and stays until it has ended and everything is undone. `held` is handed
/// to the monitor to be kept open.
pub fn run_attached(
    spec: &Spec,
    directory: &Directory,
    lock: OwnedFd,
    held: Vec<OwnedFd>,
    warn: Warn<'_>,
) -> Result<Ended> {
    let signals = block_signals()?;
    let (channel, theirs) = Channel::pair().map_err(Error::system("make a channel"))?;
    let (monitor, program) = start_monitor(directory, theirs)?;
    let (ours, streams) = if spec.command.terminal {
        (None, None)
    } else {
        let (ours, theirs) = Pipes::make(spec.command.input)?;
        (Some(ours), Some(theirs))
    };
    let request = Request::Launch {
        directory: directory.path().to_owned(),
        streams: streams.is_some(),
        terminal: terminal::size(),
    };
    let mut fds: Vec<BorrowedFd<'_>> = vec![lock.as_fd(), program.as_fd()];
    fds.extend(streams.iter().flatten().map(AsFd::as_fd));
    fds.extend(held.iter().map(AsFd::as_fd));
    let sent = channel.send(&request, &fds);
    drop((streams, lock, program, held));
    sent.map_err(Error::system("talk to the container's monitor"))?;
    let mut session = Session {
        channel,
        signals,
        monitor,
        attached: Attached::default(),
        input: spec.command.input,
    };
    if let Some(pipes) = ours {
        session.attached.attach_pipes(pipes)?;
    }
    session.follow(warn)
}

fn block_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in FORWARDED {
        set.add(signal);
    }
    // Before any thread is made, so that all have it.
    set.thread_block()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC))
        .map_err(Error::system("block signals"))
}

/// Executes this program, from where no container can write to it, as the monitor; also gives
/// the descriptor that it was executed from.
fn start_monitor(directory: &Directory, channel: Channel) -> Result<(Child, OwnedFd)> {
    let what = "start the container's monitor";
    let program = program::protected().map_err(Error::system(what))?;
    let path = directory.join("monitor.log");
    let log = File::create(&path).map_err(Error::io("make", path))?;
    let child = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
        .arg0("runner-monitor")
        .arg(monitor::VERB)
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::from(channel.into_socket()))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(Error::system(what))?;
    Ok((child, program))
}

/// Our ends of the container's streams.
struct Pipes {
    input: Option<OwnedFd>,
    output: OwnedFd,
    error: OwnedFd,
}

impl Pipes {
    /// Makes the pipes; also gives the container's ends, in order.
    fn make(input: bool) -> Result<(Self, [OwnedFd; 3])> {
        let make = || {
            let ends = pipe_with(PipeFlags::CLOEXEC)?;
            // Refused beyond the user's share of pipe memory: the default does, too.
            let _ = fcntl_setpipe_size(&ends.0, PIPE);
            Ok::<_, io::Error>(ends)
        };
        let pipe = || make().map_err(Error::system("make a pipe"));
        let (theirs_in, ours_in) = if input {
            let (read, write) = pipe()?;
            (read, Some(write))
        } else {
            let null = File::open("/dev/null").map_err(Error::io("open", "/dev/null"))?;
            (null.into(), None)
        };
        let (output, theirs_out) = pipe()?;
        let (error, theirs_error) = pipe()?;
        let ours = Self {
            input: ours_in,
            output,
            error,
        };
        Ok((ours, [theirs_in, theirs_out, theirs_error]))
    }
}

/// The running relays.
#[derive(Default)]
struct Attached {
    input: Option<Relay>,
    outputs: Vec<Relay>,
    master: Option<OwnedFd>,
    raw: Option<Raw>,
}

impl Attached {
    fn attach_pipes(&mut self, pipes: Pipes) -> Result<()> {
        let failed = Error::system::<io::Error>;
        let what = "relay the container's streams";
        if let Some(pipe) = pipes.input {
            let stdin = io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .map_err(failed(what))?;
            self.input = Some(Relay::start(stdin, pipe, Rest::Leave).map_err(failed(what))?);
        }
        let stdout = io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map_err(failed(what))?;
        let stderr = io::stderr()
            .as_fd()
            .try_clone_to_owned()
            .map_err(failed(what))?;
        for (from, to) in [(pipes.output, stdout), (pipes.error, stderr)] {
            self.outputs
                .push(Relay::start(from, to, Rest::Copy).map_err(failed(what))?);
        }
        Ok(())
    }

    fn attach_terminal(&mut self, master: OwnedFd, input: bool) -> io::Result<()> {
        terminal::follow_size(&master);
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        self.outputs
            .push(Relay::start(master.try_clone()?, stdout, Rest::Copy)?);
        if input {
            // Refused if standard input is no terminal: the keys then come as they are.
            self.raw = Raw::standard_input().ok();
            let stdin = io::stdin().as_fd().try_clone_to_owned()?;
            self.input = Some(Relay::start(stdin, master.try_clone()?, Rest::Leave)?);
        }
        self.master = Some(master);
        Ok(())
    }

    /// Copies what is still there, and gives the user's terminal back.
    fn finish(&mut self) {
        for output in self.outputs.drain(..) {
            output.finish();
        }
        if let Some(input) = self.input.take() {
            input.finish();
        }
        self.raw = None;
    }
}

/// One attached container, seen from the client.
struct Session {
    channel: Channel,
    signals: SignalFd,
    monitor: Child,
    attached: Attached,
    input: bool,
}

impl Session {
    /// Follows the container until its monitor has undone everything.
    fn follow(mut self, warn: Warn<'_>) -> Result<Ended> {
        let mut ended = None;
        loop {
            let mut watched = [
                PollFd::new(&self.channel, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            match poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.map_err(Error::system("wait for the container"))?,
            };
            let [from_monitor, from_user] = watched.map(|fd| !fd.revents().is_empty());
            if from_user {
                self.forward_signal();
            }
            if from_monitor && !self.take_event(&mut ended, warn)? {
                break;
            }
        }
        self.attached.finish();
        // It has nothing left to do but to exit.
        let _ = self.monitor.wait();
        ended.unwrap_or(Err(Error::MonitorDied))
    }

    fn forward_signal(&self) {
        let Ok(Some(signal)) = self.signals.read_signal() else {
            return;
        };
        let number = signal.ssi_signo as i32;
        match &self.attached.master {
            Some(master) if number == Signal::SIGWINCH as i32 => terminal::follow_size(master),
            // A monitor that is gone is noticed at once.
            _ => drop(self.channel.send(&Request::Signal(number), &[])),
        }
    }

    /// Takes one message; false when there are no more.
    fn take_event(&mut self, ended: &mut Option<Result<Ended>>, warn: Warn<'_>) -> Result<bool> {
        let received = self.channel.receive::<Event>();
        let received = received.map_err(Error::system("understand the container's monitor"))?;
        let (event, fds) = match received {
            Received::Message(event, fds) => (event, fds),
            Received::End => return Ok(false),
        };
        match event {
            Event::Warning(text) => warn(&text),
            Event::Started => {
                if let Some(master) = fds.into_iter().next() {
                    self.attached
                        .attach_terminal(master, self.input)
                        .map_err(Error::system("use the container's terminal"))?;
                }
            }
            Event::Failed { message, code } => {
                self.attached.finish();
                *ended = Some(Err(Error::Monitor { message, code }));
            }
            Event::Exited {
                code,
                out_of_memory,
                memory_limit,
            } => {
                self.attached.finish();
                *ended = Some(Ok(Ended {
                    code,
                    out_of_memory,
                    memory_limit,
                }));
            }
        }
        Ok(true)
    }
}
