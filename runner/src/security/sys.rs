//! seccomp(2): installing a filter on the calling thread.

#![allow(unsafe_code)]

use super::seccomp::Instruction;
use std::io;

/// Installs a filter for ever. Allocates nothing: it may run between fork and exec.
pub(super) fn install(program: &[Instruction], flags: u32) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let descriptor = libc::sock_fprog {
        len: length,
        // The kernel only reads; its declaration is older than const.
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `descriptor` is live for the call and points to `length` instructions, whose type
    // has the layout of `struct sock_filter`; the kernel copies them and keeps no pointer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const descriptor,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
