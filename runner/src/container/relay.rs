//! Copies one stream to another until its end, or until told to finish.
//!
//! ```text
//!   container's pipe or pty ──> user's stdout      told to finish: what is there is still copied
//!   user's stdin ──> container's pipe or pty       told to finish: stops at once
//! ```
//!
//! splice(2) where the kernel can, so that large output is not copied through this process;
//! else a buffer. A target that nobody reads any more ends the copying and closes the source,
//! so that a writer behind it gets its SIGPIPE.

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, read, write};
use rustix::pipe::{SpliceFlags, splice};
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

const BUFFER: usize = 64 << 10;
const SPLICE: usize = 1 << 20;

/// A copying thread.
#[derive(Debug)]
pub(super) struct Relay {
    finish: Arc<OwnedFd>,
    thread: JoinHandle<()>,
}

/// What happens to data that is there when the relay is told to finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It is copied.
    Copy,
    /// It stays where it is.
    Leave,
}

impl Relay {
    /// Starts copying.
    pub(super) fn start(from: OwnedFd, to: OwnedFd, rest: Rest) -> io::Result<Self> {
        let finish = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let told = Arc::clone(&finish);
        let thread = thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || copy(&from, &to, &told, rest))?;
        Ok(Self { finish, thread })
    }

    /// Tells it to finish and waits until it has.
    pub(super) fn finish(self) {
        // A write of 1 to a fresh eventfd cannot fail; a panicked relay has ended, too.
        let _ = write(&*self.finish, &1_u64.to_ne_bytes());
        let _ = self.thread.join();
    }
}

fn copy(from: &OwnedFd, to: &OwnedFd, told: &OwnedFd, rest: Rest) {
    let mut buffer = vec![0; BUFFER];
    let mut can_splice = true;
    let mut finishing = false;
    loop {
        let mut watched = [
            PollFd::new(from, PollFlags::IN),
            PollFd::new(told, PollFlags::IN),
        ];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // Told once, it stays readable: look at the source alone.
        let count = if finishing { 1 } else { 2 };
        let watched = &mut watched[..count];
        match poll(watched, finishing.then_some(&now)) {
            Err(Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        let ready = watched.first().is_some_and(|fd| !fd.revents().is_empty());
        if watched.get(1).is_some_and(|fd| !fd.revents().is_empty()) {
            finishing = true;
            if rest == Rest::Leave {
                return;
            }
            continue;
        }
        if !ready {
            return;
        }
        if !step(from, to, &mut buffer, &mut can_splice) {
            return;
        }
    }
}

/// Copies some of what is there; false at the end of either side.
fn step(from: &OwnedFd, to: &OwnedFd, buffer: &mut [u8], can_splice: &mut bool) -> bool {
    if *can_splice {
        match splice(from, None, to, None, SPLICE, SpliceFlags::MOVE) {
            Ok(0) => return false,
            Ok(_) | Err(Errno::INTR) => return true,
            Err(Errno::AGAIN) => return wait_to_write(to),
            Err(Errno::INVAL) => *can_splice = false,
            Err(_) => return false,
        }
    }
    let length = match read(from, &mut *buffer) {
        // A terminal whose other side is closed gives EIO.
        Ok(0) | Err(Errno::IO) => return false,
        Ok(length) => length,
        Err(Errno::INTR | Errno::AGAIN) => return true,
        Err(_) => return false,
    };
    let mut rest = buffer.get(..length).unwrap_or_default();
    while !rest.is_empty() {
        match write(to, rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if wait_to_write(to) => {}
            Err(_) => return false,
        }
    }
    true
}

fn wait_to_write(to: &OwnedFd) -> bool {
    let mut watched = [PollFd::from_borrowed_fd(to.as_fd(), PollFlags::OUT)];
    !matches!(poll(&mut watched, None), Err(error) if error != Errno::INTR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::pipe;

    #[test]
    fn nothing_is_lost_at_the_end() {
        let (source, writer) = pipe().unwrap();
        let (reader, sink) = pipe().unwrap();
        write(&writer, b"the last words").unwrap();
        let relay = Relay::start(source, sink, Rest::Copy).unwrap();
        relay.finish();
        let mut found = [0; 64];
        let length = read(&reader, &mut found[..]).unwrap();
        assert_eq!(&found[..length], b"the last words");
        drop(writer);
    }

    #[test]
    fn a_closed_target_closes_the_source() {
        let (source, writer) = pipe().unwrap();
        let (reader, sink) = pipe().unwrap();
        drop(reader);
        let relay = Relay::start(source, sink, Rest::Copy).unwrap();
        write(&writer, b"nobody reads this").unwrap();
        relay.thread.join().unwrap();
        assert_eq!(write(&writer, b"x"), Err(Errno::PIPE));
    }
}
