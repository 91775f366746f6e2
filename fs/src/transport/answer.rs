//! What all handlers share: running a request so that it always has an answer, and the two replies
//! that have a protocol of their own.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fuser::{Errno, ReplyEmpty, ReplyXattr};

use super::errno::errno;
use crate::error::Result;

/// Runs one request. A panic in it is logged and becomes EIO; locks are parking_lot's, which a
/// panic releases and does not poison, so the next request finds the file system as it was left.
pub(super) fn run<T>(
    operation: &'static str,
    body: impl FnOnce() -> Result<T>,
) -> Result<T, Errno> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            tracing::trace!(operation, %error, "failed");
            Err(Errno::from_i32(errno(error)))
        }
        Err(panic) => {
            let why = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            tracing::error!(operation, why, "a request panicked; it fails with EIO");
            Err(Errno::EIO)
        }
    }
}

pub(super) fn empty(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

/// The size protocol of getxattr(2) and listxattr(2): size 0 asks for the length.
pub(super) fn xattr(result: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match result {
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(errno) => reply.error(errno),
    }
}
