//! Copies one stream to another until its end, or until told to stop.
//!
//! ```text
//!   container's pipe ──> user's stdout      until the monitor has closed the pipe
//!   user's stdin ──> container's pipe       until told to stop, or the detach keys are typed
//! ```
//!
//! splice(2) where the kernel can, so that large output is not copied through this process;
//! else a buffer. A target that nobody reads any more ends the copying and closes the source.

use super::keys::Keys;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, read, write};
use rustix::pipe::{SpliceFlags, splice};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

const BUFFER: usize = 64 << 10;
const SPLICE: usize = 1 << 20;

/// A copying thread.
#[derive(Debug)]
pub(super) struct Relay {
    stop: Arc<OwnedFd>,
    /// With `stop`: only when nothing is left to be copied.
    dry: Arc<AtomicBool>,
    ended: Arc<OwnedFd>,
    thread: JoinHandle<End>,
}

/// Why a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The source has ended.
    Source,
    /// Nobody reads the target.
    Target,
    /// The detach keys were typed.
    Keys,
    /// It was told to.
    Told,
}

impl Relay {
    /// Starts copying; with `keys`, until they are typed.
    pub(super) fn start(from: OwnedFd, to: OwnedFd, keys: Option<Keys>) -> io::Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let ended = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let dry = Arc::new(AtomicBool::new(false));
        let told = Told {
            stop: Arc::clone(&stop),
            dry: Arc::clone(&dry),
        };
        let tell = Arc::clone(&ended);
        let thread = thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || {
                let end = copy(&from, &to, &told, keys);
                // The other sides are told first, and whoever waits here then.
                drop((from, to));
                signal(&tell);
                end
            })?;
        Ok(Self {
            stop,
            dry,
            ended,
            thread,
        })
    }

    /// Readable when it has ended.
    pub(super) fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// Copies what is there already, and stops.
    pub(super) fn finish(self) -> End {
        self.dry.store(true, Ordering::Release);
        signal(&self.stop);
        self.join()
    }

    /// Waits until it has ended by itself.
    pub(super) fn join(self) -> End {
        // A relay that panicked can copy no more.
        self.thread.join().unwrap_or(End::Target)
    }

    /// Tells it to stop, and waits until it has.
    pub(super) fn stop(self) {
        signal(&self.stop);
        self.join();
    }
}

fn signal(event: &OwnedFd) {
    // A write of 1 to a fresh eventfd cannot fail.
    let _ = write(event, &1_u64.to_ne_bytes());
}

/// What a relay is told from outside.
struct Told {
    stop: Arc<OwnedFd>,
    dry: Arc<AtomicBool>,
}

fn copy(from: &OwnedFd, to: &OwnedFd, told: &Told, mut keys: Option<Keys>) -> End {
    // More than a pipe holds: who writes without end is not followed to it.
    let mut last_moves = 64;
    let mut buffer = vec![0; BUFFER];
    let mut can_splice = keys.is_none();
    loop {
        let mut watched = [
            PollFd::new(from, PollFlags::IN),
            PollFd::new(&*told.stop, PollFlags::IN),
        ];
        match poll(&mut watched, None) {
            Err(Errno::INTR) => continue,
            Err(_) => return End::Source,
            Ok(_) => {}
        }
        let [more, stop] = watched.map(|fd| !fd.revents().is_empty());
        if stop {
            if !more || last_moves == 0 || !told.dry.load(Ordering::Acquire) {
                return End::Told;
            }
            last_moves -= 1;
        }
        let moved = if can_splice {
            match splice(from, None, to, None, SPLICE, SpliceFlags::MOVE) {
                Ok(0) => Err(End::Source),
                Ok(_) | Err(Errno::INTR) => Ok(()),
                Err(Errno::AGAIN) => wait_to_write(to),
                Err(Errno::INVAL) => {
                    can_splice = false;
                    Ok(())
                }
                Err(_) => Err(End::Target),
            }
        } else {
            step(from, to, &mut buffer, keys.as_mut())
        };
        if let Err(end) = moved {
            return end;
        }
    }
}

/// Copies some of what is there.
fn step(
    from: &OwnedFd,
    to: &OwnedFd,
    buffer: &mut [u8],
    keys: Option<&mut Keys>,
) -> Result<(), End> {
    let length = match read(from, &mut *buffer) {
        Ok(0) => return Err(End::Source),
        Ok(length) => length,
        Err(Errno::INTR | Errno::AGAIN) => return Ok(()),
        // A terminal that is gone gives EIO.
        Err(_) => return Err(End::Source),
    };
    let got = buffer.get(..length).unwrap_or_default();
    match keys {
        None => write_all(to, got),
        Some(keys) => {
            let (passed, complete) = keys.look(got);
            write_all(to, &passed)?;
            if complete { Err(End::Keys) } else { Ok(()) }
        }
    }
}

fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> Result<(), End> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_to_write(to)?,
            Err(_) => return Err(End::Target),
        }
    }
    Ok(())
}

fn wait_to_write(to: &OwnedFd) -> Result<(), End> {
    let mut watched = [PollFd::new(to, PollFlags::OUT)];
    match poll(&mut watched, None) {
        Err(error) if error != Errno::INTR => Err(End::Target),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::pipe;

    #[test]
    fn everything_comes_through_to_the_end() {
        let (source, writer) = pipe().unwrap();
        let (reader, sink) = pipe().unwrap();
        let relay = Relay::start(source, sink, None).unwrap();
        write(&writer, b"the last words").unwrap();
        drop(writer);
        assert_eq!(relay.join(), End::Source);
        let mut found = [0; 64];
        let length = read(&reader, &mut found[..]).unwrap();
        assert_eq!(&found[..length], b"the last words");
        assert_eq!(read(&reader, &mut found[..]), Ok(0));
    }

    #[test]
    fn a_closed_target_closes_the_source() {
        let (source, writer) = pipe().unwrap();
        let (reader, sink) = pipe().unwrap();
        drop(reader);
        let relay = Relay::start(source, sink, None).unwrap();
        write(&writer, b"nobody reads this").unwrap();
        assert_eq!(relay.join(), End::Target);
        assert_eq!(write(&writer, b"x"), Err(Errno::PIPE));
    }

    #[test]
    fn keys_end_it() {
        let (source, writer) = pipe().unwrap();
        let (reader, sink) = pipe().unwrap();
        let relay = Relay::start(source, sink, Some(Keys::default())).unwrap();
        write(&writer, b"ab\x10\x11c").unwrap();
        assert_eq!(relay.join(), End::Keys);
        let mut found = [0; 64];
        assert_eq!(read(&reader, &mut found[..]), Ok(2));
    }
}
