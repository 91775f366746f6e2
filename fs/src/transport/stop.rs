//! Stopping: SIGTERM and its like unmount, so that everything is written and everybody is told.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags};
use rustix::pipe::PipeFlags;

use super::mount::Mounted;
use crate::ops::FileSystem;

/// The signals that stop us, blocked in this thread until dropped.
pub(super) struct BlockedSignals {
    wanted: SigSet,
    before: SigSet,
}

impl BlockedSignals {
    /// Blocks them.
    pub(super) fn new() -> io::Result<Self> {
        let wanted: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]
            .into_iter()
            .collect();
        let before = wanted.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
        Ok(Self { wanted, before })
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // Fails only for a mask that the kernel did not give us.
        let _ = self.before.thread_set_mask();
    }
}

/// The thread that waits for signals. The first unmounts (out of sight if busy, and then the
/// programs inside may finish); the second ends at once, after a sync.
pub(super) struct Stopper {
    /// Dropping it wakes the thread.
    wake: OwnedFd,
    thread: JoinHandle<()>,
    _signals: BlockedSignals,
}

impl Stopper {
    /// Starts it.
    pub(super) fn start(
        signals: BlockedSignals,
        mounted: Mounted,
        file_system: &Arc<FileSystem>,
    ) -> io::Result<Self> {
        let queue = SignalFd::with_flags(&signals.wanted, SfdFlags::SFD_CLOEXEC)?;
        let (woken, wake) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let file_system = file_system.clone();
        let thread = std::thread::Builder::new()
            .name("stopper".to_owned())
            .spawn(move || {
                let mut unmounted = false;
                while wait(&queue, &woken) {
                    if unmounted {
                        // Requests that hang in a layer must not keep us: the kernel ends them when
                        // the connection goes with the process.
                        if let Err(error) = file_system.close() {
                            tracing::error!(%error, "syncing the upper at the end");
                        }
                        std::process::exit(1);
                    }
                    match mounted.unmount() {
                        Ok(()) => unmounted = true,
                        Err(error) => {
                            tracing::error!(%error, "a signal asked to stop; cannot unmount")
                        }
                    }
                }
            })?;
        Ok(Self {
            wake,
            thread,
            _signals: signals,
        })
    }

    /// Ends it, when the file system is unmounted.
    pub(super) fn finish(self) {
        drop(self.wake);
        // A panic of the thread has been printed; there is nothing of its to use.
        let _ = self.thread.join();
    }
}

/// True when a signal came, false when it is time to end.
fn wait(queue: &SignalFd, woken: &OwnedFd) -> bool {
    loop {
        let mut waited = [
            PollFd::new(queue, PollFlags::IN),
            PollFd::from_borrowed_fd(woken.as_fd(), PollFlags::IN),
        ];
        if rustix::event::poll(&mut waited, None).is_err() {
            continue;
        }
        if !waited[1].revents().is_empty() {
            return false;
        }
        if let Ok(Some(_)) = queue.read_signal() {
            return true;
        }
    }
}
