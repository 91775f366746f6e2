//! Going to the background: the parent returns when the child serves, or with the child's error.
//!
//! ```text
//!   parent ── fork ──> child: setsid, open layers, mount
//!     │                  │
//!     │<──── pipe ───────┤ Ready: one zero byte
//!     │                  │ Failed: the message, no zero byte
//!     ▼                  ▼
//!   exit 0 or 1        serves, stdio on /dev/null
//! ```
//!
//! A child that dies without a word closes the pipe: the parent then tells how it died.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use rustix::pipe::PipeFlags;

use super::sys;

/// Which side of the fork this is.
#[derive(Debug)]
pub enum Side {
    /// The child, which shall serve and report.
    Child(Report),
    /// The parent: the child's end of the story.
    Parent(Result<(), String>),
}

/// How the child tells its parent.
#[derive(Debug)]
pub struct Report(File);

/// Forks; the parent waits for the report. Call it before any thread is made.
///
/// # Errors
/// The pipe or the process could not be had.
pub fn background() -> io::Result<Side> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    match sys::fork_single_threaded()? {
        ForkResult::Child => {
            drop(read);
            // A new process never leads a group yet, so this cannot fail.
            let _ = nix::unistd::setsid();
            Ok(Side::Child(Report(File::from(write))))
        }
        ForkResult::Parent { child } => {
            drop(write);
            Ok(Side::Parent(hear(File::from(read), child)))
        }
    }
}

/// Reads the report to its end.
fn hear(mut pipe: File, child: Pid) -> Result<(), String> {
    let mut message = Vec::new();
    if let Err(error) = pipe.read_to_end(&mut message) {
        return Err(format!("waiting for the daemon: {error}"));
    }
    match message.as_slice() {
        [0] => Ok(()),
        [] => Err(match waitpid(child, None) {
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                format!("the daemon was killed by {signal} before it served")
            }
            _ => "the daemon ended before it served".to_owned(),
        }),
        text => Err(String::from_utf8_lossy(text).into_owned()),
    }
}

impl Report {
    /// Tells the parent that the file system serves, and lets go of the terminal.
    pub fn ready(mut self) {
        // Until here a panic's message had to reach the user.
        if let Err(error) = silence() {
            tracing::debug!(%error, "cannot put stdio on /dev/null");
        }
        // The parent may have been killed; the file system serves all the same.
        let _ = self.0.write_all(&[0]);
    }

    /// Tells the parent why there will be no file system.
    pub fn failed(mut self, message: &str) {
        let _ = self.0.write_all(message.as_bytes());
    }
}

fn silence() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(null.as_fd())?;
    rustix::stdio::dup2_stdout(null.as_fd())?;
    rustix::stdio::dup2_stderr(null.as_fd())?;
    Ok(())
}
