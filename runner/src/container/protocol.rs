//! The messages between a client and a container's monitor.
//!
//! ```text
//!   client                          monitor
//!     Launch + descriptors ─>        
//!     <─ Warning*                     control groups
//!     <─ Started (+ terminal)         the command runs
//!     Signal* ─>
//!     <─ Exited                       the command has ended; streams can be drained
//!     <─ Warning*                     what could not be undone
//!     <─ end of the channel           everything is undone
//! ```
//!
//! Instead of Started or Exited there may be Failed. If the client goes, the monitor sees the end
//! of the channel and ends the container. A detached container will be one whose client says so
//! in Launch; the monitor then keeps the streams itself.

use crate::init::TerminalSize;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// From the client.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Start the container of this directory. Beside it come its lock; the protected program
    /// that the monitor is executed from; the three streams if `streams`; and what keeps the
    /// image's layers from being removed.
    Launch {
        /// The container's directory.
        directory: PathBuf,
        /// Standard input, output and error come along.
        streams: bool,
        /// Size of the client's terminal, for a container with a terminal.
        terminal: Option<TerminalSize>,
    },
    /// Send this signal to the container's first process.
    Signal(i32),
}

/// From the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Event {
    /// A line for the user, as it shall be shown; the container goes on.
    Warning(String),
    /// The command runs; its terminal's master comes along if it has one.
    Started,
    /// The container could not be started: one line, and the exit code.
    Failed { message: String, code: u8 },
    /// The command has ended.
    Exited {
        /// Its status, or 128 and its signal.
        code: u8,
        /// The OOM killer struck.
        out_of_memory: bool,
        /// The memory limit in force, in bytes.
        memory_limit: Option<u64>,
    },
}
