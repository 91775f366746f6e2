//! One ring: the queue of one core.
//!
//! ```text
//!   REGISTER × entries ──> wait ──> entry has a request ──> answer it ──> COMMIT_AND_FETCH ──┐
//!                           ▲                  │ would wait                                   │
//!                           │                  └─> pool ──> returns (eventfd) ──> commit ─────┤
//!                           └─────────────────────────────────────────────────────────────────┘
//! ```
//!
//! One system call commits all answers and takes the next requests. A ring then stays awake for a moment
//! ([`LINGER`]) before it sleeps: a program that asks again at once finds it running, and its core not
//! halted. When the file system is unmounted every entry comes back with ENOTCONN, and the ring ends with the last.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::squeue::Entry128;
use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode};
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};
use zerocopy::IntoBytes;

use super::memory::{Entry, Slot, slots};
use super::{Size, exchange};
use crate::transport::abi::{RingCommand, ring};
use crate::transport::device::Connection;
use crate::transport::dispatch::Service;
use crate::transport::pool::Pool;

/// The `user_data` of the poll for returned entries; entries have their index.
const RETURNS: u64 = u64::MAX;

/// How long a ring waits awake. A LOOKUP of an unpinned program takes 13 µs with it and 42 µs without
/// (2 virtual cores, 2026-11: waking a halted one is what takes long). Others may run meanwhile.
const LINGER: Duration = Duration::from_micros(50);

/// Entries that the pool has answered.
#[derive(Debug)]
struct Returns {
    done: Mutex<Vec<(usize, Entry)>>,
    wake: OwnedFd,
}

impl Returns {
    fn give(&self, index: usize, entry: Entry) {
        self.done.lock().push((index, entry));
        // Fails only when 2^64 - 2 wake-ups were not read: then the ring is awake.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn take(&self) -> Vec<(usize, Entry)> {
        let mut count = [0; 8];
        // Nothing to read: somebody else woke the ring, and the list says all.
        let _ = rustix::io::read(&self.wake, &mut count);
        std::mem::take(&mut self.done.lock())
    }
}

/// A ring; belongs to the thread that made it.
pub(super) struct Ring {
    uring: IoUring<Entry128, cqueue::Entry>,
    queue: u16,
    /// `None`: ours or the pool's at the moment, or gone.
    slots: Vec<Option<Slot>>,
    /// Entries that the kernel still knows.
    live: usize,
    returns: Arc<Returns>,
    /// Completions being handled.
    batch: Vec<(u64, i32)>,
    /// Why entries went, if not because of the unmount.
    fault: Option<io::Error>,
}

impl Ring {
    /// A ring for the queue of CPU `queue`, with its memory.
    ///
    /// # Errors
    /// What io_uring_setup(2) fails with: EPERM (kernel.io_uring_disabled, seccomp), ENOSYS, EINVAL
    /// (older than Linux 6.1), ENOMEM.
    pub(super) fn new(queue: u16, size: Size) -> io::Result<Self> {
        let commands = (size.entries as u32 + 1).next_power_of_two();
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(commands)?;
        let slots: Vec<_> = slots(size)?.into_iter().map(Some).collect();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            uring,
            queue,
            live: slots.len(),
            slots,
            returns: Arc::new(Returns {
                done: Mutex::default(),
                wake,
            }),
            batch: Vec::new(),
            fault: None,
        })
    }

    /// Offers all entries to the kernel. Requests may come from then on, once every queue has done so.
    ///
    /// # Errors
    /// The kernel refuses an entry; it then serves the connection over /dev/fuse.
    pub(super) fn register(&mut self, connection: &Connection) -> io::Result<()> {
        let fuse = connection.as_fd().as_raw_fd();
        // The kernel reads them during `submit`.
        let pieces: Vec<_> = self.slots.iter().flatten().map(Slot::pieces).collect();
        for (index, pieces) in pieces.iter().enumerate() {
            let command = register(fuse, self.queue, pieces).user_data(index as u64);
            self.push(&command)?;
        }
        self.uring.submit()?;
        self.collect();
        match self.batch.iter().find(|(_, result)| *result < 0) {
            Some((_, result)) => Err(io::Error::from_raw_os_error(-result)),
            None => Ok(()),
        }
    }

    /// Serves until the file system is unmounted.
    ///
    /// # Errors
    /// The ring broke, and requests of its core would wait for ever.
    pub(super) fn run(
        mut self,
        connection: &Connection,
        service: &Arc<Service>,
        pool: &Pool,
    ) -> io::Result<()> {
        let fuse = connection.as_fd().as_raw_fd();
        self.watch_returns()?;
        loop {
            // What came during the registration is in the batch already.
            let mut batch = std::mem::take(&mut self.batch);
            for (who, result) in batch.drain(..) {
                if who == RETURNS {
                    for (index, entry) in self.returns.take() {
                        self.commit(fuse, index, entry)?;
                    }
                    self.watch_returns()?;
                } else {
                    self.complete(fuse, who as usize, result, service, pool)?;
                }
            }
            self.batch = batch;
            if self.live == 0 {
                return self.fault.take().map_or(Ok(()), Err);
            }
            self.next()?;
        }
    }

    /// Commits what is queued, and fills the batch: at once, awake, or asleep.
    fn next(&mut self) -> io::Result<()> {
        self.enter(0)?;
        let since = Instant::now();
        while self.batch.is_empty() && since.elapsed() < LINGER {
            rustix::thread::sched_yield();
            if self.uring.submission().taskrun() {
                self.enter(0)?;
            }
        }
        match self.batch.is_empty() {
            true => self.enter(1),
            false => Ok(()),
        }
    }

    /// Submits, waits for so many completions, and moves what is complete to the batch.
    fn enter(&mut self, wait: usize) -> io::Result<()> {
        match self.uring.submit_and_wait(wait) {
            Ok(_) => {}
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
        self.collect();
        Ok(())
    }

    /// A command of entry `index` is complete: it holds a request, or it is gone.
    fn complete(
        &mut self,
        fuse: RawFd,
        index: usize,
        result: i32,
        service: &Arc<Service>,
        pool: &Pool,
    ) -> io::Result<()> {
        let Some(slot) = self.slots.get_mut(index).and_then(Option::take) else {
            return Ok(());
        };
        if result < 0 {
            self.live -= 1;
            if !matches!(
                -result,
                libc::ENOTCONN | libc::ECONNABORTED | libc::ECANCELED
            ) {
                let error = io::Error::from_raw_os_error(-result);
                tracing::warn!(queue = self.queue, %error, "an entry of a ring is lost");
                self.fault = Some(error);
            }
            return Ok(());
        }
        // SAFETY: this is the completion of the slot's command, and `commit` makes the next.
        let mut entry = unsafe { slot.take() };
        if exchange::serve(&mut entry, service, false) {
            return self.commit(fuse, index, entry);
        }
        let (service, returns) = (service.clone(), self.returns.clone());
        pool.run(move || {
            exchange::serve(&mut entry, &service, true);
            returns.give(index, entry);
        });
        Ok(())
    }

    /// Queues the answer of an entry, and the wish for its next request.
    fn commit(&mut self, fuse: RawFd, index: usize, mut entry: Entry) -> io::Result<()> {
        let commit_id = entry.parts().0.entry.commit_id;
        let command = command(fuse, ring::COMMIT_AND_FETCH, self.queue, commit_id);
        self.slots[index] = Some(entry.give());
        self.push(&command.build().user_data(index as u64))
    }

    /// Asks to be woken when the pool has given something back.
    fn watch_returns(&mut self) -> io::Result<()> {
        let poll = opcode::PollAdd::new(Fd(self.returns.wake.as_raw_fd()), libc::POLLIN as u32);
        self.push(&Entry128::from(poll.build()).user_data(RETURNS))
    }

    fn push(&mut self, command: &Entry128) -> io::Result<()> {
        // SAFETY: a command refers to memory of a slot, which outlives the ring (`slots` drops after
        // `uring`, and entries in the pool hold the mapping), or to none.
        let pushed = unsafe { self.uring.submission().push(command) };
        // There is a place for each entry and for the poll.
        pushed.map_err(io::Error::other)
    }

    /// Moves completions to the batch.
    fn collect(&mut self) {
        let completions = self.uring.completion();
        self.batch
            .extend(completions.map(|one| (one.user_data(), one.result())));
    }
}

/// An interruption, or a kernel that wants completions to be taken first.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)
    )
}

/// A command to FUSE: `struct fuse_uring_cmd_req` in the command area of the SQE.
fn command(fuse: RawFd, operation: u32, queue: u16, commit_id: u64) -> opcode::UringCmd80 {
    let request = RingCommand {
        commit_id,
        qid: queue,
        ..RingCommand::default()
    };
    let mut area = [0; 80];
    area[..size_of::<RingCommand>()].copy_from_slice(request.as_bytes());
    opcode::UringCmd80::new(Fd(fuse), operation).cmd(area)
}

/// REGISTER, which also names the two pieces of an entry's memory.
fn register(fuse: RawFd, queue: u16, pieces: &[libc::iovec; 2]) -> Entry128 {
    /// Where `struct io_uring_sqe` has `len` (linux/io_uring.h).
    const LEN: usize = 24;
    let address = pieces.as_ptr() as u64;
    let mut command = command(fuse, ring::REGISTER, queue, 0)
        .addr(Some(address))
        .build();
    let length = (&raw mut command)
        .cast::<u8>()
        .wrapping_add(LEN)
        .cast::<u32>();
    // SAFETY: an `Entry128` is the 128 bytes of a SQE; the crate has no setter for this field.
    unsafe { length.write_unaligned(pieces.len() as u32) };
    command
}
