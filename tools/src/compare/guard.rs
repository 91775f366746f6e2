//! Ends what is running when the user says so, or when a contender hangs.
//!
//! ```text
//!   SIGINT, SIGTERM, SIGHUP ──> thread ─┐
//!   the limit of a turn ──────> thread ─┴─> SIGKILL to every watched process group
//! ```
//!
//! A killed daemon ends its FUSE connection, so that whatever waits for it gets an error, and the
//! main thread cleans up in its usual way. Nothing is checked while operations are timed.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::error::{Context, Error, Result};

/// Watches over processes; cheap to clone.
#[derive(Clone)]
pub(super) struct Guard(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    interrupted: bool,
    expired: bool,
    deadline: Option<Instant>,
    /// Leaders of process groups, not yet reaped.
    groups: Vec<Pid>,
}

impl State {
    fn end_all(&self) {
        for group in &self.groups {
            // It may have ended just now; it is not reaped before it is taken off this list, so
            // that the number is still its own.
            let _ = kill_process_group(*group, rustix::process::Signal::KILL);
        }
    }
}

/// A process on the guard's list; must be dropped before the process is reaped.
pub(super) struct Watched {
    guard: Guard,
    group: Pid,
}

impl Guard {
    /// Blocks the signals in this thread and those it starts, and waits for them.
    ///
    /// # Errors
    /// Those of pthread_sigmask(3).
    pub(super) fn start() -> Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
            .into_iter()
            .collect();
        signals.thread_block().on("blocking signals")?;
        let guard = Self(Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        }));
        let own = guard.clone();
        thread::spawn(move || {
            while signals.wait().is_ok() {
                let mut state = own.0.state.lock();
                state.interrupted = true;
                state.end_all();
            }
        });
        let own = guard.clone();
        thread::spawn(move || own.keep_time());
        Ok(guard)
    }

    /// Sleeps to the deadline of each turn; ends with the program.
    fn keep_time(&self) {
        let mut state = self.0.state.lock();
        loop {
            let left = state
                .deadline
                .map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                state.expired = true;
                state.deadline = None;
                state.end_all();
            }
            // Woken by every new deadline; a day stands for "no deadline".
            let left = left.unwrap_or(Duration::from_secs(86_400));
            self.0.changed.wait_for(&mut state, left);
        }
    }

    /// Begins a turn that may last `limit`.
    pub(super) fn begin(&self, limit: Duration) {
        let mut state = self.0.state.lock();
        state.expired = false;
        state.deadline = Some(Instant::now() + limit);
        self.0.changed.notify_one();
    }

    /// Ends the turn; whether the limit was passed.
    pub(super) fn end(&self) -> bool {
        let mut state = self.0.state.lock();
        state.deadline = None;
        std::mem::take(&mut state.expired)
    }

    /// # Errors
    /// [`Error::Interrupted`] once a signal has come.
    pub(super) fn check(&self) -> Result<()> {
        if self.0.state.lock().interrupted {
            return Err(Error::Interrupted);
        }
        Ok(())
    }

    /// Puts a child that leads a process group on the list; kills it at once if it came too late.
    pub(super) fn watch(&self, child: &std::process::Child) -> Watched {
        let group = Pid::from_child(child);
        let mut state = self.0.state.lock();
        state.groups.push(group);
        if state.interrupted || state.expired {
            state.end_all();
        }
        Watched {
            guard: self.clone(),
            group,
        }
    }
}

impl Watched {
    /// Waits until the process has ended, and leaves it to be reaped.
    pub(super) fn wait_end(&self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        // Our own child, not reaped: there is no other error.
        while matches!(waitid(WaitId::Pid(self.group), options), Err(Errno::INTR)) {}
    }

    /// Whether the process has ended; leaves it to be reaped.
    pub(super) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(self.group), options), Ok(None))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let group = self.group;
        self.guard
            .0
            .state
            .lock()
            .groups
            .retain(|other| *other != group);
    }
}
