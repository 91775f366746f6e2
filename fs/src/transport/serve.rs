//! Serving: from an opened [`FileSystem`] to a mount, and back.
//!
//! ```text
//!   check mount point ─> mount ─> INIT ─> ready() ─> threads serve ─> unmounted ─> close()
//!                          │        │                     ▲
//!                          └─ error: detach               └── SIGTERM: the stopper thread unmounts
//! ```

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use fuser::{Session, SessionACL};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags};
use rustix::pipe::PipeFlags;

use super::device::{Caching, Device};
use super::mount::{
    FOREVER, MountError, MountOptions, Mounted, check_mountpoint, mount, this_server,
};
use crate::error::Error;
use crate::ops::FileSystem;

/// Why serving could not begin, or ended badly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Nothing was mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The kernel and we did not agree; nothing is left mounted.
    #[error("FUSE connection: {0}")]
    Handshake(#[source] io::Error),
    /// A pipe, a signal mask or a thread could not be had; nothing is left mounted.
    #[error("preparing to serve: {0}")]
    Prepare(#[source] io::Error),
    /// The connection broke; nothing is left mounted.
    #[error("serving: {0}")]
    Broken(#[source] io::Error),
    /// It served well, but the end failed: what was written last may be lost.
    #[error("syncing the upper at the end: {0}")]
    Close(#[source] Error),
}

/// Mounts `file_system` at `mountpoint`, calls `ready` once it answers, serves until it is
/// unmounted, and closes it. Open the file system first: a layer may hide below the mount point.
///
/// Blocks the calling thread. Everything it needs from the process is set by [`prepare_process`].
///
/// # Errors
/// See [`ServeError`]; if `ready` was not called, nothing is left mounted.
pub fn serve(
    file_system: FileSystem,
    mountpoint: &Path,
    options: &MountOptions,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let file_system = Arc::new(file_system);
    let mut settler = None;
    let result = serve_mounted(&file_system, mountpoint, options, &mut settler, ready);
    let closed = file_system.close().map_err(ServeError::Close);
    if let Some(thread) = settler {
        // It ends with the close. A panic of it has been printed; what it held is lost to nobody.
        let _ = thread.join();
    }
    result.and(closed)
}

fn serve_mounted(
    file_system: &Arc<FileSystem>,
    mountpoint: &Path,
    options: &MountOptions,
    settler: &mut Option<JoinHandle<()>>,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let mountpoint = check_mountpoint(mountpoint)?;
    // Before any thread is made, so that they all inherit the mask.
    let signals = options
        .stop_on_signals
        .then(BlockedSignals::new)
        .transpose();
    let signals = signals.map_err(ServeError::Prepare)?;
    let (connection, mounted) = mount(&mountpoint, options)?;
    let begun = begin(file_system, options, connection).map_err(ServeError::Handshake);
    let session = begun.inspect_err(|_| detach(&mounted))?;
    let stopper = signals.map(|signals| Stopper::start(signals, mounted.clone(), file_system));
    let stopper = match stopper.transpose() {
        Ok(stopper) => stopper,
        Err(error) => {
            detach(&mounted);
            return Err(ServeError::Prepare(error));
        }
    };
    match start_settler(file_system) {
        Ok(thread) => *settler = Some(thread),
        Err(error) => {
            detach(&mounted);
            return Err(ServeError::Prepare(error));
        }
    }
    ready();
    let ended = with_io_flusher(|| session.run()).map_err(ServeError::Broken);
    if ended.is_err() {
        detach(&mounted);
    } else {
        mounted.clean_up();
    }
    if let Some(stopper) = stopper {
        stopper.finish();
    }
    ended
}

/// Shakes hands with the kernel.
fn begin(
    file_system: &Arc<FileSystem>,
    options: &MountOptions,
    connection: OwnedFd,
) -> io::Result<Session<Device>> {
    let caching = Caching {
        timeout: options.timeout,
        keep: options.timeout >= FOREVER,
        acl: options.acl,
    };
    // Only a process that ends after serving can be waited for.
    let server = options.stop_on_signals.then(this_server).flatten();
    let notifier = Arc::new(OnceLock::new());
    let device = Device::new(file_system.clone(), caching, server, notifier.clone());
    let mut config = fuser::Config::default();
    config.n_threads = Some(options.threads.max(1));
    config.clone_fd = true;
    // The kernel checks who may enter (`allow_other`); fuser need not.
    let session = Session::from_fd(device, connection, SessionACL::All, config)?;
    // Nobody set it before: the cell is ours alone.
    let _ = notifier.set(session.notifier());
    Ok(session)
}

/// The thread that brings copied-up data to disk, until the file system is closed.
fn start_settler(file_system: &Arc<FileSystem>) -> io::Result<JoinHandle<()>> {
    let file_system = file_system.clone();
    std::thread::Builder::new()
        .name("settler".to_owned())
        .spawn(move || file_system.settle_until_closed())
}

fn detach(mounted: &Mounted) {
    if let Err(error) = mounted.detach() {
        tracing::warn!(%error, "a dead mount is left");
    }
}

/// Serving threads must get memory without waiting for dirty pages of their own mount to be
/// written; the flag is the thread's, inherited by the threads it makes, and so is taken back
/// afterwards. Without CAP_SYS_RESOURCE it cannot be had, and we do without it.
fn with_io_flusher<T>(body: impl FnOnce() -> T) -> T {
    let set = rustix::process::configure_io_flusher_behavior(true).is_ok();
    let result = body();
    if set {
        let _ = rustix::process::configure_io_flusher_behavior(false);
    }
    result
}

/// The signals that stop us, blocked in this thread until dropped.
struct BlockedSignals {
    wanted: SigSet,
    before: SigSet,
}

impl BlockedSignals {
    fn new() -> io::Result<Self> {
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
struct Stopper {
    /// Dropping it wakes the thread.
    wake: OwnedFd,
    thread: JoinHandle<()>,
    _signals: BlockedSignals,
}

impl Stopper {
    fn start(
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

    fn finish(self) {
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

/// Makes the process fit to serve: no umask of its own (modes come ready from the caller), and as
/// many open files as it may have. For the whole process, so not done by [`serve`] itself.
pub fn prepare_process() {
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    if let Err(error) = raise_open_files() {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
}

/// Up to fs.nr_open if we may, else up to the hard limit.
fn raise_open_files() -> nix::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(hard)
        .max(hard);
    if soft >= most {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, most, most)
        .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard, hard))
}
