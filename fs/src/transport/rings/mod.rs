//! Requests over io_uring: one ring and one thread for each CPU, pinned to it (Linux 6.14).
//!
//! ```text
//!   program on CPU n ── kernel queues its request to ring n ── our thread, which runs next on CPU n
//! ```
//!
//! Waking a thread that sleeps on another core is what a message costs over /dev/fuse; here nobody
//! sleeps elsewhere. FORGET, INTERRUPT and what we tell the kernel unasked stay with
//! [`super::device`].
//!
//! ```text
//!   prepare   threads, rings and memory                  before the mount: most that can fail, fails here
//!   start     REGISTER of every entry of every ring      after INIT; requests wait until all are there
//!   join      the rings end by themselves                after the unmount
//! ```
//!
//! The kernel sends a CPU's requests to that CPU's ring and no other, so every *possible* CPU has one,
//! also those that are offline or not ours to run on: their threads serve unpinned.

mod exchange;
mod memory;
mod ring;

use std::fs::{self, File};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rustix::thread::{CpuSet, sched_setaffinity};

use self::ring::Ring;
use super::device::Connection;
use super::dispatch::Service;
use super::pool::Pool;

/// The switch of the kernel's module.
const SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// Payload memory that all rings together may make resident, up to 128 CPUs.
const BUDGET: usize = 64 << 20;
const PAYLOAD_MAX: usize = 1 << 20;
const PAYLOAD_MIN: usize = 128 << 10;

/// Why requests cannot come over rings. Each says what to do, if anything can be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoRings {
    /// The kernel has no such thing.
    #[error("this kernel has no FUSE over io_uring (Linux 6.14 or newer is needed)")]
    TooOld,
    /// The administrator did not ask for it.
    #[error("FUSE over io_uring is switched off; switch it on with: echo Y > {SWITCH}")]
    SwitchedOff,
    /// The machine hides itself.
    #[error("the number of CPUs is not known: {POSSIBLE}: {0}")]
    Cpus(#[source] io::Error),
    /// A ring cannot be made.
    #[error("a ring cannot be made: {0}; see kernel.io_uring_disabled and the limits of memory")]
    Ring(#[source] io::Error),
    /// The kernel refused after all.
    #[error("the kernel refused the rings: {0}")]
    Refused(#[source] io::Error),
}

/// How much memory an entry has, and how many entries a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Requests of one CPU that may be under way at once, those in the pool included.
    pub(super) entries: usize,
    /// Bytes of one entry's payload: the largest READ or WRITE.
    pub(super) payload: usize,
}

impl Size {
    /// What `cpus` rings may have.
    fn of(cpus: usize) -> Self {
        let entries = (64 / cpus).clamp(4, 16);
        let payload = (BUDGET / (cpus * entries)).clamp(PAYLOAD_MIN, PAYLOAD_MAX);
        // A power of two: whole pages, and the kernel's readahead fits in.
        Self {
            entries,
            payload: 1 << payload.ilog2(),
        }
    }
}

/// What a ring's thread needs to serve.
#[derive(Clone)]
struct Work {
    connection: Connection,
    service: Arc<Service>,
    pool: Arc<Pool>,
    abort: Arc<dyn Fn() + Send + Sync>,
}

/// Aborts the connection, unless the ring came to its proper end: nobody else would ever answer the
/// requests of its CPU.
struct AbortOnDrop<'a>(&'a Work);

impl Drop for AbortOnDrop<'_> {
    fn drop(&mut self) {
        (self.0.abort)();
    }
}

/// The thread of one ring.
struct Served {
    thread: JoinHandle<io::Result<()>>,
    begin: Sender<Work>,
}

/// All rings.
pub(super) struct Rings {
    rings: Vec<Served>,
    size: Size,
    /// One message of each ring at each step.
    told: Receiver<io::Result<()>>,
    _namespace: Option<File>,
}

impl Rings {
    /// Makes the threads, the rings and their memory.
    pub(super) fn prepare() -> Result<Self, NoRings> {
        match fs::read_to_string(SWITCH) {
            Ok(switch) if switch.trim() == "N" => return Err(NoRings::SwitchedOff),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(NoRings::TooOld),
            // What the kernel wants it will say at the handshake.
            _ => {}
        }
        let possible = fs::read_to_string(POSSIBLE).map_err(NoRings::Cpus)?;
        let cpus = count(&possible).ok_or_else(|| {
            NoRings::Cpus(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a list of CPUs",
            ))
        })?;
        let size = Size::of(cpus.into());
        let (tell, told) = channel();
        let rings = (0..cpus).map(|cpu| {
            let (begin, work) = channel();
            let tell = tell.clone();
            let thread = std::thread::Builder::new()
                .name(format!("ring-{cpu}"))
                .spawn(move || serve(cpu, size, &tell, &work))?;
            Ok(Served { thread, begin })
        });
        let rings = rings.collect::<io::Result<_>>().map_err(NoRings::Ring)?;
        // Killed as the last process of its mount namespace, a process lets go of the namespace before
        // its rings are torn down, and the unmount then waits for them in the very task that is to do it:
        // for ever, and with it every sync(2) of the machine. A descriptor of the namespace keeps it until
        // the rings are gone.
        let rings = Self {
            rings,
            size,
            told,
            _namespace: File::open("/proc/self/ns/mnt").ok(),
        };
        rings.hear().map_err(NoRings::Ring)?;
        Ok(rings)
    }

    /// The largest READ and WRITE that they can take.
    pub(super) fn payload(&self) -> u32 {
        self.size.payload as u32
    }

    /// Begins to serve a connection on which the kernel agreed to rings. `abort` ends the connection; it
    /// is called if a ring breaks.
    pub(super) fn start(
        &self,
        connection: &Connection,
        service: &Arc<Service>,
        pool: Pool,
        abort: impl Fn() + Send + Sync + 'static,
    ) -> Result<(), NoRings> {
        let work = Work {
            connection: connection.clone(),
            service: service.clone(),
            pool: Arc::new(pool),
            abort: Arc::new(abort),
        };
        for ring in &self.rings {
            // A thread that is gone has said so before, or will not answer below.
            let _ = ring.begin.send(work.clone());
        }
        self.hear().map_err(NoRings::Refused)
    }

    /// Waits until each thread has said how it went.
    fn hear(&self) -> io::Result<()> {
        let mut result = Ok(());
        for _ in &self.rings {
            let gone = || io::Error::other("a ring's thread ended");
            let told = self.told.recv().map_err(|_| gone()).and_then(|told| told);
            result = result.and(told);
        }
        result
    }

    /// Waits for the threads, which end when the file system is unmounted.
    ///
    /// # Errors
    /// The first ring that broke before that.
    pub(super) fn join(self) -> io::Result<()> {
        let mut result = Ok(());
        for Served { thread, begin } in self.rings {
            drop(begin);
            let ended = thread.join();
            let panicked = || io::Error::other("a ring's thread panicked");
            result = result.and(ended.map_err(|_| panicked()).and_then(|ended| ended));
        }
        result
    }
}

/// The thread of one ring. Says twice how it went: when the ring is made, and when it is registered.
fn serve(
    cpu: u16,
    size: Size,
    tell: &Sender<io::Result<()>>,
    work: &Receiver<Work>,
) -> io::Result<()> {
    pin(cpu);
    // Nobody listens any more only when the whole attempt was given up.
    let mut ring = match Ring::new(cpu, size) {
        Ok(ring) => ring,
        Err(error) => {
            let _ = tell.send(Err(error));
            return Ok(());
        }
    };
    let _ = tell.send(Ok(()));
    let Ok(work) = work.recv() else {
        return Ok(());
    };
    let registered = ring.register(&work.connection);
    let failed = registered.is_err();
    let _ = tell.send(registered);
    if failed {
        return Ok(());
    }
    let abort = AbortOnDrop(&work);
    ring.run(&work.connection, &work.service, &work.pool)?;
    std::mem::forget(abort);
    Ok(())
}

/// Binds this thread to its CPU. One that is offline, or that we may not use, is served from others.
fn pin(cpu: u16) {
    let mut set = CpuSet::new();
    if usize::from(cpu) < CpuSet::MAX_CPU {
        set.set(cpu.into());
    }
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::debug!(cpu, %error, "not pinned");
    }
}

/// How many CPUs a list like `0-3,8` names.
fn count(list: &str) -> Option<u16> {
    let mut cpus = 0_u16;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        cpus = cpus.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_counted() {
        assert_eq!(count("0\n"), Some(1));
        assert_eq!(count("0-1\n"), Some(2));
        assert_eq!(count("0-3,8,10-11"), Some(7));
        assert_eq!(count(""), None);
        assert_eq!(count("3-1"), None);
        assert_eq!(count("0-65535"), None);
    }

    #[test]
    fn memory_stays_within_the_budget_up_to_128_cpus() {
        for cpus in 1..=128 {
            let size = Size::of(cpus);
            assert!(
                cpus * size.entries * size.payload <= BUDGET,
                "{cpus}: {size:?}"
            );
        }
        assert_eq!(
            Size::of(2),
            Size {
                entries: 16,
                payload: 1 << 20
            }
        );
        assert_eq!(
            Size::of(16),
            Size {
                entries: 4,
                payload: 1 << 20
            }
        );
        assert_eq!(
            Size::of(256),
            Size {
                entries: 4,
                payload: 128 << 10
            }
        );
    }
}
