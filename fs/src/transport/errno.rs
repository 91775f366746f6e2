//! Typed error → errno: the one place that decides what a system call returns.

use super::decode::Fault;
use super::encode::NoRoom;
use crate::error::Error;

/// A number of `errno.h`, positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Errno(pub(super) i32);

impl From<Error> for Errno {
    fn from(error: Error) -> Self {
        Self(errno(error))
    }
}

impl From<Fault> for Errno {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed => Self(libc::EINVAL),
            Fault::Unknown => Self(libc::ENOSYS),
        }
    }
}

impl From<NoRoom> for Errno {
    fn from(_: NoRoom) -> Self {
        Self(libc::EIO)
    }
}

/// The errno that a caller sees for `error`.
///
/// Never `ENOSYS`: to FUSE that means "this operation does not exist" and switches it off for the
/// whole mount, so a file system below that answers it is told as `EOPNOTSUPP`.
fn errno(error: Error) -> i32 {
    match error {
        Error::NotFound => libc::ENOENT,
        Error::Exists => libc::EEXIST,
        Error::NotDirectory => libc::ENOTDIR,
        Error::IsDirectory => libc::EISDIR,
        Error::NotEmpty => libc::ENOTEMPTY,
        Error::ReadOnly => libc::EROFS,
        Error::NotPermitted => libc::EPERM,
        Error::AccessDenied => libc::EACCES,
        Error::NameTooLong => libc::ENAMETOOLONG,
        Error::Invalid => libc::EINVAL,
        Error::Stale => libc::ESTALE,
        Error::BadHandle => libc::EBADF,
        Error::NoAttribute => libc::ENODATA,
        Error::Unsupported => libc::EOPNOTSUPP,
        Error::UnknownIoctl => libc::ENOTTY,
        Error::CrossDevice => libc::EXDEV,
        Error::Damaged => libc::EIO,
        Error::Sys(rustix::io::Errno::NOSYS) => libc::EOPNOTSUPP,
        Error::Sys(errno) => errno.raw_os_error(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_errors_have_the_errno_of_a_plain_file_system() {
        assert_eq!(errno(Error::NotFound), libc::ENOENT);
        assert_eq!(errno(Error::NotEmpty), libc::ENOTEMPTY);
        assert_eq!(errno(Error::ReadOnly), libc::EROFS);
        assert_eq!(errno(Error::NoAttribute), libc::ENODATA);
        assert_eq!(errno(Error::Unsupported), libc::EOPNOTSUPP);
        assert_eq!(errno(Error::UnknownIoctl), libc::ENOTTY);
        assert_eq!(errno(Error::Damaged), libc::EIO);
    }

    #[test]
    fn system_errors_pass_but_enosys_never_does() {
        assert_eq!(errno(Error::Sys(rustix::io::Errno::NOSPC)), libc::ENOSPC);
        assert_eq!(errno(Error::Sys(rustix::io::Errno::NXIO)), libc::ENXIO);
        assert_eq!(
            errno(Error::Sys(rustix::io::Errno::NOSYS)),
            libc::EOPNOTSUPP
        );
    }
}
