//! The client of a container: starts its monitor or talks to it; follows streams; waits.
//!
//! ```text
//!   start ──Launch──> a new monitor            (here)
//!   control ──Stop, Kill, Pause, ...──> a monitor that runs
//!   session ── the streams and signals of one attached user, over either
//! ```

mod control;
mod session;

pub use control::Control;
pub use session::Outcome;

use super::directory::Directory;
use super::keys::Keys;
use super::lock::Lock;
use super::monitor;
use super::protocol::{Event, Exec, Request};
use crate::error::{Error, Result};
use crate::sys::channel::{Channel, Received};
use crate::sys::program;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use session::{Pipes, Session};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Which of a container's streams a user follows, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Following {
    /// Standard input is handed on.
    pub input: bool,
    /// Standard output is shown; all of a terminal's.
    pub output: bool,
    /// Standard error is shown.
    pub error: bool,
    /// The container has a terminal.
    pub terminal: bool,
    /// Signals to this process go to the container.
    pub proxy: bool,
    /// What lets go of a terminal.
    pub keys: Keys,
}

/// Takes a line for the user to read while the container runs.
pub type Warn<'a> = &'a mut dyn FnMut(&str);

/// Starts a container and returns when its command runs.
pub fn start(directory: &Directory, lock: Lock, warn: Warn<'_>) -> Result<()> {
    let channel = launch(directory, lock, None)?;
    loop {
        let received = channel.receive::<Event>();
        match received.map_err(Error::system("understand the container's monitor"))? {
            Received::Message(Event::Warning(text), _) => warn(&text),
            Received::Message(Event::Started, _) => return Ok(()),
            Received::Message(Event::Failed { message, code }, _) => {
                wait_for_end(&channel);
                return Err(Error::Monitor { message, code });
            }
            Received::Message(..) => {}
            Received::End => return Err(Error::MonitorDied),
        }
    }
}

/// Starts a container and follows its streams until its command has ended and everything is
/// undone, or the user lets go.
pub fn start_attached(
    directory: &Directory,
    lock: Lock,
    following: Following,
    warn: Warn<'_>,
) -> Result<Outcome> {
    let signals = session::block_signals(&following)?;
    let (ours, theirs) = Pipes::make(&following)?;
    let attach = following.request();
    let channel = launch(directory, lock, Some((attach, &theirs)))?;
    drop(theirs);
    Session::new(channel, signals, following, ours, true)?.follow(warn)
}

/// Follows the streams of a container that runs, from now on.
pub fn attach(directory: &Directory, following: Following, warn: Warn<'_>) -> Result<Outcome> {
    let signals = session::block_signals(&following)?;
    let (ours, theirs) = Pipes::make(&following)?;
    let channel = Control::connect(directory)?.attach(following.request(), &theirs)?;
    drop(theirs);
    Session::new(channel, signals, following, ours, false)?.follow(warn)
}

/// Runs another command in a container that runs, and follows it to its end.
pub(crate) fn exec(
    directory: &Directory,
    exec: Exec,
    following: Following,
    warn: Warn<'_>,
) -> Result<Outcome> {
    let signals = session::block_signals(&following)?;
    let control = Control::connect(directory)?;
    let (channel, pipes) = if following.terminal {
        let (channel, master) = control.exec(exec, &[])?;
        let master = master.ok_or(Error::MonitorDied)?;
        (channel, Pipes::of_terminal(master, &following)?)
    } else {
        let (ours, mut theirs) = Pipes::make(&following)?;
        if !following.input {
            let null = File::open("/dev/null").map_err(Error::io("open", "/dev/null"))?;
            theirs.insert(0, null.into());
        }
        (control.exec(exec, &theirs)?.0, ours)
    };
    Session::new(channel, signals, following, pipes, true)?.follow(warn)
}

/// As [`exec`], but returns when the command runs. Nobody sees what it says.
pub(crate) fn exec_detached(directory: &Directory, exec: Exec) -> Result<()> {
    Control::connect(directory)?.exec(exec, &[]).map(drop)
}

/// Executes this program, from where no container can write to it, as the container's monitor,
/// and hands it what it needs.
fn launch(
    directory: &Directory,
    lock: Lock,
    attach: Option<(super::protocol::Attach, &[OwnedFd])>,
) -> Result<Channel> {
    let what = "start the container's monitor";
    let (channel, theirs) = Channel::pair().map_err(Error::system("make a channel"))?;
    let program = program::protected().map_err(Error::system(what))?;
    let path = directory.join("monitor.log");
    let log = File::create(&path).map_err(Error::io("make", path))?;
    // It is not waited for: it outlives this process, or is seen to end by the channel.
    let _child = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
        .arg0("runner-monitor")
        .arg(monitor::VERB)
        .arg(directory.path())
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::from(theirs.into_socket()))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(Error::system(what))?;
    let (attach, pipes) = attach.unzip();
    let request = Request::Launch {
        directory: directory.path().to_owned(),
        attach,
    };
    let lock = lock.hand_over();
    let mut fds: Vec<BorrowedFd<'_>> = lock.iter().map(AsFd::as_fd).collect();
    fds.push(program.as_fd());
    fds.extend(pipes.into_iter().flatten().map(AsFd::as_fd));
    let sent = channel.send(&request, &fds);
    sent.map_err(Error::system("talk to the container's monitor"))?;
    Ok(channel)
}

/// Waits until the monitor has gone; what it still says is of no more interest.
fn wait_for_end(channel: &Channel) {
    while let Ok(Received::Message(..)) = channel.receive::<Event>() {}
}
