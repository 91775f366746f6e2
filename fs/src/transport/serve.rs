//! Serving: from an opened [`FileSystem`] to a mount, and back.
//!
//! ```text
//!   check mount point ─> connect ─> attend ─> ready() ─> threads serve ─> unmounted ─> close()
//!                                     │                       ▲
//!                                     ├─ stopper ── SIGTERM ──┘ unmounts
//!                                     └─ settler: brings copied-up data to disk
//! ```

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::mount::{MountError, MountOptions, check_mountpoint};
use super::rings::NoRings;
use super::session::connect;
use super::stop::{BlockedSignals, Stopper};
use crate::error::Error;
use crate::ops::FileSystem;

/// Why serving could not begin, or ended badly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Nothing was mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Rings were asked for, and cannot be had; nothing is left mounted.
    #[error("--transport rings: {0}")]
    Rings(#[source] NoRings),
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

/// Descriptors that a mount has room for from the start: 32 KiB in the kernel.
const RESERVED: i32 = 4096;

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
    if let Err(error) = reserve_descriptors() {
        tracing::debug!(%error, "cannot reserve room for open files");
    }
    // Before any thread is made, so that they all inherit the mask.
    let signals = options
        .stop_on_signals
        .then(BlockedSignals::new)
        .transpose();
    let signals = signals.map_err(ServeError::Prepare)?;
    let session = connect(file_system, &mountpoint, options)?;
    let mounted = session.mounted().clone();
    let attended = || -> io::Result<Option<Stopper>> {
        let stop = |signals| Stopper::start(signals, mounted.clone(), file_system);
        let stopper = signals.map(stop).transpose()?;
        *settler = Some(start_settler(file_system)?);
        Ok(stopper)
    };
    let stopper = attended().map_err(|error| {
        mounted.detach_or_warn();
        ServeError::Prepare(error)
    })?;
    ready();
    let ended = session.run();
    if let Some(stopper) = stopper {
        stopper.finish();
    }
    ended.map_err(ServeError::Broken)
}

/// Makes room for [`RESERVED`] descriptors. Once there are threads, the kernel waits for all processors
/// whenever the table grows (`expand_fdtable`, 10 to 20 ms), first at the 65th: with 60 layers that is
/// while mounting, else in the middle of somebody's request.
fn reserve_descriptors() -> io::Result<()> {
    let any = std::fs::File::open("/")?;
    rustix::io::fcntl_dupfd_cloexec(&any, RESERVED - 1)?;
    Ok(())
}

/// The thread that brings copied-up data to disk, until the file system is closed.
fn start_settler(file_system: &Arc<FileSystem>) -> io::Result<JoinHandle<()>> {
    let file_system = file_system.clone();
    std::thread::Builder::new()
        .name("settler".to_owned())
        .spawn(move || file_system.settle_until_closed())
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
