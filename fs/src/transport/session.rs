//! A session: a mount, the agreement with the kernel on how requests come, and the threads that serve.
//!
//! ```text
//!   rings made ─> mount ─> INIT ─> rings registered ─> serve
//!       │           │ a step fails: detach │
//!       └───────────┴───> mount ─> INIT <──┘ ───────── serve over /dev/fuse, unless rings must be
//! ```
//!
//! Nothing is served before the rings stand, so the second mount starts afresh.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::abi::init;
use super::device::{self, Connection};
use super::dispatch::Service;
use super::init::handshake;
use super::mount::{FOREVER, Io, MountOptions, Mounted, Transport, mount, this_server};
use super::policy::Policy;
use super::pool::Pool;
use super::rings::{NoRings, Rings};
use super::serve::ServeError;
use super::stats::Stats;
use crate::ops::FileSystem;

/// Bytes of one READ or WRITE over /dev/fuse. Each thread has buffers of this size, of which only what
/// the kernel fills becomes resident.
const DEVICE_MAX_WRITE: u32 = 1 << 20;

/// A mount that is about to be served.
pub(super) struct Session {
    mounted: Mounted,
    service: Arc<Service>,
    max_write: u32,
    carrier: Carrier,
}

/// How its requests come.
enum Carrier {
    /// All over /dev/fuse, to so many threads.
    Device(usize),
    /// Over rings, but for what always comes over /dev/fuse.
    Rings(Rings),
}

/// Mounts, and agrees with the kernel on how requests come.
pub(super) fn connect(
    file_system: &Arc<FileSystem>,
    mountpoint: &Path,
    options: &MountOptions,
) -> Result<Session, ServeError> {
    if options.transport != Transport::Device {
        match connect_rings(file_system, mountpoint, options) {
            Err(ServeError::Rings(why)) if options.transport == Transport::Auto => {
                tracing::warn!("serving over /dev/fuse, which is slower: {why}");
            }
            other => return other,
        }
    }
    let wanted = policy(options).wanted();
    let (mounted, service, _) =
        open_connection(file_system, mountpoint, options, wanted, DEVICE_MAX_WRITE)?;
    Ok(Session {
        mounted,
        service,
        max_write: DEVICE_MAX_WRITE,
        carrier: Carrier::Device(options.threads.max(1)),
    })
}

fn connect_rings(
    file_system: &Arc<FileSystem>,
    mountpoint: &Path,
    options: &MountOptions,
) -> Result<Session, ServeError> {
    let rings = with_io_flusher(Rings::prepare).map_err(ServeError::Rings)?;
    let pool = with_io_flusher(|| Pool::new(options.threads.max(1)));
    let pool = pool.map_err(ServeError::Prepare)?;
    let max_write = rings.payload();
    let wanted = policy(options).wanted() | init::OVER_IO_URING;
    let (mounted, service, agreed) =
        open_connection(file_system, mountpoint, options, wanted, max_write)?;
    let started = if agreed & init::OVER_IO_URING == 0 {
        Err(NoRings::SwitchedOff)
    } else {
        let broken = mounted.clone();
        rings.start(&service.connection, &service, pool, move || broken.abort())
    };
    if let Err(why) = started {
        mounted.detach_or_warn();
        return Err(ServeError::Rings(why));
    }
    Ok(Session {
        mounted,
        service,
        max_write,
        carrier: Carrier::Rings(rings),
    })
}

/// Mounts and shakes hands; gives the flags that the kernel agreed to. After an error nothing is
/// mounted.
fn open_connection(
    file_system: &Arc<FileSystem>,
    mountpoint: &Path,
    options: &MountOptions,
    wanted: u64,
    max_write: u32,
) -> Result<(Mounted, Arc<Service>, u64), ServeError> {
    let (connection, mounted) = mount(mountpoint, options, max_write)?;
    let connection = Connection::from(connection);
    let agreed = handshake(&connection, wanted, max_write)
        .inspect_err(|_| mounted.detach_or_warn())
        .map_err(ServeError::Handshake)?;
    let service = Service {
        file_system: file_system.clone(),
        policy: policy(options),
        // Only a process that ends after serving can be waited for.
        server: options.stop_on_signals.then(this_server).flatten(),
        connection,
        no_open: agreed & init::NO_OPEN_SUPPORT != 0,
        no_opendir: agreed & init::NO_OPENDIR_SUPPORT != 0,
        stats: Stats::default(),
        transport: match agreed & init::OVER_IO_URING {
            0 => "device",
            _ => "rings",
        },
    };
    Ok((mounted, Arc::new(service), agreed))
}

fn policy(options: &MountOptions) -> Policy {
    Policy {
        timeout: options.timeout,
        keep: options.timeout >= FOREVER,
        acl: options.acl,
        writeback: options.io == Io::Writeback && !options.read_only,
    }
}

impl Session {
    /// Its mount.
    pub(super) fn mounted(&self) -> &Mounted {
        &self.mounted
    }

    /// Serves until the file system is unmounted.
    ///
    /// # Errors
    /// The connection broke; nothing is left mounted.
    pub(super) fn run(self) -> io::Result<()> {
        let threads = match &self.carrier {
            Carrier::Device(threads) => *threads,
            Carrier::Rings(_) => 1,
        };
        let device = with_io_flusher(|| serve_device(&self.service, self.max_write, threads));
        if device.is_err() {
            // The rings would go on; without FORGET they must not.
            self.mounted.detach_or_warn();
            self.mounted.abort();
        }
        let rings = match self.carrier {
            Carrier::Device(_) => Ok(()),
            Carrier::Rings(rings) => rings.join(),
        };
        self.mounted.clean_up();
        device.and(rings)
    }
}

/// Serves what comes over /dev/fuse with so many threads, this one among them.
fn serve_device(service: &Arc<Service>, max_write: u32, threads: usize) -> io::Result<()> {
    let mut others: Vec<JoinHandle<io::Result<()>>> = Vec::new();
    for number in 1..threads {
        let another = service.connection.another();
        let thread = another.and_then(|connection| {
            let service = service.clone();
            std::thread::Builder::new()
                .name(format!("device-{number}"))
                .spawn(move || device::serve(&connection, &service, max_write))
        });
        match thread {
            Ok(thread) => others.push(thread),
            // Fewer threads serve as well.
            Err(error) => {
                tracing::warn!(%error, number, "fewer threads than asked for");
                break;
            }
        }
    }
    let mut result = device::serve(&service.connection, service, max_write);
    for thread in others {
        let ended = thread.join();
        let panicked = || io::Error::other("a thread panicked");
        result = result.and(ended.map_err(|_| panicked()).and_then(|ended| ended));
    }
    result
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
