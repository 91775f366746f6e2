//! Which system calls of a daemon matter to a crash or a fault, told by their number and arguments.

use libc::c_long;

/// What a system call does, as far as a sweep cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It changes what the disk holds.
    Change,
    /// It asks a file system, and changes nothing.
    Ask,
    /// Anything else: memory, threads, the FUSE device.
    Other,
}

/// A call about to be made: its number and its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// `SYS_*`.
    pub number: c_long,
    /// As the kernel gets them.
    pub arguments: [u64; 6],
}

const FICLONE: u64 = 0x4004_9409;
const FS_IOC_SETFLAGS: u64 = 0x4008_6602;
const FS_IOC_FSSETXATTR: u64 = 0x401c_5820;

/// Calls that always change the disk: number, name, and which argument is a path worth telling.
const CHANGES: &[(c_long, &str, usize)] = &[
    (libc::SYS_mkdirat, "mkdirat", 1),
    (libc::SYS_mknodat, "mknodat", 1),
    (libc::SYS_symlinkat, "symlinkat", 2),
    (libc::SYS_linkat, "linkat", 3),
    (libc::SYS_unlinkat, "unlinkat", 1),
    (libc::SYS_mkdir, "mkdir", 0),
    (libc::SYS_rmdir, "rmdir", 0),
    (libc::SYS_unlink, "unlink", 0),
    (libc::SYS_rename, "rename", 1),
    (libc::SYS_renameat, "renameat", 3),
    (libc::SYS_renameat2, "renameat2", 3),
    (libc::SYS_chmod, "chmod", 0),
    (libc::SYS_fchmod, "fchmod", NONE),
    (libc::SYS_fchmodat, "fchmodat", 1),
    (SYS_FCHMODAT2, "fchmodat2", 1),
    (libc::SYS_fchown, "fchown", NONE),
    (libc::SYS_fchownat, "fchownat", 1),
    (libc::SYS_utimensat, "utimensat", 1),
    (libc::SYS_truncate, "truncate", 0),
    (libc::SYS_ftruncate, "ftruncate", NONE),
    (libc::SYS_fallocate, "fallocate", NONE),
    (libc::SYS_pwrite64, "pwrite64", NONE),
    (libc::SYS_pwritev, "pwritev", NONE),
    (libc::SYS_pwritev2, "pwritev2", NONE),
    (libc::SYS_copy_file_range, "copy_file_range", NONE),
    (libc::SYS_setxattr, "setxattr", 1),
    (libc::SYS_lsetxattr, "lsetxattr", 1),
    (libc::SYS_fsetxattr, "fsetxattr", 1),
    (libc::SYS_removexattr, "removexattr", 1),
    (libc::SYS_lremovexattr, "lremovexattr", 1),
    (libc::SYS_fremovexattr, "fremovexattr", 1),
    (SYS_SETXATTRAT, "setxattrat", 3),
    (SYS_REMOVEXATTRAT, "removexattrat", 3),
    (libc::SYS_fsync, "fsync", NONE),
    (libc::SYS_fdatasync, "fdatasync", NONE),
    (libc::SYS_syncfs, "syncfs", NONE),
];

/// Calls that only ask.
const ASKS: &[(c_long, &str, usize)] = &[
    (libc::SYS_newfstatat, "newfstatat", 1),
    (libc::SYS_statx, "statx", 1),
    (libc::SYS_fstatfs, "fstatfs", NONE),
    (libc::SYS_readlinkat, "readlinkat", 1),
    (libc::SYS_getdents64, "getdents64", NONE),
    (libc::SYS_getxattr, "getxattr", 1),
    (libc::SYS_lgetxattr, "lgetxattr", 1),
    (libc::SYS_fgetxattr, "fgetxattr", 1),
    (libc::SYS_listxattr, "listxattr", 0),
    (libc::SYS_llistxattr, "llistxattr", 0),
    (libc::SYS_flistxattr, "flistxattr", NONE),
    (SYS_GETXATTRAT, "getxattrat", 3),
    (SYS_LISTXATTRAT, "listxattrat", 1),
    (libc::SYS_pread64, "pread64", NONE),
    (libc::SYS_lseek, "lseek", NONE),
    (libc::SYS_flock, "flock", NONE),
];

/// No argument is a path.
const NONE: usize = usize::MAX;
/// Since Linux 6.6 and 6.13; the same on every architecture.
const SYS_FCHMODAT2: c_long = 452;
const SYS_SETXATTRAT: c_long = 463;
const SYS_GETXATTRAT: c_long = 464;
const SYS_LISTXATTRAT: c_long = 465;
const SYS_REMOVEXATTRAT: c_long = 466;

impl Call {
    /// What it does, its name, and which argument is a path.
    pub fn about(&self) -> (Effect, &'static str, Option<usize>) {
        let path = |argument: usize| (argument != NONE).then_some(argument);
        let listed = |table: &[(c_long, &'static str, usize)]| {
            let found = table.iter().find(|(number, ..)| *number == self.number);
            found.map(|(_, name, argument)| (*name, path(*argument)))
        };
        if let Some((name, path)) = listed(CHANGES) {
            return (Effect::Change, name, path);
        }
        if let Some((name, path)) = listed(ASKS) {
            return (Effect::Ask, name, path);
        }
        match self.number {
            libc::SYS_openat => (opening(self.arguments[2]), "openat", Some(1)),
            libc::SYS_open => (opening(self.arguments[1]), "open", Some(0)),
            // `struct open_how` is not looked at: it is used for reading layers only.
            libc::SYS_openat2 => (Effect::Ask, "openat2", Some(1)),
            libc::SYS_ioctl => match self.arguments[1] {
                FICLONE => (Effect::Change, "ioctl(FICLONE)", None),
                FS_IOC_SETFLAGS => (Effect::Change, "ioctl(SETFLAGS)", None),
                FS_IOC_FSSETXATTR => (Effect::Change, "ioctl(FSSETXATTR)", None),
                _ => (Effect::Other, "ioctl", None),
            },
            _ => (Effect::Other, "", None),
        }
    }

    /// Which argument says how many bytes to write, for calls that may write fewer.
    pub fn length(&self) -> Option<usize> {
        match self.number {
            libc::SYS_pwrite64 => Some(2),
            libc::SYS_copy_file_range => Some(4),
            _ => None,
        }
    }
}

fn opening(flags: u64) -> Effect {
    let makes = (libc::O_CREAT | libc::O_TRUNC) as u64;
    if flags & makes == 0 {
        Effect::Ask
    } else {
        Effect::Change
    }
}
