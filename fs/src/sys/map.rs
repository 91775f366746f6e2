//! A read-only mapping that a cut file cannot kill us with.
//!
//! ```text
//!   file ──map──> memory            the file is cut, a page of it is touched: SIGBUS
//!                   └─ handler: puts a page of zeros there, marks the mapping as cut, goes on
//!                        └─ whoever read from it asks `is_cut` and drops what it read: EIO
//! ```
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use memmap2::{Mmap, MmapOptions};

/// Mappings that can be watched at a time; what comes after them is read into memory instead.
const WATCHED: usize = 2048;

#[derive(Debug)]
struct Watch {
    start: AtomicUsize,
    end: AtomicUsize,
    cut: AtomicBool,
}

static WATCHES: [Watch; WATCHED] = [const {
    Watch {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        cut: AtomicBool::new(false),
    }
}; WATCHED];

/// A part of a file in memory; see the module.
#[derive(Debug)]
pub struct Map(Held);

#[derive(Debug)]
enum Held {
    Mapped(Mmap, &'static Watch),
    Read(Vec<u8>),
}

impl Map {
    /// Maps `length` bytes from `offset`, a multiple of the page size.
    ///
    /// # Errors
    /// The file is shorter, or cannot be mapped.
    pub fn new(file: &File, offset: u64, length: usize) -> io::Result<Self> {
        let ends = offset.checked_add(length as u64);
        if ends.is_none_or(|end| end > file.metadata().map_or(0, |meta| meta.len())) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(watch) = take_watch() else {
            let mut bytes = vec![0; length];
            std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, offset)?;
            return Ok(Self(Held::Read(bytes)));
        };
        // SAFETY: the bytes are only read, as plain numbers whose every value is handled; a file that is
        // changed or cut under us gives wrong numbers, or zeros by the handler above, never more.
        let mapped = unsafe { MmapOptions::new().offset(offset).len(length).map(file) };
        let map = mapped.inspect_err(|_| watch.start.store(0, Ordering::Release))?;
        let start = map.as_ptr() as usize;
        watch.cut.store(false, Ordering::Release);
        watch.end.store(start + length, Ordering::Release);
        watch.start.store(start, Ordering::Release);
        Ok(Self(Held::Mapped(map, watch)))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Held::Mapped(map, _) => map,
            Held::Read(bytes) => bytes,
        }
    }

    /// Whether bytes read from it may have been zeros in place of those of a cut file.
    pub fn is_cut(&self) -> bool {
        match &self.0 {
            Held::Mapped(_, watch) => watch.cut.load(Ordering::Acquire),
            Held::Read(_) => false,
        }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        if let Held::Mapped(_, watch) = &self.0 {
            watch.end.store(0, Ordering::Release);
            watch.start.store(0, Ordering::Release);
        }
    }
}

/// A watch that nobody uses: its start becomes 1, which is no mapping's.
fn take_watch() -> Option<&'static Watch> {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(install);
    let free = |watch: &&Watch| {
        let taken = watch
            .start
            .compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed);
        taken.is_ok()
    };
    WATCHES.iter().find(free)
}

fn install() {
    // SAFETY: all-zero is a valid sigaction; the handler has the signature that SA_SIGINFO asks for, and
    // calls only what is safe in a signal handler (atomics, mmap, sigaction).
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_bus_error as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

/// Puts zeros where a watched mapping has no file any more; anything else dies as it would have.
extern "C" fn on_bus_error(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid siginfo, of a SIGBUS.
    let address = unsafe { (*info).si_addr() } as usize;
    let hit = WATCHES.iter().find(|watch| {
        let start = watch.start.load(Ordering::Acquire);
        start > 1 && address >= start && address < watch.end.load(Ordering::Acquire)
    });
    // SAFETY: the page lies in a mapping of ours, which nobody writes; replacing it by zeros leaves the
    // range mapped until its owner unmaps it. Without one, the default action follows on return.
    unsafe {
        if let Some(watch) = hit {
            watch.cut.store(true, Ordering::Release);
            let page = 4096;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
            let place = (address & !(page - 1)) as *mut libc::c_void;
            if libc::mmap(place, page, libc::PROT_READ, flags, -1, 0) != libc::MAP_FAILED {
                return;
            }
        }
        libc::signal(libc::SIGBUS, libc::SIG_DFL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_file_reads_as_zeros_and_says_so() {
        let file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut &file, &[7; 20_000]).unwrap();
        let map = Map::new(&file, 4096, 12_000).unwrap();
        assert_eq!(map.bytes()[11_999], 7);
        file.set_len(8192).unwrap();
        assert_eq!((map.bytes()[5000], map.is_cut()), (0, true));
        assert_eq!(map.bytes()[10], 7);
        assert!(Map::new(&file, 4096, 12_000).is_err());
    }
}
