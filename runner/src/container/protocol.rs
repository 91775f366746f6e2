//! The messages between commands and a container's monitor.
//!
//! ```text
//!   client                           monitor
//!     Launch + descriptors ─>          once, over the socket pair it is born with
//!     <─ Warning*                      control groups
//!     <─ Started                       the command runs
//!
//!   any command, over control.sock (or still over the pair):
//!     Attach + pipes ─>                <─ Done
//!     Signal, Resize, Unread ─>        no answer
//!     Kill, Pause, Connect, … ─>       <─ Done, or Refused
//!     Exec + pipes ─>                  a process of its own answers from now on:
//!     Signal, Resize ─>                <─ Terminal, Started, Exited, or Failed
//!     Stop, Wait ─>
//!     <─ Exited                        everything is undone, the state is written
//!     <─ Warning*                      what could not be undone
//!     <─ end of the channel            the monitor goes
//! ```
//!
//! Instead of Started there may be Failed. A client that goes takes its streams with it, nothing
//! else. Attached clients are told Exited, too, each time the command ends.

use super::spec::{Limits, Restart};
use crate::init::TerminalSize;
use crate::logs::Stream;
use crate::network::Join;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The monitor's socket in the container's directory.
pub(super) const SOCKET: &str = "control.sock";

/// To the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Start the container of this directory. Beside it come its lock, the protected program
    /// that the monitor is executed from, and the pipes of `attach`.
    Launch {
        /// The container's directory.
        directory: PathBuf,
        /// The client follows the container's streams from their beginning.
        attach: Option<Attach>,
    },
    /// Follow the container's streams from now on; the pipes come along.
    Attach(Attach),
    /// Hand this signal of the client's own on to the first process.
    Signal(i32),
    /// The client's terminal has this size.
    Resize(TerminalSize),
    /// Nobody reads what the client was given of this stream.
    Unread(Stream),
    /// Send this signal to the first process, as the user's wish.
    Kill(i32),
    /// End the container: this signal, or the container's own; then, after so many seconds (or
    /// the container's own number; never if negative), SIGKILL.
    Stop {
        /// Instead of the container's own.
        signal: Option<i32>,
        /// Instead of the container's own.
        seconds: Option<i64>,
    },
    /// Freeze all processes.
    Pause,
    /// Thaw them.
    Unpause,
    /// Tell when the command ends.
    Wait,
    /// These limits and this restart policy instead of its own.
    Update {
        /// All of its limits.
        limits: Box<Limits>,
        /// Its restart policy.
        restart: Restart,
    },
    /// Be on one more network.
    Connect(Join),
    /// Be no longer on a network, by name or id.
    Disconnect(String),
    /// Run another command in the container; the pipes come along, all three or none.
    Exec(Exec),
}

/// Another command in a container that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exec {
    /// Command and arguments.
    pub(crate) args: Vec<String>,
    /// Added to the container's own environment.
    pub(crate) env: Vec<(String, String)>,
    /// Instead of the container's own.
    pub(crate) cwd: Option<PathBuf>,
    /// Instead of the container's own.
    pub(crate) user: Option<String>,
    /// A pseudo terminal of this size.
    pub(crate) terminal: Option<TerminalSize>,
    /// All rights, whatever those of the container are.
    pub(crate) privileged: bool,
}

/// Which streams a client follows; a pipe comes along for each, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attach {
    /// What the client reads becomes standard input.
    pub(super) input: bool,
    /// Standard output; all of a terminal's.
    pub(super) output: bool,
    /// Standard error.
    pub(super) error: bool,
    /// Size of the client's terminal.
    pub(super) size: Option<TerminalSize>,
}

/// From the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Event {
    /// A line for the user, as it shall be shown; the container goes on.
    Warning(String),
    /// The command runs.
    Started,
    /// The master of the command's terminal comes along.
    Terminal,
    /// The container could not be started: one line, and the exit code.
    Failed { message: String, code: u8 },
    /// What was asked for is done.
    Done,
    /// What was asked for cannot be done: one line.
    Refused(String),
    /// The command has ended.
    Exited(Ended),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its status, or 128 and its signal.
    pub code: u8,
    /// The OOM killer struck.
    pub out_of_memory: bool,
    /// The memory limit that was in force, in bytes.
    pub memory_limit: Option<u64>,
}
