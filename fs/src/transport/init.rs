//! The handshake: the kernel's INIT, and our answer to it.
//!
//! ```text
//!   mount(2) ─> INIT: version, flags it knows ─> we: version, flags we want of those, sizes
//! ```

use std::io;

use zerocopy::FromBytes;

use super::abi::{self, Opcode, init};
use super::device::Connection;
use super::policy::MAX_BACKGROUND;

/// Enough for INIT; the kernel wants 8 KiB at least (`FUSE_MIN_READ_BUFFER`).
const BUFFER: usize = 16 << 10;

/// Bytes of a page, as the kernel counts `max_pages`.
const PAGE: u32 = 4096;

/// Takes INIT from a fresh connection and answers it: `wanted` flags, and WRITEs of up to `max_write`
/// bytes. Gives the flags that the kernel agreed to.
///
/// # Errors
/// The connection broke, or the kernel speaks another protocol.
pub(super) fn handshake(connection: &Connection, wanted: u64, max_write: u32) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = connection
            .receive(&mut buffer)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "the first message is not INIT");
        let (header, rest) =
            abi::InHeader::read_from_prefix(&buffer[..length]).map_err(|_| bad())?;
        let (own, rest) = abi::InitIn::read_from_prefix(rest).map_err(|_| bad())?;
        if Opcode::of(header.opcode) != Some(Opcode::Init) {
            return Err(bad());
        }
        if own.major > abi::MAJOR {
            // It will ask again in our version.
            let ours = abi::InitOut {
                major: abi::MAJOR,
                minor: abi::MINOR,
                ..abi::InitOut::default()
            };
            connection.reply(header.unique, &ours)?;
            continue;
        }
        if (own.major, own.minor) < (abi::MAJOR, abi::MINOR_MIN) {
            connection.refuse(header.unique, libc::EPROTO)?;
            let (major, minor) = (own.major, own.minor);
            let why =
                format!("the kernel speaks FUSE {major}.{minor}; Linux 4.5 or newer is needed");
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let agreed = wanted & offered(&own, rest);
        connection.reply(header.unique, &answer(&own, agreed, max_write))?;
        return Ok(agreed);
    }
}

/// The flags that the kernel knows.
fn offered(own: &abi::InitIn, rest: &[u8]) -> u64 {
    let low = u64::from(own.flags);
    if low & init::INIT_EXT == 0 {
        return low;
    }
    let high = abi::InitInExt::read_from_prefix(rest).map_or(0, |(ext, _)| ext.flags2);
    low | u64::from(high) << 32
}

fn answer(own: &abi::InitIn, agreed: u64, max_write: u32) -> abi::InitOut {
    // Older kernels do not know INIT_EXT, and look at no high half.
    let flags = agreed | u64::from(own.flags) & init::INIT_EXT;
    abi::InitOut {
        major: abi::MAJOR,
        minor: abi::MINOR,
        max_readahead: own.max_readahead,
        flags: flags as u32,
        flags2: (flags >> 32) as u32,
        max_background: MAX_BACKGROUND,
        congestion_threshold: MAX_BACKGROUND / 4 * 3,
        max_write,
        time_gran: 1,
        max_pages: max_write.div_ceil(PAGE) as u16,
        ..abi::InitOut::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn init_in(flags: u64) -> (abi::InitIn, abi::InitInExt) {
        let own = abi::InitIn {
            major: 7,
            minor: 45,
            max_readahead: 131_072,
            flags: flags as u32,
        };
        let ext = abi::InitInExt {
            flags2: (flags >> 32) as u32,
            ..abi::InitInExt::default()
        };
        (own, ext)
    }

    #[test]
    fn the_high_half_counts_only_with_init_ext() {
        use zerocopy::IntoBytes;
        let (own, ext) = init_in(init::OVER_IO_URING | init::INIT_EXT);
        assert_ne!(offered(&own, ext.as_bytes()) & init::OVER_IO_URING, 0);
        let (own, ext) = init_in(init::OVER_IO_URING);
        assert_eq!(offered(&own, ext.as_bytes()) & init::OVER_IO_URING, 0);
        let (own, _) = init_in(init::OVER_IO_URING | init::INIT_EXT);
        assert_eq!(
            offered(&own, &[]) & init::OVER_IO_URING,
            0,
            "a short message"
        );
    }

    #[test]
    fn the_answer_holds_what_was_agreed_and_sizes_in_pages() {
        let (own, _) = init_in(init::INIT_EXT);
        let out = answer(&own, init::OVER_IO_URING | init::MAX_PAGES, 1 << 20);
        assert_eq!(out.flags2, (init::OVER_IO_URING >> 32) as u32);
        assert_eq!(out.flags, (init::MAX_PAGES | init::INIT_EXT) as u32);
        assert_eq!((out.max_write, out.max_pages), (1 << 20, 256));
        assert_eq!((out.major, out.max_readahead), (7, 131_072));
    }
}
