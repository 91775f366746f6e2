//! `--init`: a small pid 1 that starts the command, hands signals on and reaps orphans.
//!
//! It stays the runner's own program for the container's life, so it is made harmless: not
//! dumpable (no ptrace, no `/proc/1/mem`), executed from a read-only mount (see
//! [`crate::sys::program`]), with the command's ids, capabilities and seccomp filter, and with
//! no descriptor but 0 to 2.

use crate::sys::process::exit_now;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Signals that are this process's own business, not to be handed on.
const OWN: [Signal; 7] = [
    Signal::SIGCHLD,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
];

/// Serves until the command `child` has ended, and ends as it did. All signals must be blocked.
pub(super) fn run(child: i32) -> ! {
    let child = Pid::from_raw(child);
    let all = SigSet::all();
    loop {
        let signal = match all.wait() {
            Ok(signal) => signal,
            Err(_) => continue,
        };
        if !OWN.contains(&signal) {
            // Gone already: its end is about to be seen.
            let _ = kill(child, signal);
        }
        if let Some(code) = reap(child) {
            exit_now(code);
        }
    }
}

/// Reaps all that have ended; the exit code if the command is among them.
fn reap(child: Pid) -> Option<i32> {
    loop {
        let ended = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Err(Errno::EINTR) => continue,
            Ok(WaitStatus::StillAlive) | Err(_) => return None,
            Ok(_) => continue,
        };
        if ended.0 == child {
            return Some(ended.1);
        }
    }
}
