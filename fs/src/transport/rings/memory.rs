//! The memory that the kernel and we share: a header and a payload for each entry of a ring.
//!
//! ```text
//!   one mapping of a ring:  │ header 0 │ header 1 │ … │ payload 0 │ payload 1 │ …
//!
//!   Slot ──take──> Entry        the kernel has written a request: it is ours, to read and to answer
//!   Slot <─give─── Entry        the answer is written: it is the kernel's, nobody here looks at it
//! ```
//!
//! Pages become resident when they are first touched, so payloads that are never filled cost nothing.
#![allow(unsafe_code)]

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use super::Size;
use crate::transport::abi::RingHeader;

/// The place of one header: a cache line's multiple, so that cores do not share lines.
const HEADER: usize = 512;
const PAGE: usize = 4096;

/// The mapping; gone with the last entry.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping is the process's, not a thread's; who may touch which part is told by `Slot` and
// `Entry`, each of which exists once.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared `Mapping` gives access to nothing.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(length: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let kind = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at a place of the kernel's choice touches no other memory.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), length, access, kind) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mapping = Self { start, length };
        // With huge pages the first touch would make 2 MiB resident. A kernel without them says EINVAL.
        // SAFETY: the advice changes no content.
        let _ = unsafe { madvise(start.as_ptr().cast(), length, Advice::LinuxNoHugepage) };
        Ok(mapping)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: all slots and entries, which lead here, hold the mapping: none is left.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok());
    }
}

/// An entry that is the kernel's.
#[derive(Debug)]
pub(super) struct Slot {
    header: NonNull<RingHeader>,
    payload: NonNull<u8>,
    length: usize,
    _mapping: Arc<Mapping>,
}

// SAFETY: the pointers lead into the mapping, which is held and may be used from any thread; a part of it
// belongs to one slot or entry only.
unsafe impl Send for Slot {}

/// An entry that is ours.
#[derive(Debug)]
pub(super) struct Entry(Slot);

/// Memory for the entries of one ring.
pub(super) fn slots(size: Size) -> io::Result<Vec<Slot>> {
    let headers = (size.entries * HEADER).next_multiple_of(PAGE);
    let mapping = Arc::new(Mapping::new(headers + size.entries * size.payload)?);
    let slots = (0..size.entries).map(|index| {
        // SAFETY: both places lie in the mapping, whose length was computed from the same numbers.
        let (header, payload) = unsafe {
            (
                mapping.start.add(index * HEADER).cast(),
                mapping.start.add(headers + index * size.payload),
            )
        };
        Slot {
            header,
            payload,
            length: size.payload,
            _mapping: mapping.clone(),
        }
    });
    Ok(slots.collect())
}

impl Slot {
    /// The two pieces as REGISTER wants them.
    pub(super) fn pieces(&self) -> [libc::iovec; 2] {
        [
            libc::iovec {
                iov_base: self.header.as_ptr().cast(),
                iov_len: size_of::<RingHeader>(),
            },
            libc::iovec {
                iov_base: self.payload.as_ptr().cast(),
                iov_len: self.length,
            },
        ]
    }

    /// Takes the entry over from the kernel.
    ///
    /// # Safety
    /// The kernel has completed the command of this slot, and got no new one for it since.
    pub(super) unsafe fn take(self) -> Entry {
        Entry(self)
    }
}

impl Entry {
    /// The header and the payload.
    pub(super) fn parts(&mut self) -> (&mut RingHeader, &mut [u8]) {
        // SAFETY: both lie in the mapping, aligned (512 and 4096 bytes), initialised (zeroes or what the
        // kernel wrote; every bit pattern is a valid header), and nobody else has them: the kernel gave
        // them to the one `Entry` there is, which is borrowed mutably.
        unsafe {
            (
                self.0.header.as_mut(),
                std::slice::from_raw_parts_mut(self.0.payload.as_ptr(), self.0.length),
            )
        }
    }

    /// Gives it back, to be committed.
    pub(super) fn give(self) -> Slot {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_share_no_byte() {
        let size = Size {
            entries: 3,
            payload: 8192,
        };
        let slots = slots(size).expect("memory");
        // SAFETY: no kernel has ever seen these slots.
        let mut entries: Vec<_> = slots
            .into_iter()
            .map(|slot| unsafe { slot.take() })
            .collect();
        for (mark, entry) in (1..).zip(&mut entries) {
            let (header, payload) = entry.parts();
            header.in_out.fill(mark);
            header.op_in.fill(mark);
            payload.fill(mark);
        }
        for (mark, entry) in (1..).zip(&mut entries) {
            let (header, payload) = entry.parts();
            assert!(
                header
                    .in_out
                    .iter()
                    .chain(&header.op_in)
                    .all(|byte| *byte == mark)
            );
            assert!(payload.len() == 8192 && payload.iter().all(|byte| *byte == mark));
        }
    }
}
